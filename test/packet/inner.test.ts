/** Inner packets: fields, flow hash, congestion mark, and garbage. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, type Memory } from '../../src/base/memory.ts';
import { ecnOf, InnerPacket, setCe } from '../../src/packet/inner.ts';
import { slowAddress, slowIp, slowSum, slowTcp, type TcpPacket } from '../twin/packet.ts';
import { tcpPacket } from './arbitrary.ts';

/** The bytes at the very end of a memory: any read behind them throws. */
function atTheEnd(bytes: Uint8Array): { memory: Memory; off: number } {
  const memory = heapMemory(bytes.length + 7);
  memory.bytes.set(bytes, 7);
  return { memory, off: 7 };
}

test('parse reads back what a TCP packet was made of', () => {
  fc.assert(
    fc.property(tcpPacket(), (p) => {
      const { memory, off } = atTheEnd(slowTcp(p));
      const packet = new InnerPacket();
      assert.ok(packet.parse(memory, off, memory.bytes.length - off));
      assert.equal(packet.version, p.version);
      assert.equal(packet.protocol, 6);
      assert.equal(packet.totalBytes, memory.bytes.length - off);
      assert.equal(packet.tcpHeaderBytes, 20 + p.options.length);
      assert.equal(packet.tcpPayloadBytes, p.payload.length);
      assert.equal(packet.tcpFlags(memory), p.flags);
      assert.equal(packet.ports(memory), ((p.sourcePort << 16) | p.destinationPort) >>> 0);
      assert.equal(packet.isPureAck(memory), p.payload.length === 0 && (p.flags & 0x17) === 0x10);
      assert.equal(packet.fragment, false);
      assert.equal(ecnOf(memory, off), p.tos & 3);
      const size = p.version === 4 ? 4 : 16;
      const slice = (at: number) => [...memory.bytes.subarray(at, at + size)];
      assert.deepEqual(slice(packet.sourceOffset), slowAddress(p.version, p.source));
      assert.deepEqual(slice(packet.destinationOffset), slowAddress(p.version, p.destination));
    }),
  );
});

test('a length that contradicts the header is refused', () => {
  fc.assert(
    fc.property(tcpPacket(), fc.integer({ min: 1, max: 19 }), (p, cut) => {
      const bytes = slowTcp(p);
      const { memory, off } = atTheEnd(bytes.subarray(0, bytes.length - cut));
      assert.equal(new InnerPacket().parse(memory, off, bytes.length - cut), false);
    }),
  );
});

test('garbage neither throws nor makes anything read behind its end', () => {
  const first = fc.constantFrom(0x45, 0x46, 0x4f, 0x40, 0x60, 0x6f, 0x00, 0xff);
  fc.assert(
    fc.property(first, fc.uint8Array({ maxLength: 120 }), fc.boolean(), fc.boolean(), (b, bytes, fixLength, ext) => {
      if (bytes.length > 0) bytes[0] = b;
      if (fixLength && bytes.length >= 6) {
        if (b >> 4 === 4) bytes.set([0, bytes.length], 2);
        else bytes.set([0, Math.max(0, bytes.length - 40)], 4);
        if (ext && bytes.length > 6 && b >> 4 === 6) bytes[6] = [0, 43, 44, 51, 60, 135][bytes[6] % 6];
      }
      const { memory, off } = atTheEnd(bytes);
      const packet = new InnerPacket();
      if (!packet.parse(memory, off, bytes.length)) return;
      assert.ok(packet.totalBytes <= bytes.length);
      assert.ok(packet.headerBytes <= packet.totalBytes);
      packet.flowHash(memory, 1);
      packet.ports(memory);
      packet.isPureAck(memory);
      setCe(memory, off);
    }),
    { numRuns: 2000 },
  );
});

/** An IPv6 packet with extension headers before a UDP header. */
function extended(headers: number[][], last: number, rest: number[]): Uint8Array {
  const body = [...headers.flat(), ...rest];
  const base = { version: 6, source: 1, destination: 2, tos: 0, ttl: 9 } as TcpPacket;
  return slowIp(base, last, body);
}

test('extension headers are walked, ports found behind them', () => {
  const udp = [0x12, 0x34, 0, 53, 0, 8, 0, 0];
  const hop = [60, 0, 1, 4, 0, 0, 0, 0];
  const options = [51, 1, ...new Array(14).fill(0)];
  const ah = [17, 4, ...new Array(22).fill(0)];
  const { memory, off } = atTheEnd(extended([hop, options, ah], 0, udp));
  const packet = new InnerPacket();
  assert.ok(packet.parse(memory, off, memory.bytes.length - off));
  assert.equal(packet.protocol, 17);
  assert.equal(packet.headerBytes, 40 + 8 + 16 + 24);
  assert.equal(packet.ports(memory), 0x12340035);
});

test('a packet cut off anywhere, its length field true to the cut, is parsed as far as it goes', () => {
  const udp = [0x12, 0x34, 0, 53, 0, 8, 0, 0];
  const chain = extended(
    [
      [60, 0, 1, 4, 0, 0, 0, 0],
      [44, 0, 1, 4, 0, 0, 0, 0],
      [17, 0, 0, 0, 0, 0, 0, 5],
    ],
    0,
    udp,
  );
  const p = { version: 4, source: 1, destination: 2, tos: 0, ttl: 9, id: 3, df: false, flags: 16 };
  const words = { sourcePort: 5, destinationPort: 6, sequence: 7, acknowledgement: 8, window: 9, payload: [] };
  const tcp = slowTcp({ ...p, ...words, options: [2, 4, 5, 180, 1, 1, 1, 1] } as TcpPacket);
  const tcp6 = slowTcp({ ...p, ...words, version: 6, options: [2, 4, 5, 180] } as TcpPacket);
  for (const whole of [chain, tcp, tcp6])
    for (let n = whole[0] >> 4 === 4 ? 20 : 40; n <= whole.length; n++) {
      const bytes = whole.slice(0, n);
      if (whole[0] >> 4 === 4) bytes[3] = n;
      else bytes[5] = n - 40;
      const { memory, off } = atTheEnd(bytes);
      const packet = new InnerPacket();
      assert.ok(packet.parse(memory, off, n));
      assert.ok(packet.headerBytes <= n);
      assert.equal(packet.tcpHeaderBytes, whole !== chain && n === whole.length ? n - packet.headerBytes : 0);
      packet.flowHash(memory, 1);
    }
});

test('fragments hash without ports, all of a datagram alike', () => {
  const parse = (bytes: Uint8Array) => {
    const at = atTheEnd(bytes);
    const packet = new InnerPacket();
    assert.ok(packet.parse(at.memory, at.off, bytes.length));
    return { packet, hash: packet.flowHash(at.memory, 77) };
  };
  const first = extended([[17, 0, 0, 1, 0, 0, 0, 5]], 44, [1, 2, 3, 4, 0, 16, 0, 0]);
  const later = extended([[17, 0, 0, 9, 0, 0, 0, 5]], 44, [9, 9, 9, 9, 9, 9, 9, 9]);
  const atomic = extended([[17, 0, 0, 0, 0, 0, 0, 5]], 44, [1, 2, 3, 4, 0, 8, 0, 0]);
  assert.ok(parse(first).packet.fragment);
  assert.ok(parse(later).packet.fragment);
  assert.equal(parse(later).packet.hasPorts, false);
  assert.equal(parse(first).hash, parse(later).hash);
  assert.equal(parse(atomic).packet.fragment, false);
  assert.notEqual(parse(atomic).hash, parse(first).hash);

  const v4 = { version: 4, source: 1, destination: 2, tos: 0, ttl: 9, id: 3, df: false } as TcpPacket;
  const a = slowIp(v4, 17, [1, 2, 3, 4, 0, 16, 0, 0]);
  const b = slowIp(v4, 17, [9, 9, 9, 9, 9, 9, 9, 9]);
  a[6] = 0x20;
  b[7] = 1;
  assert.equal(parse(a).hash, parse(b).hash);
});

test('the flow hash spreads neighbours evenly and hangs on its seed', () => {
  const p = { version: 4, tos: 0, ttl: 64, id: 0, df: true, source: 5, destination: 9 } as TcpPacket;
  const memory = heapMemory(64);
  const packet = new InnerPacket();
  const hash = (source: number, port: number, seed: number) => {
    memory.bytes.set(slowIp({ ...p, source }, 17, [port >> 8, port & 0xff, 0, 53, 0, 8, 0, 0]));
    assert.ok(packet.parse(memory, 0, 28));
    return packet.flowHash(memory, seed);
  };
  for (const seed of [0, 1, 0xdeadbeef]) {
    // 10 low bits (the bucket) and 10 high bits: chi-square of 16,384 flows in 1,024 cells, 1,023 ± 45 when uniform.
    for (const shift of [0, 22]) {
      const cells = new Array<number>(1024).fill(0);
      for (let i = 0; i < 16384; i++) cells[(hash(i >> 10, 40000 + (i & 1023), seed) >>> shift) & 1023]++;
      const chi = cells.reduce((sum, n) => sum + (n - 16) ** 2 / 16, 0);
      assert.ok(chi > 750 && chi < 1300, `chi-square ${chi} at shift ${shift}`);
    }
  }
  let same = 0;
  for (let i = 0; i < 1000; i++) if ((hash(1, i, 5) & 1023) === (hash(1, i, 6) & 1023)) same++;
  assert.ok(same < 20, `${same} of 1,000 flows stay in their bucket under another seed`);
});

test('setCe marks ECN-capable packets only and keeps the IPv4 checksum right', () => {
  fc.assert(
    fc.property(tcpPacket(), (p) => {
      const bytes = slowTcp(p);
      const { memory, off } = atTheEnd(bytes);
      const marked = setCe(memory, off);
      const after = memory.bytes.subarray(off);
      assert.equal(marked, (p.tos & 3) !== 0);
      assert.deepEqual([...after], [...slowTcp({ ...p, tos: marked ? p.tos | 3 : p.tos })]);
      if (p.version === 4) assert.equal(slowSum(after.subarray(0, 20)), 0xffff);
    }),
  );
});

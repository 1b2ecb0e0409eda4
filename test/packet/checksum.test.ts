/** Checksums against the slow twin. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import {
  completeChecksum,
  foldSum,
  makePartial,
  mssOption,
  pseudoSum,
  sumBytes,
  verifyChecksum,
} from '../../src/packet/checksum.ts';
import { InnerPacket } from '../../src/packet/inner.ts';
import { slowAddress, slowIp, slowPseudo, slowSum, slowTcp, type TcpPacket } from '../twin/packet.ts';
import { tcpPacket } from './arbitrary.ts';

function load(bytes: Uint8Array) {
  const memory = heapMemory(bytes.length + 3);
  memory.bytes.set(bytes, 3);
  const packet = new InnerPacket();
  assert.ok(packet.parse(memory, 3, bytes.length));
  return { memory, packet, now: () => [...memory.bytes.subarray(3)] };
}

test('sumBytes is the one’s complement sum at any length and alignment', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 7 }), (bytes, shift) => {
      const memory = heapMemory(bytes.length + shift);
      memory.bytes.set(bytes, shift);
      assert.equal(sumBytes(memory, shift, bytes.length) % 0xffff, slowSum(bytes) % 0xffff);
    }),
  );
  const memory = heapMemory(65535);
  memory.bytes.fill(0xff);
  assert.equal(sumBytes(memory, 0, 65535), slowSum(memory.bytes));
});

test('a partial checksum completed is the full one, and back', () => {
  fc.assert(
    fc.property(tcpPacket(), (p) => {
      const { memory, packet, now } = load(slowTcp(p, true));
      assert.ok(completeChecksum(memory, packet));
      assert.deepEqual(now(), [...slowTcp(p)]);
      assert.ok(verifyChecksum(memory, packet));
      assert.ok(makePartial(memory, packet));
      assert.deepEqual(now(), [...slowTcp(p, true)]);
    }),
  );
});

test('a flipped bit is noticed', () => {
  fc.assert(
    fc.property(tcpPacket(), fc.nat(), (p, n) => {
      const { memory, packet } = load(slowTcp(p));
      const start = packet.offset + packet.headerBytes;
      const at = start + (n % (packet.totalBytes - packet.headerBytes));
      if (at === start + 12) return;
      memory.bytes[at] ^= 1 << (n % 8);
      assert.equal(verifyChecksum(memory, packet), false);
    }),
  );
});

test('UDP: no checksum passes over IPv4, a sum of zero becomes 0xffff', () => {
  const base = { version: 4, source: 1, destination: 2, tos: 0, ttl: 9, id: 0, df: false } as TcpPacket;
  const none = load(slowIp(base, 17, [0, 1, 0, 2, 0, 8, 0, 0]));
  assert.ok(verifyChecksum(none.memory, none.packet));
  // Choose a payload that makes the whole sum 0xffff, so that its complement is 0.
  const transport = [0, 1, 0, 2, 0, 10, 0, 0, 0, 0];
  const pseudo = slowPseudo(4, slowAddress(4, 1), slowAddress(4, 2), 17, 10);
  const rest = 0xffff - slowSum([...pseudo, ...transport]);
  transport.splice(8, 2, rest >> 8, rest & 0xff);
  const p = load(slowIp(base, 17, transport));
  assert.ok(makePartial(p.memory, p.packet));
  assert.equal(p.memory.view.getUint16(3 + 20 + 6), pseudoSum(p.memory, p.packet, 10));
  assert.ok(completeChecksum(p.memory, p.packet));
  assert.equal(p.memory.view.getUint16(3 + 20 + 6), 0xffff);
});

test('mssOption finds the option among others and survives garbage', () => {
  const p = { version: 4, source: 1, destination: 2, tos: 0, ttl: 9, id: 0, df: false, flags: 2, payload: [] };
  const tcp = { sourcePort: 1, destinationPort: 2, sequence: 3, acknowledgement: 4, window: 5 };
  const mss = (options: number[]) => {
    const { memory, packet } = load(slowTcp({ ...p, ...tcp, options } as TcpPacket));
    return mssOption(memory, packet);
  };
  assert.equal(mss([2, 4, 5, 180]), 1460);
  assert.equal(mss([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 5, 180]), 1460);
  assert.equal(mss([0, 4, 5, 180]), 0);
  assert.equal(mss([1, 1, 2, 4]), 0);
  assert.equal(mss([8, 0, 5, 180]), 0);
  assert.equal(mss([]), 0);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 40, maxLength: 40 }), (o) => {
      mss([...o]);
    }),
  );
});

test('foldSum folds any 32-bit sum', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 0xffffffff }),
      (n) => foldSum(n) <= 0xffff && foldSum(n) % 0xffff === n % 0xffff,
    ),
  );
});

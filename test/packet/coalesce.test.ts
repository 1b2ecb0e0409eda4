/** Coalescing: taken apart again, every flow is what it was, up to the IP identification; and it does gather. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory, type Memory } from '../../src/base/memory.ts';
import { ACCEPTED, COALESCE_SCRATCH_BYTES, Coalescer, MAX_SEGMENTS, NO_RUN } from '../../src/packet/coalesce.ts';
import { VNET_BYTES } from '../../src/packet/vnet.ts';
import { slowParse, slowSegments, slowSum, slowTcp, type TcpPacket } from '../twin/packet.ts';

interface Offered {
  readonly bytes: Uint8Array;
  readonly partial: boolean;
}

/** Offers all packets as one batch; the TUN writes that come out. */
function run(packets: readonly Offered[], offload = true): Uint8Array[] {
  const total = packets.reduce((sum, p) => sum + p.bytes.length, 0);
  const memory: Memory = heapMemory(COALESCE_SCRATCH_BYTES + total);
  const coalescer = new Coalescer(memory, 0, offload);
  const writes: Uint8Array[] = [];
  const write = (number: number) => {
    const count = coalescer.gather(number);
    assert.ok(count >= 1 && count <= MAX_SEGMENTS + 1);
    const parts = Array.from({ length: count }, (_, i) => {
      const at = coalescer.fragmentOffset[i];
      return memory.bytes.slice(at, at + coalescer.fragmentLength[i]);
    });
    writes.push(Uint8Array.from(parts.flatMap((p) => [...p])));
  };
  let at = COALESCE_SCRATCH_BYTES;
  for (const p of packets) {
    memory.bytes.set(p.bytes, at);
    let tries = 0;
    for (;;) {
      const full = coalescer.offer(at, p.bytes.length, p.partial);
      if (full === ACCEPTED) break;
      assert.ok(++tries < 3);
      write(full);
    }
    at += p.bytes.length;
  }
  for (let n = coalescer.next(); n !== NO_RUN; n = coalescer.next()) write(n);
  return writes;
}

/** What the kernel would make of a TUN write: packets with full checksums. Checks the virtio header on the way. */
function kernel(write: Uint8Array): TcpPacket[] {
  const view = new DataView(write.buffer);
  const bytes = write.slice(VNET_BYTES);
  const p = slowParse(bytes);
  const header = p.version === 4 ? 20 : 40;
  assert.ok(bytes.length <= 65_535);
  assert.equal(p.version === 4 ? bytes[2] * 256 + bytes[3] : 40 + bytes[4] * 256 + bytes[5], bytes.length);
  if (p.version === 4) assert.equal(slowSum(bytes.subarray(0, 20)), 0xffff, 'IPv4 checksum');
  const type = view.getUint8(1);
  const needsChecksum = view.getUint8(0) === 1;
  assert.deepEqual([...bytes], [...slowTcp(p, needsChecksum)], 'every byte, the checksum included');
  if (needsChecksum) {
    assert.equal(view.getUint16(6, true), header);
    assert.equal(view.getUint16(8, true), 16);
  }
  if (type === 0) return [p];
  assert.ok(needsChecksum);
  assert.equal(type, p.version === 4 ? 1 : 4);
  assert.equal(view.getUint16(2, true), header + 20 + p.options.length);
  const segments = slowSegments(p, view.getUint16(4, true));
  assert.ok(segments.length > 1 && segments.length <= MAX_SEGMENTS);
  return segments;
}

const flowOf = (p: TcpPacket) => `${p.version} ${p.source} ${p.destination} ${p.sourcePort} ${p.destinationPort}`;

function byFlow(packets: readonly TcpPacket[]): Map<string, TcpPacket[]> {
  const map = new Map<string, TcpPacket[]>();
  for (const p of packets)
    map.set(flowOf(p), [...(map.get(flowOf(p)) ?? []), { ...p, id: 0, payload: [...p.payload] }]);
  return map;
}

/** Packets of a few flows that mostly continue each other and now and then do not. */
const traffic = fc
  .array(
    fc.record({
      flow: fc.integer({ min: 0, max: 11 }),
      times: fc.integer({ min: 1, max: 12 }),
      size: fc.constantFrom(0, 1, 7, 20, 20, 20, 20, 33),
      quirk: fc.constantFrom(
        ...([
          'none',
          'none',
          'none',
          'none',
          'gap',
          'push',
          'fin',
          'ack',
          'window',
          'options',
          'tos',
          'ttl',
          'df',
          'full',
        ] as const),
      ),
    }),
    { maxLength: 25 },
  )
  .map((steps) => {
    const next = new Map<number, number>();
    return steps.flatMap(({ flow, times, size, quirk }) =>
      Array.from({ length: times }, (_, i) => {
        const sequence = (next.get(flow) ?? 0xffffff80) + (quirk === 'gap' && i === 0 ? 1 : 0);
        next.set(flow, (sequence + size) >>> 0);
        const packet: TcpPacket = {
          version: flow & 1 ? 6 : 4,
          source: 1 + (flow & 2),
          destination: 9,
          sourcePort: 1000 + (flow & 4),
          destinationPort: 80 + (flow & 8),
          sequence: sequence >>> 0,
          acknowledgement: quirk === 'ack' ? i : 5,
          flags: quirk === 'push' ? 0x18 : quirk === 'fin' ? 0x11 : 0x10,
          window: quirk === 'window' ? i : 500,
          options: quirk === 'options' ? [1, 1, 1, i] : [1, 1, 1, 0],
          tos: quirk === 'tos' ? i : 0,
          ttl: quirk === 'ttl' ? 60 + (i & 1) : 64,
          id: flow & 1 ? 0 : i,
          df: flow & 1 || quirk !== 'df' ? true : (i & 1) === 0,
          payload: Array.from({ length: size }, (_, k) => (sequence + k) & 0xff),
        };
        return { packet, partial: quirk !== 'full' };
      }),
    );
  });

test('segment ∘ coalesce = identity on every flow, up to the IP identification', () => {
  fc.assert(
    fc.property(traffic, (sent) => {
      const writes = run(sent.map(({ packet, partial }) => ({ bytes: slowTcp(packet, partial), partial })));
      const received = writes.flatMap(kernel);
      assert.deepEqual(byFlow(received), byFlow(sent.map((s) => s.packet)));
    }),
    { numRuns: 300 },
  );
});

test('without offload every packet is written alone with a full checksum, in order', () => {
  fc.assert(
    fc.property(traffic, (sent) => {
      const writes = run(
        sent.map(({ packet, partial }) => ({ bytes: slowTcp(packet, partial), partial })),
        false,
      );
      const full = (p: TcpPacket) => Buffer.from(slowTcp(p)).toString('hex');
      assert.deepEqual(
        new Set(writes.map((w) => Buffer.from(w).toString('hex'))),
        new Set(sent.map((s) => full(s.packet))),
      );
      assert.equal(writes.length, sent.length);
    }),
    { numRuns: 100 },
  );
});

const bulk = (i: number, change: Partial<TcpPacket> = {}): TcpPacket => ({
  version: 4,
  source: 1,
  destination: 2,
  sourcePort: 3,
  destinationPort: 4,
  sequence: 1000 + 1448 * i,
  acknowledgement: 9,
  flags: 0x10,
  window: 100,
  options: [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
  tos: 0,
  ttl: 64,
  id: i,
  df: true,
  payload: Uint8Array.from({ length: 1448 }, (_, k) => k * 3 + i),
  ...change,
});
const offered = (p: TcpPacket, partial = true): Offered => ({ bytes: slowTcp(p, partial), partial });
const segmentsOf = (packets: readonly Offered[]) => run(packets).map((w) => kernel(w).length);

test('a bulk flow becomes giants as large as they may be', () => {
  const packets = Array.from({ length: 100 }, (_, i) => offered(bulk(i)));
  // 45 × 1,448 bytes and the headers are the most that 65,535 bytes hold.
  assert.deepEqual(segmentsOf(packets), [45, 45, 10]);
  const small = Array.from({ length: 70 }, (_, i) =>
    offered(bulk(0, { sequence: i * 10, payload: new Array(10).fill(i) })),
  );
  assert.deepEqual(segmentsOf(small), [64, 6]);
});

test('each rule ends a run', () => {
  const three = (change: Partial<TcpPacket>, partial = true) =>
    segmentsOf([offered(bulk(0)), offered(bulk(1, change), partial), offered(bulk(2))]);
  assert.deepEqual(three({}), [3]);
  assert.deepEqual(three({ flags: 0x18 }), [2, 1], 'PSH ends it with the segment that carries it');
  assert.deepEqual(three({ flags: 0x11 }), [1, 1, 1], 'FIN');
  assert.deepEqual(three({ flags: 0x50 }), [1, 1, 1], 'ECE');
  assert.deepEqual(three({ acknowledgement: 10 }), [1, 1, 1]);
  assert.deepEqual(three({ window: 101 }), [1, 1, 1]);
  assert.deepEqual(three({ tos: 3 }), [1, 1, 1]);
  assert.deepEqual(three({ ttl: 63 }), [1, 1, 1]);
  assert.deepEqual(three({ df: false }), [1, 1, 1]);
  assert.deepEqual(three({ options: [1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 2] }), [1, 1, 1]);
  assert.deepEqual(three({ options: [] }), [1, 1, 1]);
  assert.deepEqual(three({ sequence: 1000 + 1448 + 1 }), [1, 1, 1], 'a gap');
  assert.deepEqual(three({}, false), [1, 1, 1], 'a full checksum');
  assert.deepEqual(three({ payload: new Array(1449).fill(0) }), [1, 1, 1], 'longer than the first');
  const short = [
    offered(bulk(0)),
    offered(bulk(1, { payload: [1, 2] })),
    offered(bulk(1, { sequence: 1000 + 1448 + 2 })),
  ];
  assert.deepEqual(segmentsOf(short), [2, 1], 'a shorter segment is the last');
});

test('what comes late is not moved forward, what is padded or has IP options is left alone', () => {
  const at = (n: number) => bulk(0, { sequence: n, payload: new Array(20).fill(n) });
  const late = run([at(0), at(40), at(20)].map((p) => offered(p))).flatMap(kernel);
  assert.deepEqual(
    late.map((p) => p.sequence),
    [0, 40, 20],
  );
  const padded = { bytes: Uint8Array.from([...slowTcp(at(20), true), 0, 0]), partial: true };
  const writes = run([offered(at(0)), padded, offered(at(40))]);
  assert.equal(writes.length, 3);
  assert.deepEqual(writes.map((w) => w.length).sort(), [VNET_BYTES + 72, VNET_BYTES + 72, VNET_BYTES + 74]);
  const withOptions = [at(0), at(20)].map((p) => {
    const bytes = [...slowTcp(p, true)];
    bytes.splice(20, 0, 1, 1, 1, 0);
    bytes[0] = 0x46;
    bytes[3] += 4;
    return { bytes: Uint8Array.from(bytes), partial: true };
  });
  assert.equal(run(withOptions).length, 2);
});

test('flows that alternate are gathered side by side; a ninth has the oldest written', () => {
  const packets = Array.from({ length: 80 }, (_, i) => offered(bulk(Math.floor(i / 8), { sourcePort: i % 8 })));
  assert.deepEqual(segmentsOf(packets), new Array(8).fill(10));
  const nine = Array.from({ length: 9 }, (_, i) => offered(bulk(0, { sourcePort: i })));
  assert.equal(run(nine).length, 9);
});

test('garbage goes through unchanged, alone, and nothing is read behind it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 90 }), fc.boolean()), { maxLength: 12 }),
      (all) => {
        for (const [bytes] of all) {
          bytes[0] = bytes[0] & 1 ? 0x45 : 0x60;
          if (bytes.length > 9)
            bytes.set(bytes[0] === 0x45 ? [0, bytes.length] : [0, bytes.length - 40], bytes[0] === 0x45 ? 2 : 4);
          if (bytes.length > 9) bytes[bytes[0] === 0x45 ? 9 : 6] = 6;
        }
        const writes = run(all.map(([bytes, partial]) => ({ bytes, partial })));
        const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');
        const total = writes.reduce((sum, w) => sum + w.length - VNET_BYTES, 0);
        if (writes.length === all.length)
          assert.deepEqual(writes.map((w) => hex(w.slice(VNET_BYTES))).sort(), all.map(([b]) => hex(b)).sort());
        else assert.ok(total > 0);
      },
    ),
    { numRuns: 1000 },
  );
});

/** Segmenting against the slow twin. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import { Segmenter } from '../../src/packet/offload.ts';
import { VNET_BYTES, writeVnet } from '../../src/packet/vnet.ts';
import { slowSegments, slowTcp, type TcpPacket } from '../twin/packet.ts';
import { tcpPacket } from './arbitrary.ts';

const DST = 80_000;

/** A TUN read at the end of a memory whose front is left for segments… the read ends where DST starts. */
function load(
  packet: Uint8Array,
  vnet: Parameters<typeof writeVnet> extends [unknown, unknown, ...infer R] ? R : never,
) {
  const memory = heapMemory(DST + 70_000);
  const off = DST - packet.length - VNET_BYTES;
  writeVnet(memory, off, ...vnet);
  memory.bytes.set(packet, off + VNET_BYTES);
  return { memory, off, length: packet.length + VNET_BYTES };
}

const giantVnet = (p: TcpPacket, mss: number) =>
  [1, p.version === 4 ? 1 : 4, 0, mss, p.version === 4 ? 20 : 40, 16] as const;

test('the segments of a giant are those of the slow twin', () => {
  fc.assert(
    fc.property(tcpPacket(3000), fc.integer({ min: 8, max: 1460 }), fc.boolean(), (p, mss, complete) => {
      const { memory, off, length } = load(slowTcp(p, true), [...giantVnet(p, mss)]);
      const segmenter = new Segmenter(memory, VNET_BYTES);
      const expected = slowSegments(p, mss);
      assert.equal(segmenter.begin(off, length), expected.length);
      assert.ok(segmenter.partial);
      expected.forEach((segment, i) => {
        const bytes = slowTcp(segment, !complete);
        assert.equal(segmenter.segmentLength(i), bytes.length);
        assert.equal(segmenter.writeSegment(i, DST, complete), bytes.length);
        assert.deepEqual([...memory.bytes.subarray(DST, DST + bytes.length)], [...bytes]);
      });
    }),
  );
});

test('a giant of 64 KB with ECN comes out whole', () => {
  const payload = Uint8Array.from({ length: 65_000 }, (_, i) => i * 7);
  const base = {
    source: 1,
    destination: 2,
    sourcePort: 3,
    destinationPort: 4,
    sequence: 0xfffffff0,
    acknowledgement: 1,
  };
  const rest = { flags: 0x98, window: 9, options: [1, 1, 1, 1], tos: 2, ttl: 3, id: 0xfffe, df: true, payload };
  const p = { version: 4, ...base, ...rest } as TcpPacket;
  const { memory, off, length } = load(slowTcp(p, true), [1, 0x81, 0, 1448, 20, 16]);
  const segmenter = new Segmenter(memory, VNET_BYTES);
  const expected = slowSegments(p, 1448);
  assert.equal(segmenter.begin(off, length), expected.length);
  for (const i of [0, 1, expected.length - 1]) {
    const n = segmenter.writeSegment(i, DST, true);
    assert.deepEqual([...memory.bytes.subarray(DST, DST + n)], [...slowTcp(expected[i])]);
  }
});

test('an ordinary packet passes with its checksum as it was, full or partial', () => {
  fc.assert(
    fc.property(tcpPacket(), fc.boolean(), fc.boolean(), (p, partial, complete) => {
      const bytes = slowTcp(p, partial);
      const { memory, off, length } = load(bytes, [
        partial ? 1 : 0,
        0,
        0,
        0,
        partial ? (p.version === 4 ? 20 : 40) : 0,
        16,
      ]);
      const segmenter = new Segmenter(memory, VNET_BYTES);
      assert.equal(segmenter.begin(off, length), 1);
      assert.equal(segmenter.partial, partial);
      const n = segmenter.writeSegment(0, DST, complete);
      assert.deepEqual([...memory.bytes.subarray(DST, DST + n)], [...(complete ? slowTcp(p) : bytes)]);
    }),
  );
});

test('a checksum that the kernel verified is made partial', () => {
  fc.assert(
    fc.property(tcpPacket(), (p) => {
      const { memory, off, length } = load(slowTcp(p), [2, 0, 0, 0, 0, 0]);
      const segmenter = new Segmenter(memory, VNET_BYTES);
      assert.equal(segmenter.begin(off, length), 1);
      assert.ok(segmenter.partial);
      const n = segmenter.writeSegment(0, DST);
      assert.deepEqual([...memory.bytes.subarray(DST, DST + n)], [...slowTcp(p, true)]);
    }),
  );
});

test('a partial checksum that the far end could not find is completed here', () => {
  const base = { source: 1, destination: 2, sourcePort: 3, destinationPort: 4, sequence: 5, acknowledgement: 1 };
  const rest = {
    flags: 16,
    window: 9,
    options: [],
    tos: 0,
    ttl: 3,
    id: 7,
    df: true,
    payload: [1, 2, 3, 4, 5, 6, 7, 8],
  };
  const p = { version: 4, ...base, ...rest } as TcpPacket;
  // A sum over the payload only, kept in its first two bytes.
  const { memory, off, length } = load(slowTcp(p), [1, 0, 0, 0, 40, 0]);
  const segmenter = new Segmenter(memory, VNET_BYTES);
  assert.equal(segmenter.begin(off, length), 1);
  assert.equal(segmenter.partial, false);
  segmenter.writeSegment(0, DST);
  const sum = ~(0x0102 + 0x0304 + 0x0506 + 0x0708) & 0xffff;
  assert.equal(memory.view.getUint16(DST + 40), sum);
});

test('a virtio header that contradicts its packet is refused', () => {
  const p = {
    version: 4,
    source: 1,
    destination: 2,
    sourcePort: 3,
    destinationPort: 4,
    sequence: 5,
    acknowledgement: 1,
  };
  const rest = {
    flags: 16,
    window: 9,
    options: [],
    tos: 0,
    ttl: 3,
    id: 7,
    df: true,
    payload: [1, 2, 3, 4, 5, 6, 7, 8],
  };
  const bytes = slowTcp({ ...p, ...rest } as TcpPacket);
  const begin = (...vnet: [number, number, number, number, number, number]) => {
    const { memory, off, length } = load(bytes, vnet);
    const segmenter = new Segmenter(memory, VNET_BYTES);
    return [segmenter.begin(off, length), segmenter.partial];
  };
  assert.deepEqual(begin(1, 1, 0, 4, 20, 16), [2, true]);
  assert.deepEqual(begin(1, 1, 0, 0, 20, 16), [0, false], 'segments of nothing');
  assert.deepEqual(begin(1, 4, 0, 4, 20, 16), [0, false], 'the other version');
  assert.deepEqual(begin(1, 5, 0, 4, 20, 6), [0, false], 'a kind we did not ask for');
  assert.deepEqual(begin(1, 0, 0, 0, 24, 16), [1, false], 'a sum that is not the transport’s');
  assert.deepEqual(begin(1, 0, 0, 0, 20, 27), [0, false], 'a field behind the end');
  assert.deepEqual(begin(1, 0, 0, 0, 60_000, 60_000), [0, false]);
});

test('without virtio headers a packet is itself', () => {
  const memory = heapMemory(400);
  const bytes = Uint8Array.from([0x45, 0, 0, 24, ...new Array(20).fill(1)]);
  bytes[6] = 0;
  bytes[7] = 0;
  memory.bytes.set(bytes);
  const segmenter = new Segmenter(memory, 0);
  assert.equal(segmenter.begin(0, 24), 1);
  assert.equal(segmenter.partial, false);
  assert.equal(segmenter.writeSegment(0, 100), 24);
  assert.deepEqual(memory.bytes.subarray(100, 124), bytes);
});

test('garbage is refused or passed, never thrown at, and nothing is read behind it', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 150 }),
      fc.constantFrom(0, 1, 4, 5, 0x81),
      fc.boolean(),
      (bytes, gso, six) => {
        if (bytes.length > VNET_BYTES + 6) {
          bytes[1] = gso;
          bytes[VNET_BYTES] = six ? 0x60 : 0x45;
          const n = bytes.length - VNET_BYTES;
          bytes.set(six ? [0, Math.max(0, n - 40), 6] : [0, n], VNET_BYTES + (six ? 4 : 2));
          if (bytes.length > VNET_BYTES + 9 && !six) bytes[VNET_BYTES + 9] = 6;
        }
        const memory = heapMemory(1000 + bytes.length);
        memory.bytes.set(bytes, 1000);
        const segmenter = new Segmenter(memory, VNET_BYTES);
        const count = segmenter.begin(1000, bytes.length);
        for (let i = 0; i < Math.min(count, 5); i++) {
          const n = segmenter.writeSegment(i, 0, (i & 1) === 1);
          assert.ok(n > 0 && n <= bytes.length);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

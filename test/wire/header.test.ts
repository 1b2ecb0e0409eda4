/** Headers: layouts byte for byte, packing and unpacking, and sequence arithmetic on its circle. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as h from '../../src/wire/header.ts';

const path = fc.integer({ min: 0, max: h.MAX_PATHS - 1 });
const index = fc.integer({ min: 0, max: h.INDEX_MODULUS - 1 });
const packetNumber = fc.oneof(fc.maxSafeNat(), fc.integer({ min: 0, max: 2 ** 20 }));
const sequence = fc.integer({ min: 0, max: h.SEQUENCE_MODULUS - 1 });

/** A view with `off` bytes in front and canaries around the `length` bytes in question. */
function room(off: number, length: number) {
  const bytes = new Uint8Array(off + length + 4).fill(0xa5);
  const untouched = () => bytes.every((b, i) => (i >= off && i < off + length) || b === 0xa5);
  return { bytes, view: new DataView(bytes.buffer), untouched };
}

test('the transport header is laid out as the specification says', () => {
  const { bytes, view, untouched } = room(3, h.HEADER_BYTES);
  h.writeHeader(view, 3, h.TYPE_CONTROL, 6, 0xabcdef, 0x1_2345_6789_a);
  assert.deepEqual([...bytes.subarray(3, 11)], [0x56, 0xab, 0xcd, 0xef, 0x34, 0x56, 0x78, 0x9a]);
  assert.ok(untouched());
});

test('what is written in a transport header is read back', () => {
  fc.assert(
    fc.property(fc.constantFrom(h.TYPE_DATA, h.TYPE_CONTROL), path, index, packetNumber, (type, p, i, pn) => {
      const { view, untouched } = room(5, h.HEADER_BYTES);
      h.writeHeader(view, 5, type, p, i, pn);
      assert.equal(h.datagramType(view, 5, 100), type);
      assert.equal(h.readPath(view, 5), p);
      assert.equal(h.readIndex(view, 5), i);
      assert.equal(h.readPacketNumberLow(view, 5), pn % 2 ** 32);
      assert.ok(untouched());
    }),
  );
});

test('the nonce is the path id and the whole packet number', () => {
  fc.assert(
    fc.property(path, packetNumber, (p, pn) => {
      const { view, untouched } = room(1, h.NONCE_BYTES);
      h.writeNonce(view, 1, p, pn);
      assert.equal(view.getUint32(1), p);
      assert.equal(view.getBigUint64(5), BigInt(pn));
      assert.ok(untouched());
    }),
  );
});

test('the data header packs bucket, flags and sequence into 32 bits, and unpacks them', () => {
  const { bytes, view } = room(0, h.DATA_HEADER_BYTES);
  h.writeDataHeader(view, 0, h.packDataHeader(0b1000000001, h.FLAG_CHECKSUM_PARTIAL, 0x80001));
  assert.deepEqual([...bytes.subarray(0, 4)], [0b10000000, 0b01_10_1000, 0x00, 0x01]);
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: h.BUCKET_COUNT - 1 }),
      fc.integer({ min: 0, max: 3 }),
      sequence,
      (b, f, s) => {
        h.writeDataHeader(view, 0, h.packDataHeader(b, f, s));
        const packed = h.readDataHeader(view, 0);
        assert.deepEqual([h.bucketOf(packed), h.flagsOf(packed), h.sequenceOf(packed)], [b, f, s]);
      },
    ),
  );
});

test('sequence arithmetic runs on a circle of 2^20', () => {
  const half = h.SEQUENCE_MODULUS / 2;
  fc.assert(
    fc.property(sequence, fc.integer({ min: -half, max: half - 1 }), (b, d) => {
      const a = h.seqAdd(b, d);
      assert.ok(a >= 0 && a < h.SEQUENCE_MODULUS);
      assert.equal(h.seqDiff(a, b), d);
    }),
  );
  assert.equal(h.seqDiff(0, h.SEQUENCE_MODULUS - 1), 1);
  assert.equal(h.seqDiff(half, 0), -half);
});

test('only datagrams of a possible length and version have a type', () => {
  const view = new DataView(new ArrayBuffer(h.INITIATION_BYTES));
  const typeOf = (first: number, length: number) => {
    view.setUint8(0, first);
    return h.datagramType(view, 0, length);
  };
  const exact = [
    [0x11, 156, h.TYPE_INITIATION],
    [0x21, 101, h.TYPE_RESPONSE],
    [0x31, 64, h.TYPE_COOKIE_REPLY],
    [0x61, 228, h.TYPE_JOIN_REQUEST],
    [0x71, 216, h.TYPE_JOIN_ANSWER],
  ];
  for (const [first, length, type] of exact) {
    assert.equal(typeOf(first, length), type);
    assert.equal(typeOf(first, length - 1), h.TYPE_NONE);
    assert.equal(typeOf(first, length + 1), h.TYPE_NONE);
    assert.equal(typeOf(first + 1, length), h.TYPE_NONE);
  }
  assert.equal(typeOf(0x47, 29), h.TYPE_DATA);
  assert.equal(typeOf(0x47, 28), h.TYPE_NONE);
  assert.equal(typeOf(0x48, 29), h.TYPE_NONE);
  assert.equal(typeOf(0x57, 25), h.TYPE_CONTROL);
  assert.equal(typeOf(0x57, 24), h.TYPE_NONE);
  assert.equal(typeOf(0x58, 25), h.TYPE_NONE);
  for (const first of [0x00, 0x01, 0x61, 0xf1]) assert.equal(typeOf(first, 100), h.TYPE_NONE);
  assert.equal(h.datagramType(new DataView(new ArrayBuffer(0)), 0, 0), h.TYPE_NONE);
});

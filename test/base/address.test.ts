/** Addresses and prefixes: read as others read them, printed as RFC 5952 asks, and the arithmetic of prefixes against a slow twin. */
import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  networkOf,
  type Prefix,
  parseAddress,
  parseIpv4,
  parseIpv6,
  parseNetmask,
  parsePrefix,
  prefixContains,
  printAddress,
  printPrefix,
} from '../../src/base/address.ts';

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
/** Many zero groups, so that there are runs to shorten. */
const sparse = fc
  .array(
    fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xffff }) }),
    {
      minLength: 8,
      maxLength: 8,
    },
  )
  .map((groups) => Uint8Array.from(groups.flatMap((g) => [g >> 8, g & 0xff])));
const address = fc.oneof(bytesOf(4), bytesOf(16), sparse);
const prefix: fc.Arbitrary<Prefix> = address.chain((bytes) =>
  fc.integer({ min: 0, max: bytes.length * 8 }).map((length) => ({ bytes, length })),
);

test('print then parse gives the same address', () => {
  fc.assert(fc.property(address, (a) => assert.deepEqual(parseAddress(printAddress(a)), a)));
});

test('IPv6 is printed as the URL standard prints it (RFC 5952)', () => {
  fc.assert(
    fc.property(fc.oneof(bytesOf(16), sparse), (a) => {
      assert.equal(`[${printAddress(a)}]`, new URL(`http://[${printAddress(a)}]/`).hostname);
    }),
  );
});

test('what is an address, node:net says too', () => {
  const noise = fc.array(
    fc.constantFrom('0', '1', '255', '256', '01', 'f', 'ffff', '12345', '.', ':', '::', 'g', ' ', '/'),
    { maxLength: 16 },
  );
  const near = fc.oneof(
    noise.map((p) => p.join('')),
    fc.ipV4(),
    fc.ipV6(),
    fc
      .tuple(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(40), fc.constantFrom(':', '.', '0', 'f', ''))
      .map(([t, at, c]) => t.slice(0, at) + c + t.slice(at + 1)),
  );
  fc.assert(
    fc.property(near, (text) => {
      assert.equal(parseIpv4(text) !== undefined, isIPv4(text), text);
      assert.equal(parseIpv6(text) !== undefined, isIPv6(text), text);
      assert.equal(parseAddress(text) !== undefined, isIPv4(text) || isIPv6(text), text);
    }),
    { numRuns: 2000 },
  );
});

test('IPv6 is read as the URL standard reads it', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const bytes = parseIpv6(text);
      assert.ok(bytes);
      assert.equal(`[${printAddress(bytes)}]`, new URL(`http://[${text}]/`).hostname);
    }),
  );
});

test('leading zeros mean octal elsewhere, so they are refused', () => {
  for (const text of ['010.0.0.1', '1.2.3.04', '0x1.2.3.4', '1.2.3', '1.2.3.4.5', ''])
    assert.equal(parseIpv4(text), undefined, text);
  for (const text of [
    '10.0.0.0/08',
    '10.0.0.0/',
    '10.0.0.0/33',
    '::/129',
    '10.0.0.0/8/8',
    '/8',
    '10.0.0.0/-1',
    '10.0.0.0/1e1',
  ]) {
    assert.equal(parsePrefix(text), undefined, text);
  }
});

test('print then parse gives the same prefix; without a length it is the whole address', () => {
  fc.assert(
    fc.property(prefix, (p) => {
      assert.deepEqual(parsePrefix(printPrefix(p)), p);
      assert.deepEqual(parsePrefix(printAddress(p.bytes)), { bytes: p.bytes, length: p.bytes.length * 8 });
    }),
  );
});

/** An address as a string of bits: slow, and hard to get wrong. */
const bits = (bytes: Uint8Array) => Array.from(bytes, (b) => b.toString(2).padStart(8, '0')).join('');

test('a network has the bits of its length and no others', () => {
  fc.assert(
    fc.property(prefix, (p) => {
      const n = networkOf(p);
      assert.equal(n.length, p.length);
      assert.equal(
        bits(n.bytes),
        bits(p.bytes)
          .slice(0, p.length)
          .padEnd(p.bytes.length * 8, '0'),
      );
    }),
  );
});

test('a prefix contains the addresses that begin with its bits', () => {
  const flipped = prefix.chain((p) =>
    fc.integer({ min: 0, max: p.bytes.length * 8 - 1 }).map((bit) => {
      const other = p.bytes.slice();
      other[bit >> 3] ^= 0x80 >> (bit & 7);
      return { p, bit, other };
    }),
  );
  fc.assert(
    fc.property(flipped, address, ({ p, bit, other }, any) => {
      assert.equal(prefixContains(p, p.bytes), true);
      assert.equal(prefixContains(p, other), bit >= p.length);
      const same = any.length === p.bytes.length && bits(any).startsWith(bits(p.bytes).slice(0, p.length));
      assert.equal(prefixContains(p, any), same);
    }),
  );
});

test('netmasks are ones, then zeros', () => {
  for (let length = 0; length <= 32; length++) {
    const mask = networkOf({ bytes: Uint8Array.of(255, 255, 255, 255), length });
    assert.equal(parseNetmask(printAddress(mask.bytes)), length);
  }
  const nearly = fc.tuple(fc.integer({ min: 0, max: 32 }), fc.integer({ min: 0, max: 31 })).map(([length, bit]) => {
    const { bytes } = networkOf({ bytes: Uint8Array.of(255, 255, 255, 255), length });
    bytes[bit >> 3] ^= 0x80 >> (bit & 7);
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(bytesOf(4), nearly), (bytes) => {
      const contiguous = !bits(bytes).includes('01');
      assert.equal(parseNetmask(printAddress(bytes)) !== undefined, contiguous);
    }),
  );
  assert.equal(parseNetmask('24'), undefined);
});

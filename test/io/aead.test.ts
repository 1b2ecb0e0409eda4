/** The packet path's cipher: the fast one is its slow twin, and what was tampered with is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hasAes, isFastAead, openAead } from '../../src/io/aead.ts';
import { openNodeAead } from '../../src/io/aead-node.ts';
import { openArena } from '../../src/io/arena.ts';
import type { AeadCipher } from '../../src/wire/aead.ts';

const arena = openArena(1 << 20);
const fast = openAead(arena);
const slow = openNodeAead(arena.bytes);
const SRC = arena.take('src', 4096);
const AAD = arena.take('aad', 64);
const OUT = arena.take('out', 4096);
const BACK = arena.take('back', 4096);

const cipher = fc.constantFrom<AeadCipher>('aes-256-gcm', 'chacha20-poly1305');
const keyBytes = fc.uint8Array({ minLength: 32, maxLength: 32 });
const nonceHi = fc.integer({ min: 0, max: 0xffffffff });
const nonceLo = fc.oneof(fc.nat(), fc.maxSafeNat());
const aad = fc.uint8Array({ maxLength: 40 });
const text = fc.uint8Array({ maxLength: 1500 });
const at = (off: number, length: number) => [...arena.bytes.subarray(off, off + length)];

test('OpenSSL’s functions are found in this process', () => {
  assert.ok(isFastAead(fast));
  assert.equal(isFastAead(slow), false);
  assert.equal(typeof hasAes(), 'boolean');
});

test('fast = slow, both ways, apart and in place', () => {
  fc.assert(
    fc.property(cipher, keyBytes, nonceHi, nonceLo, aad, text, fc.boolean(), (name, key, hi, lo, a, t, inPlace) => {
      const keys = [fast.create(name, key), slow.create(name, key)];
      arena.bytes.set(a, AAD);
      const sealed = keys.map((k) => {
        arena.bytes.set(t, inPlace ? OUT : SRC);
        k.seal(hi, lo, AAD, a.length, inPlace ? OUT : SRC, t.length, OUT);
        return at(OUT, t.length + 16);
      });
      assert.deepEqual(sealed[0], sealed[1]);
      for (const k of keys) {
        arena.bytes.set(sealed[0], OUT);
        arena.bytes.fill(0, BACK, BACK + t.length);
        const to = inPlace ? OUT : BACK;
        assert.ok(k.open(hi, lo, AAD, a.length, OUT, t.length, to));
        assert.deepEqual(at(to, t.length), [...t]);
        k.free();
      }
    }),
    { numRuns: 300 },
  );
});

test('a wrong tag, text, nonce, additional data or key is refused, and the key goes on working', () => {
  const flip = fc.nat();
  fc.assert(
    fc.property(
      cipher,
      keyBytes,
      nonceLo,
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      text,
      flip,
      (name, key, lo, a, t, n) => {
        for (const provider of [fast, slow]) {
          const k = provider.create(name, key);
          const other = provider.create(
            name,
            key.map((b, i) => (i === n % 32 ? b ^ 1 : b)),
          );
          arena.bytes.set(a, AAD);
          arena.bytes.set(t, SRC);
          k.seal(3, lo, AAD, a.length, SRC, t.length, OUT);
          const sealed = at(OUT, t.length + 16);
          const opens = (hi: number, low: number, with_ = k) => with_.open(hi, low, AAD, a.length, OUT, t.length, BACK);
          const flipped = (off: number) => {
            arena.bytes[off] ^= 1 << (n % 8);
            const ok = opens(3, lo);
            arena.bytes[off] ^= 1 << (n % 8);
            return ok;
          };
          assert.equal(flipped(OUT + (n % sealed.length)), false, 'text or tag');
          assert.equal(flipped(OUT + t.length + (n % 16)), false, 'tag');
          assert.equal(flipped(AAD + (n % a.length)), false, 'additional data');
          assert.equal(opens(2, lo), false, 'nonce');
          assert.equal(opens(3, lo === 0 ? 1 : lo - 1), false, 'nonce');
          assert.equal(opens(3, (lo + 0x1_0000_0000) % 2 ** 53), false, 'high half of the nonce');
          assert.equal(opens(3, lo, other), false, 'key');
          assert.equal(k.open(3, lo, AAD, a.length, OUT, -5, BACK), false, 'too short');
          assert.ok(opens(3, lo));
          k.free();
          other.free();
        }
      },
    ),
    { numRuns: 100 },
  );
});

test('the nonce is four bytes of the path and eight of the number, big endian', () => {
  // Two nonces that would be equal if any of the bytes were lost.
  const key = fast.create('chacha20-poly1305', new Uint8Array(32));
  const seal = (hi: number, lo: number) => {
    key.seal(hi, lo, AAD, 0, SRC, 0, OUT);
    return at(OUT, 16).join();
  };
  const seen = new Set<string>();
  for (let bit = 0; bit < 32; bit++) seen.add(seal(2 ** bit, 0));
  for (let bit = 0; bit < 53; bit++) seen.add(seal(0, 2 ** bit));
  assert.equal(seen.size, 85);
  key.free();
});

test('a freed key is a bug and says so, instead of crashing the process', () => {
  const key = fast.create('aes-256-gcm', new Uint8Array(32));
  key.free();
  key.free();
  assert.throws(() => key.seal(0, 0, AAD, 0, SRC, 0, OUT), /freed/);
  assert.throws(() => key.open(0, 0, AAD, 0, SRC, 0, OUT), /freed/);
  assert.throws(() => fast.create('aes-256-gcm', new Uint8Array(31)), /32 bytes/);
});

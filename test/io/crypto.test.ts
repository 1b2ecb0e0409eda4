/** The handshake's primitives against the published vectors and their own algebra. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nodeHandshakeCrypto as crypto } from '../../src/io/crypto.ts';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (b: Uint8Array | undefined) => (b ? Buffer.from(b).toString('hex') : undefined);
const key = fc.uint8Array({ minLength: 32, maxLength: 32 });

test('X25519: the vectors of RFC 7748 §6.1', () => {
  const alice = bytes(ALICE);
  const bob = bytes(BOB);
  assert.equal(hex(crypto.publicKey(alice)), '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  assert.equal(hex(crypto.publicKey(bob)), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  assert.equal(hex(crypto.dh(alice, crypto.publicKey(bob))), shared);
  assert.equal(hex(crypto.dh(bob, crypto.publicKey(alice))), shared);
});
const ALICE = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a';
const BOB = '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb';

test('X25519: points of small order and keys of a wrong length give undefined', () => {
  const { privateKey } = crypto.generateKeyPair();
  assert.equal(crypto.dh(privateKey, new Uint8Array(32)), undefined);
  assert.equal(
    crypto.dh(
      privateKey,
      Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0)),
    ),
    undefined,
  );
  assert.equal(crypto.dh(privateKey, new Uint8Array(31)), undefined);
});

test('X25519: both sides agree', () => {
  for (let i = 0; i < 10; i++) {
    const a = crypto.generateKeyPair();
    const b = crypto.generateKeyPair();
    assert.deepEqual(crypto.publicKey(a.privateKey), a.publicKey);
    assert.deepEqual(crypto.dh(a.privateKey, b.publicKey), crypto.dh(b.privateKey, a.publicKey));
  }
});

test('BLAKE2s: the vector of RFC 7693 appendix B; parts are one text', () => {
  const abc = '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982';
  assert.equal(hex(crypto.hash(Buffer.from('abc'))), abc);
  assert.equal(hex(crypto.hash(Buffer.from('a'), new Uint8Array(0), Buffer.from('bc'))), abc);
});

test('HMAC is RFC 2104 over BLAKE2s with blocks of 64 bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 100 }), (k, text) => {
      const block = new Uint8Array(64);
      block.set(k.length > 64 ? crypto.hash(k) : k);
      const pad = (value: number) => block.map((b) => b ^ value);
      const slow = crypto.hash(pad(0x5c), crypto.hash(pad(0x36), text));
      assert.deepEqual(crypto.hmac(k, text.subarray(0, 7), text.subarray(7)), slow);
    }),
    { numRuns: 50 },
  );
});

test('ChaCha20-Poly1305: the vector of RFC 8439 §2.8.2', () => {
  const k = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i);
  const text = Buffer.from(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );
  const sealed = crypto.seal(k, bytes('070000004041424344454647'), bytes('50515253c0c1c2c3c4c5c6c7'), text);
  assert.equal(hex(sealed)?.slice(0, 32), 'd31a8d34648e60db7b86afbc53ef7ec2');
  assert.equal(hex(sealed)?.slice(-32), '1ae10b594f09e26a7e902ecbd0600691');
});

test('open inverts seal and refuses everything else', () => {
  fc.assert(
    fc.property(
      key,
      fc.uint8Array({ maxLength: 60 }),
      fc.uint8Array({ maxLength: 30 }),
      fc.nat(),
      (k, text, aad, n) => {
        const nonce = new Uint8Array(12).fill(n);
        const sealed = crypto.seal(k, nonce, aad, text);
        assert.equal(sealed.length, text.length + 16);
        assert.deepEqual(crypto.open(k, nonce, aad, sealed), text);
        const forged = sealed.map((b, i) => (i === n % sealed.length ? b ^ 0x10 : b));
        assert.equal(crypto.open(k, nonce, aad, forged), undefined);
        assert.equal(crypto.open(k, nonce, Uint8Array.from([...aad, 0]), sealed), undefined);
        assert.equal(crypto.open(k, nonce, aad, sealed.subarray(0, n % 16)), undefined);
      },
    ),
    { numRuns: 50 },
  );
});

test('random bytes differ, equal compares', () => {
  const a = crypto.random(24);
  assert.equal(a.length, 24);
  assert.notDeepEqual(a, crypto.random(24));
  assert.ok(crypto.equal(a, Uint8Array.from(a)));
  assert.equal(
    crypto.equal(
      a,
      a.map((b, i) => (i === 23 ? b ^ 1 : b)),
    ),
    false,
  );
  assert.equal(crypto.equal(a, a.subarray(1)), false);
});

/**
 * The handshake's primitives on node:crypto, synchronously: a handshake takes about a millisecond and happens every few minutes.
 *
 * X25519 keys are raw 32 bytes outside; node:crypto wants them in the DER wrapping of RFC 8410, whose prefix is constant.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { HandshakeCrypto } from '../wire/crypto.ts';

/** `PrivateKeyInfo { 0, { id-X25519 }, OCTET STRING { OCTET STRING (32) } }`. Source: RFC 8410 §7. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** `SubjectPublicKeyInfo { { id-X25519 }, BIT STRING (32) }`. Source: RFC 8410 §4. */
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const HASH = 'blake2s256';
const CIPHER = 'chacha20-poly1305';

const importPrivate = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, raw]), format: 'der', type: 'pkcs8' });
const importPublic = (raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, raw]), format: 'der', type: 'spki' });
/** The last 32 bytes of either wrapping, in memory of their own (a Buffer may be a slice of node's pool). */
const unwrap = (der: Buffer): Uint8Array => Uint8Array.from(der.subarray(der.length - KEY_BYTES));
const plainBytes = (buffer: Buffer): Uint8Array => Uint8Array.from(buffer);

/** The primitives of `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`. Source: docs/protocol.md §3. */
export const nodeHandshakeCrypto: HandshakeCrypto = {
  generateKeyPair() {
    const { publicKey, privateKey } = generateKeyPairSync('x25519');
    return {
      publicKey: unwrap(publicKey.export({ format: 'der', type: 'spki' })),
      privateKey: unwrap(privateKey.export({ format: 'der', type: 'pkcs8' })),
    };
  },

  publicKey(privateKey) {
    return unwrap(createPublicKey(importPrivate(privateKey)).export({ format: 'der', type: 'spki' }));
  },

  dh(privateKey, publicKey) {
    if (publicKey.length !== KEY_BYTES) return undefined;
    const ours = importPrivate(privateKey);
    try {
      // OpenSSL refuses an all-zero result; the check stays for one that would not.
      const shared = diffieHellman({ privateKey: ours, publicKey: importPublic(publicKey) });
      return shared.some((b) => b !== 0) ? plainBytes(shared) : undefined;
    } catch {
      return undefined;
    }
  },

  hash(...parts) {
    const h = createHash(HASH);
    for (const part of parts) h.update(part);
    return plainBytes(h.digest());
  },

  hmac(key, ...parts) {
    const h = createHmac(HASH, key);
    for (const part of parts) h.update(part);
    return plainBytes(h.digest());
  },

  seal(key, nonce, aad, plain) {
    const c = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    c.setAAD(aad, { plaintextLength: plain.length });
    const body = c.update(plain);
    c.final();
    return plainBytes(Buffer.concat([body, c.getAuthTag()]));
  },

  open(key, nonce, aad, sealed) {
    const length = sealed.length - TAG_BYTES;
    if (length < 0) return undefined;
    const c = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_BYTES });
    c.setAAD(aad, { plaintextLength: length });
    c.setAuthTag(sealed.subarray(length));
    const plain = c.update(sealed.subarray(0, length));
    try {
      c.final();
    } catch {
      return undefined;
    }
    return plainBytes(plain);
  },

  random(n) {
    return plainBytes(randomBytes(n));
  },

  equal(a, b) {
    return a.length === b.length && timingSafeEqual(a, b);
  },
};

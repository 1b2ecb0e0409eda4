/** HandshakeCrypto on node:crypto for the tests of `wire`, with key generation that a test may script. */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import type { HandshakeCrypto } from '../../src/wire/crypto.ts';

// RFC 8410: the DER in front of 32 raw bytes.
const PRIVATE_DER = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_DER = Buffer.from('302a300506032b656e032100', 'hex');

const privateKeyOf = (raw: Uint8Array) =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_DER, raw]), format: 'der', type: 'pkcs8' });
const bytesOf = (b: Buffer) => new Uint8Array(b);

/** `privateKeys`, when given, are what `generateKeyPair` brings, one after the other. */
export function nodeCrypto(privateKeys: Uint8Array[] = []): HandshakeCrypto {
  const scripted = [...privateKeys];
  const publicKey = (raw: Uint8Array) =>
    bytesOf(createPublicKey(privateKeyOf(raw)).export({ format: 'der', type: 'spki' })).slice(PUBLIC_DER.length);
  return {
    publicKey,
    generateKeyPair() {
      const privateKey = scripted.shift() ?? bytesOf(randomBytes(32));
      return { publicKey: publicKey(privateKey), privateKey };
    },
    dh(privateKey, peer) {
      const key = createPublicKey({ key: Buffer.concat([PUBLIC_DER, peer]), format: 'der', type: 'spki' });
      try {
        return bytesOf(diffieHellman({ privateKey: privateKeyOf(privateKey), publicKey: key }));
      } catch {
        return undefined;
      }
    },
    hash(...parts) {
      const h = createHash('blake2s256');
      for (const p of parts) h.update(p);
      return bytesOf(h.digest());
    },
    hmac(key, ...parts) {
      const h = createHmac('blake2s256', key);
      for (const p of parts) h.update(p);
      return bytesOf(h.digest());
    },
    seal(key, nonce, aad, plain) {
      const c = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
      c.setAAD(aad, { plaintextLength: plain.length });
      return bytesOf(Buffer.concat([c.update(plain), c.final(), c.getAuthTag()]));
    },
    open(key, nonce, aad, sealed) {
      if (sealed.length < 16) return undefined;
      const d = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 });
      d.setAAD(aad, { plaintextLength: sealed.length - 16 });
      d.setAuthTag(sealed.subarray(sealed.length - 16));
      try {
        return bytesOf(Buffer.concat([d.update(sealed.subarray(0, sealed.length - 16)), d.final()]));
      } catch {
        return undefined;
      }
    },
    random: (n) => bytesOf(randomBytes(n)),
    equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
  };
}

/**
 * The slow twin of `aead.ts`: the same interface on node:crypto over any memory. It serves tests, the simulation, and a Node that hides
 * OpenSSL's functions; the bytes on the wire are the same.
 */
import { type CipherGCMTypes, createCipheriv, createDecipheriv } from 'node:crypto';
import { assert } from '../base/error.ts';
import { type AeadCipher, type AeadKey, type AeadProvider, TAG_BYTES } from '../wire/aead.ts';

const KEY_BYTES = 32;

/** A provider for keys that work on `memory`. */
export function openNodeAead(memory: Uint8Array): AeadProvider {
  return { create: (cipher, key) => new NodeKey(memory, cipher, key) };
}

class NodeKey implements AeadKey {
  readonly #memory: Uint8Array;
  // The types know the option `authTagLength` only for GCM and CCM; ChaCha20-Poly1305 takes it as well.
  readonly #cipher: CipherGCMTypes;
  readonly #key: Uint8Array;
  readonly #nonce = Buffer.alloc(12);

  constructor(memory: Uint8Array, cipher: AeadCipher, key: Uint8Array) {
    assert(key.length === KEY_BYTES, `aead: a key has ${KEY_BYTES} bytes, got ${key.length}`);
    this.#memory = memory;
    this.#cipher = cipher as CipherGCMTypes;
    this.#key = Uint8Array.from(key);
  }

  seal(
    nonceHi: number,
    nonceLo: number,
    aadOff: number,
    aadLen: number,
    srcOff: number,
    len: number,
    dstOff: number,
  ): void {
    const m = this.#memory;
    const c = createCipheriv(this.#cipher, this.#key, this.#setNonce(nonceHi, nonceLo), { authTagLength: TAG_BYTES });
    c.setAAD(m.subarray(aadOff, aadOff + aadLen));
    const sealed = c.update(m.subarray(srcOff, srcOff + len));
    c.final();
    m.set(sealed, dstOff);
    m.set(c.getAuthTag(), dstOff + len);
  }

  open(
    nonceHi: number,
    nonceLo: number,
    aadOff: number,
    aadLen: number,
    srcOff: number,
    len: number,
    dstOff: number,
  ): boolean {
    const m = this.#memory;
    const c = createDecipheriv(this.#cipher, this.#key, this.#setNonce(nonceHi, nonceLo), { authTagLength: TAG_BYTES });
    c.setAAD(m.subarray(aadOff, aadOff + aadLen));
    c.setAuthTag(m.subarray(srcOff + len, srcOff + len + TAG_BYTES));
    const plain = c.update(m.subarray(srcOff, srcOff + len));
    try {
      c.final();
    } catch {
      return false;
    }
    m.set(plain, dstOff);
    return true;
  }

  #setNonce(hi: number, lo: number): Buffer {
    this.#nonce.writeUInt32BE(hi >>> 0, 0);
    this.#nonce.writeUInt32BE(Math.floor(lo / 0x1_0000_0000), 4);
    this.#nonce.writeUInt32BE(lo >>> 0, 8);
    return this.#nonce;
  }

  free(): void {
    this.#key.fill(0);
  }
}

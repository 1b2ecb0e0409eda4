/**
 * The packet path's cipher: OpenSSL's EVP functions in the running process, one context a key and direction, keyed once; a datagram
 * costs four or five foreign calls (0.8 µs for 1,400 bytes of AES-256-GCM) and copies nothing.
 *
 *   seal   init(iv) · update(aad) · update(data) · final · ctrl(get tag → right behind the ciphertext)
 *   open   init(iv, tag) · update(aad) · update(data) · final (true when the tag fits)
 *
 * `node:crypto` has no way to keep a context, which costs eight times as much; it serves as the slow twin and where the symbols are
 * missing (`aead-node.ts`).
 */
import { readFileSync } from 'node:fs';
import { assert } from '../base/error.ts';
import type { AeadCipher, AeadKey, AeadProvider } from '../wire/aead.ts';
import { TAG_BYTES } from '../wire/aead.ts';
import { openNodeAead } from './aead-node.ts';
import type { Arena } from './arena.ts';
import { self } from './libc.ts';

const EVP_CTRL_AEAD_SET_IVLEN = 0x09;
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const NONCE_BYTES = 12;
const KEY_BYTES = 32;
const PARAM_BYTES = 40;
const OSSL_PARAM_OCTET_STRING = 5;
/** Scratch that all keys of a provider share. Shape: each at a multiple of 8. */
const NONCE_AT = 0;
const IGNORED_LENGTH_AT = 16;
const PARAM_NAME_AT = 24;
const PARAMS_AT = 32;
const KEY_AT = PARAMS_AT + 2 * PARAM_BYTES;
const SCRATCH_BYTES = KEY_AT + KEY_BYTES;

type Evp = ReturnType<typeof findEvp>;

function findEvp() {
  return {
    newContext: self.func('EVP_CIPHER_CTX_new', 'intptr_t', []),
    freeContext: self.func('EVP_CIPHER_CTX_free', 'void', ['uintptr_t']),
    aes256Gcm: self.func('EVP_aes_256_gcm', 'intptr_t', []),
    chacha20Poly1305: self.func('EVP_chacha20_poly1305', 'intptr_t', []),
    init: self.func('EVP_CipherInit_ex2', 'int', [
      'uintptr_t',
      'uintptr_t',
      'uintptr_t',
      'uintptr_t',
      'int',
      'uintptr_t',
    ]),
    update: self.func('EVP_CipherUpdate', 'int', ['uintptr_t', 'uintptr_t', 'uintptr_t', 'uintptr_t', 'int']),
    final: self.func('EVP_CipherFinal_ex', 'int', ['uintptr_t', 'uintptr_t', 'uintptr_t']),
    ctrl: self.func('EVP_CIPHER_CTX_ctrl', 'int', ['uintptr_t', 'int', 'int', 'uintptr_t']),
  };
}

/**
 * The fastest provider that this process has, working on `arena`: OpenSSL's functions, or node:crypto where they are hidden.
 * Shape: scratch regions of a few hundred bytes are taken at once, none per key.
 */
export function openAead(arena: Arena): AeadProvider {
  try {
    return new EvpAead(arena, findEvp());
  } catch {
    return openNodeAead(arena.bytes);
  }
}

/** Whether `openAead` found OpenSSL's functions; for status. */
export function isFastAead(provider: AeadProvider): boolean {
  return provider instanceof EvpAead;
}

class EvpAead implements AeadProvider {
  readonly #arena: Arena;
  readonly #evp: Evp;
  readonly #scratch: number;

  constructor(arena: Arena, evp: Evp) {
    this.#arena = arena;
    this.#evp = evp;
    this.#scratch = arena.take('aead scratch', SCRATCH_BYTES);
    // OSSL_PARAM { key "tag", type, data, size, … } and the empty one that ends the list: the tag comes along with the IV.
    const param = this.#scratch + PARAMS_AT;
    arena.bytes.set(Buffer.from('tag\0'), this.#scratch + PARAM_NAME_AT);
    arena.setWord(param, arena.base + this.#scratch + PARAM_NAME_AT);
    arena.setWord(param + 8, OSSL_PARAM_OCTET_STRING);
    arena.setWord(param + 24, TAG_BYTES);
  }

  create(cipher: AeadCipher, key: Uint8Array): AeadKey {
    return new EvpKey(this.#arena, this.#evp, this.#scratch, cipher, key);
  }
}

/** Sealing and opening are contexts of their own in OpenSSL; a key has both. */
class EvpKey implements AeadKey {
  readonly #view: DataView;
  readonly #base: number;
  readonly #evp: Evp;
  readonly #nonce: number;
  readonly #nonceAddress: number;
  readonly #ignoredLength: number;
  readonly #params: number;
  #sealContext: number;
  #openContext: number;

  constructor(arena: Arena, evp: Evp, scratch: number, cipher: AeadCipher, key: Uint8Array) {
    assert(key.length === KEY_BYTES, `aead: a key has ${KEY_BYTES} bytes, got ${key.length}`);
    this.#view = arena.view;
    this.#base = arena.base;
    this.#evp = evp;
    this.#nonce = scratch + NONCE_AT;
    this.#nonceAddress = arena.base + this.#nonce;
    this.#ignoredLength = arena.base + scratch + IGNORED_LENGTH_AT;
    this.#params = scratch + PARAMS_AT;
    const keyAt = scratch + KEY_AT;
    arena.bytes.set(key, keyAt);
    const type = cipher === 'aes-256-gcm' ? evp.aes256Gcm() : evp.chacha20Poly1305();
    this.#sealContext = newContext(evp, type, arena.base + keyAt, 1);
    this.#openContext = newContext(evp, type, arena.base + keyAt, 0);
    arena.bytes.fill(0, keyAt, keyAt + KEY_BYTES);
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
    const evp = this.#evp;
    const base = this.#base;
    const context = this.#sealContext;
    assert(context !== 0, 'aead: a freed key');
    const out = base + dstOff;
    this.#setNonce(nonceHi, nonceLo);
    let ok = evp.init(context, 0, 0, this.#nonceAddress, 1, 0) as number;
    if (aadLen > 0) ok &= evp.update(context, 0, this.#ignoredLength, base + aadOff, aadLen) as number;
    ok &= evp.update(context, out, this.#ignoredLength, base + srcOff, len) as number;
    ok &= evp.final(context, out + len, this.#ignoredLength) as number;
    ok &= evp.ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + len) as number;
    // Nothing but a bug (a freed key) makes sealing fail, and an unsealed datagram must never leave.
    assert(ok === 1, 'aead: sealing failed');
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
    const evp = this.#evp;
    const base = this.#base;
    const context = this.#openContext;
    assert(context !== 0, 'aead: a freed key');
    if (len < 0) return false;
    const from = base + srcOff;
    const out = base + dstOff;
    this.#setNonce(nonceHi, nonceLo);
    const tag = from + len;
    const view = this.#view;
    view.setUint32(this.#params + 16, tag >>> 0, true);
    view.setUint32(this.#params + 20, (tag / 0x1_0000_0000) >>> 0, true);
    let ok = evp.init(context, 0, 0, this.#nonceAddress, 0, base + this.#params) as number;
    if (aadLen > 0) ok &= evp.update(context, 0, this.#ignoredLength, base + aadOff, aadLen) as number;
    ok &= evp.update(context, out, this.#ignoredLength, from, len) as number;
    ok &= evp.final(context, out + len, this.#ignoredLength) as number;
    return ok === 1;
  }

  #setNonce(hi: number, lo: number): void {
    const view = this.#view;
    const at = this.#nonce;
    view.setUint32(at, hi);
    view.setUint32(at + 4, (lo / 0x1_0000_0000) >>> 0);
    view.setUint32(at + 8, lo >>> 0);
  }

  free(): void {
    if (this.#sealContext === 0) return;
    this.#evp.freeContext(this.#sealContext);
    this.#evp.freeContext(this.#openContext);
    this.#sealContext = 0;
    this.#openContext = 0;
  }
}

function newContext(evp: Evp, type: number, keyAddress: number, encrypt: 0 | 1): number {
  const context = evp.newContext() as number;
  assert(context !== 0, 'aead: no memory for a context');
  let ok = evp.init(context, type, 0, 0, encrypt, 0) as number;
  ok &= evp.ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, NONCE_BYTES, 0) as number;
  ok &= evp.init(context, 0, keyAddress, 0, encrypt, 0) as number;
  assert(ok === 1, 'aead: the cipher could not be set up');
  return context;
}

/** Whether the processor computes AES in hardware, so that AES-256-GCM is the faster of the two ciphers. Source: /proc/cpuinfo. */
export function hasAes(): boolean {
  try {
    // x86 says "flags", arm64 "Features".
    return /^(flags|Features)\s*:.*\baes\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return false;
  }
}

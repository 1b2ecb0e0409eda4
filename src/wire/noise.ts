/**
 * `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`: the two messages after which both ends share two keys.
 *
 *     initiator                                                     responder
 *        knows s, rs                                                   knows s
 *        writeFirst   ── e, es, s, ss, payload ──────────────────▶  readFirst    learns rs
 *        readSecond   ◀───────────────── e, ee, se, psk, payload ──  writeSecond
 *        keys                                                         keys
 *
 * `SymmetricState` is the framework's, token by token; the two roles spell the pattern out. Source: Noise revision 34 §5, §7.5 (IK), §9 (psk).
 */
import { TAG_BYTES } from './aead.ts';
import type { HandshakeCrypto, KeyPair } from './crypto.ts';

const PROTOCOL_NAME = new TextEncoder().encode('Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s');
const EMPTY: Uint8Array = new Uint8Array(0);
const ONE = Uint8Array.of(1);
const TWO = Uint8Array.of(2);
const THREE = Uint8Array.of(3);

/** Length of keys, hashes and X25519 values. Units: bytes. */
export const KEY_BYTES = 32;
/** What the first message adds to its payload: e, sealed s, tag. Units: bytes. */
export const FIRST_OVERHEAD_BYTES = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + TAG_BYTES;
/** What the second message adds to its payload: e, tag. Units: bytes. */
export const SECOND_OVERHEAD_BYTES = KEY_BYTES + TAG_BYTES;

/** The two outputs of Split, named from this end. Shape: 32 bytes each. */
export interface SessionKeys {
  /** Seals what this end sends. */
  readonly seal: Uint8Array;
  /** Opens what the other end sent. */
  readonly open: Uint8Array;
}

/** Chaining key, transcript hash and cipher key of a handshake. Source: Noise revision 34 §5.2. */
export class SymmetricState {
  readonly #crypto: HandshakeCrypto;
  #chainingKey: Uint8Array;
  #hash: Uint8Array;
  #key: Uint8Array = EMPTY;
  #nonce = 0;

  constructor(crypto: HandshakeCrypto, protocolName: Uint8Array, prologue: Uint8Array) {
    this.#crypto = crypto;
    if (protocolName.length > KEY_BYTES) this.#hash = crypto.hash(protocolName);
    else {
      this.#hash = new Uint8Array(KEY_BYTES);
      this.#hash.set(protocolName);
    }
    this.#chainingKey = this.#hash;
    this.mixHash(prologue);
  }

  /** The transcript so far. */
  get hash(): Uint8Array {
    return this.#hash;
  }

  /** A state that goes its own way from here: what fails on the copy leaves the original as it was. */
  copy(): SymmetricState {
    const other = new SymmetricState(this.#crypto, EMPTY, EMPTY);
    other.#chainingKey = this.#chainingKey;
    other.#hash = this.#hash;
    other.#key = this.#key;
    other.#nonce = this.#nonce;
    return other;
  }

  mixHash(data: Uint8Array): void {
    this.#hash = this.#crypto.hash(this.#hash, data);
  }

  mixKey(material: Uint8Array): void {
    const temp = this.#crypto.hmac(this.#chainingKey, material);
    this.#chainingKey = this.#crypto.hmac(temp, ONE);
    this.#setKey(this.#crypto.hmac(temp, this.#chainingKey, TWO));
  }

  mixKeyAndHash(material: Uint8Array): void {
    const temp = this.#crypto.hmac(this.#chainingKey, material);
    this.#chainingKey = this.#crypto.hmac(temp, ONE);
    const second = this.#crypto.hmac(temp, this.#chainingKey, TWO);
    this.mixHash(second);
    this.#setKey(this.#crypto.hmac(temp, second, THREE));
  }

  /** A DH token; false, and nothing mixed, when the result is all zeros. */
  mixDh(privateKey: Uint8Array, publicKey: Uint8Array): boolean {
    const shared = this.#crypto.dh(privateKey, publicKey);
    if (shared === undefined || this.#crypto.equal(shared, new Uint8Array(KEY_BYTES))) return false;
    this.mixKey(shared);
    return true;
  }

  /** An `e` token: in patterns with a psk the ephemeral key goes into the key as well (§9.2). */
  mixEphemeral(publicKey: Uint8Array): void {
    this.mixHash(publicKey);
    this.mixKey(publicKey);
  }

  encryptAndHash(plain: Uint8Array): Uint8Array {
    const sealed = this.#crypto.seal(this.#key, this.#nextNonce(), this.#hash, plain);
    this.mixHash(sealed);
    return sealed;
  }

  /** Undefined, and the state spoilt, when it does not authenticate. */
  decryptAndHash(sealed: Uint8Array): Uint8Array | undefined {
    const plain = this.#crypto.open(this.#key, this.#nextNonce(), this.#hash, sealed);
    if (plain !== undefined) this.mixHash(sealed);
    return plain;
  }

  /** The keys of initiator → responder and responder → initiator. */
  split(): [Uint8Array, Uint8Array] {
    const temp = this.#crypto.hmac(this.#chainingKey, EMPTY);
    const first = this.#crypto.hmac(temp, ONE);
    return [first, this.#crypto.hmac(temp, first, TWO)];
  }

  #setKey(key: Uint8Array): void {
    this.#key = key;
    this.#nonce = 0;
  }

  #nextNonce(): Uint8Array {
    // 32 zero bits, then the counter as 64 bits, little-endian (§12.3); a handshake counts to 2.
    const nonce = new Uint8Array(12);
    nonce[4] = this.#nonce++;
    return nonce;
  }
}

/** What the second message gave: its payload and the session. */
export interface SecondMessage {
  readonly payload: Uint8Array;
  readonly keys: SessionKeys;
  /** The transcript's hash, the same at both ends. */
  readonly hash: Uint8Array;
}

/** The initiator's side of one handshake. */
export class NoiseInitiator {
  readonly #crypto: HandshakeCrypto;
  readonly #state: SymmetricState;
  readonly #static: KeyPair;
  readonly #remoteStatic: Uint8Array;
  #ephemeral: KeyPair | undefined;

  constructor(crypto: HandshakeCrypto, prologue: Uint8Array, own: KeyPair, remoteStatic: Uint8Array) {
    this.#crypto = crypto;
    this.#static = own;
    this.#remoteStatic = remoteStatic;
    this.#state = new SymmetricState(crypto, PROTOCOL_NAME, prologue);
    this.#state.mixHash(remoteStatic);
  }

  /** The first message; undefined when the responder's static key is of small order. Called once. */
  writeFirst(payload: Uint8Array): Uint8Array | undefined {
    const s = this.#state;
    const e = this.#crypto.generateKeyPair();
    this.#ephemeral = e;
    s.mixEphemeral(e.publicKey);
    if (!s.mixDh(e.privateKey, this.#remoteStatic)) return undefined;
    const sealedStatic = s.encryptAndHash(this.#static.publicKey);
    if (!s.mixDh(this.#static.privateKey, this.#remoteStatic)) return undefined;
    return concat(e.publicKey, sealedStatic, s.encryptAndHash(payload));
  }

  /** Reads the second message; undefined when it is not the answer to the first, which may then still come. */
  readSecond(message: Uint8Array, presharedKey: Uint8Array): SecondMessage | undefined {
    if (message.length < SECOND_OVERHEAD_BYTES || this.#ephemeral === undefined) return undefined;
    const s = this.#state.copy();
    const remoteEphemeral = message.slice(0, KEY_BYTES);
    s.mixEphemeral(remoteEphemeral);
    if (!s.mixDh(this.#ephemeral.privateKey, remoteEphemeral)) return undefined;
    if (!s.mixDh(this.#static.privateKey, remoteEphemeral)) return undefined;
    s.mixKeyAndHash(presharedKey);
    const payload = s.decryptAndHash(message.slice(KEY_BYTES));
    if (payload === undefined) return undefined;
    const [toResponder, toInitiator] = s.split();
    return { payload, keys: { seal: toResponder, open: toInitiator }, hash: s.hash };
  }
}

/** The responder's side of one handshake: made for a first message that has come. */
export class NoiseResponder {
  readonly #crypto: HandshakeCrypto;
  readonly #state: SymmetricState;
  readonly #static: KeyPair;
  #remoteEphemeral: Uint8Array = EMPTY;
  #remoteStatic: Uint8Array = EMPTY;

  constructor(crypto: HandshakeCrypto, prologue: Uint8Array, own: KeyPair) {
    this.#crypto = crypto;
    this.#static = own;
    this.#state = new SymmetricState(crypto, PROTOCOL_NAME, prologue);
    this.#state.mixHash(own.publicKey);
  }

  /** Reads the first message: who sent it and its payload; undefined when it is not for this end or not authentic. Called once. */
  readFirst(message: Uint8Array): { remoteStatic: Uint8Array; payload: Uint8Array } | undefined {
    if (message.length < FIRST_OVERHEAD_BYTES) return undefined;
    const s = this.#state;
    const staticEnd = KEY_BYTES + KEY_BYTES + TAG_BYTES;
    const remoteEphemeral = message.slice(0, KEY_BYTES);
    s.mixEphemeral(remoteEphemeral);
    if (!s.mixDh(this.#static.privateKey, remoteEphemeral)) return undefined;
    const remoteStatic = s.decryptAndHash(message.slice(KEY_BYTES, staticEnd));
    if (remoteStatic === undefined || !s.mixDh(this.#static.privateKey, remoteStatic)) return undefined;
    const payload = s.decryptAndHash(message.slice(staticEnd));
    if (payload === undefined) return undefined;
    this.#remoteEphemeral = remoteEphemeral;
    this.#remoteStatic = remoteStatic;
    return { remoteStatic, payload };
  }

  /** The second message and the session; undefined before a first message was read. Called once. */
  writeSecond(
    payload: Uint8Array,
    presharedKey: Uint8Array,
  ): { message: Uint8Array; keys: SessionKeys; hash: Uint8Array } | undefined {
    if (this.#remoteStatic.length === 0) return undefined;
    const s = this.#state;
    const e = this.#crypto.generateKeyPair();
    s.mixEphemeral(e.publicKey);
    // Neither fails: keys of small order were refused with the first message.
    if (!s.mixDh(e.privateKey, this.#remoteEphemeral)) return undefined;
    if (!s.mixDh(e.privateKey, this.#remoteStatic)) return undefined;
    s.mixKeyAndHash(presharedKey);
    const message = concat(e.publicKey, s.encryptAndHash(payload));
    const [toResponder, toInitiator] = s.split();
    return { message, keys: { seal: toInitiator, open: toResponder }, hash: s.hash };
  }
}

function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

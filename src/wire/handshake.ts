/**
 * The handshake datagrams: initiation and response around the two Noise messages, and the two roles that exchange them.
 *
 *     Initiator                                                        Responder
 *       begin, stamp ── initiation ──────────────▶  checkMac1, LoadMeter, CookieJar, open
 *                                                        the caller: known peer? later timestamp? which psk?
 *       handleResponse  ◀────────────── response ──  respond
 *       handleCookie    ◀────────── cookie reply ──  CookieJar.cookieReply
 *
 * Nothing throws on bytes from the network: what is refused comes back as a `Refusal`, to be counted. Bytes handed in are only
 * read during the call. Runs a few times a second, so it allocates. Source: docs/protocol.md §3.
 */
import { assert } from '../base/error.ts';
import { type AeadCipher, TAG_BYTES } from './aead.ts';
import { MAC_BYTES, mac1Fits, mac1Key, mac1Of, openCookieReply, stamp, writeMac1 } from './cookie.ts';
import type { HandshakeCrypto } from './crypto.ts';
import {
  COOKIE_REPLY_BYTES,
  INDEX_MODULUS,
  INITIATION_BYTES,
  RESPONSE_BYTES,
  TYPE_COOKIE_REPLY,
  TYPE_INITIATION,
  TYPE_RESPONSE,
  VERSION,
} from './header.ts';
import {
  FIRST_OVERHEAD_BYTES,
  KEY_BYTES,
  NoiseInitiator,
  NoiseResponder,
  SECOND_OVERHEAD_BYTES,
  type SessionKeys,
} from './noise.ts';

export type { SessionKeys } from './noise.ts';

/** Why a handshake datagram was dropped. */
export type Refusal =
  /** Not of the length, type and version that it was taken for. */
  | 'bad-form'
  /** Made for somebody else, or damaged on the way. */
  | 'bad-mac1'
  /** For a handshake that is not, or no longer, under way. */
  | 'not-expected'
  /** The keys do not fit: another static or pre-shared key, or a forgery. */
  | 'not-authentic'
  /** Authentic, but with values that cannot be. */
  | 'bad-payload';

/** Ciphers as the wire numbers them; each is also its bit in a mask. */
export const CIPHER_AES_256_GCM = 1;
export const CIPHER_CHACHA20_POLY1305 = 2;

/** The name that the AEAD provider knows a cipher by; undefined when the number is none. */
export function cipherName(cipher: number): AeadCipher | undefined {
  if (cipher === CIPHER_AES_256_GCM) return 'aes-256-gcm';
  return cipher === CIPHER_CHACHA20_POLY1305 ? 'chacha20-poly1305' : undefined;
}

/** The responder's choice: AES when both have and prefer it, else ChaCha20, else what both have; 0 when there is none. */
export function chooseCipher(mask: number, preferred: number, peerMask: number, peerPreferred: number): number {
  const both = mask & peerMask;
  const aes = (both & CIPHER_AES_256_GCM) !== 0;
  if (aes && preferred === CIPHER_AES_256_GCM && peerPreferred === CIPHER_AES_256_GCM) return CIPHER_AES_256_GCM;
  if ((both & CIPHER_CHACHA20_POLY1305) !== 0) return CIPHER_CHACHA20_POLY1305;
  return aes ? CIPHER_AES_256_GCM : 0;
}

/** Length of an association id. Units: bytes. */
export const ASSOCIATION_ID_BYTES = 8;

const PROLOGUE = new TextEncoder().encode('yoke 1');
const NO_PRESHARED_KEY = new Uint8Array(KEY_BYTES);
const FIRST_AT = 4;
const FIRST_PAYLOAD_BYTES = 24;
const SECOND_AT = 8;
const SECOND_PAYLOAD_BYTES = 13;
const MACS_BYTES = 2 * MAC_BYTES;

assert(FIRST_AT + FIRST_OVERHEAD_BYTES + FIRST_PAYLOAD_BYTES + MACS_BYTES === INITIATION_BYTES, 'initiation size');
assert(SECOND_AT + SECOND_OVERHEAD_BYTES + SECOND_PAYLOAD_BYTES + MACS_BYTES === RESPONSE_BYTES, 'response size');
assert(TAG_BYTES === MAC_BYTES, 'tags and macs have the same size');

/** What a response gave: the session as the initiator sees it. */
export interface Established {
  readonly sessionKeys: SessionKeys;
  /** What the initiator writes as receiver index. */
  readonly peerIndex: number;
  /** The responder's. Shape: ASSOCIATION_ID_BYTES. */
  readonly associationId: Uint8Array;
  readonly cipher: number;
}

/** The initiator's half: one peer, and at any time at most one handshake under way. */
export class Initiator {
  readonly #crypto: HandshakeCrypto;
  readonly #own: { publicKey: Uint8Array; privateKey: Uint8Array };
  readonly #peerPublicKey: Uint8Array;
  readonly #presharedKey: Uint8Array;
  readonly #ownMac1Key: Uint8Array;
  readonly #peerMac1Key: Uint8Array;
  #noise: NoiseInitiator | undefined;
  #senderIndex = -1;
  #cipherMask = 0;
  #mac1 = new Uint8Array(0);

  /** @throws assertion when the peer's public key is of small order: whoever reads keys from a file refuses such a one. */
  constructor(options: {
    crypto: HandshakeCrypto;
    privateKey: Uint8Array;
    peerPublicKey: Uint8Array;
    presharedKey?: Uint8Array;
  }) {
    const { crypto, privateKey, peerPublicKey, presharedKey } = options;
    assert(crypto.dh(privateKey, peerPublicKey) !== undefined, "the peer's public key is of small order");
    this.#crypto = crypto;
    this.#own = { privateKey, publicKey: crypto.publicKey(privateKey) };
    this.#peerPublicKey = peerPublicKey;
    this.#presharedKey = presharedKey ?? NO_PRESHARED_KEY;
    this.#ownMac1Key = mac1Key(crypto, this.#own.publicKey);
    this.#peerMac1Key = mac1Key(crypto, peerPublicKey);
  }

  /** Whether an initiation waits for its response. */
  get underWay(): boolean {
    return this.#noise !== undefined;
  }

  /**
   * A new initiation, with mac2 zeros; the one before it is forgotten. `stamp` fills mac2 for each path that it goes out on.
   *
   * Units: microseconds since 1970, an integer, larger than in every initiation before. Owns: fresh bytes, the caller's.
   */
  begin(
    senderIndex: number,
    timestampUs: number,
    associationId: Uint8Array,
    cipherMask: number,
    preferred: number,
  ): Uint8Array {
    const payload = new Uint8Array(FIRST_PAYLOAD_BYTES);
    const view = new DataView(payload.buffer);
    view.setBigUint64(0, BigInt(timestampUs));
    payload.set(associationId.subarray(0, ASSOCIATION_ID_BYTES), 8);
    payload[16] = cipherMask;
    payload[17] = preferred;

    const noise = new NoiseInitiator(this.#crypto, PROLOGUE, this.#own, this.#peerPublicKey);
    const first = noise.writeFirst(payload);
    assert(first !== undefined, "the peer's public key is of small order");
    const message = new Uint8Array(INITIATION_BYTES);
    writeFront(message, TYPE_INITIATION, senderIndex);
    message.set(first, FIRST_AT);
    writeMac1(this.#crypto, this.#peerMac1Key, message);
    this.#noise = noise;
    this.#senderIndex = senderIndex;
    this.#cipherMask = cipherMask;
    this.#mac1 = mac1Of(message).slice();
    return message;
  }

  /** Fills mac2 of an initiation in place, with the path's cookie or with zeros. The caller may have copied the message. */
  stamp(message: Uint8Array, cookie: Uint8Array | undefined): void {
    stamp(this.#crypto, message, cookie);
  }

  /** Takes the response that ends the handshake; anything else leaves it under way. */
  handleResponse(bytes: Uint8Array): Established | Refusal {
    if (!hasForm(bytes, TYPE_RESPONSE, RESPONSE_BYTES)) return 'bad-form';
    if (!mac1Fits(this.#crypto, this.#ownMac1Key, bytes)) return 'bad-mac1';
    if (this.#noise === undefined || readIndexAt(bytes, 4) !== this.#senderIndex) return 'not-expected';
    const second = this.#noise.readSecond(bytes.subarray(SECOND_AT, RESPONSE_BYTES - MACS_BYTES), this.#presharedKey);
    if (second === undefined) return 'not-authentic';
    const cipher = second.payload[8];
    // A cipher that was not offered: its sender has the keys, but no session can come of it.
    if (cipherName(cipher) === undefined || (cipher & this.#cipherMask) === 0) return 'bad-payload';
    this.#noise = undefined;
    return {
      sessionKeys: second.keys,
      peerIndex: readIndexAt(bytes, 1),
      associationId: second.payload.slice(0, ASSOCIATION_ID_BYTES),
      cipher,
    };
  }

  /** The cookie in a cookie reply to the latest initiation, for the path that the reply came on. Shape: MAC_BYTES. */
  handleCookie(bytes: Uint8Array): Uint8Array | Refusal {
    if (!hasForm(bytes, TYPE_COOKIE_REPLY, COOKIE_REPLY_BYTES)) return 'bad-form';
    if (this.#noise === undefined || readIndexAt(bytes, 1) !== this.#senderIndex) return 'not-expected';
    return openCookieReply(this.#crypto, this.#peerPublicKey, this.#mac1, bytes) ?? 'not-authentic';
  }
}

/** What an initiation said, and the handshake that it began. */
export interface Opened {
  /** The initiator's static public key, by which the caller knows the peer. */
  readonly peerStatic: Uint8Array;
  /** Units: microseconds since 1970 by the initiator's clock. */
  readonly timestampUs: number;
  /** The initiator's. Shape: ASSOCIATION_ID_BYTES. */
  readonly associationId: Uint8Array;
  readonly cipherMask: number;
  readonly preferred: number;
  /** What the responder writes as receiver index. */
  readonly senderIndex: number;
  /** For `respond`, which spends it. */
  readonly noise: NoiseResponder;
}

/** The responder's half: one static key for all peers; what is under way lives in the `Opened` that the caller holds. */
export class Responder {
  readonly #crypto: HandshakeCrypto;
  readonly #own: { publicKey: Uint8Array; privateKey: Uint8Array };
  readonly #mac1Key: Uint8Array;

  constructor(options: { crypto: HandshakeCrypto; privateKey: Uint8Array; publicKey: Uint8Array }) {
    this.#crypto = options.crypto;
    this.#own = { privateKey: options.privateKey, publicKey: options.publicKey };
    this.#mac1Key = mac1Key(options.crypto, options.publicKey);
  }

  /** Whether this is an initiation to this end's static key: the cheap check before load is counted and keys are computed. */
  checkMac1(bytes: Uint8Array): boolean {
    return hasForm(bytes, TYPE_INITIATION, INITIATION_BYTES) && mac1Fits(this.#crypto, this.#mac1Key, bytes);
  }

  /**
   * Opens an initiation. Whether the peer is known and the timestamp later than all before is for the caller to say; until the
   * first datagram of the new session opens, an initiation may be a repetition of an old one and must not disturb what stands.
   */
  open(bytes: Uint8Array): Opened | Refusal {
    if (!hasForm(bytes, TYPE_INITIATION, INITIATION_BYTES)) return 'bad-form';
    if (!mac1Fits(this.#crypto, this.#mac1Key, bytes)) return 'bad-mac1';
    const noise = new NoiseResponder(this.#crypto, PROLOGUE, this.#own);
    const first = noise.readFirst(bytes.subarray(FIRST_AT, INITIATION_BYTES - MACS_BYTES));
    if (first === undefined) return 'not-authentic';
    const { payload, remoteStatic } = first;
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    const timestampUs = Number(view.getBigUint64(0));
    if (!Number.isSafeInteger(timestampUs)) return 'bad-payload';
    return {
      peerStatic: remoteStatic,
      timestampUs,
      associationId: payload.slice(8, 16),
      cipherMask: payload[16],
      preferred: payload[17],
      senderIndex: readIndexAt(bytes, 1),
      noise,
    };
  }

  /** The response and the session it makes. Called once for each `Opened`. Owns: fresh bytes, the caller's. */
  respond(
    opened: Opened,
    presharedKey: Uint8Array | undefined,
    senderIndex: number,
    associationId: Uint8Array,
    cipher: number,
  ): { message: Uint8Array; sessionKeys: SessionKeys } {
    const payload = new Uint8Array(SECOND_PAYLOAD_BYTES);
    payload.set(associationId.subarray(0, ASSOCIATION_ID_BYTES));
    payload[8] = cipher;
    const second = opened.noise.writeSecond(payload, presharedKey ?? NO_PRESHARED_KEY);
    assert(second !== undefined, 'an opened initiation holds usable keys');
    const message = new Uint8Array(RESPONSE_BYTES);
    writeFront(message, TYPE_RESPONSE, senderIndex);
    writeIndex(message, 4, opened.senderIndex);
    message.set(second.message, SECOND_AT);
    writeMac1(this.#crypto, mac1Key(this.#crypto, opened.peerStatic), message);
    return { message, sessionKeys: second.keys };
  }
}

/** Whether a datagram has the length, type and version that it should have. */
export function hasForm(bytes: Uint8Array, type: number, length: number): boolean {
  return bytes.length === length && bytes[0] === ((type << 4) | VERSION);
}

/** Writes type, version and sender index. */
export function writeFront(message: Uint8Array, type: number, senderIndex: number): void {
  message[0] = (type << 4) | VERSION;
  writeIndex(message, 1, senderIndex);
}

/** Writes an index of 24 bits. */
export function writeIndex(message: Uint8Array, at: number, value: number): void {
  assert(value >= 0 && value < INDEX_MODULUS, 'indices have 24 bits');
  message[at] = value >> 16;
  message[at + 1] = value >> 8;
  message[at + 2] = value;
}

/** Reads an index of 24 bits. */
export function readIndexAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 16) | (bytes[at + 1] << 8) | bytes[at + 2];
}

/**
 * What keeps strangers from making an end compute: mac1 proves that the sender knows whom it speaks to, a cookie that it receives
 * at the address it sends from, and a meter says when cookies are asked for.
 *
 *     initiation, mac2 zeros ─────▶  under load: cookie = HMAC(secret, source)
 *     cookie                 ◀─────  cookie reply, sealed with mac1 as additional data
 *     initiation, mac2 = HMAC(cookie, …) ─────▶  answered
 *
 * Source: docs/protocol.md §3.3.
 */
import { assert } from '../base/error.ts';
import { TAG_BYTES } from './aead.ts';
import type { HandshakeCrypto } from './crypto.ts';
import { COOKIE_REPLY_BYTES, INITIATION_BYTES, JOIN_REQUEST_BYTES, TYPE_COOKIE_REPLY, VERSION } from './header.ts';

/** Length of mac1, mac2 and cookies. Units: bytes. */
export const MAC_BYTES = 16;
/** How long a cookie may be used, and a secret makes cookies. Units: microseconds. Source: docs/protocol.md §3.4. */
export const COOKIE_LIFETIME_US = 120_000_000;
/** Initiations with a valid mac1 within a second before cookies are asked for. Source: docs/protocol.md §9. */
export const LOAD_LIMIT = 64;

const LOAD_SPAN_US = 1_000_000;
const MAC1_LABEL = new TextEncoder().encode('yoke mac1');
const COOKIE_LABEL = new TextEncoder().encode('yoke cookie');
const SECRET_BYTES = 32;
const COOKIE_NONCE_AT = 8;
const COOKIE_NONCE_BYTES = 24;
const SEALED_COOKIE_AT = COOKIE_NONCE_AT + COOKIE_NONCE_BYTES;
assert(SEALED_COOKIE_AT + MAC_BYTES + TAG_BYTES === COOKIE_REPLY_BYTES, 'cookie reply size');

const ZERO_NONCE = new Uint8Array(12);

/** The key of the mac1 of datagrams to the owner of this static public key. */
export function mac1Key(crypto: HandshakeCrypto, receiverPublicKey: Uint8Array): Uint8Array {
  return crypto.hash(MAC1_LABEL, receiverPublicKey);
}

/** Writes mac1 of an initiation or response that is complete but for its macs. */
export function writeMac1(crypto: HandshakeCrypto, key: Uint8Array, message: Uint8Array): void {
  const at = message.length - 2 * MAC_BYTES;
  message.set(crypto.hmac(key, message.subarray(0, at)).subarray(0, MAC_BYTES), at);
}

/** Whether mac1 of an initiation or response is right. */
export function mac1Fits(crypto: HandshakeCrypto, key: Uint8Array, message: Uint8Array): boolean {
  const at = message.length - 2 * MAC_BYTES;
  if (at < 0) return false;
  return crypto.equal(crypto.hmac(key, message.subarray(0, at)).subarray(0, MAC_BYTES), mac1Of(message));
}

/** The mac1 of an initiation or response. Owns: a view of the message. */
export function mac1Of(message: Uint8Array): Uint8Array {
  return message.subarray(message.length - 2 * MAC_BYTES, message.length - MAC_BYTES);
}

/**
 * Fills mac2 of an initiation in place, for the path it is about to go out on: with the cookie that was got there, or with zeros.
 *
 * The caller forgets cookies older than COOKIE_LIFETIME_US.
 */
export function stamp(crypto: HandshakeCrypto, message: Uint8Array, cookie: Uint8Array | undefined): void {
  const at = message.length - MAC_BYTES;
  if (cookie === undefined) message.fill(0, at);
  else message.set(mac2Of(crypto, cookie, message), at);
}

function mac2Of(crypto: HandshakeCrypto, cookie: Uint8Array, message: Uint8Array): Uint8Array {
  return crypto.hmac(cookie, message.subarray(0, message.length - MAC_BYTES)).subarray(0, MAC_BYTES);
}

/** Key of the sealed cookie: a fresh one for each nonce, so that the AEAD's own nonce may be zero. */
function replyKey(crypto: HandshakeCrypto, responderPublicKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return crypto.hmac(crypto.hash(COOKIE_LABEL, responderPublicKey), nonce);
}

/** The cookie in a cookie reply to an initiation with this mac1; undefined when it is not one. Length and first byte are the caller's to check. */
export function openCookieReply(
  crypto: HandshakeCrypto,
  responderPublicKey: Uint8Array,
  mac1: Uint8Array,
  reply: Uint8Array,
): Uint8Array | undefined {
  const key = replyKey(crypto, responderPublicKey, reply.slice(COOKIE_NONCE_AT, SEALED_COOKIE_AT));
  return crypto.open(key, ZERO_NONCE, mac1, reply.slice(SEALED_COOKIE_AT));
}

/** The responder's cookies: made of a secret that changes, so that no state is kept for a stranger. */
export class CookieJar {
  readonly #crypto: HandshakeCrypto;
  readonly #publicKey: Uint8Array;
  #secret: Uint8Array | undefined;
  #before: Uint8Array | undefined;
  #secretAtUs = 0;

  /** `publicKey` is the responder's own static one. */
  constructor(crypto: HandshakeCrypto, publicKey: Uint8Array) {
    this.#crypto = crypto;
    this.#publicKey = publicKey;
  }

  /** Whether mac2 of an initiation or join request was made with a cookie for this source. Shape: `source` is address and port, in any encoding that is always the same. */
  checkMac2(initiation: Uint8Array, source: Uint8Array, nowUs: number): boolean {
    if (initiation.length !== INITIATION_BYTES && initiation.length !== JOIN_REQUEST_BYTES) return false;
    this.#rotate(nowUs);
    const given = initiation.subarray(initiation.length - MAC_BYTES);
    return this.#fits(this.#secret, initiation, source, given) || this.#fits(this.#before, initiation, source, given);
  }

  /** The cookie reply to an initiation or join request whose mac1 is valid. Shape: COOKIE_REPLY_BYTES, fresh. */
  cookieReply(initiation: Uint8Array, source: Uint8Array, nowUs: number): Uint8Array {
    const secret = this.#rotate(nowUs);
    const reply = new Uint8Array(COOKIE_REPLY_BYTES);
    const nonce = this.#crypto.random(COOKIE_NONCE_BYTES);
    const key = replyKey(this.#crypto, this.#publicKey, nonce);
    reply[0] = (TYPE_COOKIE_REPLY << 4) | VERSION;
    reply.set(initiation.subarray(1, 4), 1);
    reply.set(nonce, COOKIE_NONCE_AT);
    reply.set(this.#crypto.seal(key, ZERO_NONCE, mac1Of(initiation), this.#cookie(secret, source)), SEALED_COOKIE_AT);
    return reply;
  }

  #cookie(secret: Uint8Array, source: Uint8Array): Uint8Array {
    return this.#crypto.hmac(secret, source).slice(0, MAC_BYTES);
  }

  #fits(secret: Uint8Array | undefined, initiation: Uint8Array, source: Uint8Array, given: Uint8Array): boolean {
    if (secret === undefined) return false;
    return this.#crypto.equal(mac2Of(this.#crypto, this.#cookie(secret, source), initiation), given);
  }

  #rotate(nowUs: number): Uint8Array {
    const age = nowUs - this.#secretAtUs;
    if (this.#secret !== undefined && age < COOKIE_LIFETIME_US) return this.#secret;
    // A secret that nobody asked for in time is not the one before: its last cookie is older than a lifetime.
    this.#before = age < 2 * COOKIE_LIFETIME_US ? this.#secret : undefined;
    this.#secret = this.#crypto.random(SECRET_BYTES);
    this.#secretAtUs = nowUs;
    return this.#secret;
  }
}

/** Counts initiations with a valid mac1: more than LOAD_LIMIT within a second is load. */
export class LoadMeter {
  /** When the last LOAD_LIMIT of them came, a ring. */
  readonly #times = new Float64Array(LOAD_LIMIT).fill(Number.NEGATIVE_INFINITY);
  #next = 0;

  /** Counts one; true when it is more than the limit within the second that ends now. */
  count(nowUs: number): boolean {
    const over = nowUs - this.#times[this.#next] < LOAD_SPAN_US;
    this.#times[this.#next] = nowUs;
    this.#next = (this.#next + 1) % LOAD_LIMIT;
    return over;
  }
}

/**
 * Joining: how a router that holds an invitation is taken in by a server that does not know its key yet.
 *
 *     JoinAsker (one for each try)                                    JoinDoor
 *       request ── join request: own key, secret ──────────────▶  checkMac1 (and load, cookies, as an initiation), open
 *                                                                     the caller: whose secret is it?
 *       handleAnswer ◀── join answer: verdict, name, addresses ──  answer
 *       handleCookie ◀──────────────────────────── cookie reply ──
 *
 * The same Noise pattern as the handshake, another prologue, and no session. Nothing throws on bytes from the network.
 * Source: docs/protocol.md §10.
 */
import { assert } from '../base/error.ts';
import { MAC_BYTES, mac1Fits, mac1Key, mac1Of, openCookieReply, stamp, writeMac1 } from './cookie.ts';
import type { HandshakeCrypto, KeyPair } from './crypto.ts';
import { hasForm, type Refusal, readIndexAt, writeFront, writeIndex } from './handshake.ts';
import {
  COOKIE_REPLY_BYTES,
  JOIN_ANSWER_BYTES,
  JOIN_REQUEST_BYTES,
  TYPE_COOKIE_REPLY,
  TYPE_JOIN_ANSWER,
  TYPE_JOIN_REQUEST,
} from './header.ts';
import { FIRST_OVERHEAD_BYTES, KEY_BYTES, NoiseInitiator, NoiseResponder, SECOND_OVERHEAD_BYTES } from './noise.ts';

/** Length of an invitation's secret. Units: bytes. */
export const SECRET_BYTES = 16;
/** Longest name that fits an answer. Units: ASCII characters. */
export const JOIN_NAME_LIMIT = 64;

/** What a server says to a join request. In the order of their numbers on the wire. */
export const VERDICTS = ['welcome', 'unknown', 'used', 'expired', 'failed'] as const;
export type JoinVerdict = (typeof VERDICTS)[number];

/** The inner addresses of one family. Shape: 4 or 16 bytes each. */
export interface InnerAddresses {
  readonly router: Uint8Array;
  readonly server: Uint8Array;
  readonly prefixLength: number;
}

/** An answer to a join request: what the router is from now on, or why it is not. */
export type JoinAnswer =
  | { readonly verdict: 'welcome'; readonly name: string; readonly v4?: InnerAddresses; readonly v6?: InnerAddresses }
  | { readonly verdict: Exclude<JoinVerdict, 'welcome'> };

const PROLOGUE = new TextEncoder().encode('yoke 1 join');
const NO_PRESHARED_KEY = new Uint8Array(KEY_BYTES);
const FIRST_AT = 4;
const FIRST_PAYLOAD_BYTES = 96;
const SECOND_AT = 8;
const SECOND_PAYLOAD_BYTES = 128;
const MACS_BYTES = 2 * MAC_BYTES;
const V4_AT = 1;
const V6_AT = 10;
const NAME_AT = 43;

assert(FIRST_AT + FIRST_OVERHEAD_BYTES + FIRST_PAYLOAD_BYTES + MACS_BYTES === JOIN_REQUEST_BYTES, 'request size');
assert(SECOND_AT + SECOND_OVERHEAD_BYTES + SECOND_PAYLOAD_BYTES + MACS_BYTES === JOIN_ANSWER_BYTES, 'answer size');

/** The router's half of one try: made anew, with another index, for each request that is sent. */
export class JoinAsker {
  readonly #crypto: HandshakeCrypto;
  readonly #serverKey: Uint8Array;
  readonly #ownMac1Key: Uint8Array;
  readonly #noise: NoiseInitiator;
  readonly #index: number;
  readonly #request: Uint8Array;

  /** @throws assertion when the server's public key is of small order: whoever reads an invitation refuses such a one. */
  constructor(options: {
    crypto: HandshakeCrypto;
    own: KeyPair;
    serverKey: Uint8Array;
    secret: Uint8Array;
    index: number;
  }) {
    const { crypto, own, serverKey, secret, index } = options;
    assert(secret.length === SECRET_BYTES, 'a secret has 16 bytes');
    this.#crypto = crypto;
    this.#serverKey = serverKey;
    this.#index = index;
    this.#ownMac1Key = mac1Key(crypto, own.publicKey);
    this.#noise = new NoiseInitiator(crypto, PROLOGUE, own, serverKey);
    const payload = new Uint8Array(FIRST_PAYLOAD_BYTES);
    payload.set(secret);
    const first = this.#noise.writeFirst(payload);
    assert(first !== undefined, "the server's public key is of small order");
    this.#request = new Uint8Array(JOIN_REQUEST_BYTES);
    writeFront(this.#request, TYPE_JOIN_REQUEST, index);
    this.#request.set(first, FIRST_AT);
    writeMac1(crypto, mac1Key(crypto, serverKey), this.#request);
  }

  /** The datagram, with the cookie that the server asked for, if it did. Owns: fresh bytes, the caller's. */
  request(cookie?: Uint8Array): Uint8Array {
    const message = this.#request.slice();
    stamp(this.#crypto, message, cookie);
    return message;
  }

  /** What the server said; anything else is refused and changes nothing. */
  handleAnswer(bytes: Uint8Array): JoinAnswer | Refusal {
    if (!hasForm(bytes, TYPE_JOIN_ANSWER, JOIN_ANSWER_BYTES)) return 'bad-form';
    if (!mac1Fits(this.#crypto, this.#ownMac1Key, bytes)) return 'bad-mac1';
    if (readIndexAt(bytes, 4) !== this.#index) return 'not-expected';
    const second = this.#noise.readSecond(bytes.subarray(SECOND_AT, JOIN_ANSWER_BYTES - MACS_BYTES), NO_PRESHARED_KEY);
    if (second === undefined) return 'not-authentic';
    return decodeAnswer(second.payload) ?? 'bad-payload';
  }

  /** The cookie in a cookie reply to this request, to be sent with it again. */
  handleCookie(bytes: Uint8Array): Uint8Array | Refusal {
    if (!hasForm(bytes, TYPE_COOKIE_REPLY, COOKIE_REPLY_BYTES)) return 'bad-form';
    if (readIndexAt(bytes, 1) !== this.#index) return 'not-expected';
    return openCookieReply(this.#crypto, this.#serverKey, mac1Of(this.#request), bytes) ?? 'not-authentic';
  }
}

/** What a join request said, and the exchange that it began. */
export interface JoinOpened {
  readonly publicKey: Uint8Array;
  /** Shape: SECRET_BYTES. */
  readonly secret: Uint8Array;
  readonly senderIndex: number;
  /** For `answer`, which spends it. */
  readonly noise: NoiseResponder;
}

/** The server's half. */
export class JoinDoor {
  readonly #crypto: HandshakeCrypto;
  readonly #own: KeyPair;
  readonly #mac1Key: Uint8Array;

  constructor(crypto: HandshakeCrypto, own: KeyPair) {
    this.#crypto = crypto;
    this.#own = own;
    this.#mac1Key = mac1Key(crypto, own.publicKey);
  }

  /** Whether this is a join request to this end's static key: the cheap check before load is counted and keys are computed. */
  checkMac1(bytes: Uint8Array): boolean {
    return hasForm(bytes, TYPE_JOIN_REQUEST, JOIN_REQUEST_BYTES) && mac1Fits(this.#crypto, this.#mac1Key, bytes);
  }

  /** Opens a request whose mac1 is right. */
  open(bytes: Uint8Array): JoinOpened | Refusal {
    const noise = new NoiseResponder(this.#crypto, PROLOGUE, this.#own);
    const first = noise.readFirst(bytes.subarray(FIRST_AT, JOIN_REQUEST_BYTES - MACS_BYTES));
    if (first === undefined) return 'not-authentic';
    const secret = first.payload.slice(0, SECRET_BYTES);
    return { publicKey: first.remoteStatic, secret, senderIndex: readIndexAt(bytes, 1), noise };
  }

  /** The datagram that answers a request. Called once for each. Owns: fresh bytes, the caller's. */
  answer(opened: JoinOpened, answer: JoinAnswer): Uint8Array {
    const second = opened.noise.writeSecond(encodeAnswer(answer), NO_PRESHARED_KEY);
    assert(second !== undefined, 'an opened request holds usable keys');
    const message = new Uint8Array(JOIN_ANSWER_BYTES);
    writeFront(message, TYPE_JOIN_ANSWER, 0);
    writeIndex(message, 4, opened.senderIndex);
    message.set(second.message, SECOND_AT);
    writeMac1(this.#crypto, mac1Key(this.#crypto, opened.publicKey), message);
    return message;
  }
}

function encodeAnswer(answer: JoinAnswer): Uint8Array {
  const out = new Uint8Array(SECOND_PAYLOAD_BYTES);
  out[0] = VERDICTS.indexOf(answer.verdict);
  if (answer.verdict !== 'welcome') return out;
  for (const [at, inner] of [
    [V4_AT, answer.v4],
    [V6_AT, answer.v6],
  ] as const) {
    if (inner === undefined) continue;
    out[at] = inner.prefixLength;
    out.set(inner.router, at + 1);
    out.set(inner.server, at + 1 + inner.router.length);
  }
  assert(answer.name.length <= JOIN_NAME_LIMIT, 'the name fits');
  out[NAME_AT] = answer.name.length;
  for (let i = 0; i < answer.name.length; i++) out[NAME_AT + 1 + i] = answer.name.charCodeAt(i);
  return out;
}

function decodeAnswer(bytes: Uint8Array): JoinAnswer | undefined {
  const verdict = VERDICTS[bytes[0]];
  if (verdict === undefined) return undefined;
  if (verdict !== 'welcome') return { verdict };
  const length = bytes[NAME_AT];
  if (length === 0 || length > JOIN_NAME_LIMIT) return undefined;
  const name = String.fromCharCode(...bytes.subarray(NAME_AT + 1, NAME_AT + 1 + length));
  // It becomes text on a terminal: nothing of another kind may be in it.
  if (!/^[\x21-\x7e]+$/.test(name)) return undefined;
  const v4 = decodeInner(bytes, V4_AT, 4);
  const v6 = decodeInner(bytes, V6_AT, 16);
  if (v4 === null || v6 === null || (v4 === undefined && v6 === undefined)) return undefined;
  return { verdict, name, ...(v4 && { v4 }), ...(v6 && { v6 }) };
}

/** Undefined: not of this family; null: values that cannot be. */
function decodeInner(bytes: Uint8Array, at: number, size: 4 | 16): InnerAddresses | undefined | null {
  const prefixLength = bytes[at];
  if (prefixLength === 0) return undefined;
  if (prefixLength > size * 8) return null;
  const router = bytes.slice(at + 1, at + 1 + size);
  return { router, server: bytes.slice(at + 1 + size, at + 1 + 2 * size), prefixLength };
}

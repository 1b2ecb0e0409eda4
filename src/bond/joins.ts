/**
 * Join requests that wait for an answer. Whose secret it is, and what the router becomes, others decide: this desk only keeps the exchange meanwhile.
 *
 *   request ─▶ take ─▶ (event, the daemon looks it up) ─▶ answer ─▶ datagram
 *
 * Source: docs/protocol.md §10.3.
 */
import type { JoinAnswer, JoinDoor, JoinOpened } from '../wire/join.ts';

/** Requests that wait at once. More are dropped. */
const WAITING_LIMIT = 16;
/** A request that was not answered by then is forgotten. Units: microseconds. */
const WAITING_LIMIT_US = 5_000_000;

interface Waiting {
  opened: JoinOpened;
  /** A copy of the endpoint record that it came from. */
  endpoint: Uint8Array;
  sinceUs: number;
}

/** The requests of one server. */
export class JoinDesk {
  readonly door: JoinDoor;
  private readonly waiting = new Map<number, Waiting>();
  private nextId = 0;

  constructor(door: JoinDoor) {
    this.door = door;
  }

  /** Opens a request whose mac1 is right and keeps it; why not, when it does not. Owns: nobody writes to `endpoint` any more. */
  take(
    bytes: Uint8Array,
    endpoint: Uint8Array,
    nowUs: number,
  ): { id: number; publicKey: Uint8Array; secret: Uint8Array; endpoint: Uint8Array } | string {
    for (const [id, { sinceUs }] of this.waiting) if (nowUs - sinceUs > WAITING_LIMIT_US) this.waiting.delete(id);
    if (this.waiting.size >= WAITING_LIMIT) return 'joins-full';
    const opened = this.door.open(bytes);
    if (typeof opened === 'string') return opened;
    const id = this.nextId++;
    this.waiting.set(id, { opened, endpoint, sinceUs: nowUs });
    return { id, publicKey: opened.publicKey, secret: opened.secret, endpoint };
  }

  /** The datagram that answers, and where it goes; undefined when the request was forgotten. */
  answer(id: number, answer: JoinAnswer, nowUs: number): { bytes: Uint8Array; endpoint: Uint8Array } | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (waiting === undefined || nowUs - waiting.sinceUs > WAITING_LIMIT_US) return undefined;
    return { bytes: this.door.answer(waiting.opened, answer), endpoint: waiting.endpoint };
  }
}

/**
 * The datagrams that a path has sent, by packet number, until what became of them is known: a ring of parallel arrays.
 *
 *   … nothing remembered │ lowest … lost, acknowledged │ front … in flight … │ next
 *
 * The path decides what becomes of each (path.ts); here is only where it stands.
 */
import { NONE } from './pool.ts';

/** Datagrams of a path that may be unresolved at once. At the limit nothing more is put on the path. */
export const RING = 8192;
const MASK = RING - 1;

/** What became of a datagram. */
export const GONE = 0;
export const IN_FLIGHT = 1;
export const LOST = 2;

/** Datagrams by packet number. Owns: nothing; the path owns the slots that stand here. */
export class SentRing {
  /** The number of the next datagram. */
  next = 0;
  /** Below it nothing is remembered. */
  lowest = 0;
  /** Below it nothing is in flight: what is not acknowledged is lost. */
  front = 0;

  readonly sentUs = new Float64Array(RING);
  readonly bytes = new Uint16Array(RING);
  readonly slot = new Int32Array(RING).fill(NONE);
  readonly state = new Uint8Array(RING);
  readonly kind = new Uint8Array(RING);

  /** Where a number stands in the arrays. */
  at(packetNumber: number): number {
    return packetNumber & MASK;
  }

  isInFlight(packetNumber: number): boolean {
    return this.state[packetNumber & MASK] === IN_FLIGHT;
  }

  /** Acknowledged, or not remembered any more. */
  isGone(packetNumber: number): boolean {
    return this.state[packetNumber & MASK] === GONE;
  }

  /** Numbers that are remembered; at RING the ring is full. */
  get length(): number {
    return this.next - this.lowest;
  }

  /** Notes the next datagram. There must be room. `slot`: the inner packet it carries, or NONE. */
  add(sizeBytes: number, slot: number, kind: number, isInFlight: boolean, nowUs: number): void {
    const i = this.next & MASK;
    this.sentUs[i] = nowUs;
    this.bytes[i] = sizeBytes;
    this.slot[i] = slot;
    this.kind[i] = kind;
    this.state[i] = isInFlight ? IN_FLIGHT : GONE;
    this.next++;
  }

  /** `front` moves over what is resolved, up to a number. */
  advanceFront(toNumber: number): void {
    while (this.front < toNumber && !this.isInFlight(this.front)) this.front++;
  }

  /** `lowest` moves over what is resolved, but keeps a round trip of lost ones, so that a late acknowledgement is still understood. */
  advance(): void {
    while (this.lowest < this.next) {
      const state = this.state[this.lowest & MASK];
      if (state === IN_FLIGHT) break;
      if (state === LOST && this.length < RING / 4) break;
      this.forgetLowest();
    }
  }

  /** The lowest is not remembered any more. */
  forgetLowest(): void {
    this.state[this.lowest & MASK] = GONE;
    this.slot[this.lowest & MASK] = NONE;
    this.lowest++;
  }

  /** The numbers begin again at 0. */
  clear(): void {
    this.slot.fill(NONE);
    this.state.fill(GONE);
    this.next = 0;
    this.lowest = 0;
    this.front = 0;
  }
}

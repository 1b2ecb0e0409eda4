/**
 * Packet numbers as the receiver sees them: made whole again from 32 bits, and taken once only.
 *
 * The window is a ring of bits, twice as large as what it promises, cleared a word at a time as the largest number grows (the way
 * of RFC 6479):
 *
 *       forgotten        the window: 8,192 numbers          not yet
 *   ─────────────────┼──────────────────────────────────┼──────────────
 *      refused     largest − 8,191                    largest   accepted, moves the window
 */

/** How many numbers, the largest included, a window remembers. Source: docs/protocol.md §4. */
export const REPLAY_WINDOW = 8192;

const RING_WORDS = (2 * REPLAY_WINDOW) / 32;

/**
 * Which packet numbers of one path have been accepted. Numbers are integers from 0 to 2^53 − 1.
 *
 * Cost: 2 KB; no allocation after construction. Invariant: agrees with a set of all numbers ever accepted and the rule of the window.
 */
export class ReplayWindow {
  readonly #bits = new Uint32Array(RING_WORDS);
  #largest = -1;

  /** The largest number accepted so far, −1 before the first. */
  get largest(): number {
    return this.#largest;
  }

  /** False for what is certainly a repetition or too old: the cheap check before authentication. Changes nothing. */
  mayAccept(packetNumber: number): boolean {
    if (packetNumber > this.#largest) return true;
    if (packetNumber <= this.#largest - REPLAY_WINDOW) return false;
    const low = packetNumber >>> 0;
    return (this.#bits[(low >>> 5) & (RING_WORDS - 1)] & (1 << (low & 31))) === 0;
  }

  /** Takes the number if it was not taken before and is not too old; true when it was taken. Only for what has authenticated. */
  accept(packetNumber: number): boolean {
    if (!this.mayAccept(packetNumber)) return false;
    const low = packetNumber >>> 0;
    const word = (low >>> 5) & (RING_WORDS - 1);
    if (packetNumber > this.#largest) {
      const advance = Math.floor(packetNumber / 32) - Math.floor(this.#largest / 32);
      if (advance >= RING_WORDS) this.#bits.fill(0);
      else for (let i = 0; i < advance; i++) this.#bits[(word - i) & (RING_WORDS - 1)] = 0;
      this.#largest = packetNumber;
    }
    this.#bits[word] |= 1 << (low & 31);
    return true;
  }

  /** Forgets everything: a new association begins. */
  reset(): void {
    this.#bits.fill(0);
    this.#largest = -1;
  }
}

/**
 * The packet number whose low 32 bits these are and that is closest to the one after the largest seen (−1 when none was).
 *
 * Source: RFC 9000 §A.3, with 32 bits always.
 */
export function completePacketNumber(low32: number, largest: number): number {
  const expected = largest + 1;
  const candidate = expected - (expected >>> 0) + low32;
  if (candidate <= expected - 0x80000000 && candidate < 2 ** 53 - 2 ** 32) return candidate + 2 ** 32;
  if (candidate > expected + 0x80000000 && candidate >= 2 ** 32) return candidate - 2 ** 32;
  return candidate;
}

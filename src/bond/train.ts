/**
 * What a slow link shows before anything is put on it: a few padded PINGs, sent at once when a path comes up, arrive as far apart as the link takes for
 * one of them. On a fast link they arrive together, on one whose rate or delay wanders as far apart as chance will have it: then nothing is known.
 *
 *   path up ─▶ due: 4 ─▶ sent, one behind the other ─▶ each acknowledged ─▶ equal distances: the link's rate
 */

const FIRST_BYTES = 10 * 1500;
const FIRST_LEAST_US = 10_000;
const FIRST_MOST_US = 30_000;
/** The least first guess: a path that is believed slower has been seen to be slow. Units: bytes/µs. */
export const LEAST_GUESS = FIRST_BYTES / FIRST_MOST_US;

/** What a link is taken for that is not known: ten datagrams (RFC 6928) in a round trip, but in no more time than a TCP that waits for them may notice. Units: bytes/µs. */
export function firstGuess(rttUs: number): number {
  return FIRST_BYTES / Math.max(FIRST_LEAST_US, Math.min(FIRST_MOST_US, rttUs));
}

const LENGTH = 4;
/** Distances are equal that differ by no more than this. */
const EQUAL = 0.8;

/** Who guesses. */
export interface Guessing {
  /** The link's rate, when it is less than any first guess; Infinity: nothing is known of it. Units: bytes/µs. */
  noteTrain(rate: number, nowUs: number): void;
}

/** The train of one path. */
export class Train {
  /** Packets still to be sent. */
  private due = 0;
  private first = -1;
  private last = -1;
  private lastArrivalUs = 0;
  private fastest = 0;
  private slowest = Number.POSITIVE_INFINITY;

  /** One is to be sent. */
  begin(): void {
    this.due = LENGTH;
    this.first = -1;
    this.last = -1;
    this.fastest = 0;
    this.slowest = Number.POSITIVE_INFINITY;
  }

  /** Whether the next one is to leave now, under this number. Counts it as sent. */
  poll(packetNumber: number): boolean {
    if (this.due === 0) return false;
    if (this.due-- === LENGTH) this.first = packetNumber;
    return true;
  }

  /** One of them has arrived, at a time of the receiver's clock; when the last one has, the path's rate is told what they said. */
  noteArrival(packetNumber: number, sizeBytes: number, arrivalUs: number, tell: Guessing, nowUs: number): void {
    const { first, last, lastArrivalUs } = this;
    if (first < 0 || packetNumber < first) return;
    const rate =
      packetNumber === (last < 0 ? first : last + 1) && arrivalUs > lastArrivalUs
        ? sizeBytes / (arrivalUs - lastArrivalUs)
        : Number.POSITIVE_INFINITY;
    if (last >= 0 || rate === Number.POSITIVE_INFINITY) {
      this.fastest = Math.max(this.fastest, rate);
      this.slowest = Math.min(this.slowest, rate);
    }
    this.last = packetNumber;
    this.lastArrivalUs = arrivalUs;
    if (packetNumber !== first + LENGTH - 1) return;
    const isKnown = this.slowest >= EQUAL * this.fastest && this.fastest < LEAST_GUESS;
    tell.noteTrain(isKnown ? this.fastest : Number.POSITIVE_INFINITY, nowUs);
  }
}

/**
 * What has arrived on one path, and when the other end is told: the ranges of its ACKs (docs/protocol.md §4.2).
 *
 *   datagram ─▶ replay window ─▶ note ─▶ due: at once for a PING or a gap, after 32 datagrams, or after a quarter of a round trip
 *                                      └▶ nothing more for 15 ms: once again, over another path (the last ones may be lost with this one)
 */
import { ReplayWindow } from '../wire/replay.ts';

/** The longest that the peer waits before it acknowledges. Source: docs/protocol.md §4.2. */
export const MAX_ACK_DELAY_US = 10_000;
/** And the shortest, unless a gap or a PING asks at once. */
export const MIN_ACK_DELAY_US = 1_000;
/** An acknowledgement goes out after this many datagrams at the latest. */
const ACK_EVERY = 32;
/** Ranges of an ACK. */
const MOST_RANGES = 32;
/** An ACK reaches down so far at least, and at most. */
const REPEATED = 64;
const MOST_NUMBERS = 4096;
/** A path that brought so many datagrams without such a pause, and then nothing, may be dead, and its last ACKs lost. */
export const PAUSE_US = 15_000;
const BUSY_DATAGRAMS = 16;

/** The packet numbers that came, and the acknowledgement that is due for them. */
export class Arrivals {
  readonly replay = new ReplayWindow();
  isDue = false;
  deadlineUs = Number.POSITIVE_INFINITY;
  /** The ACK that is due shall go over another path: this one has fallen silent. */
  isSilent = false;
  /** When the largest packet number came. */
  largestUs = 0;

  private unacked = 0;
  private busy = 0;
  private pauseUs = Number.POSITIVE_INFINITY;
  private readonly ackedLargest = new Float64Array(4).fill(-1);
  private count = 0;

  /** A datagram was authenticated. `eliciting`: the peer wants to hear of it. */
  note(packetNumber: number, eliciting: boolean, srttUs: number, nowUs: number): void {
    if (packetNumber === this.replay.largest) this.largestUs = nowUs;
    if (!eliciting) return;
    if (this.unacked++ === 0) {
      this.deadlineUs = nowUs + Math.max(MIN_ACK_DELAY_US, Math.min(MAX_ACK_DELAY_US, srttUs / 4));
    }
    if (this.unacked >= ACK_EVERY) this.isDue = true;
    if (++this.busy >= BUSY_DATAGRAMS) this.pauseUs = nowUs + PAUSE_US;
  }

  /** When `handleTimeout` wants to be called. */
  pollTimeout(): number {
    return Math.min(this.deadlineUs, this.pauseUs);
  }

  handleTimeout(nowUs: number): void {
    if (nowUs >= this.deadlineUs) this.isDue = true;
    if (nowUs < this.pauseUs) return;
    this.isDue = true;
    this.isSilent = true;
    this.busy = 0;
    this.pauseUs = Number.POSITIVE_INFINITY;
  }

  /** The ranges to acknowledge, as pairs of whole numbers, newest first. Returns how many; 0 when nothing has come. Shape: `out` holds 64 numbers. */
  read(out: Float64Array): number {
    const { replay } = this;
    let pn = replay.largest;
    if (pn < 0) return 0;
    // Far enough down to repeat what the last four ACKs said, should they be lost, and no further; all of them when the path is silent.
    const repeated = this.isSilent ? 0 : Math.min(this.ackedLargest[this.count & 3], pn - REPEATED);
    const floor = Math.max(0, repeated, pn - MOST_NUMBERS);
    let n = 0;
    while (pn >= floor && n < MOST_RANGES) {
      const top = pn;
      while (pn >= floor && !replay.mayAccept(pn)) pn--;
      out[2 * n] = pn + 1;
      out[2 * n + 1] = top;
      n++;
      while (pn >= floor && replay.mayAccept(pn)) pn--;
    }
    return n;
  }

  /** An ACK has been written. */
  noteSent(): void {
    this.ackedLargest[this.count & 3] = this.replay.largest;
    this.count++;
    this.cancel();
    this.unacked = 0;
  }

  /** Nothing is acknowledged for now. */
  cancel(): void {
    this.isDue = false;
    this.isSilent = false;
    this.deadlineUs = Number.POSITIVE_INFINITY;
  }

  /** The numbers begin again at 0. */
  reset(): void {
    this.replay.reset();
    this.cancel();
    this.unacked = 0;
    this.busy = 0;
    this.pauseUs = Number.POSITIVE_INFINITY;
    this.ackedLargest.fill(-1);
  }
}

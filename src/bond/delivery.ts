/**
 * The delivery rate of one path: bytes acknowledged over the difference of their arrival times at the receiver; beside it the rate at which
 * the same bytes were sent. A ring of checkpoints holds when they arrived, when they were sent, and how many had been delivered by then.
 *
 * Units: µs, bytes, bytes per µs.
 */

/** Fewer bytes are no measurement: a window grows until it has seen so many. */
const LEAST_BYTES = 12_000;
/** Checkpoints of a window; the ring holds a few windows. */
const GRAIN = 32;
const CHECKPOINTS = 256;
/** The queue grows when the arrivals took so much longer than the sending, and so many times the delay's unrest. */
const GROWTH = 0.05;
const GROWTH_JITTERS = 2;
/** What arrives at less than this of what was sent is no unrest. */
const FAR_BEHIND = 0.75;
const FAR_BEHIND_JITTERS = 5;

/** What arrives of what one path sends. */
export class Delivery {
  /** Bytes delivered in all. */
  total = 0;
  /** Over the last window: delivery rate (0: not known), sending rate of the same bytes. */
  rate = 0;
  sendRate = 0;
  /** Whether the arrivals took longer than the sending; whether the path was short of packets. */
  grows = false;
  limited = true;

  private readonly arrivals = new Float64Array(CHECKPOINTS);
  private readonly sent = new Float64Array(CHECKPOINTS);
  private readonly totals = new Float64Array(CHECKPOINTS);
  private count = 0;
  private oldest = 0;

  begin(): void {
    this.count = 0;
    this.oldest = 0;
    this.rate = 0;
  }

  /** Whether much less arrives than is sent, by more than the delay's unrest explains. */
  fallsBehind = false;

  /** What `total` counts now has arrived at `arrivalUs` and was sent at `sentUs`, both by the receiver's clock: measures over the last `windowUs`. */
  measure(arrivalUs: number, sentUs: number, windowUs: number, jitterUs: number, starvedUs: number): void {
    const { arrivals, sent, totals } = this;
    // A newest checkpoint that is closer to the one before it than the grain is moved, not followed.
    if (this.count >= 2) {
      const before = arrivals[(this.count - 2) % CHECKPOINTS];
      if (arrivals[(this.count - 1) % CHECKPOINTS] - before < windowUs / GRAIN) this.count--;
    }
    const newest = this.count++;
    const n = newest % CHECKPOINTS;
    arrivals[n] = arrivalUs;
    sent[n] = sentUs;
    totals[n] = this.total;
    if (this.oldest < newest - CHECKPOINTS + 1) this.oldest = newest - CHECKPOINTS + 1;
    while (this.oldest < newest) {
      const next = (this.oldest + 1) % CHECKPOINTS;
      if (arrivalUs - arrivals[next] < windowUs || this.total - totals[next] < LEAST_BYTES) break;
      this.oldest++;
    }
    const o = this.oldest % CHECKPOINTS;
    const bytes = this.total - totals[o];
    const arrivalSpan = arrivalUs - arrivals[o];
    const sentSpan = sentUs - sent[o];
    if (arrivalSpan < windowUs / 2 || sentSpan <= 0 || bytes < LEAST_BYTES) {
      this.rate = 0;
      this.sendRate = 0;
      this.grows = false;
      this.fallsBehind = false;
      this.limited = true;
      return;
    }
    this.rate = bytes / arrivalSpan;
    this.sendRate = bytes / sentSpan;
    this.grows = arrivalSpan - sentSpan > Math.max(GROWTH * sentSpan, GROWTH_JITTERS * jitterUs);
    this.fallsBehind = sentSpan < FAR_BEHIND * arrivalSpan && arrivalSpan - sentSpan > FAR_BEHIND_JITTERS * jitterUs;
    this.limited = starvedUs > sent[o];
  }
}

/** A rate without what the delay's unrest at the ends of its window does to it: a mean over another such window. */
export class Steadied {
  private value = 0;
  private sinceUs = 0;

  /** `overUs`: length of the mean; 0: none is needed. */
  note(rate: number, overUs: number, nowUs: number): number {
    const part = overUs === 0 || this.value === 0 || rate === 0 ? 1 : Math.min(1, (nowUs - this.sinceUs) / overUs);
    this.value += (rate - this.value) * part;
    this.sinceUs = nowUs;
    return this.value;
  }
}

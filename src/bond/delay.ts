/**
 * The one-way delay of one path, and what of it is queue (docs/protocol.md §6).
 *
 *   delay of each acknowledgement ─▶ least of a span (half a round trip) ─▶ least of the last spans ─ least of 10 s = queue
 *                                          └─▶ how far it is off the line through its neighbours: unrest
 *
 * On a link without unrest the last two spans count. Where the delay has unrest, more of them do: the least of many does not contain it.
 * A delay that many spans have in common but the last two is not seen at once then; so arrivals that fall far behind make two count again.
 *
 * Units: µs, up to one constant for all paths (the offset of the two clocks).
 */

/** At most so many spans count, one more for each so much of unrest, and no more time than this. */
const SPANS = 16;
const SPAN_UNREST_US = 1_000;
const MOST_US = 500_000;
const SPAN_LEAST_US = 5_000;
const SPAN_MOST_US = 50_000;
/** Greater steps of the delay are another route, or a sleep. */
const MAX_UNREST_US = 80_000;
/** Spans over which unrest is a mean. */
const UNREST_SPANS = 16;
/** What packets meet is a mean over so much time: a rise is believed sooner than a fall. */
const RISE_US = 20_000;
const FALL_US = 50_000;
/** Half of the time over which the base delay is the least: clocks drift, routes change. */
const BASE_HALF_WINDOW_US = 5_000_000;

/** Delay, queue and unrest of one direction of one path. */
export class Delay {
  /** The delay as it stands now. */
  standingUs = 0;
  /** What of it is queue. */
  queueUs = 0;
  /** How much the link changes the delay by itself, from one span to the next. */
  jitterUs = 0;

  /** What packets met lately: a mean. */
  recentUs = 0;

  private recentAtUs = 0;
  private baseUs = Number.POSITIVE_INFINITY;
  private baseBeforeUs = Number.POSITIVE_INFINITY;
  private baseSinceUs = 0;
  /** Least delay of the span under way, of those before it (a ring), and of as many of these as count now. */
  private spanUs = Number.POSITIVE_INFINITY;
  private spanSinceUs = 0;
  private readonly spans = new Float64Array(SPANS).fill(Number.POSITIVE_INFINITY);
  private span = 0;
  private spansUs = Number.POSITIVE_INFINITY;
  private used = 1;
  private samples = 0;

  begin(nowUs: number): void {
    this.queueUs = 0;
    this.forgetUnrest();
    this.baseUs = Number.POSITIVE_INFINITY;
    this.baseBeforeUs = Number.POSITIVE_INFINITY;
    this.baseSinceUs = nowUs;
    this.spans.fill(Number.POSITIVE_INFINITY);
    this.spanUs = Number.POSITIVE_INFINITY;
    this.spansUs = Number.POSITIVE_INFINITY;
    this.used = 1;
    this.spanSinceUs = nowUs;
  }

  /**
   * A delay. `datagramUs`: what a full datagram takes at the path's rate, which is no unrest. `isCalm`: the queue is not one of our own
   * making that comes and goes. `fallsBehind`: much less arrives than is sent, which no unrest does.
   */
  note(owdUs: number, srttUs: number, datagramUs: number, isCalm: boolean, fallsBehind: boolean, nowUs: number): void {
    const overUs = owdUs > this.recentUs ? RISE_US : FALL_US;
    this.recentUs += (owdUs - this.recentUs) * Math.min(1, (nowUs - this.recentAtUs) / overUs);
    this.recentAtUs = nowUs;
    if (nowUs - this.baseSinceUs > BASE_HALF_WINDOW_US) {
      this.baseBeforeUs = this.baseUs;
      this.baseUs = owdUs;
      this.baseSinceUs = nowUs;
    } else if (owdUs < this.baseUs) this.baseUs = owdUs;
    if (nowUs - this.spanSinceUs > spanLengthUs(srttUs)) this.nextSpan(owdUs, srttUs, datagramUs, isCalm, nowUs);
    else if (owdUs < this.spanUs) this.spanUs = owdUs;
    this.standingUs = Math.min(this.spanUs, fallsBehind ? this.spans[this.span] : this.spansUs);
    this.queueUs = Math.max(0, this.standingUs - this.leastUs);
  }

  /** The least of the last ten seconds. */
  get leastUs(): number {
    return Math.min(this.baseUs, this.baseBeforeUs);
  }

  /** The queue by the span under way and so many before it, with whatever unrest is in them. */
  lastQueueUs(spans: number): number {
    let least = this.spanUs;
    for (let i = 0; i < spans; i++) least = Math.min(least, this.spans[(this.span + SPANS - i) % SPANS]);
    return Math.max(0, least - this.leastUs);
  }

  /** The delay as it is now holds no queue. */
  rebase(nowUs: number): void {
    this.baseUs = this.standingUs;
    this.baseBeforeUs = this.standingUs;
    this.baseSinceUs = nowUs;
    this.queueUs = 0;
  }

  /** What was taken for unrest was of our own making. */
  forgetUnrest(): void {
    this.jitterUs = 0;
    this.samples = 0;
  }

  /** The time over which the queue is the least. */
  windowUs(srttUs: number): number {
    return spanLengthUs(srttUs) * (1 + this.used);
  }

  private nextSpan(owdUs: number, srttUs: number, datagramUs: number, isCalm: boolean, nowUs: number): void {
    const { spans } = this;
    if (isCalm) this.noteUnrest(this.spanUs, spans[this.span], spans[(this.span + SPANS - 1) % SPANS]);
    this.span = (this.span + 1) % SPANS;
    spans[this.span] = this.spanUs;
    const most = Math.min(SPANS, Math.floor(MOST_US / spanLengthUs(srttUs)));
    this.used = Math.min(most, 1 + Math.floor(Math.max(0, this.jitterUs - datagramUs) / SPAN_UNREST_US));
    let least = this.spanUs;
    for (let i = 1; i < this.used; i++) least = Math.min(least, spans[(this.span + SPANS - i) % SPANS]);
    this.spansUs = least;
    this.spanUs = owdUs;
    this.spanSinceUs = nowUs;
  }

  /** How far the middle one of three spans is off the line through its neighbours: a queue that grows or shrinks goes one way for longer. */
  private noteUnrest(thisUs: number, lastUs: number, beforeUs: number): void {
    const off = Math.abs(thisUs - 2 * lastUs + beforeUs) / Math.sqrt(3);
    // (Not so while there are no three: infinite, or no number.)
    if (!(off < MAX_UNREST_US)) return;
    this.jitterUs += (off - this.jitterUs) / Math.min(UNREST_SPANS, ++this.samples + 1);
  }
}

/** A span is half a round trip. */
export function spanLengthUs(srttUs: number): number {
  return Math.max(SPAN_LEAST_US, Math.min(srttUs / 2, SPAN_MOST_US));
}

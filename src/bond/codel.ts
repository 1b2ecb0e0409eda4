/**
 * When CoDel drops, for each bucket of a queue (RFC 8289 §5): its head has waited longer than the target for an interval; then again after an interval /
 * √n, until it has not.
 *
 *   fine ──late for an interval──▶ dropping: now, after 1/√2, 1/√3 … of an interval ──not late──▶ fine
 *     ▲                                └─many at once─▶ resting ─┐
 *     └──────────────────────────────────────────────────────────┘
 */

/** The interval, unless a flow's round trip is longer. Source: RFC 8289 §4.3. */
export const INTERVAL_US = 100_000;

const FINE = 0;
const DROPPING = 1;
const RESTING = 2;

/** The drop law, apart from who is late and what is dropped. */
export class Codel {
  private readonly firstAboveUs: Float64Array;
  private readonly nextUs: Float64Array;
  private readonly count: Int32Array;
  private readonly lastCount: Int32Array;
  private readonly state: Uint8Array;

  /** `buckets`: so many. */
  constructor(buckets: number) {
    this.firstAboveUs = new Float64Array(buckets);
    this.nextUs = new Float64Array(buckets);
    this.count = new Int32Array(buckets);
    this.lastCount = new Int32Array(buckets);
    this.state = new Uint8Array(buckets);
  }

  /** Whether the head of a bucket has been above the target for an interval. `isAbove`: it is now. */
  isLate(b: number, isAbove: boolean, intervalUs: number, nowUs: number): boolean {
    if (this.state[b] === RESTING && nowUs >= this.nextUs[b]) this.state[b] = FINE;
    if (!isAbove || this.state[b] === RESTING) this.firstAboveUs[b] = 0;
    else if (this.firstAboveUs[b] === 0) this.firstAboveUs[b] = nowUs + intervalUs;
    else return nowUs >= this.firstAboveUs[b];
    return false;
  }

  /** A bucket is not late until then. */
  rest(b: number, untilUs: number): void {
    this.nextUs[b] = untilUs;
    this.state[b] = RESTING;
  }

  isDropping(b: number): boolean {
    return this.state[b] === DROPPING;
  }

  /** Whether a bucket that is dropping drops one more now. */
  isDue(b: number, nowUs: number): boolean {
    return this.state[b] === DROPPING && nowUs >= this.nextUs[b];
  }

  /** The first has been dropped. */
  begin(b: number, intervalUs: number, nowUs: number): void {
    const recent = this.count[b] - this.lastCount[b];
    this.count[b] = recent > 1 && nowUs - this.nextUs[b] < 16 * intervalUs ? recent : 1;
    this.lastCount[b] = this.count[b];
    this.state[b] = DROPPING;
    this.nextUs[b] = nowUs + intervalUs / Math.sqrt(this.count[b]);
  }

  /** One more has been dropped; `isLate`: the head is late still. */
  goOn(b: number, isLate: boolean, intervalUs: number): void {
    this.count[b]++;
    if (isLate) this.nextUs[b] += intervalUs / Math.sqrt(this.count[b]);
    else this.state[b] = FINE;
  }

  /** The head is not late any more. */
  end(b: number): void {
    this.state[b] = FINE;
  }
}

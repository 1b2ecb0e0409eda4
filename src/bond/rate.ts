/**
 * The rate of one path: how fast datagrams may leave so that the link is full and its modem's queue is not (docs/protocol.md §6).
 *
 * Two measurements drive it, both in the receiver's clock, so that the way back disturbs neither:
 *   delivery rate    bytes acknowledged ÷ difference of their arrival times
 *   queueing delay   least one-way delay of the last round trip − least of the last 10 s
 *
 *   STARTUP ──queue stands, or growth ends──▶ DRAIN ──queue gone──▶ CRUISE
 *     × 2                                      × 0.6                 1 + (target − queue) / T, and up when there is no queue
 *
 * Units: µs, bytes (outer IP), bytes per µs.
 */

/** Standing queue aimed at in the bottleneck. */
const TARGET_US = 4_000;
/** The same in full datagrams, for slow links. */
const TARGET_DATAGRAMS = 3;
const FULL_DATAGRAM_BYTES = 1500;
/** Half of the time over which the base delay is the least: clocks drift, routes change. */
const BASE_HALF_WINDOW_US = 5_000_000;
/** Least time over which a delivery rate is taken: shorter ones see single packets. */
const RATE_WINDOW_US = 40_000;
/** The queue is drained once in this time, or the base delay would creep up to it. */
const DRAIN_EVERY_US = 3_000_000;
const DRAIN_GAIN = 0.6;
const STARTUP_GAIN = 2;
/** Startup ends after this many rounds without a quarter's growth. Source: BBR (draft-cardwell-iccrg-bbr-congestion-control §4.3.1.1). */
const STARTUP_FLAT_ROUNDS = 3;
const STARTUP_GROWTH = 1.25;
const MIN_GAIN = 0.5;
const MAX_GAIN = 1.25;
/** Loss in a round that ends probing upward, and loss that says the link carries no more than it delivers. */
const LOSS_NO_PROBE = 0.05;
const LOSS_IS_LIMIT = 0.1;
/** A queue that does not shrink for this long although we send less than is delivered is not ours, or the route has changed. */
const STUCK_US = 1_500_000;
const FIRST_DATAGRAMS = 10;
/** 128 kbit/s: below this no measurement is possible. */
const MIN_CAPACITY = 0.016;
/** 100 Gbit/s. */
const MAX_CAPACITY = 12_500;
const CHECKPOINTS = 128;
/** The capacity is the largest delivery rate of so many spans of this length. */
const PEAKS = 8;
const PEAK_US = 250_000;
/** Rounds with a heavy queue, one after the other, after which the peaks are not believed any more. */
const HEAVY_ROUNDS = 4;

const STARTUP = 0;
const DRAIN = 1;
const CRUISE = 2;

/** Congestion control of one direction of one path. No clock: `nowUs` and arrival times are arguments. */
export class RateControl {
  /** What the link is believed to carry. Units: bytes/µs. */
  capacity = MIN_CAPACITY;
  /** What may leave now. Units: bytes/µs. */
  pacing = MIN_CAPACITY;
  /** Standing queue in the bottleneck, µs. */
  queueUs = 0;
  /** One-way delay as it stands now, up to the constant that all paths share. */
  delayUs = 0;
  /** Upper limit said by hand; bytes/µs. */
  cap = MAX_CAPACITY;
  /** The last time the path could have sent and had nothing. */
  starvedUs = 0;

  private mode = STARTUP;
  private baseUs = Number.POSITIVE_INFINITY;
  private baseBeforeUs = Number.POSITIVE_INFINITY;
  private baseSinceUs = 0;
  private standingUs = Number.POSITIVE_INFINITY;
  private standingBeforeUs = Number.POSITIVE_INFINITY;
  private standingSinceUs = 0;
  private readonly arrivals = new Float64Array(CHECKPOINTS);
  private readonly deliveredAt = new Float64Array(CHECKPOINTS);
  private checkpoints = 0;
  private delivered = 0;
  private roundEndsUs = 0;
  private roundAcked = 0;
  private roundLost = 0;
  private lossRate = 0;
  private flatRounds = 0;
  private lastStartupRate = 0;
  private quietRounds = 0;
  private heavyRounds = 0;
  private readonly peaks = new Float64Array(PEAKS);
  private peak = 0;
  private peakSinceUs = 0;
  private sawFull = false;
  private drainedUs = 0;
  private drainUntilUs = 0;
  private stuckSinceUs = 0;
  private stuckQueueUs = 0;

  /** Begins: a first window of ten datagrams spread over the round trip (RFC 6928). */
  begin(rttUs: number, nowUs: number): void {
    const first = (FIRST_DATAGRAMS * FULL_DATAGRAM_BYTES) / Math.max(rttUs, 10_000);
    this.mode = STARTUP;
    this.capacity = this.clamp(Math.max(first, this.capacity / 2));
    this.pacing = this.capacity;
    this.flatRounds = 0;
    this.lastStartupRate = 0;
    this.checkpoints = 0;
    this.baseUs = Number.POSITIVE_INFINITY;
    this.baseBeforeUs = Number.POSITIVE_INFINITY;
    this.standingUs = Number.POSITIVE_INFINITY;
    this.standingBeforeUs = Number.POSITIVE_INFINITY;
    this.baseSinceUs = nowUs;
    this.standingSinceUs = nowUs;
    this.drainedUs = nowUs;
    this.roundEndsUs = nowUs;
    this.starvedUs = nowUs;
    this.queueUs = 0;
  }

  /** Whether the first search for the capacity is over. */
  get settled(): boolean {
    return this.mode !== STARTUP;
  }

  /** Most bytes that may be in flight: what the link holds, and what waits for its acknowledgement. */
  windowBytes(minRttUs: number): number {
    const gain = this.mode === STARTUP ? 3 : 1.5;
    return this.capacity * (minRttUs + 30_000) * gain + 20 * FULL_DATAGRAM_BYTES;
  }

  /** Datagrams were found lost. */
  handleLost(bytes: number): void {
    this.roundLost += bytes;
  }

  /**
   * An acknowledgement came: `bytes` newly acknowledged, the largest of them having arrived at `arrivalUs` of the receiver's clock
   * after a one-way delay of `owdUs` (up to a constant).
   */
  handleAck(bytes: number, arrivalUs: number, owdUs: number, srttUs: number, nowUs: number): void {
    this.delivered += bytes;
    this.roundAcked += bytes;
    const i = this.checkpoints % CHECKPOINTS;
    this.arrivals[i] = arrivalUs;
    this.deliveredAt[i] = this.delivered;
    this.checkpoints++;
    this.noteDelay(owdUs, srttUs, nowUs);
    if (nowUs >= this.roundEndsUs) {
      this.endRound();
      this.roundEndsUs = nowUs + Math.max(srttUs, 10_000);
      this.step(srttUs, nowUs, true);
    } else this.step(srttUs, nowUs, false);
  }

  private step(srttUs: number, nowUs: number, newRound: boolean): void {
    const full = this.starvedUs < nowUs - srttUs - RATE_WINDOW_US;
    const target = this.targetUs();
    if (this.mode === STARTUP) {
      const rate = this.rateOver(Math.max(srttUs, 10_000));
      if (rate > this.capacity) this.capacity = this.clamp(rate);
      if (newRound) {
        if (rate >= this.lastStartupRate * STARTUP_GROWTH) {
          this.lastStartupRate = rate;
          this.flatRounds = 0;
        } else if (this.starvedUs < nowUs - srttUs - 10_000) this.flatRounds++;
      }
      this.pacing = this.clamp(this.capacity * STARTUP_GAIN);
      const crowded = this.queueUs > 2 * target + 2_000;
      if (crowded || this.lossRate > LOSS_IS_LIMIT || this.flatRounds >= STARTUP_FLAT_ROUNDS) {
        if (crowded && rate > 0) this.capacity = this.clamp(rate);
        this.mode = DRAIN;
        this.drainUntilUs = nowUs + 4 * this.queueUs + 2 * srttUs;
        this.drainedUs = nowUs;
      }
    }
    if (this.mode === DRAIN) {
      this.pacing = this.clamp(this.capacity * DRAIN_GAIN);
      if (this.queueUs <= target || nowUs >= this.drainUntilUs) {
        this.mode = CRUISE;
        this.stuckSinceUs = nowUs;
        this.quietRounds = 0;
        this.heavyRounds = 0;
        this.peaks.fill(0);
        this.peaks[this.peak] = this.capacity;
        this.peakSinceUs = nowUs;
      }
      return;
    }
    if (this.mode === CRUISE) this.cruise(srttUs, nowUs, newRound, full, target);
  }

  private cruise(srttUs: number, nowUs: number, newRound: boolean, full: boolean, target: number): void {
    const rate = this.rateOver(Math.max(srttUs, RATE_WINDOW_US));
    const { peaks } = this;
    if (rate > peaks[this.peak]) peaks[this.peak] = rate;
    if (full || this.queueUs > target) this.sawFull = true;
    if (newRound) {
      // What a starved path delivers says nothing of the link, so only full times push old peaks out.
      if (this.sawFull && nowUs - this.peakSinceUs > Math.max(PEAK_US, 4 * srttUs)) this.nextPeak(nowUs);
      this.heavyRounds = this.queueUs > 2 * target + 5_000 ? this.heavyRounds + 1 : 0;
      this.quietRounds = full && this.queueUs < target / 2 ? this.quietRounds + 1 : 0;
      // The queue stays although it is being drained: the link carries less than its peaks say.
      const isLess = this.heavyRounds >= HEAVY_ROUNDS || (full && this.lossRate > LOSS_IS_LIMIT);
      if (isLess && rate > 0) peaks.fill(rate);
    }
    let most = 0;
    for (let i = 0; i < PEAKS; i++) if (peaks[i] > most) most = peaks[i];
    this.capacity = this.clamp(most);

    const horizonUs = 2 * (srttUs + this.standingWindowUs(srttUs)) + 20_000;
    let gain = 1 + (target - this.queueUs) / horizonUs;
    if (this.lossRate > LOSS_NO_PROBE) gain = Math.min(gain, 1);
    else if (this.quietRounds > 2)
      gain = Math.max(gain, Math.min(MAX_GAIN, 1 + 0.02 * 2 ** Math.min(8, this.quietRounds - 2)));
    gain = Math.max(MIN_GAIN, Math.min(MAX_GAIN, gain));

    if (this.queueUs < 1_000) this.drainedUs = nowUs;
    if (nowUs - this.drainedUs > DRAIN_EVERY_US) {
      // Open loop: the queue is known, so the time to empty it is; waiting to see it empty would waste a round trip.
      this.drainUntilUs = nowUs + this.queueUs / (1 - DRAIN_GAIN) + 1_000;
      this.drainedUs = nowUs;
    }
    if (nowUs < this.drainUntilUs) gain = Math.min(gain, DRAIN_GAIN);
    this.pacing = this.clamp(this.capacity * gain);
    this.watchBase(gain, nowUs);
  }

  private nextPeak(nowUs: number): void {
    this.peak = (this.peak + 1) % PEAKS;
    this.peaks[this.peak] = 0;
    this.peakSinceUs = nowUs;
    this.sawFull = false;
  }

  /** Takes the present delay for the base when a queue that we starve does not shrink. */
  private watchBase(gain: number, nowUs: number): void {
    if (gain > 0.85 || this.queueUs < this.stuckQueueUs * 0.8) {
      this.stuckSinceUs = nowUs;
      this.stuckQueueUs = this.queueUs;
    } else if (nowUs - this.stuckSinceUs > STUCK_US) {
      this.baseUs = this.delayUs;
      this.baseBeforeUs = this.delayUs;
      this.baseSinceUs = nowUs;
      this.queueUs = 0;
      this.stuckSinceUs = nowUs;
    }
  }

  private endRound(): void {
    const total = this.roundAcked + this.roundLost;
    this.lossRate = total > 10 * FULL_DATAGRAM_BYTES ? this.roundLost / total : this.lossRate * 0.5;
    this.roundAcked = 0;
    this.roundLost = 0;
  }

  private noteDelay(owdUs: number, srttUs: number, nowUs: number): void {
    if (nowUs - this.baseSinceUs > BASE_HALF_WINDOW_US) {
      this.baseBeforeUs = this.baseUs;
      this.baseUs = owdUs;
      this.baseSinceUs = nowUs;
    } else if (owdUs < this.baseUs) this.baseUs = owdUs;
    if (nowUs - this.standingSinceUs > this.standingWindowUs(srttUs) / 2) {
      this.standingBeforeUs = this.standingUs;
      this.standingUs = owdUs;
      this.standingSinceUs = nowUs;
    } else if (owdUs < this.standingUs) this.standingUs = owdUs;
    this.delayUs = Math.min(this.standingUs, this.standingBeforeUs);
    this.queueUs = Math.max(0, this.delayUs - Math.min(this.baseUs, this.baseBeforeUs));
  }

  private standingWindowUs(srttUs: number): number {
    return Math.max(10_000, Math.min(srttUs, 100_000));
  }

  private targetUs(): number {
    return Math.max(TARGET_US, (TARGET_DATAGRAMS * FULL_DATAGRAM_BYTES) / this.capacity);
  }

  /** Delivery rate over the last `windowUs` of the receiver's clock; 0 when that is not known yet. */
  private rateOver(windowUs: number): number {
    const newest = this.checkpoints - 1;
    const oldest = Math.max(0, this.checkpoints - CHECKPOINTS);
    const arrivalUs = this.arrivals[newest % CHECKPOINTS];
    let i = newest;
    while (i > oldest && arrivalUs - this.arrivals[i % CHECKPOINTS] < windowUs) i--;
    const spanUs = arrivalUs - this.arrivals[i % CHECKPOINTS];
    if (spanUs < windowUs / 2 || spanUs <= 0) return 0;
    return (this.deliveredAt[newest % CHECKPOINTS] - this.deliveredAt[i % CHECKPOINTS]) / spanUs;
  }

  private clamp(rate: number): number {
    return Math.max(MIN_CAPACITY, Math.min(rate, this.cap, MAX_CAPACITY));
  }
}

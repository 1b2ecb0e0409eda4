/**
 * The rate of one path: how fast datagrams may leave so that the link is full and its modem's queue is not (docs/protocol.md §6).
 *
 * Two measurements drive it, both in the receiver's clock, so that the way back disturbs neither:
 *   delivery rate    bytes acknowledged ÷ difference of their arrival times; beside it, the rate at which the same bytes were sent
 *   queueing delay   least one-way delay of the last round trip − least of the last 10 s
 *
 *   STARTUP ──queue stands, or growth ends──▶ DRAIN ──queue gone──▶ CRUISE
 *     × 2                                      × 0.6                 1 + (target − queue) / T, and up when there is no queue
 *
 * What was delivered bounds the capacity from below at any time; from above only while the link was kept busy. So a path that had
 * nothing to send, or that we held back ourselves, does not lose its capacity.
 *
 * Units: µs, bytes (outer IP), bytes per µs.
 */
import { Delay, spanLengthUs } from './delay.ts';
import { Delivery, Steadied } from './delivery.ts';
import { Loss } from './loss.ts';
import { Peaks } from './peaks.ts';
import { firstGuess } from './train.ts';
import { TRIAL_SPANS, Trial } from './trial.ts';

/** Standing queue aimed at in the bottleneck. */
const TARGET_US = 4_000;
/** The same in full datagrams, for slow links: on a steady one, and on one that loses or whose delay wanders, where fewer cannot be told from none. */
const TARGET_DATAGRAMS = 0.8;
const UNSTEADY_TARGET_DATAGRAMS = 3;
const STEADY_LOSS = 0.01;
const STEADY_UNREST_US = 1_000;
const STEADY_FOR_US = 2_000_000;
const FULL_DATAGRAM_BYTES = 1500;
/** The target grows with the delay's own unrest, which must not pass for a queue, up to this. */
const MAX_TARGET_US = 40_000;
/** A packet may be late by so many times the delay's unrest. */
const LATE_UNREST = 6;
/** Least time over which a delivery rate is taken: shorter ones see single packets; and in multiples of the delay's unrest. */
const RATE_WINDOW_US = 40_000;
const RATE_WINDOW_JITTERS = 12;
const MAX_RATE_WINDOW_US = 400_000;
/** The queue is drained once in this time, or the base delay would creep up to it. */
const DRAIN_EVERY_US = 3_000_000;
const DRAIN_GAIN = 0.6;
/** A queue of which so much is left after it should have been drained is none. */
const KEPT = 0.6;
/** In flight may be, besides what a round trip holds, what waits for its acknowledgement, and what the delay's unrest keeps on the way (both ways). */
const WINDOW_EXTRA_US = 30_000;
const WINDOW_JITTERS = 8;
const STARTUP_GAIN = 2;
/** Startup ends after this many rounds without a quarter's growth. Source: BBR (draft-cardwell-iccrg-bbr-congestion-control §4.3.1.1). */
const STARTUP_FLAT_ROUNDS = 3;
const STARTUP_GROWTH = 1.25;
const MIN_GAIN = 0.5;
const GROWING_GAIN = 0.8;
const MAX_GAIN = 1.25;
/** Loss in a round, beyond the link's own, that ends probing upward. */
const LOSS_NO_PROBE = 0.05;
/** A datagram that waited so long may have been followed by one that found the queue full. */
const QUEUED_US = 10_000;
const QUEUED_DATAGRAMS = 4;
const QUEUED_WITHIN_US = 1_000_000;
/** The link is busy when we send so much of what it is thought to carry, and the first guess was too much when it delivers so much of that. */
const BUSY = 0.7;
const TOO_MUCH = 0.9;
/** A queue that does not shrink for this long although we send less than is delivered is not ours, or the route has changed. */
const STUCK_US = 1_500_000;
/** Where the delay has so much unrest, it does not show a small queue: trials (trial.ts) show what more is delivered. */
const RESTLESS_US = 2_000;
/** Fewer bytes within so long make no queue. */
const TRICKLE_BYTES = 6_000;
const TRICKLE_US = 150_000;
/** 128 kbit/s: below this no measurement is possible. */
const MIN_CAPACITY = 0.016;
/** 100 Gbit/s. */
const MAX_CAPACITY = 12_500;
/** Rounds with a heavy and growing queue, no further apart than this, after which the peaks are not believed any more. */
const HEAVY_ROUNDS = 3;
const HEAVY_APART_US = 1_000_000;
const HEAVY_LEAST_APART_US = 50_000;
const HEAVY_US = 5_000;
const HEAVY_CAP_GROWTH = 1.15;
/** The same once no queue stands any more for more rounds than one. */
const QUIET_CAP_GROWTH = 1.3;

const STARTUP = 0;
const DRAIN = 1;
const CRUISE = 2;

/** Congestion control of one direction of one path. No clock: `nowUs` and arrival times are arguments. */
export class RateControl {
  /** What the link is believed to carry. Units: bytes/µs. */
  capacity = MIN_CAPACITY;
  /** What may leave now. Units: bytes/µs. */
  pacing = MIN_CAPACITY;
  /** Upper limit said by hand; bytes/µs. */
  cap = MAX_CAPACITY;
  readonly loss = new Loss();
  readonly delay = new Delay();
  readonly delivery = new Delivery();
  /** The last time the path could have sent and had nothing. */
  starvedUs = 0;

  private mode = STARTUP;
  private slowRate = Number.POSITIVE_INFINITY;
  private readonly steady = new Steadied();
  private roundEndsUs = 0;
  /** When a datagram last came that had waited. */
  private queuedUs = Number.NEGATIVE_INFINITY;
  private capacityBeforeCut = 0;
  private flatRounds = 0;
  private lastStartupRate = 0;
  private quietRounds = 0;
  private heavyRounds = 0;
  /** The fastest that what was sent in this round came apart. */
  private apartRate = 0;
  private readonly peaks = new Peaks();
  private heavyUs = 0;
  private heavyRate = 0;
  /** The fastest that was delivered in this round while a heavy queue stood. */
  private heavySeen = 0;
  private heavyCap = MAX_CAPACITY;
  private drainedUs = 0;
  private drainUntilUs = 0;
  private drainFromUs = 0;
  private checkUs = Number.POSITIVE_INFINITY;
  private readonly trial = new Trial();
  private stuckSinceUs = 0;
  /** When the link last lost much or was restless, or was not known well enough to tell. */
  private unsteadyUs = 0;
  private isSteady = false;
  /** When it last lost much, was restless, became slower or was filled for the first time. */
  private unsureUs = Number.NEGATIVE_INFINITY;
  private stuckQueueUs = 0;
  /** What was acknowledged lately (a mean that fades), and when the last was. */
  private recentBytes = 0;
  private ackedUs = 0;

  /** Begins, with a guess. */
  begin(rttUs: number, nowUs: number): void {
    this.mode = STARTUP;
    this.unsteadyUs = nowUs;
    this.capacity = this.clamp(Math.max(Math.min(firstGuess(rttUs), this.slowRate), this.capacity / 2));
    this.pacing = this.capacity;
    this.flatRounds = 0;
    this.heavyRounds = 0;
    this.heavyCap = MAX_CAPACITY;
    this.lastStartupRate = 0;
    this.delay.begin(nowUs);
    this.delivery.begin();
    this.trial.cancel();
    this.drainedUs = nowUs;
    this.roundEndsUs = nowUs;
    this.starvedUs = nowUs;
  }

  /** A train (train.ts) came apart at this rate; Infinity: it did not tell. Less than any first guess, it is the better one, now and when the path comes back. */
  noteTrain(rate: number, nowUs: number): void {
    this.slowRate = rate;
    if (this.mode !== STARTUP || rate >= this.capacity) return;
    this.capacity = this.clamp(rate);
    this.pacing = this.capacity;
    this.settle(nowUs);
  }

  /** Standing queue in the bottleneck, µs. */
  get queueUs(): number {
    return this.delay.queueUs;
  }

  /** One-way delay as it stands now, up to the constant that all paths share. */
  get delayUs(): number {
    return this.delay.standingUs;
  }

  /** One-way delay without a queue, up to the constant that all paths share. */
  get leastUs(): number {
    return this.delay.standingUs - this.delay.queueUs;
  }

  /** How much the link changes the delay by itself, from one span to the next; that it sends whole datagrams is no unrest. */
  get unrestUs(): number {
    return Math.max(0, this.delay.jitterUs - FULL_DATAGRAM_BYTES / this.capacity);
  }

  /** The one-way delay that packets had lately, their mean, not their least. */
  get recentUs(): number {
    return this.delay.recentUs;
  }

  /** Whether a packet may meet another delay than those before it did: the link loses, is restless, has just become slower, or is being filled for the first time. */
  isUnsure(nowUs: number): boolean {
    return nowUs - this.unsureUs < STEADY_FOR_US;
  }

  /** By how much a packet is later in the mean than the earliest of many. */
  get lateMeanUs(): number {
    return (LATE_UNREST / 2) * this.unrestUs;
  }

  /** The one-way delay of a packet that is late. */
  get lateUs(): number {
    return this.delayUs + LATE_UNREST * this.unrestUs;
  }

  /** Sets or takes away the upper limit; it holds at once. Units: bit/s. */
  setCap(bps: number | undefined): void {
    this.cap = bps === undefined ? MAX_CAPACITY : bps / 8e6;
    this.capacity = this.clamp(this.capacity);
    this.pacing = this.clamp(this.pacing);
  }

  /** Whether the first search for the capacity is over. */
  get settled(): boolean {
    return this.mode !== STARTUP;
  }

  /** Most bytes that may be in flight: what the link holds, and what waits for its acknowledgement. */
  windowBytes(minRttUs: number): number {
    const gain = this.mode === STARTUP ? 3 : 1.5;
    return (
      this.capacity * (minRttUs + WINDOW_EXTRA_US + WINDOW_JITTERS * this.unrestUs) * gain + 20 * FULL_DATAGRAM_BYTES
    );
  }

  /** Bytes acknowledged out of turn: they count, but say nothing about time. */
  noteDelivered(bytes: number): void {
    this.delivery.total += bytes;
  }

  /**
   * An acknowledgement came: `bytes` newly acknowledged, the largest of them having arrived at `arrivalUs` of the receiver's clock
   * after a one-way delay of `owdUs` (up to a constant).
   */
  handleAck(bytes: number, arrivalUs: number, owdUs: number, srttUs: number, nowUs: number): void {
    this.noteDelivered(bytes);
    this.recentBytes = this.recentBytes * Math.exp((this.ackedUs - nowUs) / TRICKLE_US) + bytes;
    this.ackedUs = nowUs;
    // The first guess, where it is too much, makes a queue that comes and goes: no unrest of the link. A trickle makes none.
    const isCalm = this.mode !== STARTUP || this.delay.queueUs < TARGET_US || this.recentBytes < TRICKLE_BYTES;
    this.delay.note(owdUs, srttUs, FULL_DATAGRAM_BYTES / this.capacity, isCalm, this.delivery.fallsBehind, nowUs);
    const windowUs = this.rateWindowUs(srttUs);
    this.delivery.measure(arrivalUs, arrivalUs - owdUs, windowUs, this.delay.jitterUs, this.starvedUs);
    const queuedUs = Math.max(QUEUED_US, (QUEUED_DATAGRAMS * FULL_DATAGRAM_BYTES) / this.capacity);
    if (owdUs - this.delay.leastUs > queuedUs) this.queuedUs = nowUs;
    const isUnsure = this.loss.mean > STEADY_LOSS || this.unrestUs > STEADY_UNREST_US;
    if (isUnsure || this.mode === STARTUP) this.unsteadyUs = nowUs;
    if (isUnsure || (this.mode === STARTUP && this.recentBytes > TRICKLE_BYTES)) this.unsureUs = nowUs;
    this.isSteady = nowUs - this.unsteadyUs > STEADY_FOR_US;
    const newRound = nowUs >= this.roundEndsUs;
    if (newRound) {
      // The loss is the link's own: what the capacity was, before less was sent because of it, holds.
      if (this.loss.endRound(this.isBusy, this.hadQueue(nowUs))) this.peaks.note(this.capacityBeforeCut);
      this.roundEndsUs = nowUs + Math.max(srttUs, 10_000);
    }
    if (this.mode === STARTUP) this.startUp(srttUs, nowUs, newRound);
    if (this.mode === DRAIN) this.drain(nowUs);
    else if (this.mode === CRUISE) this.cruise(srttUs, nowUs, newRound);
  }

  private startUp(srttUs: number, nowUs: number, newRound: boolean): void {
    const isRestless = this.unrestUs > RESTLESS_US;
    // Arrivals that the link's own delay has bunched make it no faster.
    const rate = isRestless ? Math.min(this.delivery.rate, this.delivery.sendRate) : this.delivery.rate;
    if (rate > this.capacity) this.capacity = this.clamp(rate);
    if (newRound && !this.delivery.limited) {
      if (rate >= this.lastStartupRate * STARTUP_GROWTH) {
        this.lastStartupRate = rate;
        this.flatRounds = 0;
      } else this.flatRounds++;
    }
    // The first guess was too much: what was sent at about that rate came apart on the way.
    const isApart = isRestless
      ? this.delivery.fallsBehind
      : this.delivery.grows && rate < TOO_MUCH * this.delivery.sendRate;
    if (rate > this.apartRate && this.isBusy && isApart) {
      this.apartRate = rate;
    }
    if (newRound && this.apartRate > 0) {
      this.heavyRate = this.heavyRounds++ === 0 ? this.apartRate : Math.max(this.apartRate, this.heavyRate);
      this.apartRate = 0;
    }
    // So much too much that not enough arrives of it to measure a rate.
    if (newRound && this.hadQueue(nowUs) && this.loss.isOverLimit) {
      this.capacity = this.clamp(Math.max(rate, this.capacity / 2));
    }
    this.pacing = this.clamp(this.capacity * STARTUP_GAIN);
    // A late packet or two on an idle path are no queue: it takes packets enough to see them fall behind.
    const crowded =
      this.queueUs > 2 * this.targetUs() + 2_000 &&
      (rate === 0 || (this.delivery.grows && this.isBusy) || !this.delivery.limited);
    const isTooMuch = this.heavyRounds >= 2;
    const isLossy =
      this.isBusy &&
      (this.loss.isOverLimit || (isRestless && this.hadQueue(nowUs) && this.loss.excess > LOSS_NO_PROBE));
    if (!crowded && !isTooMuch && !isLossy && this.flatRounds < STARTUP_FLAT_ROUNDS) return;
    if (crowded && rate === 0) {
      // What the first guess was put on is slower than that; how slow is known when its packets have come apart.
      this.pacing = this.clamp(this.capacity * DRAIN_GAIN);
      return;
    }
    if (isLossy) this.noteCut();
    if ((crowded || isLossy) && rate > 0) this.capacity = this.clamp(rate);
    else if (isTooMuch) {
      // What came far apart made the delay's steps, too.
      if (this.heavyRate < this.capacity / 2) this.delay.forgetUnrest();
      this.capacity = this.clamp(this.heavyRate);
    }
    this.mode = DRAIN;
    this.drainUntilUs = nowUs + 4 * this.queueUs + 2 * srttUs;
    this.drainedUs = nowUs;
    this.drainFromUs = this.queueUs;
  }

  private drain(nowUs: number): void {
    this.pacing = this.clamp(this.capacity * DRAIN_GAIN);
    if (this.queueUs > this.targetUs() && nowUs < this.drainUntilUs) return;
    if (this.isNotOurs()) {
      // What looked like the end of the link was its own delay: the search goes on.
      this.rebase(nowUs);
      this.mode = STARTUP;
      this.flatRounds = 0;
      this.heavyRounds = 0;
      return;
    }
    if (this.hadQueue(nowUs)) this.loss.forgetOverflow();
    this.settle(nowUs);
  }

  /** The first search is over. */
  private settle(nowUs: number): void {
    this.mode = CRUISE;
    this.drainUntilUs = 0;
    this.checkUs = Number.POSITIVE_INFINITY;
    this.stuckSinceUs = nowUs;
    this.quietRounds = 0;
    this.heavyRounds = 0;
    this.peaks.begin(this.capacity, nowUs);
  }

  private cruise(srttUs: number, nowUs: number, newRound: boolean): void {
    const target = this.targetUs();
    this.estimate(target, srttUs, nowUs, newRound);

    const horizonUs = 2 * (srttUs + this.delay.windowUs(srttUs)) + 20_000;
    let gain = 1 + (target - this.queueUs) / horizonUs;
    // However long a rise takes to be seen, a fall is seen at once: what is clearly a queue may be taken down faster.
    const heavyUs = this.queueUs - 2 * target - HEAVY_US;
    if (heavyUs > 0) gain -= heavyUs / (2 * (srttUs + 2 * spanLengthUs(srttUs)) + 20_000);
    if (this.loss.excess > LOSS_NO_PROBE) gain = Math.min(gain, 1);
    else if (this.quietRounds > 2)
      gain = Math.max(gain, Math.min(MAX_GAIN, 1 + 0.02 * 2 ** Math.min(8, this.quietRounds - 2)));
    gain = Math.max(MIN_GAIN, Math.min(MAX_GAIN, gain));

    if (this.unrestUs > RESTLESS_US) gain = Math.max(gain, this.tryMore(target, srttUs, nowUs));

    if (this.queueUs < 1_000) this.drainedUs = nowUs;
    if (nowUs - this.drainedUs > DRAIN_EVERY_US) {
      // Open loop: the queue is known, so the time to empty it is; waiting to see it empty would waste a round trip.
      this.drainUntilUs = nowUs + this.queueUs / (1 - DRAIN_GAIN) + 1_000;
      this.drainedUs = nowUs;
      this.drainFromUs = this.queueUs;
      this.checkUs = this.drainUntilUs + srttUs + spanLengthUs(srttUs);
    }
    if (nowUs >= this.checkUs) {
      this.checkUs = Number.POSITIVE_INFINITY;
      if (this.drainFromUs > target && this.isNotOurs()) this.rebase(nowUs);
    }
    if (nowUs < this.drainUntilUs) gain = Math.min(gain, DRAIN_GAIN);
    this.pacing = this.clamp(this.capacity * gain);
    // What made a heavy queue a moment ago is tried again step by step.
    if (newRound) this.heavyCap *= this.quietRounds > 1 ? QUIET_CAP_GROWTH : HEAVY_CAP_GROWTH;
    this.pacing = Math.min(this.pacing, this.clamp(this.heavyCap));
    // No faster than what is delivered while the queue grows, whatever the capacity was.
    const grows = this.unrestUs > RESTLESS_US ? this.delivery.fallsBehind : this.delivery.grows;
    if (grows && this.queueUs > target && this.delivery.rate > 0) {
      this.pacing = Math.min(this.pacing, this.clamp(this.delivery.rate * Math.max(gain, GROWING_GAIN)));
    }
    this.watchBase(gain, nowUs);
  }

  /**
   * The capacity: the largest delivery rate of about two seconds in which the path was kept busy. It is lowered at once only by a queue that
   * stays and grows although we drain it; a short rise of the delay (a busy machine, a late timer) passes.
   */
  private estimate(target: number, srttUs: number, nowUs: number, newRound: boolean): void {
    const { peaks } = this;
    // Arrivals closer together than the packets were sent have been bunched on the way: the link is not faster for it.
    const safe = this.steady.note(
      Math.min(this.delivery.rate, this.delivery.sendRate),
      this.unrestUs > RESTLESS_US ? RATE_WINDOW_JITTERS * this.unrestUs : 0,
      nowUs,
    );
    peaks.note(safe);
    if (!this.delivery.limited || (this.isBusy && this.delivery.grows)) peaks.noteFull();
    // Whether it grows or only stands, and whoever keeps it: while a queue stands, what is delivered is what the link carries. Where there is unrest, it
    // must be seen to grow.
    const isSure = this.unrestUs < RESTLESS_US || (this.isBusy && this.delivery.grows);
    if (safe > this.heavySeen && isSure && this.queueUs > 2 * target + HEAVY_US) {
      this.heavySeen = safe;
    }
    if (newRound) {
      peaks.endRound(srttUs, nowUs);
      if (this.heavySeen > 0 && nowUs - this.heavyUs > HEAVY_LEAST_APART_US) this.noteHeavy(this.heavySeen, nowUs);
      this.heavySeen = 0;
      if (this.delivery.limited || this.queueUs > target) this.quietRounds = 0;
      else if (this.queueUs < target / 2) this.quietRounds++;
      else this.quietRounds = Math.max(0, this.quietRounds - 1);
      if (this.isBusy && this.loss.isOverLimit && safe > 0) {
        this.noteCut();
        peaks.lower(safe);
      }
    }
    this.capacity = this.clamp(peaks.most);
  }

  /** Whether we sent about as fast as the link is thought to carry: only then does what arrives slower say something about it. */
  private get isBusy(): boolean {
    return !this.delivery.limited || this.delivery.sendRate > BUSY * this.capacity;
  }

  private noteHeavy(rate: number, nowUs: number): void {
    if (nowUs - this.heavyUs > HEAVY_APART_US) this.heavyRounds = 0;
    this.heavyUs = nowUs;
    this.unsureUs = nowUs;
    this.heavyCap = rate;
    this.heavyRate = this.heavyRounds++ === 0 ? rate : Math.max(rate, this.heavyRate);
    if (this.heavyRounds < HEAVY_ROUNDS) return;
    this.peaks.lower(this.heavyRate);
    this.heavyRounds = 0;
    // The queue is there, and so is what made it: gone in the time that it takes.
    this.drainUntilUs = Math.max(this.drainUntilUs, nowUs + this.queueUs / (1 - DRAIN_GAIN));
  }

  /** The gain of a trial under way, or 0. One that was of use is followed by another at once; what one that was not has put into the queue is drained. */
  private tryMore(target: number, srttUs: number, nowUs: number): number {
    const { trial } = this;
    if (trial.isOver(nowUs)) {
      const queueUs = this.delay.lastQueueUs(TRIAL_SPANS - 1);
      const carried = trial.judge(queueUs, this.starvedUs, this.loss.excess > LOSS_NO_PROBE, nowUs);
      if (carried > 0) this.peaks.note(carried);
      else if (queueUs > target) {
        const tooMuchUs = Math.min(queueUs - target, trial.putUs);
        this.drainUntilUs = Math.max(this.drainUntilUs, nowUs + tooMuchUs / (1 - DRAIN_GAIN));
      }
    }
    const mayTry =
      !this.delivery.limited &&
      this.loss.excess <= LOSS_NO_PROBE &&
      this.queueUs <= 2 * target + HEAVY_US &&
      nowUs >= this.drainUntilUs;
    if (mayTry && trial.isDue(nowUs)) {
      const seenUs = srttUs + TRIAL_SPANS * spanLengthUs(srttUs);
      trial.begin(this.capacity, this.queueUs, this.unrestUs, seenUs, nowUs);
    }
    return trial.gain(nowUs);
  }

  /** Takes the present delay for the base when a queue that we starve does not shrink. */
  private watchBase(gain: number, nowUs: number): void {
    if (gain > 0.85 || this.queueUs < this.stuckQueueUs * 0.8) {
      this.stuckSinceUs = nowUs;
      this.stuckQueueUs = this.queueUs;
    } else if (nowUs - this.stuckSinceUs > STUCK_US) this.rebase(nowUs);
  }

  /** Whether the queue has hardly shrunk although we sent less than the link carries and all of it arrived: then it is no queue of ours. (What overflowed is.) */
  private isNotOurs(): boolean {
    if (this.loss.excess > LOSS_NO_PROBE) return false;
    return this.queueUs > KEPT * this.drainFromUs && !this.delivery.grows && this.delivery.rate > 0;
  }

  private rebase(nowUs: number): void {
    this.delay.rebase(nowUs);
    this.stuckSinceUs = nowUs;
  }

  /** Whether a queue stood lately: what was lost since may have found it full. */
  private hadQueue(nowUs: number): boolean {
    return nowUs - this.queuedUs < QUEUED_WITHIN_US;
  }

  private noteCut(): void {
    this.capacityBeforeCut = this.capacity;
    this.loss.noteCut();
  }

  private rateWindowUs(srttUs: number): number {
    const leastUs = this.mode === STARTUP ? 10_000 : RATE_WINDOW_US;
    return Math.min(MAX_RATE_WINDOW_US, Math.max(srttUs, leastUs, RATE_WINDOW_JITTERS * this.unrestUs));
  }

  private targetUs(): number {
    const datagrams = this.isSteady ? TARGET_DATAGRAMS : UNSTEADY_TARGET_DATAGRAMS;
    const least = Math.max(TARGET_US, (datagrams * FULL_DATAGRAM_BYTES) / this.capacity);
    return Math.max(least, Math.min(MAX_TARGET_US, TARGET_US + this.unrestUs));
  }

  private clamp(rate: number): number {
    return Math.max(MIN_CAPACITY, Math.min(rate, this.cap, MAX_CAPACITY));
  }
}

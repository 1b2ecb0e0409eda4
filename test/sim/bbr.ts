/**
 * BBR version 1 as a model of Linux's: it paces at what was delivered at best over the last ten round trips and keeps two round trips' worth
 * under way. Source: Cardwell et al., draft-cardwell-iccrg-bbr-congestion-control-00. Left out: the policer detection of Linux.
 *
 *   STARTUP ─(three rounds without a quarter more)─▶ DRAIN ─(queue gone)─▶ PROBE_BW, eight phases of a round trip
 *      every 10 s without a shorter round trip: PROBE_RTT, four segments under way for 200 ms
 */
import type { Ack, Congestion } from './congestion.ts';

const HIGH_GAIN = 2885 / 1000;
const DRAIN_GAIN = 1 / HIGH_GAIN;
const CYCLE = [1.25, 0.75, 1, 1, 1, 1, 1, 1] as const;
const CWND_GAIN = 2;
/** Rounds over which the best rate counts. */
const RATE_ROUNDS = 10;
const MIN_RTT_WINDOW_US = 10e6;
const PROBE_RTT_US = 200_000;
const PROBE_RTT_SEGMENTS = 4;
/** Linux paces a percent below the estimate. */
const MARGIN = 0.99;
const FULL_GROWTH = 1.25;
const FULL_ROUNDS = 3;
/** Rounds of each of the two halves over which the largest excess of acknowledgements counts, and its limit in time. */
const EXCESS_ROUNDS = 5;
const EXCESS_LIMIT_US = 100_000;
const FIRST_WINDOW = 10;
/** What leaves at once: this much time's worth, two segments at least, one below 1.2 Mbit/s. */
const BURST_US = 1_000;
const SLOW_PACING = 150_000 / 1448 / 1e6;
/** Room for so many of them on the way down at both ends. */
const BURSTS = 3;

type State = 'startup' | 'drain' | 'probeRate' | 'probeRtt';

export class Bbr implements Congestion {
  cwnd = FIRST_WINDOW;
  ssthresh = Number.POSITIVE_INFINITY;
  readonly isReduced = false;
  /** Until a round trip is known, one of a millisecond is taken. */
  pacing = (HIGH_GAIN * FIRST_WINDOW) / 1_000;
  private readonly maxWindow: number;
  private readonly random: () => number;
  private state: State = 'startup';
  /** The best rates and their rounds, the higher first. Units: segments/µs. */
  private rates: { round: number; rate: number }[] = [];
  /** A rate says nothing if its segment left before so much had arrived: we held back ourselves. */
  private heldBackUntil = -1;
  private round = 0;
  private nextRoundAt = 0;
  private minRttUs = Number.POSITIVE_INFINITY;
  private minRttAtUs = 0;
  private phase = 0;
  private phaseUs = 0;
  private full = 0;
  private fullRounds = 0;
  private probeDoneUs = 0;
  private probeRound = false;
  private saved = 0;
  /** Until this round a loss is answered by sending no more than arrives. */
  private conserveRound = -1;
  private wasInRecovery = false;
  private readonly excess = [0, 0];
  private excessRounds = 0;
  private excessUs = 0;
  private excessSegments = 0;

  constructor(maxWindow: number, random: () => number) {
    this.maxWindow = maxWindow;
    this.random = random;
  }

  /** The flow begins; `rttUs`: of its handshake, which counts for the shortest round trip. */
  begin(nowUs: number, rttUs: number): void {
    this.minRttUs = rttUs;
    this.minRttAtUs = nowUs;
    this.pacing = (HIGH_GAIN * FIRST_WINDOW * MARGIN) / rttUs;
  }

  handleAck(ack: Ack): void {
    const isNewRound = this.noteRound(ack);
    this.noteRate(ack);
    this.noteExcess(ack, isNewRound);
    this.noteFull(ack, isNewRound);
    this.cycle(ack);
    this.noteMinRtt(ack, isNewRound);
    const rate = this.rate();
    const pace = this.gain() * rate * MARGIN;
    // Before the pipe has been full, a slower pace says only that there was not enough to be measured.
    if (rate > 0 && (this.isFull || pace > this.pacing)) this.pacing = pace;
    this.setWindow(ack, rate);
  }

  handleLoss(_nowUs: number, pipe: number): void {
    this.save();
    this.cwnd = Math.max(pipe + 1, PROBE_RTT_SEGMENTS);
    this.conserveRound = this.round + 1;
  }

  handleRecovered(): void {
    this.conserveRound = -1;
    this.cwnd = Math.max(this.cwnd, this.saved);
  }

  handleTimeout(isFirst: boolean, pipe: number): void {
    if (isFirst) this.save();
    this.cwnd = pipe + 1;
    this.full = 0;
    this.conserveRound = this.round + 1;
  }

  handleTimeoutOver(wasForNothing: boolean): void {
    this.handleRecovered();
    if (wasForNothing && !this.isFull) this.fullRounds = 0;
  }

  handleRound(): void {}

  private get isFull(): boolean {
    return this.fullRounds >= FULL_ROUNDS;
  }

  private gain(): number {
    if (this.state === 'startup') return HIGH_GAIN;
    if (this.state === 'drain') return DRAIN_GAIN;
    return this.state === 'probeRate' ? CYCLE[this.phase] : 1;
  }

  private rate(): number {
    return this.rates.length === 0 ? 0 : this.rates[0].rate;
  }

  private noteRound(ack: Ack): boolean {
    if (ack.rateUs === 0 || ack.priorDelivered < this.nextRoundAt) return false;
    this.nextRoundAt = ack.delivered;
    this.round++;
    return true;
  }

  private noteRate(ack: Ack): void {
    if (ack.rateUs === 0) return;
    const rate = ack.rateSegments / ack.rateUs;
    if (ack.priorDelivered <= this.heldBackUntil && rate < this.rate()) return;
    this.rates = this.rates.filter((r) => r.rate > rate && r.round > this.round - RATE_ROUNDS);
    this.rates.push({ round: this.round, rate });
  }

  /** How much more than the rate says arrived at once: receivers and links that collect must not starve us. */
  private noteExcess(ack: Ack, isNewRound: boolean): void {
    if (ack.newly === 0 || ack.rateUs === 0) return;
    if (isNewRound && ++this.excessRounds >= EXCESS_ROUNDS) {
      this.excessRounds = 0;
      this.excess[1] = this.excess[0];
      this.excess[0] = 0;
    }
    const rate = this.rate();
    const expected = rate * (ack.nowUs - this.excessUs);
    if (this.excessSegments <= expected) {
      this.excessSegments = 0;
      this.excessUs = ack.nowUs;
    }
    this.excessSegments += ack.newly;
    const since = this.excessSegments - rate * (ack.nowUs - this.excessUs);
    this.excess[0] = Math.max(this.excess[0], Math.min(since, this.cwnd));
  }

  private noteFull(ack: Ack, isNewRound: boolean): void {
    if (this.isFull || !isNewRound || ack.priorDelivered <= this.heldBackUntil) return;
    const rate = this.rate();
    if (rate >= this.full * FULL_GROWTH) {
      this.full = rate;
      this.fullRounds = 0;
    } else this.fullRounds++;
  }

  /** What is to be under way: so many round trips' worth, and what else there must be room for. */
  private target(gain: number, excess = 0): number {
    const pathful = Number.isFinite(this.minRttUs) ? Math.ceil(gain * this.rate() * this.minRttUs) : FIRST_WINDOW;
    const even = 2 * Math.ceil((pathful + excess + BURSTS * this.burst()) / 2);
    return this.state === 'probeRate' && this.phase === 0 ? even + 2 : even;
  }

  private burst(): number {
    return Math.max(this.pacing < SLOW_PACING ? 1 : 2, Math.floor(this.pacing * BURST_US));
  }

  private cycle(ack: Ack): void {
    if (this.state === 'startup' && this.isFull) this.state = 'drain';
    if (this.state === 'drain' && ack.pipe <= this.target(1)) this.enterProbeRate(ack.nowUs);
    if (this.state !== 'probeRate') return;
    const gain = CYCLE[this.phase];
    const isOver = ack.nowUs - this.phaseUs > this.minRttUs;
    const next =
      gain === 1
        ? isOver
        : gain > 1
          ? isOver && (ack.lost > 0 || ack.pipeBefore >= this.target(gain))
          : isOver || ack.pipeBefore <= this.target(1);
    if (!next) return;
    this.phase = (this.phase + 1) % CYCLE.length;
    this.phaseUs = ack.nowUs;
  }

  private enterProbeRate(nowUs: number): void {
    this.state = 'probeRate';
    // Any phase but the draining one.
    this.phase = (CYCLE.length - 1 - Math.floor(this.random() * (CYCLE.length - 1)) + 1) % CYCLE.length;
    this.phaseUs = nowUs;
  }

  private noteMinRtt(ack: Ack, isNewRound: boolean): void {
    const isExpired = ack.nowUs > this.minRttAtUs + MIN_RTT_WINDOW_US;
    if (ack.rttUs > 0 && (ack.rttUs <= this.minRttUs || isExpired)) {
      this.minRttUs = ack.rttUs;
      this.minRttAtUs = ack.nowUs;
    }
    if (isExpired && this.state !== 'probeRtt' && Number.isFinite(this.minRttUs) && this.round > 0) {
      this.state = 'probeRtt';
      this.save();
      this.probeDoneUs = 0;
    }
    if (this.state !== 'probeRtt') return;
    this.heldBackUntil = ack.delivered + ack.pipe;
    if (this.probeDoneUs === 0) {
      if (ack.pipe > PROBE_RTT_SEGMENTS) return;
      this.probeDoneUs = ack.nowUs + PROBE_RTT_US;
      this.probeRound = false;
      this.nextRoundAt = ack.delivered;
      return;
    }
    this.probeRound ||= isNewRound;
    if (!this.probeRound || ack.nowUs < this.probeDoneUs) return;
    this.minRttAtUs = ack.nowUs;
    this.cwnd = Math.max(this.cwnd, this.saved);
    if (this.isFull) this.enterProbeRate(ack.nowUs);
    else this.state = 'startup';
  }

  /** What the window is to be again after recovery or a look at the round trip. */
  private save(): void {
    this.saved = this.conserveRound < 0 && this.state !== 'probeRtt' ? this.cwnd : Math.max(this.saved, this.cwnd);
  }

  private setWindow(ack: Ack, rate: number): void {
    if (ack.inRecovery && this.round < this.conserveRound) {
      this.cwnd = Math.max(this.cwnd - ack.lost, ack.pipe + ack.newly, PROBE_RTT_SEGMENTS);
    } else {
      this.cwnd = Math.max(this.cwnd - ack.lost, 1);
      if (this.wasInRecovery && !ack.inRecovery) this.cwnd = Math.max(this.cwnd, this.saved);
      const gain = this.state === 'startup' || this.state === 'drain' ? HIGH_GAIN : CWND_GAIN;
      const excess = this.isFull ? Math.min(Math.max(this.excess[0], this.excess[1]), rate * EXCESS_LIMIT_US) : 0;
      const target = this.target(gain, Math.floor(excess));
      if (this.isFull) this.cwnd = Math.min(this.cwnd + ack.newly, target);
      else if (this.cwnd < target || ack.delivered < FIRST_WINDOW) this.cwnd += ack.newly;
      this.cwnd = Math.max(this.cwnd, PROBE_RTT_SEGMENTS);
    }
    this.wasInRecovery = ack.inRecovery;
    if (this.state === 'probeRtt') this.cwnd = Math.min(this.cwnd, PROBE_RTT_SEGMENTS);
    this.cwnd = Math.min(this.cwnd, this.maxWindow);
  }
}

/**
 * Samples of a link → up, degraded, down, with hysteresis, so that an operator's page does not flicker.
 *
 * Bad news of the engine ("the path is down") is believed at once: it has its own probes behind it. Loss is smoothed, and a
 * verdict gets better only after several good samples in a row.
 */
export type Verdict = 'up' | 'degraded' | 'down';

/** What is known about a link since the sample before. */
export interface HealthSample {
  /** The engine's own opinion: the path carries datagrams. */
  alive: boolean;
  /** Datagrams sent, and those of them found lost, since the sample before. */
  sentDatagrams: number;
  lostDatagrams: number;
}

/** Limits between the verdicts. */
export interface HealthLimits {
  /** Smoothed loss above which a link is degraded. */
  enterLoss: number;
  /** Smoothed loss below which it may be up again; less than `enterLoss`, or there is no hysteresis. */
  leaveLoss: number;
  /** Good samples in a row before the verdict gets better. */
  goodSamples: number;
  /** Fewer datagrams than this say nothing about loss. */
  leastDatagrams: number;
}

/** 5 % in, 2 % out: inner TCP over one link suffers visibly from about 2 %, and the engine hides more than that. */
export const HEALTH_LIMITS: HealthLimits = { enterLoss: 0.05, leaveLoss: 0.02, goodSamples: 3, leastDatagrams: 20 };

/** Weight of the newest sample in the smoothed loss: the last three samples or so count. */
const NEWEST = 0.4;

/**
 * The verdict on one link, sample by sample.
 *
 * Invariant: a dead sample gives `down`; a verdict gets better only after `goodSamples` good samples in a row.
 */
export class LinkHealth {
  readonly #limits: HealthLimits;
  #verdict: Verdict = 'down';
  #loss = 0;
  #good = 0;
  #seen = false;

  constructor(limits: HealthLimits = HEALTH_LIMITS) {
    this.#limits = limits;
  }

  get verdict(): Verdict {
    return this.#verdict;
  }

  /** Smoothed share of datagrams lost, 0 to 1. */
  get loss(): number {
    return this.#loss;
  }

  /** Takes a sample and returns the verdict after it. */
  handleSample(sample: HealthSample): Verdict {
    const { enterLoss, leaveLoss, goodSamples, leastDatagrams } = this.#limits;
    if (!sample.alive) {
      this.#good = 0;
      this.#loss = 0;
      this.#seen = true;
      this.#verdict = 'down';
      return this.#verdict;
    }
    if (sample.sentDatagrams >= leastDatagrams) {
      const loss = Math.min(1, sample.lostDatagrams / sample.sentDatagrams);
      this.#loss += NEWEST * (loss - this.#loss);
    }
    if (!this.#seen) {
      // the first word about a link is no change of mind: no need to wait
      this.#seen = true;
      this.#verdict = this.#loss > enterLoss ? 'degraded' : 'up';
      return this.#verdict;
    }
    if (this.#loss > enterLoss) {
      this.#good = 0;
      this.#verdict = 'degraded';
    } else if (this.#verdict !== 'up' && this.#loss < leaveLoss) {
      this.#good++;
      if (this.#good >= goodSamples) {
        this.#verdict = 'up';
        this.#good = 0;
      }
    } else this.#good = 0;
    return this.#verdict;
  }
}

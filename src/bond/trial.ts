/**
 * Trials: whether a link carries more, where its delay has so much unrest that it does not show a small queue (docs/protocol.md §6).
 *
 *   more is sent ─▶ as much as the link carries again ─▶ what stands in its queue now, by the least delay of a few spans ─▶ how much it carried
 *
 * However fast is sent, a trial puts no more into the queue than it takes to be seen above the unrest. Rates of arrival say less: the delay's
 * unrest is in both of their ends.
 *
 * Units: µs, bytes per µs.
 */

/** What a trial puts into the queue of a full link, as a multiple of the unrest, and within these bounds. */
const SEEN_UNREST = 2;
const SEEN_LEAST_US = 10_000;
const SEEN_MOST_US = 40_000;
/** How much more is sent at first, and after each trial of use. */
const GAINS = [1.25, 1.5];
/** A trial was of use when so much more was carried. */
const WON = 1.1;
const AGAIN_US = 3_000_000;
/** Spans of the delay of which the least is taken. With many, what a trial has put into the queue may be gone before they are over. */
export const TRIAL_SPANS = 3;

/** The trial under way, or the next one. No clock: time is an argument. */
export class Trial {
  /** What the last one has put into the queue of a link that carried nothing of it. */
  putUs = 0;

  private startUs = 0;
  private untilUs = 0;
  private judgedUs = Number.POSITIVE_INFINITY;
  private nextUs = 0;
  private wins = 0;
  private from = 0;
  private queueBeforeUs = 0;

  /** What is under way will not be judged. */
  cancel(): void {
    this.untilUs = 0;
    this.judgedUs = Number.POSITIVE_INFINITY;
    this.wins = 0;
  }

  /** What is sent now, as a multiple of the capacity; 0: no trial. */
  gain(nowUs: number): number {
    return nowUs < this.untilUs ? GAINS[this.wins] : 0;
  }

  /** Whether one may begin. */
  isDue(nowUs: number): boolean {
    return this.judgedUs === Number.POSITIVE_INFINITY && nowUs >= this.nextUs;
  }

  /** Begins one at this capacity. `seenUs`: how long it takes until what is sent now is all that the measured queue knows of. */
  begin(capacity: number, queueUs: number, unrestUs: number, seenUs: number, nowUs: number): void {
    const gain = GAINS[this.wins];
    this.putUs = Math.max(SEEN_LEAST_US, Math.min(SEEN_MOST_US, SEEN_UNREST * unrestUs));
    this.from = capacity;
    this.queueBeforeUs = queueUs;
    this.startUs = nowUs;
    this.untilUs = nowUs + this.putUs / (gain - 1);
    this.judgedUs = this.untilUs + seenUs;
  }

  /** Whether it is time to judge. */
  isOver(nowUs: number): boolean {
    return nowUs >= this.judgedUs;
  }

  /**
   * What the link carried of it, or 0 if no more than before. `starvedUs`: when the path was last short of packets: what it has not sent, and a queue that shrank
   * meanwhile, prove nothing. `hasLost`: more than usual.
   */
  judge(queueUs: number, starvedUs: number, hasLost: boolean, nowUs: number): number {
    this.judgedUs = Number.POSITIVE_INFINITY;
    this.nextUs = nowUs;
    if (starvedUs > this.startUs && !hasLost) return 0;
    const lengthUs = this.untilUs - this.startUs;
    const carried = (GAINS[this.wins] * lengthUs) / (lengthUs + Math.max(0, queueUs - this.queueBeforeUs));
    if (carried > WON && !hasLost) {
      this.wins = Math.min(this.wins + 1, GAINS.length - 1);
      return carried * this.from;
    }
    this.wins = 0;
    this.nextUs = nowUs + AGAIN_US;
    return 0;
  }
}

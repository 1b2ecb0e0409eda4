/**
 * Loss by time, as Linux's RACK has it (RFC 8985 §6, tcp_recovery.c): what left before something that has arrived, and has not arrived itself, is lost
 * when the round trip of that and the reordering window have passed. So whatever overtakes the rest of its flow takes that for lost.
 *
 *   noteSent ─▶ ordered by sending time ─▶ latest that arrived │ under way
 *               └ round trip + window passed: lost, else again at `dueUs`
 *
 * The window is nothing until reordering has been seen (a fourth of the shortest round trip before three are known to have arrived); then a fourth of the
 * shortest round trip, and one more for each round trip in which a segment turned out to have been sent twice for nothing.
 */

/** Recoveries without such a turn after which the window is one fourth again. */
const PERSIST_RECOVERIES = 16;
const MOST_STEPS = 255;
const DUP_THRESHOLD = 3;
/** What Linux's timer takes at least: two ticks. */
const TIMER_US = 8_000;

/** What a sender knows besides. */
export interface RackView {
  readonly nowUs: number;
  readonly minRttUs: number;
  readonly srttUs: number;
  readonly sackedOut: number;
  readonly inRecovery: boolean;
  /** Whether the segment is under way, and left last at that time. */
  isUnderWay(seq: number, sentUs: number): boolean;
}

/** The segments of one flow by the time at which they left. */
export class Rack {
  /** When to look again although nothing has arrived; infinite if nothing is in doubt. */
  dueUs = Number.POSITIVE_INFINITY;
  /** A first transmission has arrived after a later one. */
  isReordering = false;
  private seqs: number[] = [];
  private times: number[] = [];
  private front = 0;
  /** The latest sending that is known to have arrived, and its round trip. */
  private sentUs = Number.NEGATIVE_INFINITY;
  private seq = -1;
  private rttUs = 0;
  private isAdvanced = false;
  private steps = 1;
  private persist = 0;
  private isDuplicateSeen = false;
  private deliveredAtStep = 0;

  /** A segment leaves, again or not. */
  noteSent(seq: number, sentUs: number): void {
    this.seqs.push(seq);
    this.times.push(sentUs);
  }

  /** One is known to have arrived. `again`: it was sent more than once, so that it may be an earlier sending that arrived. */
  noteArrived(seq: number, sentUs: number, again: boolean, view: RackView): void {
    const rttUs = view.nowUs - sentUs;
    if (again && rttUs < view.minRttUs) return;
    this.isAdvanced = true;
    this.rttUs = rttUs;
    if (sentUs < this.sentUs || (sentUs === this.sentUs && seq < this.seq)) return;
    this.sentUs = sentUs;
    this.seq = seq;
  }

  /** The receiver says that it got one twice (RFC 2883). */
  noteDuplicate(): void {
    this.isDuplicateSeen = true;
  }

  /** All that was under way when a loss was found has arrived. */
  noteRecovered(): void {
    if (this.persist > 0) this.persist--;
  }

  /** Once an acknowledgement: what had arrived when the latest that arrived was sent, and what has now. */
  adapt(priorDelivered: number, delivered: number): void {
    if (priorDelivered < this.deliveredAtStep) this.isDuplicateSeen = false;
    if (this.isDuplicateSeen) {
      this.steps = Math.min(MOST_STEPS, this.steps + 1);
      this.isDuplicateSeen = false;
      this.deliveredAtStep = delivered;
      this.persist = PERSIST_RECOVERIES;
    } else if (this.persist === 0) this.steps = 1;
  }

  /** Calls `lose` for each that is lost now, which shall not be under way afterwards. Returns how many. */
  findLost(view: RackView, lose: (seq: number) => void): number {
    const { nowUs } = view;
    if (!this.isAdvanced && nowUs < this.dueUs) return 0;
    this.isAdvanced = false;
    this.dueUs = Number.POSITIVE_INFINITY;
    const windowUs = this.windowUs(view);
    let lost = 0;
    for (; this.front < this.seqs.length; this.front++) {
      const seq = this.seqs[this.front];
      const sentUs = this.times[this.front];
      if (!view.isUnderWay(seq, sentUs)) continue;
      if (sentUs > this.sentUs || (sentUs === this.sentUs && seq >= this.seq)) break;
      if (sentUs + this.rttUs + windowUs > nowUs) {
        // Once for all that are in doubt: when the last of them is due.
        this.dueUs = Math.max(nowUs, this.sentUs + this.rttUs + windowUs) + TIMER_US;
        break;
      }
      lose(seq);
      lost++;
    }
    if (this.front > 4096) {
      this.seqs = this.seqs.slice(this.front);
      this.times = this.times.slice(this.front);
      this.front = 0;
    }
    return lost;
  }

  private windowUs({ inRecovery, sackedOut, minRttUs, srttUs }: RackView): number {
    if (!this.isReordering && (inRecovery || sackedOut >= DUP_THRESHOLD)) return 0;
    return Math.min((minRttUs / 4) * this.steps, srttUs);
  }
}

/**
 * The loss of one path: whether it comes from sending too fast, or is the link's own; and when a link loses so much that the bond is better
 * off without it.
 *
 *   rounds ─▶ loss ─▶ over the limit ─▶ send less for four rounds ─┬─ it ends: we were too fast
 *                                                                └─ it stays: the link's own ─▶ more than a fifth: ejected
 *   ejected ─▶ probes ─▶ hardly one is lost ─▶ readmitted; each time later than the last
 *
 * Units: shares from 0 to 1.
 */

/** Datagrams without which a round says nothing: it is counted with the next. */
const LEAST_DATAGRAMS = 10;
/** Weights of a round in the mean. */
const MEAN_RISES = 1 / 4;
const MEAN_FALLS = 1 / 16;
/** Loss beyond the link's own that says that the link carries no more than it delivers (a policer, a very short queue). */
const IS_LIMIT = 0.1;
/** Rounds after less is sent until its effect is judged, and how much of the loss must remain to be the link's own. */
const JUDGED_AFTER = 4;
const JUDGED_ROUNDS = 3;
const STAYS = 0.5;
/** A link's own loss, as a mean over rounds, at which the bond is better off without it. */
const EJECTED = 0.2;
/** One round, in which the link may have been dead for a moment, proves no more than this. */
const MOST_A_ROUND = 0.4;
/** The mean over probes at which it is let in again, and the least number of them; doubled with each ejection up to this. */
const CLEAN = 0.03;
const FIRST_PROBES = 32;
const MOST_PROBES = 1024;
/** An ejection is forgotten after so long in use. */
const FORGOTTEN_US = 60_000_000;

/** What a path loses, and what follows from it. No clock: time is an argument. */
export class Loss {
  /** Loss of the last round that said something; fades. */
  rate = 0;
  /** Loss as a mean over rounds that rises faster than it falls: what a packet has to reckon with. */
  mean = 0;
  /** What the link loses by itself, however slowly we send. */
  own = 0;
  /** Whether the path is probed only. */
  isEjected = false;

  private acked = 0;
  private lost = 0;
  private judgedIn = 0;
  private before = 0;
  private judged = 0;
  private probes = 0;
  private probeLoss = 1;
  private probesWanted = FIRST_PROBES / 2;
  private admittedUs = 0;

  noteAcked(): void {
    this.acked++;
  }

  noteLost(): void {
    this.lost++;
  }

  /** What was thought lost has arrived. */
  noteFound(): void {
    if (this.lost > 0) this.lost--;
    this.acked++;
  }

  /**
   * A round is over. `isBusy`: we sent about as fast as the link carries; `hadQueue`: a queue stood that may have been full. Returns true when the loss that we sent less for has stayed: then that was of no use.
   */
  endRound(isBusy: boolean, hadQueue: boolean): boolean {
    const total = this.acked + this.lost;
    if (total < LEAST_DATAGRAMS) {
      this.rate *= 0.5;
      return false;
    }
    this.rate = this.lost / total;
    this.mean += (this.rate - this.mean) * (this.rate > this.mean ? MEAN_RISES : MEAN_FALLS);
    this.acked = 0;
    this.lost = 0;
    if (!isBusy && !hadQueue) this.own += (Math.min(MOST_A_ROUND, this.rate) - this.own) / 4;
    else if (this.own > 0) this.own += (this.rate - this.own) / 8;
    if (this.judgedIn === 0) return false;
    // (The first rounds still find what was lost before the cut.)
    if (this.judgedIn <= JUDGED_ROUNDS) this.judged += this.rate / JUDGED_ROUNDS;
    if (--this.judgedIn > 0 || hadQueue || this.judged < STAYS * this.before) return false;
    this.own = Math.max(this.own, this.judged);
    return true;
  }

  /** Whether more is lost than the link loses by itself, so that less should be sent. */
  get isOverLimit(): boolean {
    return this.judgedIn === 0 && this.rate > this.own + IS_LIMIT;
  }

  /** How much is lost beyond the link's own. */
  get excess(): number {
    return this.rate - this.own;
  }

  /** The first search is over, and a queue stood. If so much was lost that the modem's queue has overflowed, that says nothing about the link. */
  forgetOverflow(): void {
    if (this.mean < this.own + IS_LIMIT) return;
    this.mean = this.own;
    this.acked = 0;
    this.lost = 0;
  }

  /** Less is sent from now on because of the loss. */
  noteCut(): void {
    this.before = this.rate;
    this.judged = 0;
    this.judgedIn = JUDGED_AFTER;
  }

  /** Whether the link loses so much by itself that nothing should be put on it. */
  get isPoison(): boolean {
    return this.own > EJECTED;
  }

  /** The path carries nothing but probes from now on. */
  eject(nowUs: number): void {
    if (nowUs - this.admittedUs > FORGOTTEN_US) this.probesWanted = FIRST_PROBES / 2;
    this.probesWanted = Math.min(MOST_PROBES, 2 * this.probesWanted);
    this.isEjected = true;
    this.probes = 0;
    this.probeLoss = this.own;
  }

  /** What became of a probe. Returns true when the path may be used again. */
  noteProbe(isLost: boolean, nowUs: number): boolean {
    this.probes++;
    this.probeLoss += ((isLost ? 1 : 0) - this.probeLoss) / FIRST_PROBES;
    // (The mean begins at the loss that it was ejected for and forgets that in some sixty probes.)
    if (this.probeLoss > CLEAN || this.probes < this.probesWanted) return false;
    this.isEjected = false;
    this.begin();
    this.admittedUs = nowUs;
    return true;
  }

  /** Nothing is known. */
  begin(): void {
    this.rate = 0;
    this.mean = 0;
    this.own = 0;
    this.judgedIn = 0;
    this.acked = 0;
    this.lost = 0;
  }
}

/**
 * What a path is believed to carry: the largest delivery rate of the last eight spans in which it was kept busy (docs/protocol.md §6).
 *
 * Units: µs, bytes per µs.
 */

/** Spans, and the least length of one; longer ones are four round trips. */
const PEAKS = 8;
const PEAK_US = 250_000;
const PEAK_ROUNDS = 4;

/** The largest rate of each of the last spans, in a ring. */
export class Peaks {
  private readonly rates = new Float64Array(PEAKS);
  private newest = 0;
  private sinceUs = 0;
  private wasFull = false;

  /** Forgets all but this rate. */
  begin(rate: number, nowUs: number): void {
    this.rates.fill(0);
    this.rates[this.newest] = rate;
    this.sinceUs = nowUs;
  }

  /** So much was delivered. */
  note(rate: number): void {
    if (rate > this.rates[this.newest]) this.rates[this.newest] = rate;
  }

  /** The path was kept busy in this span: it counts. */
  noteFull(): void {
    this.wasFull = true;
  }

  /** No span had more than this, as we know now. */
  lower(rate: number): void {
    this.rates.fill(rate);
  }

  /** A round trip is over: the next span begins when this one has been long enough, and full. */
  endRound(srttUs: number, nowUs: number): void {
    if (!this.wasFull || nowUs - this.sinceUs <= Math.max(PEAK_US, PEAK_ROUNDS * srttUs)) return;
    this.newest = (this.newest + 1) % PEAKS;
    this.rates[this.newest] = 0;
    this.sinceUs = nowUs;
    this.wasFull = false;
  }

  /** The largest of all. */
  get most(): number {
    let most = 0;
    for (let i = 0; i < PEAKS; i++) if (this.rates[i] > most) most = this.rates[i];
    return most;
  }
}

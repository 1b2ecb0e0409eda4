/**
 * A path that keeps coming and going: from its second short life on it must answer some probes before it carries again, twice as many each
 * time; a longer life makes good for half of the short ones (docs/protocol.md §7).
 *
 *   silent after a short life ─▶ answers ─▶ a probe every PROOF_PROBE_US (probes.ts) ─▶ answers … as often as was asked for ─▶ carries
 */

/** A life is short that ends sooner. */
const SHORT_LIFE_US = 700_000;
/** Answers wanted after the second short life, and the short lives that count at most: 256 answers. */
const FIRST_PROOF = 8;
const MOST_SHORT = 7;

/** The record of one path. No clock: time is an argument. */
export class Flaps {
  private aliveUs = 0;
  private short = 0;
  private wanted = 0;
  private answers = 0;

  /** The path answers, after a silence that began at `silentUs` or for the first time (NaN). */
  noteAlive(silentUs: number, nowUs: number): void {
    if (!Number.isNaN(silentUs)) {
      this.short = silentUs - this.aliveUs < SHORT_LIFE_US ? Math.min(MOST_SHORT, this.short + 1) : this.short >> 1;
      this.wanted = this.short < 2 ? 0 : FIRST_PROOF << (this.short - 2);
    }
    this.aliveUs = nowUs;
    this.answers = 0;
  }

  /** A probe was answered, on proof. */
  noteAnswer(): void {
    this.answers++;
  }

  /** It fell silent: a proof that was not done begins anew. */
  noteSilent(): void {
    if (this.isOnProof) this.answers = 0;
  }

  /** Whether answers are still wanted before the path may carry. */
  get isOnProof(): boolean {
    return this.answers < this.wanted;
  }
}

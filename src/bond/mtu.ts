/**
 * Path MTU by probing (DPLPMTUD, RFC 8899; docs/protocol.md §8): padded PINGs of falling size until one is answered.
 * Sizes are outer IP bytes. The owner sends the probes and says what became of them.
 */

/** The size that every path is trusted with from the start: the least that carries an inner packet of 1,280 bytes (RFC 8200 §5) over IPv6. */
export const BASE_MTU = 1360;
/** Common sizes, largest first: Ethernet, PPPoE, two stacked tunnels, and what lies between. */
const SIZES = [1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380];
const PROBES_A_SIZE = 3;
const PROBE_TIMEOUT_US = 400_000;
/** Source: RFC 8899 §5.1.1, PMTU_RAISE_TIMER. */
const RAISE_US = 600_000_000;
/** Large datagrams lost in a row, without one that passed, that make a black hole. */
const BLACK_HOLE = 6;
const BLACK_HOLE_SILENCES = 2;

/** The search for one path's MTU. */
export class PathMtu {
  /** The largest size that has passed. */
  bytes = BASE_MTU;
  /** Whether the search has ended, so that the size can be told to others. */
  found = false;

  private ceiling: number;
  private index = 0;
  private probes = 0;
  private nextProbeUs = 0;
  private lostInARow = 0;
  /** When the latest of the large ones that passed was sent: what was lost before it says nothing. */
  private passedUs = Number.NEGATIVE_INFINITY;
  private silences = 0;

  constructor(ceilingBytes: number) {
    this.ceiling = Math.max(BASE_MTU, Math.min(ceilingBytes, SIZES[0]));
  }

  /** Starts the search over: the path is new, has another device MTU, or has come back. What is trusted stays. */
  restart(ceilingBytes: number, nowUs: number): void {
    this.ceiling = Math.max(BASE_MTU, Math.min(ceilingBytes, SIZES[0]));
    if (this.bytes > this.ceiling) this.bytes = this.ceiling;
    this.index = 0;
    this.probes = 0;
    this.nextProbeUs = nowUs;
  }

  /** Looks once more whether a larger size passes, up to the same ceiling. */
  again(nowUs: number): void {
    this.restart(this.ceiling, nowUs);
  }

  /** The size of the probe to send now, or 0. Counts it as sent. */
  pollProbe(nowUs: number): number {
    if (nowUs < this.nextProbeUs) return 0;
    let size = this.size();
    if (this.probes >= PROBES_A_SIZE) {
      this.index++;
      this.probes = 0;
      size = this.size();
    }
    if (size <= this.bytes) {
      this.found = true;
      this.index = 0;
      this.nextProbeUs = nowUs + RAISE_US;
      return 0;
    }
    this.probes++;
    this.nextProbeUs = nowUs + PROBE_TIMEOUT_US;
    return size;
  }

  /** When `pollProbe` has something to say. */
  pollTimeout(): number {
    return this.nextProbeUs;
  }

  /** A probe of this size was acknowledged. */
  handleProbePassed(sizeBytes: number, nowUs: number): void {
    if (sizeBytes <= this.bytes) return;
    this.bytes = sizeBytes;
    this.found = true;
    this.lostInARow = 0;
    this.probes = 0;
    this.index = 0;
    this.nextProbeUs = nowUs + RAISE_US;
  }

  /** A probe of this size was lost, by size or by chance: the next try is due. */
  handleProbeLost(sizeBytes: number, nowUs: number): void {
    if (sizeBytes === this.size()) this.nextProbeUs = nowUs;
  }

  /** The kernel refused this size (EMSGSIZE): the next smaller one is due. */
  handleProbeRefused(sizeBytes: number, nowUs: number): void {
    if (sizeBytes !== this.size()) return;
    this.probes = PROBES_A_SIZE;
    this.nextProbeUs = nowUs;
  }

  /**
   * A data datagram larger than the base, sent at `sentUs`, passed or was lost; the one may be learned before the other, whichever was sent first. Returns true when the
   * path turns out to be a black hole: back to the base.
   */
  handleLarge(passed: boolean, sentUs: number, nowUs: number): boolean {
    if (passed) {
      this.passedUs = Math.max(this.passedUs, sentUs);
      this.lostInARow = 0;
      this.silences = 0;
      return false;
    }
    if (sentUs <= this.passedUs) return false;
    if (++this.lostInARow <= BLACK_HOLE || this.bytes === BASE_MTU) return false;
    this.fallBack(nowUs);
    return true;
  }

  /**
   * The path fell silent with large datagrams in flight, and answered a small one soon after. Once may be a lost burst; twice without a
   * large one that passed in between is a black hole.
   */
  handleSilence(nowUs: number): void {
    if (this.bytes === BASE_MTU || ++this.silences < BLACK_HOLE_SILENCES) return;
    this.fallBack(nowUs);
  }

  private fallBack(nowUs: number): void {
    this.bytes = BASE_MTU;
    this.lostInARow = 0;
    this.silences = 0;
    this.restart(this.ceiling, nowUs);
  }

  private size(): number {
    let i = 0;
    let seen = 0;
    // The ceiling itself is the first size; then the table's below it.
    if (this.index === 0) return this.ceiling;
    for (; i < SIZES.length; i++) {
      if (SIZES[i] < this.ceiling && ++seen === this.index) return SIZES[i];
    }
    return 0;
  }
}

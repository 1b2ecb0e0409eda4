/**
 * Path MTU by probing (DPLPMTUD, RFC 8899; docs/protocol.md §8): padded PINGs, the largest size first, then by halving.
 * Sizes are outer IP bytes. The owner sends the probes and says what became of them.
 *
 *   ceiling passes ─▶ found                                        large ones lost in a row, small ones pass ─┐
 *   ceiling fails  ─▶ the middle of what is left ─▶ … ─▶ found     silent, but a small probe is answered ─────┴▶ LEAST_MTU, search anew
 */

/** The size that every path is trusted with from the start: the least that carries an inner packet of 1,280 bytes (RFC 8200 §5) over IPv6. */
export const BASE_MTU = 1360;
/** What every link must carry (RFC 8200 §5): is not probed, and trusted whatever is lost. */
export const LEAST_MTU = 1280;
/** Common sizes, largest first: Ethernet, PPPoE, two stacked tunnels, and what lies between. */
const SIZES = [1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300];
const PROBES_A_SIZE = 3;
const PROBE_TIMEOUT_US = 400_000;
/** Source: RFC 8899 §5.1.1, PMTU_RAISE_TIMER. */
const RAISE_US = 600_000_000;
/** Large datagrams lost in a row, without one that passed, that make a black hole. */
const BLACK_HOLE = 6;
/** So many large datagrams in flight when a path falls silent are a reason to ask whether they are why. */
const SILENT_LARGE = 3;

/** The search for one path's MTU. */
export class PathMtu {
  /** The largest size that may be sent. */
  bytes: number;
  /** Whether the search has ended, so that the size can be told to others. */
  found = false;
  /** Under which number a silent path was asked whether it still carries large ones; -1: it was not. */
  checkNumber = -1;

  private ceiling: number;
  /** Of this search: the largest size that has passed, the smallest that has failed. */
  private low = LEAST_MTU;
  private high = Number.POSITIVE_INFINITY;
  private probes = 0;
  private nextProbeUs = 0;
  private lostInARow = 0;
  /** When the latest of the large ones that passed was sent: what was lost before it says nothing. */
  private passedUs = Number.NEGATIVE_INFINITY;
  /** The path fell silent, and the question why is still to be sent. */
  private checkDue = false;

  constructor(ceilingBytes: number) {
    this.ceiling = ceilingOf(ceilingBytes);
    this.bytes = Math.min(BASE_MTU, this.ceiling);
  }

  /** Starts the search over: the path is new, has another device MTU, or has come back. What is trusted stays. */
  restart(ceilingBytes: number, nowUs: number): void {
    this.ceiling = ceilingOf(ceilingBytes);
    if (this.bytes > this.ceiling) this.bytes = this.ceiling;
    this.low = LEAST_MTU;
    this.high = Number.POSITIVE_INFINITY;
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
    if (this.found && this.size() === 0) this.again(nowUs);
    if (this.probes >= PROBES_A_SIZE) this.fail(this.size());
    const size = this.size();
    if (size === 0) {
      this.end(nowUs);
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
    this.checkNumber = -1;
    this.lostInARow = 0;
    if (sizeBytes <= this.low || sizeBytes > this.ceiling) return;
    this.low = sizeBytes;
    this.probes = 0;
    if (sizeBytes > this.bytes) this.bytes = sizeBytes;
    if (this.size() === 0) this.end(nowUs);
    else this.nextProbeUs = nowUs;
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
   * A data datagram larger than `LEAST_MTU`, sent at `sentUs`, passed or was lost; the one may be learned before the other, whichever was sent first.
   * Returns true when the path turns out to be a black hole.
   */
  handleLarge(passed: boolean, sentUs: number, nowUs: number): boolean {
    if (passed) {
      this.passedUs = Math.max(this.passedUs, sentUs);
      this.lostInARow = 0;
      return false;
    }
    if (sentUs <= this.passedUs) return false;
    if (++this.lostInARow <= BLACK_HOLE || this.bytes === LEAST_MTU) return false;
    this.fallBack(nowUs);
    return true;
  }

  /** The path fell silent with so many large datagrams in flight. If they may be why, a probe of the size that was trusted goes before the next small one. */
  handleSilence(largeInFlight: number): void {
    this.checkDue = largeInFlight >= SILENT_LARGE && this.bytes > LEAST_MTU;
    this.checkNumber = -1;
  }

  /** The size of the probe that asks whether the silence was one of large datagrams only, or 0; it is sent under this number, and a small one at once behind it. */
  pollCheck(packetNumber: number): number {
    if (!this.checkDue) return 0;
    this.checkDue = false;
    this.checkNumber = packetNumber;
    return this.bytes;
  }

  /** A silent path has answered. `smallOnly`: the small probe behind the check, but not the check: a black hole. */
  handleAnswer(smallOnly: boolean, nowUs: number): void {
    if (this.checkNumber >= 0 && smallOnly) this.fallBack(nowUs);
    this.checkDue = false;
    this.checkNumber = -1;
  }

  private fallBack(nowUs: number): void {
    this.bytes = LEAST_MTU;
    this.found = false;
    this.lostInARow = 0;
    this.again(nowUs);
  }

  private fail(sizeBytes: number): void {
    this.high = Math.min(this.high, sizeBytes);
    this.probes = 0;
    if (this.bytes >= sizeBytes) this.bytes = this.low;
  }

  private end(nowUs: number): void {
    this.found = true;
    this.nextProbeUs = nowUs + RAISE_US;
  }

  /** What is to be tried: the ceiling, then the middle of the sizes that are left; 0 when none is. */
  private size(): number {
    if (this.high === Number.POSITIVE_INFINITY) return this.low === this.ceiling ? 0 : this.ceiling;
    let first = 0;
    while (first < SIZES.length && SIZES[first] >= this.high) first++;
    let last = SIZES.length - 1;
    while (last >= 0 && SIZES[last] <= this.low) last--;
    return first > last ? 0 : SIZES[(first + last) >> 1];
  }
}

function ceilingOf(bytes: number): number {
  return Math.max(LEAST_MTU, Math.min(bytes, SIZES[0]));
}

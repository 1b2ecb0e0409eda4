/**
 * A token bucket: what may pass at a rate, with a burst. What it refuses is dropped by whoever asks; the sender's own congestion control finds the rate.
 *
 * Units: bytes, µs.
 */

/** A burst lasts so long at the rate, and is no smaller than this: a TCP that meets less never gets near the rate. */
const BURST_US = 200_000;
const BURST_LEAST_BYTES = 32_000;

/** One bucket. Invariant: over any time t no more than burst + rate × t passes. */
export class Throttle {
  private rate = 0;
  private burst = 0;
  private tokens = 0;
  private atUs = Number.NaN;

  constructor(bps: number) {
    this.setRate(bps);
    this.tokens = this.burst;
  }

  /** Another rate from now on; what has been saved up stays, as far as it fits. Units: bit/s. */
  setRate(bps: number): void {
    this.rate = bps / 8e6;
    this.burst = Math.max(BURST_LEAST_BYTES, this.rate * BURST_US);
    this.tokens = Math.min(this.tokens, this.burst);
  }

  /** Whether so much may pass now; then it is taken. */
  admits(sizeBytes: number, nowUs: number): boolean {
    if (nowUs > this.atUs) this.tokens = Math.min(this.burst, this.tokens + (nowUs - this.atUs) * this.rate);
    if (!(nowUs <= this.atUs)) this.atUs = nowUs;
    if (this.tokens < sizeBytes) return false;
    this.tokens -= sizeBytes;
    return true;
  }
}

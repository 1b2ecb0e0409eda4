/** The round trip of a path, as its acknowledgements tell it. */

/** What is known of it. Units: µs. */
export interface RoundTrip {
  srttUs: number;
  rttvarUs: number;
  /** Infinity: none has been measured. */
  minRttUs: number;
}

/** Notes one round trip, of which the peer took `delayUs` to answer. Source: RFC 9002 §5.3. */
export function noteRtt(path: RoundTrip, rttUs: number, delayUs: number): void {
  if (path.minRttUs === Number.POSITIVE_INFINITY) {
    path.minRttUs = rttUs;
    path.srttUs = rttUs;
    path.rttvarUs = rttUs / 2;
    return;
  }
  path.minRttUs = Math.min(path.minRttUs, rttUs);
  const adjusted = rttUs >= path.minRttUs + delayUs ? rttUs - delayUs : rttUs;
  path.rttvarUs = 0.75 * path.rttvarUs + 0.25 * Math.abs(path.srttUs - adjusted);
  path.srttUs = 0.875 * path.srttUs + 0.125 * adjusted;
}

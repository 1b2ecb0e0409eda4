/**
 * How often a path that carries nothing is asked: often at first, since most silences are short, and where its answers are to prove something.
 *
 *   suspect, 20 ms ─▶ down, 50 ms ── 3 s ─▶ 200 ms ── 30 s ─▶ 1 s        on proof, 50 ms        lossy, 25 ms
 */

/** A path that has just fallen silent. */
export const SUSPECT_PROBE_US = 20_000;
/** One that keeps coming and going, and is to answer for a while before it carries. */
export const PROOF_PROBE_US = 50_000;
/** A lossy one: some sixty probes say that it is clean. */
export const LOSSY_PROBE_US = 25_000;

const SHORT_DOWN_US = 3_000_000;
const LONG_DOWN_US = 30_000_000;

/** The time to the next probe of a path that is down, and has been silent for so long. */
export function downProbeUs(silentUs: number): number {
  return silentUs > LONG_DOWN_US ? 1_000_000 : silentUs > SHORT_DOWN_US ? 200_000 : 50_000;
}

/** Rates, times and sizes as operators write them (`'20mbit'`, `'60ms'`, `'20GB'`) and as code carries them. */

/** A whole number, unless it is too large to be carried exactly. */
function exact(value: number): number | undefined {
  const whole = Math.round(value);
  return Number.isSafeInteger(whole) ? whole : undefined;
}

const RATE = /^(\d+(?:\.\d+)?)(bit|kbit|mbit|gbit)?$/i;
const RATE_FACTOR: Record<string, number> = { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 };

/** Reads a rate as tc writes it; a bare number is bit/s. Units: bit/s. Returns undefined when it is not one. Source: tc(8), SI prefixes. */
export function parseRateBps(text: string): number | undefined {
  const m = RATE.exec(text.trim());
  return m ? exact(Number(m[1]) * RATE_FACTOR[(m[2] ?? 'bit').toLowerCase()]) : undefined;
}

/** The number in the largest of these units that it is a whole number of thousandths of. */
function printIn(n: number, units: readonly (readonly [unit: string, factor: number])[], rest: string): string {
  for (const [unit, factor] of units) {
    const scaled = n / factor;
    // At most three places, and no more digits than a number holds.
    if (n >= factor && n % (factor / 1000) === 0 && scaled * factor === n) return `${scaled}${unit}`;
  }
  return `${n}${rest}`;
}

/** Prints a rate so that `parseRateBps` reads the same number back. */
export function printRate(bps: number): string {
  return printIn(
    bps,
    [
      ['gbit', 1e9],
      ['mbit', 1e6],
      ['kbit', 1e3],
    ],
    'bit',
  );
}

const TIME = /^(\d+(?:\.\d+)?)(us|ms|s|m|h|d)?$/i;
const TIME_FACTOR: Record<string, number> = { us: 1, ms: 1e3, s: 1e6, m: 60e6, h: 3600e6, d: 86400e6 };

/** Reads a duration; a bare number is in `bare` units (seconds unless told). Units: microseconds. Returns undefined when it is not one. */
export function parseTimeUs(text: string, bare: 'us' | 'ms' | 's' = 's'): number | undefined {
  const m = TIME.exec(text.trim());
  return m ? exact(Number(m[1]) * TIME_FACTOR[(m[2] ?? bare).toLowerCase()]) : undefined;
}

const SIZE = /^(\d+(?:\.\d+)?)(b|kb|mb|gb|tb)?$/i;
const SIZE_FACTOR: Record<string, number> = { b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };

/** Reads a size with SI prefixes; a bare number is bytes. Units: bytes. Returns undefined when it is not one. */
export function parseSizeBytes(text: string): number | undefined {
  const m = SIZE.exec(text.trim());
  return m ? exact(Number(m[1]) * SIZE_FACTOR[(m[2] ?? 'b').toLowerCase()]) : undefined;
}

/** Prints a size so that `parseSizeBytes` reads the same number back. */
export function printSize(bytes: number): string {
  return printIn(
    bytes,
    [
      ['TB', 1e12],
      ['GB', 1e9],
      ['MB', 1e6],
      ['kB', 1e3],
    ],
    'B',
  );
}

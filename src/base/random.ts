/** Chance as an argument: pure code is handed a `Random`, tests and simulations make theirs from a seed. */

/** Draws a number, 0 ≤ x < 1. */
export type Random = () => number;

/**
 * A generator that gives the same numbers for the same seed, for simulations and the lab; not for keys.
 *
 * Source: sfc32 of the PractRand suite, its state filled by splitmix32.
 */
export function seeded(seed: number): Random {
  let s = seed | 0;
  const fill = (): number => {
    s = (s + 0x9e3779b9) | 0;
    let z = s ^ (s >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return z ^ (z >>> 15);
  };
  let a = fill();
  let b = fill();
  let c = fill();
  let counter = 1;
  return () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    c |= 0;
    return (sum >>> 0) / 4294967296;
  };
}

/** The slow twin of `FrameReader`: docs/protocol.md §4.2 read aloud, over plain arrays, with objects for frames. */

export type SlowFrame =
  | { type: 1 | 4 }
  | { type: 2; path: number; delayUs: number; largestLow: number; arrivalUs: number; steps: number[] }
  | { type: 3; path: number; state: number }
  | { type: 5; bucket: number; sequence: number; count: number }
  | { type: 6; mtu: number }
  | { type: 8; generation: number; links: number[][]; classes: number[][] }
  | { type: 9; generation: number };

/** All frames, and how the parsing ended: −1 at the end or an unknown type, −2 malformed. ACK steps: first length, gap, length, … */
export function slowFrames(bytes: readonly number[]): { frames: SlowFrame[]; end: number } {
  const frames: SlowFrame[] = [];
  let rest = [...bytes];
  const take = (n: number) => {
    if (rest.length < n) throw new RangeError('cut off');
    const value = rest.slice(0, n).reduce((v, b) => v * 256 + b, 0);
    rest = rest.slice(n);
    return value;
  };
  const below = (value: number, limit: number) => {
    if (value >= limit) throw new RangeError('too large');
    return value;
  };
  try {
    while (rest.length > 0) {
      const type = take(1);
      if (type === 0) continue;
      if (type === 1 || type === 4) frames.push({ type });
      else if (type === 2) {
        const path = below(take(1), 8);
        const delayUs = take(2) * 16;
        const largestLow = take(4);
        const arrivalUs = take(4);
        const further = below(take(1), 32);
        const steps = [take(2) + 1];
        for (let i = 0; i < 2 * further; i++) steps.push(take(2) + 1);
        frames.push({ type, path, delayUs, largestLow, arrivalUs, steps });
      } else if (type === 3) frames.push({ type, path: below(take(1), 8), state: below(take(1), 3) });
      else if (type === 5)
        frames.push({ type, bucket: below(take(2), 1024), sequence: below(take(4), 2 ** 20), count: take(2) });
      else if (type === 6) frames.push({ type, mtu: take(2) });
      else if (type === 8) {
        const generation = take(1);
        const links: number[][] = [];
        const classes: number[][] = [];
        for (let n = below(take(1), 9); n > 0; n--) {
          links.push([below(take(1), 8), take(1), take(1), 255 - below(255 - take(1), 255), take(4)]);
        }
        for (let m = below(take(1), 9); m > 0; m--) classes.push([below(take(1), 8), below(take(1), 3), take(1)]);
        frames.push({ type, generation, links, classes });
      } else if (type === 9) frames.push({ type, generation: take(1) });
      else break;
    }
    return { frames, end: -1 };
  } catch {
    return { frames, end: -2 };
  }
}

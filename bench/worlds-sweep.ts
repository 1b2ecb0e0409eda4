/**
 * Many worlds by chance, each lived once over all its links and once over the best of them alone: how often the bond is worth having, and
 * where it is worst. One JSON line; a seed is seen again with `--sweep 1 --from SEED`.
 */
import { rounded } from './worlds-bars.ts';
import { CASES, type Case, Crew } from './worlds-sim.ts';

const WORST = 10;
/** Never less than this of the best link alone. */
const BEST_BAR = 0.97;

interface Life {
  seed: number;
  test: Case;
  share: number;
  best: number;
  pingMs: number;
  reorder: number;
  slotsMost: number;
}

/** Lives so many, from a seed on, and prints; whether none was below the bar. */
export async function sweep(count: number, from: number, threads: number, cases: readonly Case[]): Promise<boolean> {
  const beginMs = performance.now();
  const single = cases.filter((test) => !test.endsWith('.many'));
  const tests = single.length > 0 ? single : CASES.filter((test) => !test.endsWith('.many'));
  const crew = new Crew(threads);
  const lives: Life[] = await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const seed = from + i;
      const test = tests[seed % tests.length];
      const [bond, alone] = await Promise.all([
        crew.do({ world: '', seed, test }),
        crew.do({ world: '', seed, test, alone: 'best' }),
      ]);
      const { share, reorder, slotsMost } = bond;
      const pingMs = bond.pingP95Ms - bond.pingIdleMs;
      return { seed, test, share, best: bond.bps / alone.bps, pingMs, reorder, slotsMost };
    }),
  );
  await crew.dismiss();
  const below = lives.filter((life) => !(life.best >= BEST_BAR));
  const line = {
    sweep: count,
    seeds: `${from}-${from + count - 1}`,
    ok: below.length === 0,
    best: { bar: BEST_BAR, below: below.length, ...spread(lives.map((l) => l.best)) },
    share: spread(lives.map((l) => l.share)),
    pingMs: spread(
      lives.map((l) => -l.pingMs),
      -1,
    ),
    reorder: spread(
      lives.map((l) => -l.reorder),
      -1,
    ),
    slotsMost: Math.max(...lives.map((l) => l.slotsMost)),
    worst: [...lives].sort((a, b) => a.best - b.best).slice(0, WORST),
    wallSeconds: (performance.now() - beginMs) / 1e3,
  };
  process.stdout.write(`${JSON.stringify(line, rounded)}\n`);
  return line.ok;
}

/** The worst, the worst hundredth, the worst twentieth, and the middle; of figures that should be small told by their negative. */
function spread(values: readonly number[], sign = 1): Record<string, number> {
  const sorted = values.map((v) => (Number.isNaN(v) ? 0 : v)).sort((a, b) => a - b);
  const at = (q: number) => sign * sorted[Math.floor(q * (sorted.length - 1))];
  return { worst: at(0), hundredth: at(0.01), twentieth: at(0.05), median: at(0.5) };
}

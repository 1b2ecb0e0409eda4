/** What a world's runs are judged by, in the simulation and in the lab alike: figures, their medians over runs, their bars. */
import type { Bar, Scenario } from '../src/lab/scenario.ts';
import { median } from './median.ts';

/** One life of a world, as it is judged; NaN where nothing was to be seen. */
export interface Run {
  seed: number;
  bps: number;
  limitBps: number;
  /** The best of its links alone, with the same engine; NaN: not measured. */
  bestBps: number;
  values: Record<string, number>;
}

/** A figure beside its bar. `worst` is of the seed that did worst. */
export interface Judged {
  value: number;
  bar?: number;
  ok?: boolean;
  worst?: number;
  worstSeed?: number;
}

const AT_LEAST: ReadonlySet<string> = new Set(['share', 'best', 'many', 'jain', 'mbit']);
const LATENCIES = [
  ['pingMs', 'pingP95Ms', 'pingIdleMs'],
  ['dnsMs', 'dnsP95Ms', 'dnsIdleMs'],
  ['voiceMs', 'voiceP95Ms', 'voiceIdleMs'],
] as const;

/** All figures of the runs of one case: what has a bar beside it, the rest as told. `isMany`: eight flows, which are judged as such. */
export function judge(scenario: Scenario, runs: readonly Run[], isMany: boolean): Record<string, Judged | number> {
  const out: Record<string, Judged | number> = {};
  const all = runs.map((run) => figuresOf(run, isMany));
  for (const name of Object.keys(all[0])) {
    const values = all.map((figures) => figures[name]);
    const bar = scenario.bars[name as Bar];
    if (values.every(Number.isNaN)) {
      if (bar === undefined || name !== 'coldMs') continue;
    }
    const isFloor = AT_LEAST.has(name);
    // What never came is as bad as can be.
    const told = values.map((v) => (Number.isNaN(v) ? (isFloor ? 0 : Number.POSITIVE_INFINITY) : v));
    const value = median(told);
    if (bar === undefined && !(name in BARRED)) {
      out[name] = value;
      continue;
    }
    const worst = isFloor ? Math.min(...told) : Math.max(...told);
    const ok = bar === undefined ? undefined : isFloor ? value >= bar : value <= bar;
    out[name] = { value, bar, ok };
    if (runs.length > 1) Object.assign(out[name], { worst, worstSeed: runs[told.indexOf(worst)].seed });
  }
  return out;
}

/** Figures that stand with their worst seed even where there is no bar. */
const BARRED: Record<string, true> = { share: true, many: true, best: true };

function figuresOf(run: Run, isMany: boolean): Record<string, number> {
  const { share, jain, ...values } = run.values;
  const out: Record<string, number> = { mbit: run.bps / 1e6 };
  if (isMany) {
    out.many = share;
    out.jain = jain;
  } else {
    out.share = share;
    out.best = run.bps / run.bestBps;
  }
  for (const [name, loaded, idle] of LATENCIES) out[name] = values[loaded] - values[idle];
  for (const [name, value] of Object.entries(values)) out[name] = value;
  if (isMany) delete out.coldMs;
  return out;
}

/** Whether all bars were met. */
export function allOk(figures: Record<string, Judged | number>): boolean {
  return Object.values(figures).every((f) => typeof f === 'number' || f.ok !== false);
}

/** More digits than are known are not shown. */
export function rounded(_key: string, value: unknown): unknown {
  if (typeof value !== 'number') return value;
  return Number(value.toFixed(Math.abs(value) < 0.1 ? 5 : Math.abs(value) < 10 ? 3 : 1));
}

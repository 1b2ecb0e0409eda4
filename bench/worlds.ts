/**
 * Links as they are in the world: one JSON line a world, every figure that has a bar beside it. `node dist/bench/worlds.js --sim [WORLD…]`.
 *
 * Worlds are the files of lab/scenarios (docs/lab.md), or paths of others. Exit status 1 when a bar is missed.
 */
import { availableParallelism, loadavg } from 'node:os';
import { YokeError } from '../src/base/error.ts';
import { loadScenario, scenarioNames } from '../src/lab/scenario.ts';
import { limitBps } from '../src/lab/timeline.ts';
import { allOk, type Judged, rounded } from './worlds-bars.ts';
import { CASES, type Case, simulate } from './worlds-sim.ts';

const USAGE = `usage: worlds.js --sim [WORLD…] [--seeds N] [--from SEED] [--cases ${CASES.join(',')}] [--seconds N] [--threads N] [--no-alone]`;

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const flag = (name: string): boolean => {
    const at = args.indexOf(name);
    if (at >= 0) args.splice(at, 1);
    return at >= 0;
  };
  const option = (name: string): string | undefined => {
    const at = args.indexOf(name);
    return at < 0 ? undefined : args.splice(at, 2)[1];
  };
  const isSim = flag('--sim');
  const noAlone = flag('--no-alone');
  const number = (name: string, otherwise: number): number => {
    const text = option(name);
    const value = text === undefined ? otherwise : Number(text);
    if (!Number.isInteger(value) || value < 1) throw usage(`${name}: expected a whole number above 0, found '${text}'`);
    return value;
  };
  const [seeds, from] = [number('--seeds', 3), number('--from', 1)];
  const threads = number('--threads', availableParallelism());
  const seconds = number('--seconds', Number.MAX_SAFE_INTEGER);
  const cases = (option('--cases') ?? CASES.join(',')).split(',') as Case[];
  const stray = cases.find((name) => !CASES.includes(name)) ?? args.find((arg) => arg.startsWith('-'));
  if (stray !== undefined) throw usage(`found '${stray}'`);
  const worlds = args.length > 0 ? args : scenarioNames();
  const scenarios = new Map(worlds.map((name) => [loadScenario(name).name, loadScenario(name)]));
  if (!isSim) throw usage('expected --sim');
  let ok = true;
  let beginMs = performance.now();
  const options = {
    worlds,
    cases,
    seeds: Array.from({ length: seeds }, (_, i) => from + i),
    threads,
    seconds: seconds === Number.MAX_SAFE_INTEGER ? undefined : seconds,
    noAlone,
  };
  await simulate(options, ({ world, figures }) => {
    const scenario = scenarios.get(world)!;
    const isOk = Object.values(figures).every(allOk);
    const limit = (direction: 'down' | 'up') => limitBps(scenario, direction, 0, scenario.seconds * 1e6) / 1e6;
    const line = {
      world,
      ok: isOk,
      missed: missed(figures),
      by: 'simulation',
      seeds: `${from}-${from + seeds - 1}`,
      limitMbit: { down: limit('down'), up: limit('up') },
      ...figures,
      wallSeconds: (performance.now() - beginMs) / 1e3,
      load: loadavg()[0],
    };
    beginMs = performance.now();
    process.stdout.write(`${JSON.stringify(line, rounded)}\n`);
    ok = ok && isOk;
  });
  return ok ? 0 : 1;
}

/** The bars that were missed, for eyes: `down.bbr.share 0.913 < 0.95`. */
function missed(figures: Record<string, Record<string, Judged | number>>): string[] {
  return Object.entries(figures).flatMap(([test, all]) =>
    Object.entries(all).flatMap(([name, f]) => {
      if (typeof f === 'number' || f.ok !== false) return [];
      const value = Number(f.value.toPrecision(3));
      return [`${test}.${name} ${value} ${f.value < f.bar! ? '<' : '>'} ${f.bar}`];
    }),
  );
}

function usage(found: string): YokeError {
  return new YokeError('config', { where: 'worlds', expected: USAGE.slice(7), found, todo: 'see bench/README.md' });
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof YokeError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

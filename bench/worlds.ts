/**
 * Links as they are in the world: one JSON line a world, every figure that has a bar beside it. `node dist/bench/worlds.js [--sim] [WORLD…]`.
 *
 * Worlds are the files of lab/scenarios (docs/lab.md), or paths of others; with `--sim` in simulation, else with real packets in the lab.
 * Exit status 1 when a bar is missed.
 */
import { availableParallelism, loadavg } from 'node:os';
import { YokeError } from '../src/base/error.ts';
import { withRights } from '../src/lab/rootless.ts';
import { loadScenario, type Scenario, scenarioNames } from '../src/lab/scenario.ts';
import { limitBps } from '../src/lab/timeline.ts';
import { allOk, type Judged, rounded } from './worlds-bars.ts';
import { measureWorld, open } from './worlds-lab.ts';
import { CASES, type Case, simulate } from './worlds-sim.ts';
import { sweep } from './worlds-sweep.ts';

const USAGE = `worlds.js [WORLD…] [--cases ${CASES.join(',')}] [--seconds N] [--no-alone], with --sim [--seeds N | --sweep N] [--from SEED] [--threads N], else [--runs N] [--no-beside]`;

interface Arguments {
  isSim: boolean;
  worlds: string[];
  cases: Case[];
  seconds?: number;
  noAlone: boolean;
  noBeside: boolean;
  seeds: number;
  sweep?: number;
  from: number;
  threads: number;
}

function parseArguments(args: string[]): Arguments {
  const flag = (name: string): boolean => {
    const at = args.indexOf(name);
    if (at >= 0) args.splice(at, 1);
    return at >= 0;
  };
  const option = (name: string): string | undefined => {
    const at = args.indexOf(name);
    return at < 0 ? undefined : (args.splice(at, 2)[1] ?? '');
  };
  const number = <T>(name: string, otherwise: T): number | T => {
    const text = option(name);
    const value = Number(text);
    if (text === undefined) return otherwise;
    if (!Number.isInteger(value) || value < 1) throw usage(`${name} '${text}'`);
    return value;
  };
  const isSim = flag('--sim');
  const out = {
    isSim,
    noAlone: flag('--no-alone'),
    noBeside: !isSim && flag('--no-beside'),
    seeds: number(isSim ? '--seeds' : '--runs', isSim ? 3 : 1),
    sweep: isSim ? number('--sweep', undefined) : undefined,
    from: isSim ? number('--from', 1) : 1,
    threads: isSim ? number('--threads', availableParallelism()) : 1,
    seconds: number('--seconds', undefined),
    cases: (option('--cases') ?? CASES.join(',')).split(',') as Case[],
  };
  const stray = out.cases.find((name) => !CASES.includes(name)) ?? args.find((arg) => arg.startsWith('-'));
  if (stray !== undefined) throw usage(`'${stray}'`);
  return { ...out, worlds: args.length > 0 ? args : scenarioNames() };
}

async function main(): Promise<number> {
  const options = parseArguments(process.argv.slice(2));
  const { sweep: count, from, threads, cases } = options;
  if (count !== undefined) return (await sweep(count, from, threads, cases)) ? 0 : 1;
  // All are read before the first is run.
  const scenarios = options.worlds.map((name) => loadScenario(name));
  if (options.isSim) return runSimulation(options, scenarios);
  const status = await withRights();
  return status ?? runLab(options, scenarios);
}

async function runSimulation(options: Arguments, scenarios: readonly Scenario[]): Promise<number> {
  const { seeds, from } = options;
  let ok = true;
  let beginMs = performance.now();
  const list = Array.from({ length: seeds }, (_, i) => from + i);
  await simulate({ ...options, seeds: list }, ({ world, figures, roundRobin }) => {
    const scenario = scenarios.find((s) => s.name === world)!;
    const how = { by: 'simulation', seeds: `${from}-${from + seeds - 1}`, load: loadavg()[0] };
    ok = print(scenario, options, how, figures, { roundRobin }, (performance.now() - beginMs) / 1e3) && ok;
    beginMs = performance.now();
  });
  return ok ? 0 : 1;
}

async function runLab(options: Arguments, scenarios: readonly Scenario[]): Promise<number> {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      Promise.all([...open].map((lab) => lab.close())).finally(() => process.exit(130));
    });
  let ok = true;
  for (const scenario of scenarios) {
    const beginMs = performance.now();
    const load = loadavg()[0];
    const { figures, beside } = await measureWorld(scenario, { ...options, runs: options.seeds });
    const how = { by: 'lab', runs: options.seeds, load };
    ok = print(scenario, options, how, figures, beside, (performance.now() - beginMs) / 1e3) && ok;
  }
  return ok ? 0 : 1;
}

type Figures = Record<string, Record<string, Judged | number>>;

/** One line, and whether all bars were met. */
function print(
  scenario: Scenario,
  options: Arguments,
  how: object,
  figures: Figures,
  beside: object,
  wallSeconds: number,
): boolean {
  const ok = Object.values(figures).every(allOk);
  const seconds = options.seconds ?? scenario.seconds;
  const limit = (direction: 'down' | 'up') => limitBps(scenario, direction, 0, seconds * 1e6) / 1e6;
  const line = {
    world: scenario.name,
    ok,
    missed: missed(figures),
    ...how,
    limitMbit: { down: limit('down'), up: limit('up') },
    ...figures,
    ...beside,
    wallSeconds,
  };
  process.stdout.write(`${JSON.stringify(line, rounded)}\n`);
  return ok;
}

/** The bars that were missed, for eyes: `down.bbr.share 0.913 < 0.95`. */
function missed(figures: Figures): string[] {
  return Object.entries(figures).flatMap(([test, all]) =>
    Object.entries(all).flatMap(([name, f]) => {
      if (typeof f === 'number' || f.ok !== false) return [];
      const value = Number(f.value.toPrecision(3));
      return [`${test}.${name} ${value} ${f.value < f.bar! ? '<' : '>'} ${f.bar}`];
    }),
  );
}

function usage(found: string): YokeError {
  return new YokeError('config', { where: 'worlds', expected: USAGE, found, todo: 'see bench/README.md' });
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof YokeError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
process.exit();

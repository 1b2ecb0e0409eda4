/**
 * Worlds in simulation: one life of a world is one job, and jobs are shared among threads.
 *
 *     world × seed × case ─▶ jobs ─▶ threads of this file ─▶ findings ─▶ judged (worlds-bars.ts)
 */
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadScenario, type Scenario } from '../src/lab/scenario.ts';
import { aloneOn, limitBps } from '../src/lab/timeline.ts';
import { randomWorld } from '../test/sim/random-world.ts';
import { type InTurn, liveRoundRobin } from '../test/sim/round-robin.ts';
import { type Findings, varied, World } from '../test/sim/world.ts';
import { median } from './median.ts';
import { type Judged, judge, type Run } from './worlds-bars.ts';

const MANY = 8;

/** Direction and congestion control of a single flow, or eight flows. */
export const CASES = ['down.cubic', 'up.cubic', 'down.bbr', 'up.bbr', 'down.many', 'up.many'] as const;
export type Case = (typeof CASES)[number];

interface Job {
  id: number;
  /** Empty: one by chance. */
  world: string;
  seed: number;
  test: Case;
  /** One of the links only; `best`: the one that can carry most. */
  alone?: number | 'best';
  /** Packets in turn in place of the engine. */
  inTurn?: boolean;
  seconds?: number;
}

export interface SimOptions {
  worlds: readonly string[];
  cases: readonly Case[];
  seeds: readonly number[];
  threads: number;
  seconds?: number;
  /** Do without the links alone, which take half of the time. */
  noAlone: boolean;
}

export interface SimLine {
  world: string;
  figures: Record<string, Record<string, Judged | number>>;
  /** What packets in turn get over the same links, by case. */
  roundRobin: Record<string, { mbit: number; pingP95Ms: number }>;
}

/** Lives all worlds and tells each when it is done. */
export async function simulate(options: SimOptions, onWorld: (line: SimLine) => void): Promise<void> {
  const crew = new Crew(options.threads);
  try {
    for (const world of options.worlds) onWorld(await simulateWorld(crew, loadScenario(world), world, options));
  } finally {
    await crew.dismiss();
  }
}

async function simulateWorld(crew: Crew, scenario: Scenario, world: string, options: SimOptions): Promise<SimLine> {
  const { seconds } = options;
  const figures: SimLine['figures'] = {};
  const turns: Partial<Record<Case, Promise<InTurn>[]>> = {};
  const pending = options.cases.map(async (test) => {
    const isMany = test.endsWith('.many');
    const runs = options.seeds.map(async (seed): Promise<Run> => {
      const job = { world, seed, test, seconds };
      const alone = isMany || options.noAlone ? [] : scenario.links.map((_, link) => crew.do({ ...job, alone: link }));
      if (!isMany && !options.noAlone) turns[test] = [...(turns[test] ?? []), crew.inTurn(job)];
      const { bps, limitBps, ...values } = await crew.do(job);
      const best = (await Promise.all(alone)).map((f) => f.bps);
      return { seed, bps, limitBps, bestBps: best.length > 0 ? Math.max(...best) : Number.NaN, values };
    });
    return [test, judge(scenario, await Promise.all(runs), isMany)] as const;
  });
  for (const done of pending) {
    const [test, figure] = await done;
    figures[test] = figure;
  }
  const roundRobin: SimLine['roundRobin'] = {};
  for (const [test, lives] of Object.entries(turns)) {
    const all = await Promise.all(lives);
    roundRobin[test] = { mbit: median(all.map((f) => f.bps)) / 1e6, pingP95Ms: median(all.map((f) => f.pingP95Ms)) };
  }
  return { world: scenario.name, figures, roundRobin };
}

/** One life. */
function live({ world: name, seed, test, seconds, alone: which, inTurn }: Job): Findings | InTurn {
  const [direction, kind] = test.split('.');
  const whole = name === '' ? randomWorld(seed) : varied(loadScenario(name), seed);
  const alone = which === 'best' ? bestLink(whole, direction === 'up' ? 'up' : 'down') : which;
  const scenario = alone === undefined ? whole : aloneOn(whole, alone);
  const o = {
    seed,
    isUp: direction === 'up',
    congestion: kind === 'bbr' ? 'bbr' : 'cubic',
    flows: kind === 'many' ? MANY : 1,
    seconds,
  } as const;
  return inTurn ? liveRoundRobin(scenario, o) : new World(scenario, o).run();
}

function bestLink(scenario: Scenario, direction: 'down' | 'up'): number {
  const carried = scenario.links.map((_, i) => limitBps(aloneOn(scenario, i), direction, 0, scenario.seconds * 1e6));
  return carried.indexOf(Math.max(...carried));
}

/** Threads that take jobs in turn. Owns: the threads. */
export class Crew {
  readonly #threads: Worker[];
  readonly #idle: Worker[] = [];
  readonly #waiting: Job[] = [];
  readonly #done = new Map<number, { resolve: (f: Findings | InTurn) => void; reject: (e: Error) => void }>();
  #next = 0;

  constructor(count: number) {
    this.#threads = Array.from({ length: count }, () => {
      const thread = new Worker(fileURLToPath(import.meta.url), { workerData: 'crew' });
      thread.on('message', ({ id, findings, error }: { id: number; findings: Findings | InTurn; error?: string }) => {
        const { resolve, reject } = this.#done.get(id)!;
        this.#done.delete(id);
        if (error === undefined) resolve(findings);
        else reject(new Error(error));
        this.#idle.push(thread);
        this.#hand();
      });
      this.#idle.push(thread);
      return thread;
    });
  }

  do(job: Omit<Job, 'id' | 'inTurn'>): Promise<Findings> {
    return this.#put(job) as Promise<Findings>;
  }

  /** The same by packets in turn. */
  inTurn(job: Omit<Job, 'id' | 'inTurn'>): Promise<InTurn> {
    return this.#put({ ...job, inTurn: true });
  }

  #put(job: Omit<Job, 'id'>): Promise<Findings | InTurn> {
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#done.set(id, { resolve, reject });
      this.#waiting.push({ ...job, id });
      this.#hand();
    });
  }

  async dismiss(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()));
  }

  #hand(): void {
    while (this.#idle.length > 0 && this.#waiting.length > 0) this.#idle.pop()!.postMessage(this.#waiting.shift());
  }
}

if (!isMainThread && workerData === 'crew') {
  parentPort!.on('message', (job: Job) => {
    try {
      parentPort!.postMessage({ id: job.id, findings: live(job) });
    } catch (error) {
      parentPort!.postMessage({ id: job.id, error: `${job.world}, seed ${job.seed}: ${(error as Error).stack}` });
    }
  });
}

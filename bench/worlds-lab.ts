/**
 * Worlds with real packets: the daemons over emulated links, each link alone, and others over the same links in the same run.
 *
 *   lab ─▶ daemons ─▶ for each case: idle ─▶ flow, cold, 3 s ─▶ measure while the scenario is played
 *       ─▶ daemons gone ─▶ MPTCP ─▶ round robin ─▶ a lab with each link alone
 */
import { type Bond, startBond } from '../src/lab/daemons.ts';
import type { Direction } from '../src/lab/emulator.ts';
import {
  type Congestion,
  type FlowResult,
  Ping,
  pause,
  probe,
  quantile,
  type Transfer,
  transfer,
  WARMUP_MS,
} from '../src/lab/measure.ts';
import { labOptionsOf, Player } from '../src/lab/player.ts';
import type { Scenario } from '../src/lab/scenario.ts';
import { aloneOn, COLD_BIN_US, foundAfterUs, limitBps } from '../src/lab/timeline.ts';
import { Lab } from '../src/lab/topology.ts';
import { median } from './median.ts';
import { type Judged, judge, type Run } from './worlds-bars.ts';
import { openMptcp, openWrr, type Way } from './worlds-beside.ts';
import type { Case } from './worlds-sim.ts';

const MANY = 8;
const IDLE_MS = 3000;
const IDLE_LIMIT_MS = 10_000;
const PING_MS = 20;
const VOICE_MS = 20;
/** Payload of a voice packet: 64 kbit/s and RTP. */
const VOICE_BYTES = 172;
const QUERY_MS = 200;
const QUERY_BYTES = 60;

export interface LabRunOptions {
  cases: readonly Case[];
  runs: number;
  seconds?: number;
  noAlone: boolean;
  /** Do without MPTCP and round robin. */
  noBeside: boolean;
}

export interface LabLine {
  figures: Record<string, Record<string, Judged | number>>;
  /** Mbit/s and p95 of a ping beside it, by case. */
  beside: Record<string, Record<string, { mbit: number; pingP95Ms: number }>>;
}

/** Labs that are open, for whoever is interrupted. */
export const open = new Set<Lab>();

/** Measures one world. */
export async function measureWorld(scenario: Scenario, options: LabRunOptions): Promise<LabLine> {
  const seconds = options.seconds ?? scenario.seconds;
  const runs: Record<string, Run[]> = {};
  const beside: Record<string, Record<string, { mbit: number[]; pingP95Ms: number[] }>> = {};
  for (let seed = 1; seed <= options.runs; seed++) {
    const best = options.noAlone ? {} : await bestAlone(scenario, options.cases, seconds, seed);
    await inLab(scenario, seed, async (lab) => {
      await new Player(lab, scenario).prepare();
      const bond = await startBond(lab);
      for (const test of options.cases) {
        const run = await measureBond(lab, bond, scenario, test, seconds, seed);
        runs[test] ??= [];
        runs[test].push({ ...run, bestBps: best[test] ?? Number.NaN });
      }
      await Promise.all([bond.router.stop(), bond.server.stop()]);
      if (options.noBeside) return;
      for (const [name, start] of [
        ['mptcp', openMptcp],
        ['roundRobin', openWrr],
      ] as const) {
        const way = await start(lab, scenario);
        try {
          for (const test of options.cases) {
            beside[name] ??= {};
            beside[name][test] ??= { mbit: [], pingP95Ms: [] };
            const { result, pings } = await overWay(lab, way, scenario, test, seconds);
            beside[name][test].mbit.push(result.bps / 1e6);
            beside[name][test].pingP95Ms.push(quantile(pings, 0.95));
          }
        } finally {
          await way.stop();
        }
      }
    });
  }
  const figures: LabLine['figures'] = {};
  for (const test of options.cases) figures[test] = judge(scenario, runs[test], test.endsWith('.many'));
  const told: LabLine['beside'] = {};
  for (const [name, cases] of Object.entries(beside)) {
    told[name] = {};
    for (const [test, { mbit, pingP95Ms }] of Object.entries(cases))
      told[name][test] = { mbit: median(mbit), pingP95Ms: median(pingP95Ms) };
  }
  return { figures, beside: told };
}

async function inLab(scenario: Scenario, seed: number, action: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = await Lab.open(labOptionsOf(scenario, seed));
  open.add(lab);
  try {
    await action(lab);
  } finally {
    await lab.close();
    open.delete(lab);
  }
}

/** What the engine gets over the best of the links alone, by case. */
async function bestAlone(
  scenario: Scenario,
  cases: readonly Case[],
  seconds: number,
  seed: number,
): Promise<Record<string, number>> {
  const best: Record<string, number> = {};
  const single = cases.filter((test) => !test.endsWith('.many'));
  for (let i = 0; i < scenario.links.length && single.length > 0; i++) {
    const alone = aloneOn(scenario, i);
    await inLab(alone, seed, async (lab) => {
      await new Player(lab, alone).prepare();
      const bond = await startBond(lab);
      for (const test of single) {
        const player = new Player(lab, alone, bond);
        const { bps } = await play(lab, player, test, seconds, {});
        best[test] = Math.max(best[test] ?? 0, bps);
      }
    });
  }
  return best;
}

function partsOf(test: Case): { direction: Direction; congestion: Congestion; flows: number } {
  const [direction, kind] = test.split('.');
  return {
    direction: direction as Direction,
    congestion: kind === 'bbr' ? 'bbr' : 'cubic',
    flows: kind === 'many' ? MANY : 1,
  };
}

/** A transfer with the scenario played from its first byte on; `onWarm` when the measure begins. */
async function play(
  lab: Lab,
  player: Player,
  test: Case,
  seconds: number,
  { way, onWarm }: { way?: Way; onWarm?: () => void },
): Promise<Transfer> {
  const { direction, congestion, flows } = partsOf(test);
  let timer: NodeJS.Timeout | undefined;
  player.watched = direction;
  try {
    return await transfer(lab, {
      meter: 'builtin',
      direction,
      congestion,
      flows,
      seconds,
      host: way?.host,
      places: way?.places,
      prefix: way?.prefix,
      onStart: () => {
        player.play(-WARMUP_MS * 1000, seconds * 1e6);
        if (onWarm) timer = setTimeout(onWarm, WARMUP_MS);
      },
    });
  } finally {
    clearTimeout(timer);
    await player.stop();
  }
}

async function measureBond(
  lab: Lab,
  bond: Bond,
  scenario: Scenario,
  test: Case,
  seconds: number,
  seed: number,
): Promise<Omit<Run, 'bestBps'>> {
  const { direction } = partsOf(test);
  const player = new Player(lab, scenario, bond);
  const cycleMs = Math.max(...scenario.links.map((l) => l.cycle.reduce((sum, step) => sum + step.forUs / 1000, 0)));
  const idleMs = Math.min(IDLE_LIMIT_MS, Math.max(IDLE_MS, cycleMs));
  player.play(-idleMs * 1000, 0);
  const idle = await beside(lab, idleMs / 1000);
  await player.stop();
  const cpu = () => bond.router.cost().cpuSeconds + bond.server.cost().cpuSeconds;
  const dropped = async () => {
    const status = await (direction === 'up' ? bond.router : bond.server).status();
    return status.bonds.reduce((sum, b) => sum + b.droppedByCodel, 0);
  };
  const [cpuBefore, droppedBefore] = [cpu(), await dropped()];
  let measured: ReturnType<typeof beside> | undefined;
  const result = await play(lab, player, test, seconds, {
    onWarm: () => {
      measured = beside(lab, seconds);
      measured.catch(() => {});
    },
  });
  const loaded = await measured!;
  const segments = result.segments || 1;
  const codel = Math.max(0, (await dropped()) - droppedBefore);
  const limit = limitBps(scenario, direction, 0, seconds * 1e6);
  const perFlow = result.received!.perFlow;
  const sum = perFlow.reduce((a, b) => a + b, 0);
  return {
    seed,
    bps: result.bps,
    limitBps: limit,
    values: {
      share: result.bps / limit,
      jain: sum ** 2 / (perFlow.length * perFlow.reduce((a, b) => a + b * b, 0)),
      pingIdleMs: quantile(idle.ping, 0.95),
      pingP50Ms: quantile(loaded.ping, 0.5),
      pingP95Ms: quantile(loaded.ping, 0.95),
      dnsIdleMs: quantile(idle.query, 0.95),
      dnsP50Ms: quantile(loaded.query, 0.5),
      dnsP95Ms: quantile(loaded.query, 0.95),
      voiceIdleMs: quantile(idle.voice.rttsMs, 0.95),
      voiceP50Ms: quantile(loaded.voice.rttsMs, 0.5),
      voiceP95Ms: quantile(loaded.voice.rttsMs, 0.95),
      voiceGapMs: direction === 'up' ? loaded.voice.upGapMs : loaded.voice.downGapMs,
      voiceLost: loaded.voice.upLost + loaded.voice.downLost,
      pingGapMs: loaded.pingGapMs,
      reorder: (result.reorderings ?? 0) / segments,
      tcpLoss: Math.max(0, result.retransmits - codel) / segments,
      dropped: codel / segments,
      coldMs: coldMs(scenario, direction, result.received!),
      stallMs: result.stallMs,
      againMs: player.againMs,
      memoryMb: Math.max(...[bond.router, bond.server].map((daemon) => daemon.cost().peakRssBytes)) / 1e6,
      cpuPercent: ((cpu() - cpuBefore) * 100) / (seconds + WARMUP_MS / 1000),
    },
  };
}

/** Ping, voice and queries, for so long. */
async function beside(
  lab: Lab,
  seconds: number,
): Promise<{ ping: number[]; pingGapMs: number; query: number[]; voice: Awaited<ReturnType<typeof probe>> }> {
  const ping = new Ping(lab, PING_MS);
  const [voice, query] = await Promise.all([
    probe(lab, seconds, VOICE_MS, VOICE_BYTES),
    probe(lab, seconds, QUERY_MS, QUERY_BYTES),
    pause(seconds * 1000),
  ]);
  const pings = await ping.stop();
  return { ping: pings, pingGapMs: ping.gapMs, query: query.rttsMs, voice };
}

/** The receiver's bins as those that the capacity is looked for in. */
function coldMs(scenario: Scenario, direction: Direction, { warmupBins, binMs }: FlowResult): number {
  const per = COLD_BIN_US / 1000 / binMs;
  const bins = Array.from({ length: Math.floor(warmupBins.length / per) }, (_, i) =>
    warmupBins.slice(i * per, (i + 1) * per).reduce((a, b) => a + b, 0),
  );
  return foundAfterUs(scenario, direction, -WARMUP_MS * 1000, bins) / 1000;
}

async function overWay(
  lab: Lab,
  way: Way,
  scenario: Scenario,
  test: Case,
  seconds: number,
): Promise<{ result: Transfer; pings: number[] }> {
  let ping: Ping | undefined;
  const onWarm = () => {
    ping = new Ping(lab, PING_MS, way.host, 'router');
  };
  const result = await play(lab, new Player(lab, scenario), test, seconds, { way, onWarm });
  await way.check();
  return { result, pings: (await ping?.stop()) ?? [] };
}

/**
 * The main job, measured: each line alone, then the bond, down and up.
 *
 *     lines alone (NAT in the router, no daemon) ─▶ daemons start ─▶ idle ping ─▶ down ─▶ up ─▶ costs
 *
 * What is going on now is kept in a `Scene`, which the live view looks at.
 */
import { type Bond, startBond } from './daemons.ts';
import type { Direction } from './emulator.ts';
import { printLinkSpec } from './linkspec.ts';
import {
  type Meter,
  overLineAlone,
  Ping,
  type ProbeReport,
  pause,
  pingIdle,
  probe,
  quantile,
  type Transfer,
  transfer,
  WARMUP_MS,
} from './measure.ts';
import { Player } from './player.ts';
import { type BondResult, type DirectionResult, type LabResult, type LinkResult, PAYLOAD_SHARE } from './report.ts';
import type { Scenario } from './scenario.ts';
import { limitBps } from './timeline.ts';
import type { Lab } from './topology.ts';

/** A silent cut, and maybe a return, in seconds from the begin of each measure of the bond. */
export interface Cut {
  link: number;
  fromSeconds: number;
  toSeconds?: number;
}

export interface ExperimentOptions {
  engine: string;
  seconds: number;
  flows: number;
  meter: Meter;
  cut?: Cut;
  /** Played from each flow's start on; its time 0 is the begin of the measure. */
  scenario?: Scenario;
  /** Skip the lines alone (a benchmark that knows them). */
  bondOnly?: boolean;
}

/** What is going on now. */
export interface Scene {
  phase: string;
  direction?: Direction;
  /** The line that is measured alone. */
  alone?: number;
  /** Payload received so far in this transfer. */
  payloadBytes: number;
  /** When that was said, on the clock of `performance.now`; 0: not yet. */
  payloadAtMs: number;
  pingMs: number;
  bond?: Bond;
}

/** The lines alone are steady sooner and need less time. */
const ALONE_WARMUP_MS = 2000;
const ALONE_SECONDS = 5;
/** A line that carries this share of its rate over a look of the watcher is in use. */
const USED_SHARE = 0.1;
const WATCH_MS = 50;

/** The scene before anything happens. */
export function openingScene(): Scene {
  return { phase: 'starting', payloadBytes: 0, payloadAtMs: 0, pingMs: Number.NaN };
}

/** Measures it all. @throws YokeError (host) when something does not come up or nothing flows. */
export async function runExperiment(lab: Lab, options: ExperimentOptions, scene: Scene): Promise<LabResult> {
  const links: LinkResult[] = [];
  if (!options.bondOnly) for (const link of lab.links) links.push(await measureAlone(lab, link.index, options, scene));
  const sum = (pick: (spec: { downBps: number; upBps: number }) => number) =>
    lab.links.reduce((total, link) => total + pick(link.spec), 0) * PAYLOAD_SHARE;
  const result: LabResult = {
    engine: options.engine,
    seconds: options.seconds,
    flows: options.flows,
    measure: options.meter,
    cut: options.cut,
    scenario: options.scenario && { name: options.scenario.name, about: options.scenario.about },
    limit: limit(options) ?? { downBps: sum((s) => s.downBps), upBps: sum((s) => s.upBps) },
    links,
    daemons: [],
    emulator: { cpuSeconds: 0 },
  };
  if (options.engine !== 'none') {
    scene.phase = 'starting the daemons';
    if (options.scenario) await new Player(lab, options.scenario).prepare();
    const bond = await startBond(lab, options.engine);
    scene.bond = bond;
    result.bond = await measureBond(lab, bond, options, scene, result.limit);
    result.daemons = [
      { role: 'router', ...bond.router.cost() },
      { role: 'server', ...bond.server.cost() },
    ];
  }
  result.emulator.cpuSeconds = (await lab.stats()).cpuSeconds;
  scene.phase = 'done';
  return result;
}

/** What the links of a scenario can carry of payload while it is played. */
function limit({ scenario, seconds }: ExperimentOptions): LabResult['limit'] | undefined {
  const of = (direction: Direction) => limitBps(scenario!, direction, 0, seconds * 1e6);
  return scenario && { downBps: of('down'), upBps: of('up') };
}

async function measureAlone(lab: Lab, index: number, options: ExperimentOptions, scene: Scene): Promise<LinkResult> {
  const link = lab.link(index);
  scene.alone = index;
  const result = await overLineAlone(lab, index, async () => {
    scene.phase = `${link.name} alone: idle`;
    const rttIdleMs = quantile(await pingIdle(lab), 0.5);
    scene.pingMs = rttIdleMs;
    const both: LoadedTransfer[] = [];
    for (const direction of ['down', 'up'] as const) {
      scene.phase = `${link.name} alone: ${direction}`;
      const seconds = Math.min(options.seconds, ALONE_SECONDS);
      both.push(await loadedTransfer(lab, { ...options, seconds }, direction, ALONE_WARMUP_MS, scene));
    }
    const [down, up] = both;
    return {
      name: link.name,
      spec: printLinkSpec(link.spec),
      downLimitBps: link.spec.downBps,
      upLimitBps: link.spec.upBps,
      downBps: down.bps,
      upBps: up.bps,
      rttIdleMs,
      rttLoadedP95Ms: Math.max(down.rttLoadedP95Ms, up.rttLoadedP95Ms),
      retransmits: down.retransmits + up.retransmits,
    };
  });
  scene.alone = undefined;
  return result;
}

async function measureBond(
  lab: Lab,
  bond: Bond,
  options: ExperimentOptions,
  scene: Scene,
  limit: { downBps: number; upBps: number },
): Promise<BondResult> {
  scene.phase = 'bond: idle';
  const rttIdleMs = quantile(await pingIdle(lab), 0.5);
  scene.pingMs = rttIdleMs;
  const down = await measureDirection(lab, options, 'down', limit.downBps, scene);
  const up = await measureDirection(lab, options, 'up', limit.upBps, scene);
  return {
    downBps: down.bps,
    upBps: up.bps,
    downShare: down.share,
    upShare: up.share,
    rttIdleMs,
    rttLoadedP95Ms: Math.max(down.rttLoadedP95Ms, up.rttLoadedP95Ms),
    stallMs: Math.max(down.stallMs, up.stallMs),
    retransmits: down.retransmits + up.retransmits,
    startMs: bond.startMs,
    down,
    up,
  };
}

async function measureDirection(
  lab: Lab,
  options: ExperimentOptions,
  direction: Direction,
  limitBps: number,
  scene: Scene,
): Promise<DirectionResult> {
  scene.phase = `bond: ${direction}`;
  let bytesBefore: number[] = [];
  let probing: Promise<ProbeReport> | undefined;
  let cutting: Promise<number | undefined> | undefined;
  const onMeasure = async (): Promise<void> => {
    if (options.cut) {
      cutting = playCut(lab, options.cut, direction, scene);
      probing = probe(lab, options.seconds);
      // Looked at below; a failure must not be unhandled before.
      probing.catch(() => {});
      cutting.catch(() => {});
    }
    bytesBefore = await outerBytes(lab, direction);
  };
  try {
    const result = await loadedTransfer(lab, options, direction, WARMUP_MS, scene, onMeasure);
    const bytesAfter = await outerBytes(lab, direction);
    const { bps, stallMs, retransmits, rttLoadedP95Ms } = result;
    return {
      bps,
      share: bps / limitBps,
      stallMs,
      retransmits,
      rttLoadedP95Ms,
      probe: await probing,
      usedAgainMs: await cutting,
      linkBytes: bytesAfter.map((bytes, i) => bytes - (bytesBefore[i] ?? 0)),
    };
  } finally {
    if (options.cut) await lab.link(options.cut.link).restore();
  }
}

/** Cuts, maybe restores, and says how long after its return the line carried traffic again. */
async function playCut(lab: Lab, cut: Cut, direction: Direction, scene: Scene): Promise<number | undefined> {
  const link = lab.link(cut.link);
  await pause(cut.fromSeconds * 1000);
  await link.cut();
  scene.phase = `bond: ${direction}, ${link.name} is cut`;
  if (cut.toSeconds === undefined) return undefined;
  await pause((cut.toSeconds - cut.fromSeconds) * 1000);
  let before = (await outerBytes(lab, direction))[cut.link];
  await link.restore();
  scene.phase = `bond: ${direction}, ${link.name} is back`;
  const begin = performance.now();
  const rateBps = direction === 'down' ? link.spec.downBps : link.spec.upBps;
  while (performance.now() - begin < 10_000) {
    await pause(WATCH_MS);
    const bytes = (await outerBytes(lab, direction))[cut.link];
    if ((bytes - before) * 8 > (USED_SHARE * rateBps * WATCH_MS) / 1000) return Math.round(performance.now() - begin);
    before = bytes;
  }
  return undefined;
}

type LoadedTransfer = Transfer & { rttLoadedP95Ms: number };

/** A transfer with ping beside it, once it is warm. */
async function loadedTransfer(
  lab: Lab,
  options: ExperimentOptions,
  direction: Direction,
  warmupMs: number,
  scene: Scene,
  onMeasure?: () => Promise<void>,
): Promise<LoadedTransfer> {
  scene.direction = direction;
  scene.payloadBytes = 0;
  scene.payloadAtMs = 0;
  let ping: Ping | undefined;
  let timer: NodeJS.Timeout | undefined;
  const player = options.scenario && new Player(lab, options.scenario, scene.bond);
  const warm = (): void => {
    ping = new Ping(lab);
    ping.onTime = (timeMs) => {
      scene.pingMs = timeMs;
    };
    onMeasure?.().catch(() => {});
  };
  try {
    const { meter, flows, seconds } = options;
    const result = await transfer(lab, {
      meter,
      direction,
      flows,
      seconds,
      warmupMs,
      onStart: () => {
        timer = setTimeout(warm, warmupMs);
        player?.play(-warmupMs * 1000, seconds * 1e6);
      },
      onBytes: (bytes) => {
        scene.payloadBytes = bytes;
        scene.payloadAtMs = performance.now();
      },
    });
    return { ...result, rttLoadedP95Ms: quantile((await ping?.stop()) ?? [], 0.95) };
  } finally {
    clearTimeout(timer);
    await ping?.stop();
    await player?.stop();
    scene.direction = undefined;
  }
}

async function outerBytes(lab: Lab, direction: Direction): Promise<number[]> {
  return (await lab.stats()).links.map((link) => link[direction].deliveredBytes);
}

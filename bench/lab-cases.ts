/**
 * The real daemons over emulated and over plain lines: one JSON line a case. `npm run bench -- [CASE…] [--runs N] [--measure NAME]`.
 *
 * One TCP flow with CUBIC, warm-up 3 s, then 10 s, down and up; drop-tail queues of 60 ms; shares are of the limit (src/lab/report.ts).
 * With `--runs N` every figure is the median of N runs, and the runs' own figures stand beside it. Exit status 1 when a bar is missed.
 */
import { loadavg } from 'node:os';
import { type Cut, openingScene, runExperiment } from '../src/lab/experiment.ts';
import { parseLinkSpec } from '../src/lab/linkspec.ts';
import type { Meter } from '../src/lab/measure.ts';
import { type BondResult, PLAIN_SHARE } from '../src/lab/report.ts';
import { withRights } from '../src/lab/rootless.ts';
import { Lab } from '../src/lab/topology.ts';
import { median } from './median.ts';
import { runUnshaped } from './unshaped.ts';

interface Case {
  name: string;
  links: string[];
  /** Of the limit, down and up; undefined: not judged. */
  barShare?: number;
  /** The bond must not be slower than its best line could be. */
  neverBelowBest?: boolean;
  cut?: Cut;
}

const SECONDS = 10;
const CUT: Cut = { link: 0, fromSeconds: 3, toSeconds: 6 };

const CASES: Case[] = [
  { name: '12+12', links: ['12mbit/12mbit/5ms', '12mbit/12mbit/5ms'], barShare: 0.96 },
  { name: '48+12', links: ['48mbit/12mbit/8ms', '12mbit/3mbit/45ms'], barShare: 0.9, neverBelowBest: true },
  { name: '50+50', links: ['50mbit/50mbit/10ms', '50mbit/50mbit/10ms'], barShare: 0.96 },
  { name: '50+20', links: ['50mbit/50mbit/10ms', '20mbit/20mbit/10ms'], barShare: 0.96 },
  { name: 'rtt10+60', links: ['50mbit/50mbit/5ms', '50mbit/50mbit/30ms'], barShare: 0.92 },
  { name: 'loss', links: ['50mbit/50mbit/10ms', '50mbit/50mbit/10ms/0ms/1%'], barShare: 0.8 },
  { name: 'cut12', links: ['12mbit/12mbit/5ms', '12mbit/12mbit/5ms'], cut: CUT },
  { name: 'cut50', links: ['50mbit/50mbit/10ms', '50mbit/50mbit/10ms'], cut: CUT },
];
const OTHERS = ['unshaped', 'cost'];

const STALL_BAR_MS = 300;
const USED_AGAIN_BAR_MS = 2000;
const START_BAR_MS = 1000;
const PING_BAR_MS = 30;

interface Judged {
  value: number;
  bar: number;
  ok: boolean;
  runs?: number[];
}

/** Every figure of a run that has a bar, by name. */
function judge(test: Case, bond: BondResult): Record<string, Judged> {
  const atLeast = (value: number, bar: number): Judged => ({ value, bar, ok: value >= bar });
  const atMost = (value: number, bar: number): Judged => ({ value, bar, ok: value <= bar });
  const specs = test.links.map(parseLinkSpec);
  const out: Record<string, Judged> = {};
  if (test.barShare !== undefined) {
    out.downShare = atLeast(bond.downShare, test.barShare);
    out.upShare = atLeast(bond.upShare, test.barShare);
  }
  if (test.neverBelowBest) {
    out.downBps = atLeast(bond.downBps, Math.max(...specs.map((s) => s.downBps)) * PLAIN_SHARE);
    out.upBps = atLeast(bond.upBps, Math.max(...specs.map((s) => s.upBps)) * PLAIN_SHARE);
  }
  const slowestRttMs = Math.max(...specs.map((s) => s.delayUs)) / 500;
  out.rttLoadedP95Ms = atMost(bond.rttLoadedP95Ms, slowestRttMs + PING_BAR_MS);
  out.startMs = atMost(bond.startMs, START_BAR_MS);
  if (test.cut) {
    for (const [name, direction] of [
      ['down', bond.down],
      ['up', bond.up],
    ] as const) {
      out[`${name}.stallMs`] = atMost(direction.stallMs, STALL_BAR_MS);
      out[`${name}.usedAgainMs`] = atMost(direction.usedAgainMs ?? Number.POSITIVE_INFINITY, USED_AGAIN_BAR_MS);
      out[`${name}.udpGapMs`] = atMost(
        Math.max(direction.probe?.upGapMs ?? 0, direction.probe?.downGapMs ?? 0),
        STALL_BAR_MS,
      );
      out[`${name}.udpLost`] = atMost((direction.probe?.upLost ?? 0) + (direction.probe?.downLost ?? 0), 0);
    }
  }
  return out;
}

/** The median of each figure over the runs, judged anew. */
function medianOf(runs: Record<string, Judged>[]): Record<string, Judged> {
  const out: Record<string, Judged> = {};
  for (const name of Object.keys(runs[0])) {
    const values = runs.map((run) => run[name].value);
    const { bar } = runs[0][name];
    const value = median(values);
    const isFloor = /Share$|Bps$/.test(name);
    out[name] = { value, bar, ok: isFloor ? value >= bar : value <= bar, runs: runs.length > 1 ? values : undefined };
  }
  return out;
}

async function runCase(test: Case, meter: Meter, runs: number): Promise<boolean> {
  const judged: Record<string, Judged>[] = [];
  const bonds: BondResult[] = [];
  let cost: object = {};
  const load = loadavg()[0];
  for (let run = 0; run < runs; run++) {
    const lab = await Lab.open({ links: test.links.map(parseLinkSpec), seed: run + 1 });
    open.add(lab);
    try {
      const options = { engine: 'multipath', seconds: SECONDS, flows: 1, meter, cut: test.cut, bondOnly: true };
      const { bond, daemons, emulator } = await runExperiment(lab, options, openingScene());
      judged.push(judge(test, bond!));
      bonds.push(bond!);
      cost = { daemons, emulator };
    } finally {
      await lab.close();
      open.delete(lab);
    }
  }
  const figures = medianOf(judged);
  const ok = Object.values(figures).every((f) => f.ok);
  const both = (pick: (bond: BondResult) => number) => Number(median(bonds.map(pick)).toFixed(3));
  const line = {
    case: test.name,
    ok,
    links: test.links,
    measure: meter,
    load,
    downMbit: both((b) => b.downBps / 1e6),
    upMbit: both((b) => b.upBps / 1e6),
    rttIdleMs: both((b) => b.rttIdleMs),
    retransmits: both((b) => b.retransmits),
    ...figures,
    ...cost,
  };
  process.stdout.write(`${JSON.stringify(line, rounded)}\n`);
  return ok;
}

/** Three digits behind the point are more than is known. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toFixed(4)) : value;
}

const open = new Set<Lab>();

async function main(): Promise<number> {
  const status = await withRights();
  if (status !== undefined) return status;
  const args = process.argv.slice(2);
  const option = (name: string, otherwise: string) => {
    const at = args.indexOf(name);
    return at < 0 ? otherwise : args.splice(at, 2)[1];
  };
  const runs = Number(option('--runs', '1'));
  const meter = option('--measure', 'iperf3') as Meter;
  const known = [...CASES.map((c) => c.name), ...OTHERS];
  const wrong = args.find((name) => !known.includes(name));
  if (wrong !== undefined || !(runs >= 1)) {
    process.stderr.write(`bench: expected cases of ${known.join(' ')}, found '${wrong ?? runs}'\n`);
    return 1;
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      Promise.all([...open].map((lab) => lab.close())).finally(() => process.exit(130));
    });
  let ok = true;
  for (const name of args.length > 0 ? args : known) {
    const test = CASES.find((c) => c.name === name);
    // A pause of 20 ms steps is seen by our own meter only.
    const done = test
      ? await runCase(test, test.cut ? 'builtin' : meter, runs)
      : await runUnshaped(name === 'cost' ? 100e6 : undefined, runs, open);
    ok = done && ok;
  }
  return ok ? 0 : 1;
}

process.exitCode = await main();
process.exit();

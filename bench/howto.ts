/**
 * The article's numbers, in a kernel that has the bonding driver (test/guest): one JSON line a case. `node dist/bench/howto.js
 * [CASE…] [--runs N]`.
 *
 * Each case is measured the article's way (balance-rr over OpenVPN, or over VXLAN where the guest's CPU is too slow for OpenVPN at the
 * rate) and, over the same lines in the same kernel, with engine multipath. One TCP flow with CUBIC, warm-up, then the seconds
 * asked, down and up; drop-tail queues of 60 ms; rates are counted in IP bytes. With `--runs N` a figure is the median of N runs.
 * Exit status 1 when a bar is missed.
 */
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { findKernel, runInGuest } from '../test/guest/guest.ts';
import type { GuestLine } from '../test/guest/lines.ts';
import type { GuestJob, GuestResult, Way } from './howto-guest.ts';
import { median } from './median.ts';

interface Case {
  name: string;
  lines: GuestLine[];
  /** What bonds the lines beside multipath. */
  way: Exclude<Way, 'multipath'>;
  /** Of the sum of the lines' rates, both ways; undefined: not judged, the article's way collapses. */
  barShare?: number;
  warmupSeconds: number;
  seconds: number;
}

const line = (mbit: number, delayMs: number, lossPercent = 0): GuestLine => ({ mbit, delayMs, lossPercent });

/** Delays are one way. A slow start out of order needs its time: 12 Mbit/s lines get a longer warm-up where they have a bar. */
const CASES: Case[] = [
  { name: '3+3', way: 'openvpn', lines: [line(3, 10), line(3, 10)], barShare: 0.88, warmupSeconds: 3, seconds: 10 },
  {
    name: '3+3-10/40',
    way: 'openvpn',
    lines: [line(3, 10), line(3, 40)],
    barShare: 0.88,
    warmupSeconds: 5,
    seconds: 10,
  },
  {
    name: '12+12',
    way: 'vxlan',
    lines: [line(12, 10), line(12, 10)],
    barShare: 21.5 / 24,
    warmupSeconds: 4,
    seconds: 10,
  },
  { name: '12+12-10/100', way: 'vxlan', lines: [line(12, 10), line(12, 100)], warmupSeconds: 4, seconds: 10 },
  { name: '12+4', way: 'vxlan', lines: [line(12, 10), line(4, 10)], warmupSeconds: 4, seconds: 10 },
  { name: 'loss', way: 'vxlan', lines: [line(12, 10, 1), line(12, 10, 1)], warmupSeconds: 4, seconds: 10 },
];

const GUEST_FILE = fileURLToPath(new URL('./howto-guest.js', import.meta.url));
const BOOT_AND_START_MS = 60_000;

/** One way over the case's lines, in a guest of its own. */
async function measure(test: Case, way: Way): Promise<GuestResult> {
  const { lines, warmupSeconds, seconds } = test;
  const job: GuestJob = { way, lines, warmupSeconds, seconds };
  const timeoutMs = 2 * (warmupSeconds + seconds) * 1000 + BOOT_AND_START_MS;
  const argv = [process.execPath, '--enable-source-maps', GUEST_FILE, JSON.stringify(job)];
  const { status, stdout, stderr } = await runInGuest({ argv, memMb: 1024, timeoutMs });
  if (status !== 0) throw new Error(`${test.name} ${way}: status ${status}\n${stdout}\n${stderr}`);
  return JSON.parse(stdout) as GuestResult;
}

/** Runs both ways, turn by turn, and prints the case's line; whether its bar was met. */
async function runCase(test: Case, runs: number): Promise<boolean> {
  const ways = [test.way, 'multipath'] as const;
  const results: Record<string, GuestResult[]> = { [test.way]: [], multipath: [] };
  const load = loadavg()[0];
  for (let run = 0; run < runs; run++) for (const way of ways) results[way].push(await measure(test, way));
  const sumMbit = test.lines.reduce((sum, l) => sum + l.mbit, 0);
  const figures = Object.fromEntries(ways.map((way) => [way, figuresOf(results[way], sumMbit)]));
  const { downMbit, upMbit } = figures[test.way];
  const value = Math.min(downMbit, upMbit) / sumMbit;
  const bars = test.barShare === undefined ? {} : { share: { value, bar: test.barShare, ok: value >= test.barShare } };
  const ok = test.barShare === undefined || value >= test.barShare;
  const out = { case: test.name, ok, lines: test.lines, sumMbit, load, ...bars, ...figures };
  process.stdout.write(`${JSON.stringify(out, rounded)}\n`);
  return ok;
}

function figuresOf(runs: GuestResult[], sumMbit: number) {
  const of = (pick: (result: GuestResult) => number) => median(runs.map(pick));
  const [downMbit, upMbit] = [of((r) => r.down.bps) / 1e6, of((r) => r.up.bps) / 1e6];
  return {
    downMbit,
    upMbit,
    downShare: downMbit / sumMbit,
    upShare: upMbit / sumMbit,
    retransmits: of((r) => r.down.retransmits + r.up.retransmits),
    // near 1 the figure tells of the guest's CPU, not of the way
    guestCpuShare: of((r) => Math.max(r.down.cpuShare, r.up.cpuShare)),
    ...(runs.length > 1 && { runs: runs.map((r) => [r.down.bps / 1e6, r.up.bps / 1e6]) }),
  };
}

/** Three digits behind the point are more than is known. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Number(value.toFixed(3)) : value;
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const at = args.indexOf('--runs');
  const runs = at < 0 ? 1 : Number(args.splice(at, 2)[1]);
  const known = CASES.map((c) => c.name);
  const wrong = args.find((name) => !known.includes(name));
  if (wrong !== undefined || !(runs >= 1)) {
    process.stderr.write(`howto: expected cases of ${known.join(' ')}, found '${wrong ?? runs}'\n`);
    return 1;
  }
  const kernel = findKernel();
  if (typeof kernel === 'string') {
    process.stderr.write(`howto: ${kernel}\n`);
    return 1;
  }
  let ok = true;
  for (const test of CASES.filter((c) => args.length === 0 || args.includes(c.name)))
    ok = (await runCase(test, runs)) && ok;
  return ok ? 0 : 1;
}

process.exitCode = await main();

/**
 * What is measured in the lab: TCP flows between client and host, ping beside them, a thin UDP stream.
 *
 * `builtin` uses processes of our own (20 ms resolution of pauses), `iperf3` the program; both with CUBIC, counted at the
 * receiver, after a warm-up. Nothing here knows whether a bond or a single line is in between.
 */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { YokeError } from '../base/error.ts';
import type { Direction } from './emulator.ts';
import { ADDRESS, type Lab } from './topology.ts';

export type Meter = 'builtin' | 'iperf3';

/** Before this the flow is not counted. */
export const WARMUP_MS = 3000;

/** What a flow process is told. */
export interface FlowJob {
  kind: 'flow';
  at: 'host' | 'client';
  direction: Direction;
  flows: number;
  host: string;
  port: number;
  warmupMs: number;
  durationMs: number;
}

/** What the receiver of the flows found, warm-up excluded. */
export interface FlowResult {
  /** Payload. */
  bps: number;
  /** Longest pause of any one flow. */
  stallMs: number;
  binMs: number;
  /** Payload bytes per bin. */
  bins: number[];
}

/** What a probe process is told. */
export interface ProbeJob {
  kind: 'probe';
  at: 'host' | 'client';
  host: string;
  port: number;
  intervalMs: number;
  sizeBytes: number;
  durationMs: number;
}

/** A numbered stream to the host and back again. */
export interface ProbeResult {
  sent: number;
  received: number;
  lost: number;
  duplicates: number;
  gapMs: number;
}

/** Both halves of a probe: what reached the host, and what came back of that. */
export interface ProbeReport {
  sent: number;
  upLost: number;
  upGapMs: number;
  downLost: number;
  downGapMs: number;
}

/** A finished transfer. */
export interface Transfer {
  bps: number;
  stallMs: number;
  /** TCP segments the sender sent again, warm-up excluded. */
  retransmits: number;
}

export interface TransferOptions {
  meter: Meter;
  direction: Direction;
  flows: number;
  seconds: number;
  warmupMs?: number;
  host?: string;
  /** When the first byte has come. */
  onStart?: () => void;
  /** Payload so far, ten times a second (builtin only). */
  onBytes?: (bytes: number) => void;
}

const FLOW_FILE = fileURLToPath(new URL('./flow-process.js', import.meta.url));
/** A connection that is not made within this is not made. */
const START_LIMIT_MS = 10_000;
const PROBE_BYTES = 160;
let nextPort = 5300;

/** Moves data between client and host for the warm-up and the seconds asked. @throws YokeError (host) when nothing flows. */
export function transfer(lab: Lab, options: TransferOptions): Promise<Transfer> {
  return options.meter === 'iperf3' ? transferByIperf(lab, options) : transferByOwn(lab, options);
}

async function transferByOwn(lab: Lab, options: TransferOptions): Promise<Transfer> {
  const { direction, flows, seconds, warmupMs = WARMUP_MS, host = ADDRESS.host } = options;
  const job = { kind: 'flow', direction, flows, host, port: nextPort++, warmupMs, durationMs: seconds * 1000 } as const;
  const far = startJob(lab, { ...job, at: 'host' });
  let near: Job | undefined;
  try {
    await far.line((l) => 'listening' in l, START_LIMIT_MS);
    near = startJob(lab, { ...job, at: 'client' });
    const receiver = direction === 'down' ? near : far;
    const sender = direction === 'down' ? 'host' : 'client';
    receiver.onLine = (l) => {
      if (typeof l.bytes === 'number') options.onBytes?.(l.bytes);
    };
    await Promise.race([receiver.line((l) => 'started' in l, START_LIMIT_MS), near.failure]);
    options.onStart?.();
    await Promise.race([pause(warmupMs), near.failure]);
    const before = await retransmits(lab, sender);
    const result = (await receiver.line((l) => 'bps' in l, seconds * 1000 + START_LIMIT_MS)) as unknown as FlowResult;
    return { bps: result.bps, stallMs: result.stallMs, retransmits: (await retransmits(lab, sender)) - before };
  } finally {
    await Promise.all([lab.end(far.child), near && lab.end(near.child)]);
  }
}

async function transferByIperf(lab: Lab, options: TransferOptions): Promise<Transfer> {
  const { direction, flows, seconds, warmupMs = WARMUP_MS, host = ADDRESS.host } = options;
  const port = String(nextPort++);
  const server = lab.spawn('host', ['iperf3', '-s', '-1', '-p', port], { stdio: 'ignore' });
  try {
    await until(async () => (await lab.must('host', ['ss', '-Hltn', `sport = :${port}`])) !== '', START_LIMIT_MS);
    const argv = ['iperf3', '-c', host, '-p', port, '-C', 'cubic', '-J', '-i', '0.1', '-P', String(flows)];
    argv.push(
      '-O',
      String(Math.round(warmupMs / 1000)),
      '-t',
      String(seconds),
      ...(direction === 'down' ? ['-R'] : []),
    );
    options.onStart?.();
    const limitMs = warmupMs + seconds * 1000 + 2 * START_LIMIT_MS;
    const { stdout } = await lab.exec('client', argv, { timeoutMs: limitMs });
    return readIperf(stdout);
  } finally {
    await lab.end(server);
  }
}

interface IperfReport {
  error?: string;
  intervals: { sum: { bytes: number; seconds: number; omitted: boolean } }[];
  end: { sum_received: { bits_per_second: number }; sum_sent: { retransmits?: number } };
}

function readIperf(text: string): Transfer {
  let report: IperfReport;
  try {
    report = JSON.parse(text) as IperfReport;
  } catch {
    throw notFlowing('no report of iperf3');
  }
  if (report.error) throw notFlowing(report.error);
  let stallMs = 0;
  let runMs = 0;
  for (const { sum } of report.intervals.filter((i) => !i.sum.omitted)) {
    runMs = sum.bytes === 0 ? runMs + sum.seconds * 1000 : 0;
    stallMs = Math.max(stallMs, runMs);
  }
  return {
    bps: report.end.sum_received.bits_per_second,
    stallMs: Math.round(stallMs),
    retransmits: report.end.sum_sent.retransmits ?? 0,
  };
}

/** Round trips between client and host, until stopped. */
export class Ping {
  readonly #child: ChildProcess;
  readonly #lab: Lab;
  readonly timesMs: number[] = [];
  /** Told each round trip as it comes. */
  onTime: (timeMs: number) => void = () => {};

  constructor(lab: Lab, intervalMs = 100, host: string = ADDRESS.host, from: 'client' | 'router' = 'client') {
    this.#lab = lab;
    const argv = ['ping', '-D', '-n', '-i', String(intervalMs / 1000), host];
    this.#child = lab.spawn(from, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const m = /time=([\d.]+) ms/.exec(line);
      if (!m) return;
      this.timesMs.push(Number(m[1]));
      this.onTime(Number(m[1]));
    });
  }

  /** Ends it and returns the round trips. */
  async stop(): Promise<number[]> {
    await this.#lab.end(this.#child);
    return this.timesMs;
  }
}

/** Round trips without other traffic. Units: ms. */
export async function pingIdle(lab: Lab, count = 20, host: string = ADDRESS.host): Promise<number[]> {
  const argv = ['ping', '-n', '-i', '0.05', '-c', String(count), '-W', '1', host];
  const { stdout } = await lab.exec('client', argv, { timeoutMs: START_LIMIT_MS });
  return [...stdout.matchAll(/time=([\d.]+) ms/g)].map((m) => Number(m[1]));
}

/** The value that a share `q` of the samples does not exceed; NaN without samples. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted.length === 0 ? Number.NaN : sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

/** A thin numbered UDP stream to the host and back, for as long as it is told. */
export async function probe(lab: Lab, seconds: number, intervalMs = 20): Promise<ProbeReport> {
  const job = {
    kind: 'probe',
    host: ADDRESS.host,
    port: nextPort++,
    intervalMs,
    sizeBytes: PROBE_BYTES,
    durationMs: seconds * 1000,
  } as const;
  const far = startJob(lab, { ...job, at: 'host' });
  let near: Job | undefined;
  try {
    await far.line((l) => 'listening' in l, START_LIMIT_MS);
    near = startJob(lab, { ...job, at: 'client' });
    const back = (await near.line((l) => 'sent' in l, seconds * 1000 + START_LIMIT_MS)) as unknown as ProbeResult;
    const there = far.line((l) => 'received' in l, START_LIMIT_MS);
    far.child.kill('SIGTERM');
    const reached = (await there) as unknown as ProbeResult;
    return {
      sent: back.sent,
      upLost: back.sent - reached.received,
      upGapMs: reached.gapMs,
      downLost: reached.received - back.received,
      downGapMs: back.gapMs,
    };
  } finally {
    await Promise.all([lab.end(far.child), near && lab.end(near.child)]);
  }
}

/** Has the client's traffic leave by one line alone, without a bond, while `action` runs. */
export async function overLineAlone<T>(lab: Lab, index: number, action: () => Promise<T>): Promise<T> {
  const link = lab.link(index);
  const table = 'lab_alone';
  const rule = ['priority', '100', 'iif', 'lan', 'lookup', '77'];
  await lab.sysctl('router', 'net.ipv4.ip_forward=1');
  await lab.sysctl('server', 'net.ipv4.ip_forward=1');
  try {
    await lab.must('router', [
      'ip',
      'route',
      'replace',
      'default',
      'via',
      link.gateway,
      'dev',
      link.name,
      'table',
      '77',
    ]);
    await lab.must('router', ['ip', 'rule', 'add', ...rule]);
    const text = `table ip ${table} {\nchain post {\ntype nat hook postrouting priority 100\noifname "${link.name}" masquerade\n}\n}\n`;
    await lab.must('router', ['nft', '-f', '-'], { input: text });
    return await action();
  } finally {
    await lab.exec('router', ['nft', 'delete', 'table', 'ip', table]);
    await lab.exec('router', ['ip', 'rule', 'del', ...rule]);
    await lab.exec('router', ['ip', 'route', 'flush', 'table', '77']);
    await lab.exec('router', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=0']);
    await lab.exec('server', ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=0']);
  }
}

/** TCP segments sent again in a place since it was made. */
async function retransmits(lab: Lab, place: 'host' | 'client'): Promise<number> {
  const [names, values] = (await lab.must(place, ['cat', '/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('RetransSegs')]);
}

/** Waits until a condition holds. @throws YokeError (host) at the limit. */
export async function until(condition: () => Promise<boolean>, limitMs: number, what = 'it'): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw notFlowing(`${what} did not come within ${limitMs / 1000} s`);
    await pause(50);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function notFlowing(found: string): YokeError {
  return new YokeError('host', {
    where: 'measurement between client and host',
    expected: 'traffic',
    found,
    todo: 'run with --hold and look where packets stop',
  });
}

type Line = Record<string, unknown>;

interface Job {
  child: ChildProcess;
  /** Rejects when the process ends with an error. */
  failure: Promise<never>;
  onLine: (line: Line) => void;
  line(is: (line: Line) => boolean, limitMs: number): Promise<Line>;
}

function startJob(lab: Lab, job: FlowJob | ProbeJob): Job {
  const child = lab.spawn(job.at, [process.execPath, FLOW_FILE, JSON.stringify(job)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const seen: Line[] = [];
  let waiting: { is: (line: Line) => boolean; resolve: (line: Line) => void }[] = [];
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const failure = new Promise<never>((_, reject) => {
    child.on('close', (code) => {
      if (code) reject(notFlowing(stderr.trim() || `status ${code}`));
    });
  });
  failure.catch(() => {});
  const started: Job = {
    child,
    failure,
    onLine: () => {},
    line(is, limitMs) {
      const found = seen.find(is);
      if (found) return Promise.resolve(found);
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(notFlowing(`nothing within ${limitMs / 1000} s ${stderr}`)), limitMs);
        const settle = (line: Line): void => {
          clearTimeout(timer);
          resolve(line);
        };
        waiting.push({ is, resolve: settle });
        failure.catch((error) => {
          clearTimeout(timer);
          reject(error);
        });
      });
    },
  };
  createInterface({ input: child.stdout! }).on('line', (text) => {
    const line = JSON.parse(text) as Line;
    seen.push(line);
    started.onLine(line);
    const [now, later] = [waiting.filter((w) => w.is(line)), waiting.filter((w) => !w.is(line))];
    waiting = later;
    for (const w of now) w.resolve(line);
  });
  return started;
}

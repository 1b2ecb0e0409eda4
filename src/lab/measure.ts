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
import { ADDRESS, type Lab, type Place } from './topology.ts';

export type Meter = 'builtin' | 'iperf3';
/** Congestion control of the measured flows; CUBIC unless told. */
export type Congestion = 'cubic' | 'bbr';

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
  congestion: Congestion;
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
  /** And those of the warm-up, from the first byte on. */
  warmupBins: number[];
  /** Payload bytes per flow. */
  perFlow: number[];
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
  /** From sending to the answer. */
  rttsMs?: number[];
}

/** Both halves of a probe: what reached the host, and what came back of that. */
export interface ProbeReport {
  sent: number;
  upLost: number;
  upGapMs: number;
  downLost: number;
  downGapMs: number;
  rttsMs: number[];
}

/** A finished transfer. */
export interface Transfer {
  bps: number;
  stallMs: number;
  /** TCP segments the sender sent again, warm-up excluded. */
  retransmits: number;
  /** All that it sent, and how often it saw them arrive out of order (builtin only). */
  segments?: number;
  reorderings?: number;
  /** What the receiver found (builtin only). */
  received?: FlowResult;
}

/** The places of a measure. */
export interface Ends {
  near: Place;
  far: Place;
}

export interface TransferOptions {
  meter: Meter;
  direction: Direction;
  flows: number;
  seconds: number;
  warmupMs?: number;
  host?: string;
  congestion?: Congestion;
  /** Who connects and who is connected to; client and host unless told. */
  places?: Ends;
  /** argv before the programs' own (builtin only). */
  prefix?: readonly string[];
  /** When the first byte has come. */
  onStart?: () => void;
  /** Payload so far, ten times a second (builtin only). */
  onBytes?: (bytes: number) => void;
}

const FLOW_FILE = fileURLToPath(new URL('./flow-process.js', import.meta.url));
/** A connection that is not made within this is not made. */
const START_LIMIT_MS = 10_000;
const PROBE_BYTES = 160;
const HERE: Ends = { near: 'client', far: 'host' };
let nextPort = 5300;

/** Moves data between client and host for the warm-up and the seconds asked. @throws YokeError (host) when nothing flows. */
export function transfer(lab: Lab, options: TransferOptions): Promise<Transfer> {
  return options.meter === 'iperf3' ? transferByIperf(lab, options) : transferByOwn(lab, options);
}

async function transferByOwn(lab: Lab, options: TransferOptions): Promise<Transfer> {
  const { direction, flows, seconds, warmupMs = WARMUP_MS, host = ADDRESS.host, congestion = 'cubic' } = options;
  const { places = HERE, prefix = [] } = options;
  const port = nextPort++;
  const durationMs = seconds * 1000;
  const job = { kind: 'flow', direction, flows, host, port, congestion, warmupMs, durationMs } as const;
  const far = startJob(lab, { ...job, at: 'host' }, places.far, prefix);
  let near: Job | undefined;
  try {
    await far.line((l) => 'listening' in l, START_LIMIT_MS);
    near = startJob(lab, { ...job, at: 'client' }, places.near, prefix);
    const receiver = direction === 'down' ? near : far;
    const sender = direction === 'down' ? places.far : places.near;
    receiver.onLine = (l) => {
      if (typeof l.bytes === 'number') options.onBytes?.(l.bytes);
    };
    await Promise.race([receiver.line((l) => 'started' in l, START_LIMIT_MS), near.failure]);
    options.onStart?.();
    await Promise.race([pause(warmupMs), near.failure]);
    const before = await tcpCounters(lab, sender);
    const received = (await receiver.line((l) => 'bps' in l, durationMs + START_LIMIT_MS)) as unknown as FlowResult;
    const after = await tcpCounters(lab, sender);
    const counted = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
    return {
      bps: received.bps,
      stallMs: received.stallMs,
      retransmits: counted('RetransSegs'),
      segments: counted('OutSegs'),
      reorderings: counted('TCPSACKReorder') + counted('TCPTSReorder'),
      received,
    };
  } finally {
    await Promise.all([lab.end(far.child), near && lab.end(near.child)]);
  }
}

async function transferByIperf(lab: Lab, options: TransferOptions): Promise<Transfer> {
  const { direction, flows, seconds, warmupMs = WARMUP_MS, host = ADDRESS.host, congestion = 'cubic' } = options;
  const port = String(nextPort++);
  const server = lab.spawn('host', ['iperf3', '-s', '-1', '-p', port], { stdio: 'ignore' });
  try {
    await until(async () => (await lab.must('host', ['ss', '-Hltn', `sport = :${port}`])) !== '', START_LIMIT_MS);
    const argv = ['iperf3', '-c', host, '-p', port, '-C', congestion, '-J', '-i', '0.1', '-P', String(flows)];
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

/** Datagrams of a rate and a size between client and host, for so long; what arrives is not looked at. */
export async function stream(
  lab: Lab,
  options: { direction: Direction; rateBps: number; sizeBytes: number; seconds: number },
): Promise<void> {
  const { direction, rateBps, sizeBytes, seconds } = options;
  const port = String(nextPort++);
  const server = lab.spawn('host', ['iperf3', '-s', '-1', '-p', port], { stdio: 'ignore' });
  try {
    await until(async () => (await lab.must('host', ['ss', '-Hltn', `sport = :${port}`])) !== '', START_LIMIT_MS);
    const argv = ['iperf3', '-c', ADDRESS.host, '-p', port, '-u', '-b', String(rateBps), '-l', String(sizeBytes)];
    argv.push('-t', seconds.toFixed(1), ...(direction === 'down' ? ['-R'] : []));
    await lab.exec('client', argv, { timeoutMs: seconds * 1000 + START_LIMIT_MS });
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
  /** The longest time between two answers. */
  gapMs = 0;
  #lastMs = Number.NaN;
  /** Told each round trip as it comes. */
  onTime: (timeMs: number) => void = () => {};

  constructor(lab: Lab, intervalMs = 100, host: string = ADDRESS.host, from: 'client' | 'router' = 'client') {
    this.#lab = lab;
    const argv = ['ping', '-D', '-n', '-i', String(intervalMs / 1000), host];
    this.#child = lab.spawn(from, argv, { stdio: ['ignore', 'pipe', 'ignore'] });
    createInterface({ input: this.#child.stdout! }).on('line', (line) => {
      const m = /^\[([\d.]+)\].* time=([\d.]+) ms/.exec(line);
      if (!m) return;
      const atMs = Number(m[1]) * 1000;
      if (atMs - this.#lastMs > this.gapMs) this.gapMs = atMs - this.#lastMs;
      this.#lastMs = atMs;
      this.timesMs.push(Number(m[2]));
      this.onTime(Number(m[2]));
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
export async function probe(lab: Lab, seconds: number, intervalMs = 20, sizeBytes = PROBE_BYTES): Promise<ProbeReport> {
  const job = {
    kind: 'probe',
    host: ADDRESS.host,
    port: nextPort++,
    intervalMs,
    sizeBytes,
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
      rttsMs: back.rttsMs ?? [],
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

/** What TCP has counted in a place since it was made. Source: Linux, /proc/net/snmp and /proc/net/netstat. */
async function tcpCounters(lab: Lab, place: Place): Promise<Record<string, number>> {
  const text = await lab.must(place, ['cat', '/proc/net/snmp', '/proc/net/netstat']);
  const rows = text.split('\n').filter((line) => /^(Tcp|TcpExt):/.test(line));
  const out: Record<string, number> = {};
  for (let i = 0; i + 1 < rows.length; i += 2) {
    const values = rows[i + 1].split(' ');
    rows[i].split(' ').forEach((name, column) => {
      out[name] = Number(values[column]);
    });
  }
  return out;
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

function startJob(lab: Lab, job: FlowJob | ProbeJob, place: Place = job.at, prefix: readonly string[] = []): Job {
  const child = lab.spawn(place, [...prefix, process.execPath, FLOW_FILE, JSON.stringify(job)], {
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

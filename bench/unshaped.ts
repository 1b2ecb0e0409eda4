/**
 * Without shaping: one TCP flow from router to server through yoke (two veth lines) beside OpenVPN 2.6 (one of them), in one run.
 *
 *     router ══ link0, link1 (veth) ══ server        iperf3 to 10.77.0.1 (yoke) and to 10.88.0.1 (OpenVPN), turn by turn
 *
 * OpenVPN: TLS with certificates made for the run, AES-256-GCM, UDP, its own defaults otherwise. With a rate the same is asked
 * of both and what it costs is the figure.
 */
import type { ChildProcess } from 'node:child_process';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { type Cost, costOf, INNER, labFolder, startBond } from '../src/lab/daemons.ts';
import { parseLinkSpec } from '../src/lab/linkspec.ts';
import { until } from '../src/lab/measure.ts';
import { must } from '../src/lab/netns.ts';
import { Lab } from '../src/lab/topology.ts';
import { median } from './median.ts';

const SECONDS = 10;
const WARMUP_SECONDS = 2;
const BAR_BPS = 2e9;
const BAR_TIMES_OPENVPN = 3;
const TUNNEL = { server: '10.88.0.1', router: '10.88.0.2', port: 1195 } as const;
const DIRECTIONS = ['down', 'up'] as const;

interface Run {
  bps: number;
  retransmits: number;
  /** Both ends' CPU seconds while the flow ran, warm-up included. */
  cpuSeconds: number;
}

interface Tunnel {
  name: 'yoke' | 'openvpn';
  server: string;
  costs: () => Cost[];
  runs: Record<(typeof DIRECTIONS)[number], Run[]>;
}

/** Runs both and prints one JSON line; whether the bars were met. */
export async function runUnshaped(rateBps: number | undefined, runs: number, open: Set<Lab>): Promise<boolean> {
  const spec = parseLinkSpec('1gbit/1gbit/0ms');
  const lab = await Lab.open({ links: [spec, spec], unshaped: true });
  open.add(lab);
  const load = loadavg()[0];
  try {
    const openvpn = await startOpenvpn(lab);
    const bond = await startBond(lab);
    const tunnels: Tunnel[] = [
      { name: 'yoke', server: INNER.server, costs: () => [bond.router.cost(), bond.server.cost()], runs: noRuns() },
      {
        name: 'openvpn',
        server: TUNNEL.server,
        costs: () => openvpn.map((child) => costOf(child.pid ?? 0)),
        runs: noRuns(),
      },
    ];
    for (let run = 0; run < runs; run++)
      for (const tunnel of tunnels)
        for (const direction of DIRECTIONS) tunnel.runs[direction].push(await flow(lab, tunnel, direction, rateBps));
    return report(tunnels, rateBps, load);
  } finally {
    await lab.close();
    open.delete(lab);
  }
}

const noRuns = (): Tunnel['runs'] => ({ down: [], up: [] });

async function flow(lab: Lab, tunnel: Tunnel, direction: 'down' | 'up', rateBps: number | undefined): Promise<Run> {
  const server = lab.spawn('server', ['iperf3', '-s', '-1', '-B', tunnel.server], { stdio: 'ignore' });
  await until(async () => (await lab.must('server', ['ss', '-Hltn', 'sport = :5201'])) !== '', 5000, 'iperf3');
  const before = cpuOf(tunnel);
  const argv = [
    'iperf3',
    '-c',
    tunnel.server,
    '-C',
    'cubic',
    '-J',
    '-O',
    String(WARMUP_SECONDS),
    '-t',
    String(SECONDS),
  ];
  if (rateBps) argv.push('-b', String(rateBps));
  if (direction === 'down') argv.push('-R');
  const text = await lab.must('router', argv, { timeoutMs: (WARMUP_SECONDS + SECONDS + 20) * 1000 });
  const cpuSeconds = cpuOf(tunnel) - before;
  await lab.end(server);
  const { end } = JSON.parse(text) as {
    end: { sum_received: { bits_per_second: number }; sum_sent: { retransmits?: number } };
  };
  return { bps: end.sum_received.bits_per_second, retransmits: end.sum_sent.retransmits ?? 0, cpuSeconds };
}

function cpuOf(tunnel: Tunnel): number {
  return tunnel.costs().reduce((sum, cost) => sum + cost.cpuSeconds, 0);
}

function report(tunnels: Tunnel[], rateBps: number | undefined, load: number): boolean {
  const figures = tunnels.map((tunnel) => {
    const of = (direction: 'down' | 'up') => ({
      gbps: median(tunnel.runs[direction].map((r) => r.bps)) / 1e9,
      cpuSeconds: median(tunnel.runs[direction].map((r) => r.cpuSeconds)),
      retransmits: median(tunnel.runs[direction].map((r) => r.retransmits)),
      runsGbps: tunnel.runs[direction].map((r) => r.bps / 1e9),
    });
    return {
      down: of('down'),
      up: of('up'),
      peakRssBytes: tunnel.costs().reduce((sum, cost) => sum + cost.peakRssBytes, 0),
    };
  });
  const [yoke, openvpn] = figures;
  const worst = Math.min(yoke.down.gbps, yoke.up.gbps);
  const times = Math.min(yoke.down.gbps / openvpn.down.gbps, yoke.up.gbps / openvpn.up.gbps);
  const cpu = (f: typeof yoke) => f.down.cpuSeconds + f.up.cpuSeconds;
  const bars = rateBps
    ? {
        cpuSeconds: { value: cpu(yoke), bar: cpu(openvpn), ok: cpu(yoke) < cpu(openvpn) },
        peakRssBytes: {
          value: yoke.peakRssBytes,
          bar: openvpn.peakRssBytes,
          ok: yoke.peakRssBytes < openvpn.peakRssBytes,
        },
      }
    : {
        gbps: { value: worst, bar: BAR_BPS / 1e9, ok: worst * 1e9 >= BAR_BPS },
        timesOpenvpn: { value: times, bar: BAR_TIMES_OPENVPN, ok: times >= BAR_TIMES_OPENVPN },
      };
  const ok = Object.values(bars).every((bar) => bar.ok);
  const line = { case: rateBps ? 'cost' : 'unshaped', ok, load, ...bars, yoke, openvpn };
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toFixed(3)) : value);
  process.stdout.write(`${JSON.stringify(line, rounded)}\n`);
  return ok;
}

/** A point-to-point OpenVPN over line 0; both ends' processes. */
async function startOpenvpn(lab: Lab): Promise<ChildProcess[]> {
  const folder = labFolder(lab);
  const fingerprints: Record<string, string> = {};
  for (const end of ['router', 'server']) {
    const [key, crt] = [join(folder, `${end}.key`), join(folder, `${end}.crt`)];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await must(['openssl', 'req', '-x509', ...curve, '-keyout', key, '-out', crt, '-days', '2', '-subj', `/CN=${end}`]);
    const text = await must(['openssl', 'x509', '-in', crt, '-noout', '-fingerprint', '-sha256']);
    fingerprints[end] = text.trim().replace(/^.*=/, '');
  }
  const start = (end: 'router' | 'server', ...more: string[]) => {
    const argv = ['openvpn', '--dev', 'tunvpn', '--dev-type', 'tun', '--proto', 'udp', '--verb', '1'];
    argv.push('--cert', join(folder, `${end}.crt`), '--key', join(folder, `${end}.key`));
    argv.push('--data-ciphers', 'AES-256-GCM', '--disable-dco', ...more);
    return lab.spawn(end, argv, { stdio: ['ignore', 'ignore', 'inherit'] });
  };
  const { server, router, port } = TUNNEL;
  const atServer = ['--tls-server', '--dh', 'none', '--peer-fingerprint', fingerprints.router];
  const atRouter = [
    '--tls-client',
    '--peer-fingerprint',
    fingerprints.server,
    '--remote',
    lab.link(0).server,
    String(port),
  ];
  const ends = [
    start('server', ...atServer, '--port', String(port), '--ifconfig', server, router),
    start('router', ...atRouter, '--ifconfig', router, server),
  ];
  const ping = ['ping', '-n', '-c', '1', '-W', '1', server];
  await until(async () => (await lab.exec('router', ping)).code === 0, 20_000, 'the OpenVPN tunnel');
  return ends;
}

/**
 * One measurement of bench/howto, inside the guest kernel: lines (test/guest/lines.ts), one way to make a pipe of them, a TCP flow each
 * way through it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { nodeHandshakeCrypto } from '../src/io/crypto.ts';
import { end, inside, ipBatch, must, run, spawnInside } from '../src/lab/netns.ts';
import { buildLines, type GuestLine, PIPE, plainPackets, routerAddress, serverAddress } from '../test/guest/lines.ts';
import { OpenvpnPair } from '../test/guest/openvpn-pair.ts';
import type { EndJob } from './howto-end.ts';

/** Real OpenVPN under the bonding driver, VXLAN under it, or our own engine. */
export type Way = 'openvpn' | 'vxlan' | 'multipath';

/** What the guest is told. */
export interface GuestJob {
  way: Way;
  lines: GuestLine[];
  warmupSeconds: number;
  seconds: number;
}

/** One direction: TCP payload, segments sent again, and how much of the guest's CPU was in use (0 to 1). */
export interface Flow {
  bps: number;
  retransmits: number;
  cpuShare: number;
}

/** What the guest finds. */
export type GuestResult = Record<'down' | 'up', Flow>;

const VXLAN_MTU = 1450;
const START_LIMIT_MS = 30_000;
/** The bonding device of one end over devices that are there already. */
async function bond(place: 'router' | 'server', slaves: readonly string[], mtu: number): Promise<void> {
  await ipBatch(place, [
    `link add ${PIPE.device} type bond mode balance-rr miimon 100`,
    ...slaves.flatMap((slave) => [`link set dev ${slave} down`, `link set dev ${slave} master ${PIPE.device}`]),
    `link set dev ${PIPE.device} mtu ${mtu}`,
    `address add ${PIPE[place]}/24 dev ${PIPE.device}`,
    `link set dev ${PIPE.device} up`,
  ]);
  await plainPackets(place, PIPE.device);
}

async function startVxlan(lines: readonly GuestLine[]): Promise<void> {
  for (const place of ['server', 'router'] as const) {
    const slaves = lines.map((_, i) => `vx${i}`);
    const ends = (i: number) =>
      place === 'router'
        ? `local ${routerAddress(i)} remote ${serverAddress(i)}`
        : `local ${serverAddress(i)} remote ${routerAddress(i)}`;
    await ipBatch(
      place,
      slaves.map((slave, i) => `link add ${slave} type vxlan id ${10 + i} dstport 4789 ${ends(i)}`),
    );
    for (const slave of slaves) await plainPackets(place, slave);
    await bond(place, slaves, VXLAN_MTU);
  }
}

/** Starts one end of multipath in a process of its own and waits until its device is there. */
async function startEnd(place: 'router' | 'server', job: EndJob): Promise<ChildProcess> {
  const file = fileURLToPath(new URL('./howto-end.js', import.meta.url));
  const argv = inside(place, [process.execPath, file]);
  const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(job));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`multipath at the ${place} ended with ${code}`)));
  });
  return child;
}

/** Both ends of a new pair. */
function endJobs(lines: number): Record<'router' | 'server', EndJob> {
  const [router, server] = [nodeHandshakeCrypto.generateKeyPair(), nodeHandshakeCrypto.generateKeyPair()];
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
  return {
    router: { role: 'router', privateKey: hex(router.privateKey), peerKey: hex(server.publicKey), lines },
    server: { role: 'server', privateKey: hex(server.privateKey), peerKey: hex(router.publicKey), lines },
  };
}

async function startMultipath(lines: readonly GuestLine[]): Promise<ChildProcess[]> {
  const jobs = endJobs(lines.length);
  return [await startEnd('server', jobs.server), await startEnd('router', jobs.router)];
}

/** Waits for an answer through the pipe. */
async function pipeAnswers(): Promise<void> {
  const limitMs = performance.now() + START_LIMIT_MS;
  const ping = inside('router', ['ping', '-n', '-c', '4', '-i', '0.2', '-W', '1', PIPE.server]);
  for (;;) {
    const { stdout } = await run(ping);
    if (/ 0% packet loss/.test(stdout)) return;
    if (performance.now() > limitMs) throw new Error(`no pipe within ${START_LIMIT_MS} ms\n${stdout}`);
  }
}

async function flow(direction: 'down' | 'up', job: GuestJob): Promise<Flow> {
  const server = spawnInside('server', ['iperf3', '-s', '-1', '-B', PIPE.server], { stdio: 'ignore' });
  try {
    while ((await must(inside('server', ['ss', '-Hltn', 'sport = :5201']))) === '') await pause(100);
    const argv = ['iperf3', '-c', PIPE.server, '-C', 'cubic', '-J', '-O', String(job.warmupSeconds)];
    argv.push('-t', String(job.seconds), ...(direction === 'down' ? ['-R'] : []));
    const before = cpuTicks();
    const text = await must(inside('router', argv), { timeoutMs: (job.warmupSeconds + job.seconds + 30) * 1000 });
    const after = cpuTicks();
    const report = JSON.parse(text) as {
      end: { sum_received: { bits_per_second: number }; sum_sent: { retransmits?: number } };
    };
    return {
      bps: report.end.sum_received.bits_per_second,
      retransmits: report.end.sum_sent.retransmits ?? 0,
      cpuShare: 1 - (after.idle - before.idle) / (after.all - before.all),
    };
  } finally {
    await end(server);
  }
}

function cpuTicks(): { idle: number; all: number } {
  const ticks = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1).map(Number);
  return { idle: ticks[3] + ticks[4], all: ticks.slice(0, 8).reduce((sum, n) => sum + n, 0) };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function main(): Promise<void> {
  const job = JSON.parse(process.argv[2]) as GuestJob;
  await buildLines(job.lines);
  const started: ChildProcess[] = [];
  try {
    if (job.way === 'multipath') started.push(...(await startMultipath(job.lines)));
    else if (job.way === 'vxlan') await startVxlan(job.lines);
    else {
      const pair = await OpenvpnPair.start(job.lines.length);
      started.push(pair.server.child, pair.router.child);
    }
    await pipeAnswers();
    const result: GuestResult = { down: await flow('down', job), up: await flow('up', job) };
    process.stdout.write(JSON.stringify(result));
  } finally {
    for (const child of started) await end(child);
  }
}

await main();

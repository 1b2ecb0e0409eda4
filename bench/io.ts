/**
 * Micro-benchmarks of the packet path; prints one JSON line a case. Run as root: `node dist/bench/io.js [seconds]`.
 *
 *   aead      µs to seal and to open 1,400 bytes, each cipher
 *   tunnel    Gbit/s of one TCP flow (iperf3) through two `io-pump` processes in two namespaces over one veth pair
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openAead } from '../src/io/aead.ts';
import { openNodeAead } from '../src/io/aead-node.ts';
import { openArena } from '../src/io/arena.ts';
import type { AeadCipher } from '../src/wire/aead.ts';
import type { PumpOptions } from './io-pump.ts';

const PUMP = join(dirname(fileURLToPath(import.meta.url)), 'io-pump.js');
const PREFIX = `yki-${process.pid}`;
const ENDS = ['a', 'b'] as const;
const seconds = Number(process.argv[2] ?? 5);
const pumps: ChildProcess[] = [];
const servers: ChildProcess[] = [];

const ip = (...argv: string[]) => execFileSync('ip', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
const inside = (end: string, ...argv: string[]) => ['netns', 'exec', `${PREFIX}-${end}`, ...argv];

function benchAead(): void {
  const arena = openArena(1 << 20);
  const at = arena.take('bench', 8192);
  for (const [kind, provider, n] of [
    ['evp', openAead(arena), 200_000],
    ['node', openNodeAead(arena.bytes), 20_000],
  ] as const)
    for (const cipher of ['aes-256-gcm', 'chacha20-poly1305'] as AeadCipher[]) {
      const key = provider.create(cipher, new Uint8Array(32));
      const time = (work: (i: number) => void) => {
        for (let i = 0; i < n / 10; i++) work(i);
        const start = process.hrtime.bigint();
        for (let i = 0; i < n; i++) work(i);
        return Number(process.hrtime.bigint() - start) / n / 1000;
      };
      const sealUs = time((i) => key.seal(1, i, at, 8, at + 8, 1400, at + 2048));
      key.seal(1, 5, at, 8, at + 8, 1400, at + 2048);
      const openUs = time(() => key.open(1, 5, at, 8, at + 2048, 1400, at + 4096));
      console.log(JSON.stringify({ case: 'aead', provider: kind, cipher, sealUs, openUs }));
    }
}

async function startPump(end: 'a' | 'b', settings: Partial<PumpOptions>): Promise<void> {
  const options: PumpOptions = {
    name: 'yki0',
    local: end === 'a' ? '10.9.0.1' : '10.9.0.2',
    remote: end === 'a' ? '10.9.0.2' : '10.9.0.1',
    port: 7000,
    offload: true,
    segmentation: true,
    gro: true,
    crypto: true,
    ...settings,
  };
  const node = [process.execPath, ...(process.env.PUMP_NODE_ARGS?.split(' ') ?? []), PUMP, JSON.stringify(options)];
  const child = spawn('ip', inside(end, ...node), { stdio: ['ignore', 'pipe', 'inherit'] });
  pumps.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`pump ${end} ended with ${code}`)));
  });
  ip(...inside(end, 'ip', 'address', 'add', end === 'a' ? '10.8.0.1/24' : '10.8.0.2/24', 'dev', 'yki0'));
  ip(...inside(end, 'ip', 'link', 'set', 'yki0', 'up', 'mtu', '1444', 'txqueuelen', '1000'));
}

/** Ends a pump and returns the counters that it prints. */
function stopPump(child: ChildProcess): Promise<Record<string, number>> {
  return new Promise((resolve) => {
    let text = '';
    child.stdout?.on('data', (chunk) => {
      text += chunk;
    });
    child.once('exit', () => resolve(text ? JSON.parse(text) : {}));
    child.kill('SIGTERM');
  });
}

async function benchTunnel(name: string, settings: Partial<PumpOptions>): Promise<void> {
  for (const end of ENDS) await startPump(end, settings);
  const server = spawn('ip', inside('b', 'iperf3', '-s', '-1'), { stdio: 'ignore' });
  servers.push(server);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const argv = ['iperf3', '-c', '10.8.0.2', '-t', String(seconds), '-J'];
  const text = await new Promise<string>((resolve) => {
    let out = '';
    const client = spawn('ip', inside('a', ...argv), { stdio: ['ignore', 'pipe', 'inherit'] });
    client.stdout.on('data', (chunk) => {
      out += chunk;
    });
    client.once('exit', () => resolve(out));
  });
  const { end } = JSON.parse(text);
  const [a, b] = await Promise.all(pumps.splice(0).map(stopPump));
  const gbitPerSecond = end.sum_received.bits_per_second / 1e9;
  console.log(JSON.stringify({ case: 'tunnel', name, gbitPerSecond, retransmits: end.sum_sent.retransmits, a, b }));
}

function cleanUp(): void {
  for (const child of [...pumps, ...servers]) child.kill('SIGKILL');
  for (const end of ENDS)
    try {
      ip('netns', 'delete', `${PREFIX}-${end}`);
    } catch {
      // It was never made.
    }
}

async function main(): Promise<void> {
  if (!process.env.ONLY_TUNNEL) benchAead();
  for (const end of ENDS) ip('netns', 'add', `${PREFIX}-${end}`);
  ip('link', 'add', 'veth0', 'netns', `${PREFIX}-a`, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', `${PREFIX}-b`);
  for (const end of ENDS) {
    ip(...inside(end, 'ip', 'address', 'add', end === 'a' ? '10.9.0.1/24' : '10.9.0.2/24', 'dev', 'veth0'));
    ip(...inside(end, 'ip', 'link', 'set', 'veth0', 'up'));
    ip(...inside(end, 'ip', 'link', 'set', 'lo', 'up'));
  }
  await benchTunnel('all offloads', {});
  if (process.env.ONLY_TUNNEL) return;
  await benchTunnel('no crypto', { crypto: false });
  await benchTunnel('plain UDP', { segmentation: false, gro: false });
  await benchTunnel('plain TUN and UDP', { offload: false, segmentation: false, gro: false });
}

process.on('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(1));
main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);

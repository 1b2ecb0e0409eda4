/**
 * The packet path's system calls and packet functions against the real kernel, without cryptography or protocol:
 *
 *   yki-PID-a  [yki0 10.8.0.1] ⇄ io-pump ⇄ veth 10.9.0.1 ──── veth 10.9.0.2 ⇄ io-pump ⇄ [yki0 10.8.0.2]  yki-PID-b
 *
 * What the kernel's TCP sends as giants through one TUN must come out of the other byte for byte, with no checksum error.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { PumpOptions } from '../../bench/io-pump.ts';

const run = promisify(execFile);
const PUMP = fileURLToPath(new URL('../../bench/io-pump.js', import.meta.url));
const IO = new URL('../../src/io/', import.meta.url).href;
const PREFIX = `yki-${process.pid}`;
const ENDS = ['a', 'b'] as const;
type End = (typeof ENDS)[number];
const able = process.getuid?.() === 0 && existsSync('/dev/net/tun');
const skip = able ? false : 'needs root and /dev/net/tun';
const children = new Set<ChildProcess>();

const ip = (...argv: string[]) => execFileSync('ip', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
const inside = (end: End, ...argv: string[]) => ['netns', 'exec', `${PREFIX}-${end}`, ...argv];

before(() => {
  if (!able) return;
  for (const end of ENDS) ip('netns', 'add', `${PREFIX}-${end}`);
  ip('link', 'add', 'veth0', 'netns', `${PREFIX}-a`, 'type', 'veth', 'peer', 'name', 'veth0', 'netns', `${PREFIX}-b`);
  for (const end of ENDS) {
    const n = end === 'a' ? 1 : 2;
    ip(...inside(end, 'ip', 'address', 'add', `10.9.0.${n}/24`, 'dev', 'veth0'));
    ip(...inside(end, 'ip', 'address', 'add', `fd09::${n}/64`, 'dev', 'veth0', 'nodad'));
    ip(...inside(end, 'ip', 'link', 'set', 'veth0', 'up'));
    ip(...inside(end, 'ip', 'link', 'set', 'lo', 'up'));
  }
});

after(() => {
  for (const child of children) child.kill('SIGKILL');
  if (!able) return;
  for (const end of ENDS)
    try {
      ip('netns', 'delete', `${PREFIX}-${end}`);
    } catch {
      // It was never made.
    }
});

function start(end: End, argv: string[]): ChildProcess {
  const child = spawn('ip', inside(end, ...argv), { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** Resolves with the first thing that the child says. */
function firstWord(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', (chunk) => resolve(String(chunk).trim()));
    child.once('exit', (code) => reject(new Error(`it ended with ${code} before it said anything`)));
  });
}

async function startPump(end: End, settings: Partial<PumpOptions>): Promise<ChildProcess> {
  const n = end === 'a' ? 1 : 2;
  const six = settings.local === '6';
  const options: PumpOptions = {
    name: 'yki0',
    port: 7000,
    offload: true,
    segmentation: true,
    gro: true,
    crypto: false,
    ...settings,
    local: six ? `fd09::${n}` : `10.9.0.${n}`,
    remote: six ? `fd09::${3 - n}` : `10.9.0.${3 - n}`,
  };
  const child = start(end, [process.execPath, PUMP, JSON.stringify(options)]);
  assert.equal(await firstWord(child), 'ready');
  ip(...inside(end, 'ip', 'address', 'add', `10.8.0.${n}/24`, 'dev', 'yki0'));
  ip(...inside(end, 'ip', 'address', 'add', `fd08::${n}/64`, 'dev', 'yki0', 'nodad'));
  ip(...inside(end, 'ip', 'link', 'set', 'yki0', 'up', 'mtu', '1400'));
  return child;
}

/** Ends a pump and returns the counters that it prints. */
function stopPump(child: ChildProcess): Promise<Record<string, number>> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk) => {
      text += chunk;
    });
    child.once('exit', () => (text ? resolve(JSON.parse(text)) : reject(new Error('a pump died'))));
    child.kill('SIGTERM');
  });
}

const MEGABYTES = 6;
/** Sends (or receives) pseudo-random bytes over TCP both ways and prints the hash of what came in. */
const TRANSFER = `
  const net = require('node:net'), { createHash, createCipheriv } = require('node:crypto');
  const [address, role] = process.argv.slice(1);
  const bytes = createCipheriv('aes-128-ctr', Buffer.alloc(16, role), Buffer.alloc(16)).update(Buffer.alloc(${MEGABYTES} << 20));
  const work = (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (chunk) => hash.update(chunk));
    socket.on('end', () => { console.log(hash.digest('hex')); });
    // Pieces of odd sizes, so that PSH and short segments come in the middle.
    let at = 0, step = 1;
    const more = () => {
      while (at < bytes.length) {
        const to = Math.min(bytes.length, at + step);
        step = (step * 7 + 13) % 200003;
        const piece = bytes.subarray(at, to);
        at = to;
        if (!socket.write(piece)) return socket.once('drain', more);
      }
      socket.end();
    };
    more();
  };
  if (role === 'server') net.createServer({ allowHalfOpen: true }, function (s) { this.close(); work(s); }).listen(5000, address, () => console.log('ready'));
  else work(net.connect({ port: 5000, host: address, allowHalfOpen: true }));
`;

async function transfer(address: string): Promise<void> {
  const { createHash, createCipheriv } = await import('node:crypto');
  const expected = (role: string) =>
    createHash('sha256')
      .update(
        createCipheriv('aes-128-ctr', Buffer.alloc(16, role), Buffer.alloc(16)).update(Buffer.alloc(MEGABYTES << 20)),
      )
      .digest('hex');
  const server = start('b', [process.execPath, '-e', TRANSFER, address, 'server']);
  assert.equal(await firstWord(server), 'ready');
  const answer = firstWord(server);
  const argv = inside('a', process.execPath, '-e', TRANSFER, address, 'client');
  const client = await run('ip', argv, { timeout: 60_000 });
  assert.equal(client.stdout.trim(), expected('server'));
  assert.equal(await answer, expected('client'));
}

/** Segments that the end's TCP threw away for a wrong checksum since its namespace was made. */
function checksumErrors(end: End): number {
  const text = execFileSync('ip', inside(end, 'cat', '/proc/net/snmp'), { encoding: 'utf8' });
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Tcp:'));
  return Number(values.split(' ')[names.split(' ').indexOf('InCsumErrors')]);
}

const PLAIN_UDP = { segmentation: false, gro: false };
const cases: [string, Partial<PumpOptions>, Partial<PumpOptions>][] = [
  ['all offloads', {}, {}],
  ['outer IPv6', { local: '6' }, { local: '6' }],
  ['plain UDP', PLAIN_UDP, PLAIN_UDP],
  ['one end without TUN offload', {}, { offload: false }],
  ['plain TUN, plain UDP', { offload: false, ...PLAIN_UDP }, { offload: false, ...PLAIN_UDP }],
];

for (const [name, forA, forB] of cases)
  test(`ping and TCP pass unharmed: ${name}`, { skip }, async () => {
    const a = await startPump('a', forA);
    const b = await startPump('b', forB);
    const pings = ['10.8.0.2', 'fd08::2'].map((to) =>
      run('ip', inside('a', 'ping', '-c', '3', '-i', '0.05', '-W', '5', '-s', '1200', to)),
    );
    for (const { stdout } of await Promise.all(pings)) assert.match(stdout, / 0% packet loss/);
    await transfer('10.8.0.2');
    await transfer('fd08::2');
    assert.equal(checksumErrors('a') + checksumErrors('b'), 0);
    const [ca, cb] = await Promise.all([stopPump(a), stopPump(b)]);
    for (const [c, settings] of [
      [ca, forA],
      [cb, forB],
    ] as const) {
      const offload = settings.offload ?? true;
      assert.equal(Boolean(c.offload), offload);
      assert.ok(offload ? c.packetsOut > 3 * c.reads : c.packetsOut === c.reads, `giants read: ${JSON.stringify(c)}`);
      assert.ok(c.sends < c.packetsOut);
      assert.ok(settings.gro === false ? c.messages === c.packetsIn : c.messages < c.packetsIn, 'runs received');
      assert.equal(c.refused, 0);
    }
    // Only what left its sender with a partial checksum is gathered, and only for a device with offload.
    for (const [c, mine, theirs] of [
      [ca, forA, forB],
      [cb, forB, forA],
    ] as const)
      if ((mine.offload ?? true) && (theirs.offload ?? true)) assert.ok(c.writes * 2 < c.packetsIn, JSON.stringify(c));
      else assert.equal(c.writes, c.packetsIn);
  });

/** Runs a module text inside a namespace, `io` being the URL of this layer's folder. */
async function script(end: End, text: string): Promise<string> {
  const argv = inside(end, process.execPath, '--input-type=module', '-e', text);
  return (await run('ip', argv)).stdout.trim();
}

test('a device name that is taken is said in one line, by a TUN device and by another', { skip }, async () => {
  const text = await script(
    'a',
    `import { openArena } from '${IO}arena.js'; import { openTun } from '${IO}tun.js';
     const arena = openArena(1 << 20);
     const tun = openTun(arena, { name: 'yki7', offload: true });
     for (const name of ['yki7', 'veth0', 'a-name-that-is-too-long'])
       try { openTun(arena, { name, offload: true }); } catch (error) { console.log(error.name, error.message); }
     tun.close();
     openTun(arena, { name: 'yki7', offload: false }).close();
     console.log('free again');`,
  );
  const lines = text.split('\n');
  assert.match(lines[0], /YokeError device yki7: expected a free device name, found a TUN device that another/);
  assert.match(lines[1], /YokeError device veth0: expected a free device name, found a device of another kind/);
  assert.match(lines[2], /YokeError .*1 to 15 bytes/);
  assert.equal(lines[3], 'free again');
});

test('datagrams above the device’s MTU are refused by value, in a run and alone; smaller ones pass', {
  skip,
}, async () => {
  const text = await script(
    'a',
    `import { openArena } from '${IO}arena.js'; import { UdpIo } from '${IO}udp.js'; import { writeEndpoint } from '${IO}endpoint.js';
     const arena = openArena(8 << 20), udp = new UdpIo(arena), to = arena.take('to', 48), data = arena.take('data', 65536);
     for (const family of [4, 6]) {
       const address = family === 4 ? [10, 9, 0, 2] : [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
       const socket = udp.open({ number: 0, family, port: 0, device: 'veth0', mark: 7 });
       writeEndpoint(arena.view, to, { address: Uint8Array.from(address), port: 9, socket: 0 });
       const head = family === 4 ? 28 : 48;
       console.log(udp.send(socket, to, data, 1501 - head, 1501 - head), udp.send(socket, to, data, 9000, 1501 - head),
         socket.plainRuns, udp.send(socket, to, data, 1500 - head, 1500 - head), udp.send(socket, to, data, 9000, 1500 - head));
     }`,
  );
  assert.deepEqual(text.split('\n'), ['-90 -90 0 1472 9000', '-90 -90 0 1452 9000']);
});

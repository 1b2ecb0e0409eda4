/** The running instance on a simulated machine: its order at start and end, what it follows, and that a failed start leaves nothing. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type AddressBytes, parseAddress, printAddress } from '../../src/base/address.ts';
import { readConfig } from '../../src/config/schema.ts';
import { askControl } from '../../src/daemon/control.ts';
import { Daemon, type DaemonParts } from '../../src/daemon/daemon.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import type { Status } from '../../src/status/status.ts';
import { FakeBackend, linkUp, SimulatedMachine } from './simulated.ts';

const KEYS = (() => {
  const privateKey = generatePrivateKey();
  return { privateKey, publicKey: publicKeyOf(privateKey), clientPresharedKeys: new Map() };
})();
const PEER = Buffer.from(KEYS.publicKey).toString('base64');
const NOT_ROOT =
  process.getuid?.() === 0 && existsSync('/dev/net/tun') ? false : 'the start asks for root and /dev/net/tun';

function routerText(bond = '', link1Server = '198.51.100.2'): string {
  return `
config interface 'bond'
  option ifname 'yk0'
  option ipaddr '10.77.0.2'
  option netmask '255.255.255.0'
  option remote_ipaddr '10.77.0.1'
  option private_key_file '/nowhere'
  option public_key '${PEER}'
  ${bond}
config link 'link0'
  option interface 'eth1'
  option server '198.51.100.1'
config link 'link1'
  option interface 'eth2'
  option server '${link1Server}'
`;
}

let dir: string;
let machine: SimulatedMachine;
let backend: FakeBackend;
let log: string[];
let daemon: Daemon;
let made: Daemon[];
let names: Record<string, string | undefined>;
let before: string[];

function make(text = routerText(), over: Partial<DaemonParts> = {}): Daemon {
  daemon = new Daemon({
    config: readConfig(text, 'test.conf'),
    keys: KEYS,
    runDir: dir,
    stateDir: dir,
    version: '9.9.9',
    backend,
    machine,
    resolve: async ({ name }): Promise<AddressBytes | undefined> => parseAddress(names[name] ?? ''),
    log: (level, line) => void log.push(`${level} ${line}`),
    offload: true,
    ...over,
  });
  made.push(daemon);
  return daemon;
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`waited in vain for ${what}; log:\n${log.join('\n')}`);
}
const has = (part: string) => machine.picture().some((line) => line.includes(part));

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-daemon-'));
  machine = new SimulatedMachine();
  backend = new FakeBackend(machine);
  log = [];
  names = {};
  made = [];
  before = machine.picture();
});
afterEach(async () => {
  for (const each of made) await each.stop().catch(() => {});
  rmSync(dir, { recursive: true, force: true });
});

test('start and stop: the journal before the first change, the device before its address, all taken back', {
  skip: NOT_ROOT,
}, async () => {
  await make().start();
  const story = machine.story;
  assert.match(story[0], /^journal \d+$/);
  const opened = story.indexOf('backend start');
  assert.ok(
    story.slice(0, opened).some((s) => s.startsWith('set rule 4')),
    'rules stand before the device',
  );
  assert.ok(story.slice(0, opened).some((s) => s.startsWith('set nft')));
  assert.ok(!story.slice(0, opened).some((s) => s.includes('address')));
  assert.ok(story.slice(opened).some((s) => s.includes('10.77.0.2/24')));
  const { links, peers } = backend.told.start[0];
  assert.deepEqual(
    links.map((l) => [l.id, l.name, l.device, l.usable, printAddress(l.localAddress!), printAddress(l.serverAddress)]),
    [
      [0, 'link0', 'eth1', true, '192.0.2.18', '198.51.100.1'],
      [1, 'link1', 'eth2', true, '192.0.2.34', '198.51.100.2'],
    ],
  );
  assert.deepEqual([peers.length, peers[0].name], [1, 'server']);
  await daemon.stop();
  assert.deepEqual(machine.picture(), before);
  assert.equal(machine.journal, undefined);
  assert.ok(!existsSync(join(dir, 'control.sock')) && !existsSync(join(dir, 'pid')));
});

test('the control socket answers status and version, and ends the instance', async () => {
  await make().start();
  assert.equal(await askControl(dir, 'version'), '9.9.9');
  const status = (await askControl(dir, 'status')) as Status;
  assert.equal(status.bonds[0].peer, 'server');
  assert.deepEqual(
    status.links.map((l) => [l.name, l.usable, l.address, l.gateway, l.server]),
    [
      ['link0', true, '192.0.2.18', '192.0.2.17', '198.51.100.1'],
      ['link1', true, '192.0.2.34', '192.0.2.33', '198.51.100.2'],
    ],
  );
  assert.deepEqual(await askControl(dir, 'stop'), { pid: process.pid });
  assert.deepEqual(await daemon.ended, { kind: 'stopped' });
});

test('a link that is down at start is followed when it comes, and when its address changes', {
  skip: NOT_ROOT,
}, async () => {
  machine.links[1] = { name: 'link1', up: false, mtu: 0, problem: 'no device eth2' };
  await make().start();
  assert.deepEqual(
    backend.settings!.links.map((l) => l.usable),
    [true, false],
  );
  assert.ok(log.includes('warn link link1: cannot be used: no device eth2'));
  machine.links[1] = linkUp('link1', 2);
  machine.onChange!();
  await until('the link', () => backend.settings!.links[1].usable);
  assert.ok(has('192.0.2.34'), 'its rule is there');
  machine.links[1].v4!.address = '192.0.2.35';
  machine.onChange!();
  await until('the address', () => printAddress(backend.settings!.links[1].localAddress!) === '192.0.2.35');
  assert.ok(has('192.0.2.35') && !has('192.0.2.34'));
  assert.equal(backend.told.start.length, 1, 'nothing was restarted');
});

test('a change that changes nothing does nothing', async () => {
  await make().start();
  const length = machine.story.length;
  const looks = machine.looks;
  machine.onChange!();
  await until('a look', () => machine.looks > looks && backend.told.set.length > 0);
  assert.equal(machine.story.length, length);
});

test('the device follows the MTU that the paths tell', async () => {
  await make().start();
  assert.ok(has('"mtu":1280'));
  backend.onEvent!({ kind: 'mtu', innerMtu: 1444 });
  await until('the MTU', () => has('"mtu":1444'));
});

test('what the backend says while the start goes on waits for the start', async () => {
  backend.first = { kind: 'mtu', innerMtu: 1444 };
  await make().start();
  await until('the follow', () => backend.told.set.length > 0);
  assert.ok(has('"mtu":1444'));
  const changes = machine.story.filter((s) => s.startsWith('set '));
  assert.deepEqual(changes, [...new Set(changes)], 'no step was performed twice');
});

test('a name is resolved at start; one without an answer is asked again, and the link follows', {
  skip: NOT_ROOT,
}, async () => {
  names['far.example'] = undefined;
  await make(routerText('', 'far.example')).start();
  assert.deepEqual(
    backend.settings!.links.map((l) => l.name),
    ['link0'],
  );
  const status = await daemon.status();
  assert.equal(status.links[1].reason, 'the name far.example has no address yet');
  assert.equal(status.warnings.length, 1);
  names['far.example'] = '203.0.113.5';
  await until('the name', () => backend.settings!.links.length === 2);
  assert.equal(printAddress(backend.settings!.links[1].serverAddress), '203.0.113.5');
  assert.equal(backend.settings!.links[1].id, 1);
  assert.deepEqual((await daemon.status()).warnings, []);
});

for (const [what, arrange, words] of [
  ['the host refuses', () => (machine.broken = 'sysctl net/ipv4/ip_forward'), /simulated machine refuses/],
  ['the backend refuses', () => (backend.refusal = new Error('no device today')), /no device today/],
] as const) {
  test(`when ${what}, the start fails and nothing is left`, async () => {
    arrange();
    await assert.rejects(make().start(), words);
    assert.deepEqual(machine.picture(), before);
    assert.equal(machine.journal, undefined);
    assert.ok(!existsSync(join(dir, 'pid')) && !existsSync(join(dir, 'control.sock')));
  });
}

test('a second instance is refused and disturbs nothing', async () => {
  const first = make();
  await first.start();
  const picture = machine.picture();
  const other = { backend: new FakeBackend(machine) };
  await assert.rejects(make(routerText(), other).start(), /expected no running instance, found pid/);
  await daemon.stop();
  assert.deepEqual(machine.picture(), picture);
  assert.equal(await askControl(dir, 'version'), '9.9.9');
  await first.stop();
  assert.deepEqual(machine.picture(), before);
});

test('what a killed instance left is put in order by the next, and taken back at its end', {
  skip: NOT_ROOT,
}, async () => {
  const killed = make();
  await killed.start();
  machine.removeDevice(backend.settings!.ifname);
  const journal = structuredClone(machine.journal);
  const left = structuredClone([...machine.things]);
  await killed.stop();
  for (const [slot, thing] of left) machine.things.set(slot, thing);
  machine.journal = journal;
  // the next one has another configuration
  await make(routerText("option rule_priority '5000'").replace("'yk0'", "'yk1'")).start();
  assert.ok(log.some((l) => l.includes('an earlier instance was killed')));
  await daemon.stop();
  assert.deepEqual(machine.picture(), before);
});

test('a backend that fails ends the instance, and the host is as it was', async () => {
  await make().start();
  backend.onEvent!({ kind: 'failed', error: new Error('the loop broke') });
  const ending = await daemon.ended;
  assert.equal(ending.kind, 'failed');
  await daemon.stop();
  assert.deepEqual(machine.picture(), before);
});

test('a reload adds a link without a restart; what needs one is refused', async () => {
  await make().start();
  const third = `${routerText()}\nconfig link 'link2'\n  option interface 'eth3'\n  option server '198.51.100.3'\n`;
  machine.links.push(linkUp('link2', 3));
  machine.devices.add('eth3');
  await daemon.reload(readConfig(third, 'test.conf'), KEYS);
  assert.deepEqual(
    backend.settings!.links.map((l) => l.id),
    [0, 1, 2],
  );
  assert.equal(backend.told.start.length, 1);
  const other = readConfig(routerText().replace(/ifname '[^']*'/, "ifname 'other0'"), 'test.conf');
  await assert.rejects(
    daemon.reload(other, KEYS),
    /test\.conf:2 option ifname: expected '.*', as it runs, found 'other0'; restart yoke/,
  );
});

test('a device that somebody else removes is made anew, and the host is whole again', async () => {
  await make(routerText()).start();
  const whole = machine.picture();
  machine.removeDevice(backend.settings!.ifname);
  machine.onChange?.();
  await until('a new start', () => backend.told.start.length === 2);
  await until('the host', () => machine.picture().join() === whole.join());
});

test('the watchdog restarts the bond after a silence, and the host is whole again', async () => {
  const dog = [
    "option watchdog '1'",
    "option watchdog_ip '192.0.2.77'",
    "option watchdog_period '1'",
    "option watchdog_timeout '2'",
  ];
  await make(routerText(dog.join('\n  '))).start();
  const whole = machine.picture();
  await until('a restart', () => backend.told.start.length === 2);
  await until('the host', () => machine.picture().join() === whole.join());
});

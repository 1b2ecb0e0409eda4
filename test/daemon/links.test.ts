/** Links by hand, on a simulated machine: down, up, for a while, kept, and restarted one after the other. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { askControl } from '../../src/daemon/control.ts';
import { Daemon } from '../../src/daemon/daemon.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import type { LinkRow } from '../../src/daemon/links.ts';
import { loadConfig } from '../../src/daemon/load.ts';
import type { Status } from '../../src/status/status.ts';
import { FakeBackend, SimulatedMachine } from './simulated.ts';

const KEYS = (() => {
  const privateKey = generatePrivateKey();
  return { privateKey, publicKey: publicKeyOf(privateKey), clientPresharedKeys: new Map() };
})();
const TEXT = `config interface 'bond'
	option ifname 'yk0'
	option ipaddr '10.77.0.2/24'
	option remote_ipaddr '10.77.0.1'
	option private_key_file '/nowhere'
	option public_key '${Buffer.from(KEYS.publicKey).toString('base64')}'

config link 'link0' # the old one
	option interface 'eth1'
	option server '198.51.100.1'

config link 'link1'
	option interface 'eth2'
	option server '198.51.100.2'
`;

let dir: string;
let file: string;
let backend: FakeBackend;
let log: string[];
let daemon: Daemon;

async function start(text = TEXT): Promise<void> {
  writeFileSync(file, text);
  const machine = new SimulatedMachine();
  backend = new FakeBackend(machine);
  daemon = new Daemon({
    config: loadConfig(file),
    keys: KEYS,
    runDir: dir,
    stateDir: dir,
    version: '9.9.9',
    backend,
    machine,
    resolve: async ({ name }) => parseAddress(name),
    log: (level, line) => void log.push(`${level} ${line}`),
    offload: true,
  });
  await daemon.start();
}

const link = async (action: string, names = '', more: Record<string, string | boolean> = {}): Promise<string[]> => {
  const rows = (await askControl(dir, 'link', { action, names, ...more }, 60_000)) as LinkRow[];
  return rows.map((r) => `${r.name} ${r.state} ${r.reason}`.trim());
};
const usable = () => backend.settings?.links.map((l) => l.usable);
async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`waited in vain for ${what}; log:\n${log.join('\n')}`);
}

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-links-'));
  file = join(dir, 'bonding');
  log = [];
});
afterEach(async () => {
  await daemon?.stop();
  rmSync(dir, { recursive: true, force: true });
});

test('down and up, shown as such, over a reload; the last one that stands is not taken down for good', async () => {
  await start();
  assert.deepEqual(await link('list'), ['link0 up', 'link1 up']);
  assert.deepEqual(await link('down', 'link0'), ['link0 closed taken down by hand', 'link1 up']);
  assert.deepEqual(usable(), [false, true]);
  const status = (await askControl(dir, 'status')) as Status;
  assert.equal(status.links[0].reason, 'taken down by hand');
  await daemon.reload(loadConfig(file), KEYS);
  assert.deepEqual(usable(), [false, true], 'a reload leaves it');
  await assert.rejects(
    link('down', 'link1'),
    /link link1: expected another link that stands, found none; add --for 10m/,
  );
  assert.deepEqual(usable(), [false, true]);
  assert.deepEqual(await link('up', 'link0'), ['link0 up', 'link1 up']);
  assert.equal(readFileSync(file, 'utf8'), TEXT);
  assert.ok(log.some((l) => l === 'info link link0: taken down by hand'));
});

test('for a while: it comes back by itself, and says until when', async () => {
  await start();
  const rows = await link('down', 'link0', { for: '1s' });
  assert.match(rows[0], /^link0 closed taken down by hand until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  await until('its return', () => usable()?.every(Boolean) === true);
  for (const bad of ['0', 'ten', '8d', '-1s']) {
    await assert.rejects(link('down', 'link0', { for: bad }), /--for: expected a time from 1s to 7d/);
  }
});

test('kept: the file has it, and nothing else of the file changes', async () => {
  await start();
  await assert.rejects(link('down', 'link0', { keep: true, for: '5s' }), /--keep: expected it alone/);
  await link('down', 'link0', { keep: true });
  const kept = readFileSync(file, 'utf8');
  assert.equal(kept, TEXT.replace("'198.51.100.1'\n", "'198.51.100.1'\n\toption disabled '1'\n"));
  await daemon.reload(loadConfig(file), KEYS);
  assert.deepEqual(await link('list'), ['link0 disabled disabled in the file', 'link1 up']);
  assert.deepEqual(await link('up', 'link0'), ['link0 up', 'link1 up'], 'for now, too');
  assert.equal(readFileSync(file, 'utf8'), kept);
  await link('up', 'link0', { keep: true });
  assert.equal(readFileSync(file, 'utf8'), TEXT);
});

test('a restart: one after the other, never both away; what was taken down by hand stays down unless named', async () => {
  await start();
  const sets = backend.told.set.length;
  assert.deepEqual(await link('restart'), ['link0 up', 'link1 up']);
  const seen = backend.told.set.slice(sets).map((s) => s.links.map((l) => (l.usable ? '1' : '0')).join(''));
  assert.deepEqual(seen, ['01', '11', '10', '11']);
  await link('down', 'link1');
  assert.deepEqual(await link('restart'), ['link0 up', 'link1 closed taken down by hand']);
  assert.deepEqual(await link('restart', 'link1'), ['link0 up', 'link1 up']);
  backend.paths = 'waiting';
  log.length = 0;
  const first = link('restart');
  await until('a link that is away', () => log.some((l) => l.includes('to be taken up again')));
  await assert.rejects(link('restart'), /expected one restart at a time, found one under way/);
  backend.paths = 'up';
  assert.deepEqual(await first, ['link0 up', 'link1 up']);
});

test('a link that is not there, and a server, are a line each', async () => {
  await start();
  await assert.rejects(
    link('down', 'link2'),
    /link: expected the name of a link of this router, found 'link2'; did you mean/,
  );
  await daemon.stop();
  await start(`config interface 'bond'
	option role 'server'
	option ifname 'yk0'
	option ipaddr '10.77.0.1/24'
	option private_key_file '/nowhere'

config client 'one'
	option public_key '${Buffer.from(KEYS.publicKey).toString('base64')}'
	option ipaddr '10.77.0.2'
`);
  await assert.rejects(link('list'), /expected the router of a bond, found its server/);
});

const tiers = () => backend.settings?.links.map((l) => [l.tier, l.weight]);

test('mode and weight: at once, over a reload, and kept in the file when asked', async () => {
  await start();
  assert.deepEqual(tiers(), [
    [0, 1],
    [0, 1],
  ]);
  await link('mode', 'link1', { value: 'backup' });
  await link('weight', 'link1', { value: '7' });
  assert.deepEqual(tiers()?.[1], [1, 7]);
  await daemon.reload(loadConfig(file), KEYS);
  assert.deepEqual(tiers()?.[1], [1, 7]);
  assert.equal(readFileSync(file, 'utf8'), TEXT);
  await link('mode', 'link1', { value: 'normal' });
  assert.deepEqual(tiers()?.[1], [0, 7]);
  await link('mode', 'link0', { value: 'backup', keep: true });
  await link('weight', 'link0', { value: '3', keep: true });
  const text = readFileSync(file, 'utf8');
  assert.match(text, /the old one[\s\S]*option mode 'backup'\n\toption weight '3'[\s\S]*link1/);
  assert.equal(loadConfig(file).links[0].tier, 1);
});

test('a mode that is none, a weight that is none, a link that is none: one line each, and nothing changes', async () => {
  await start();
  for (const [action, names, value, says] of [
    ['mode', 'link1', 'spare', /expected 'normal' or 'backup', found 'spare'/],
    ['weight', 'link1', '0', /expected a weight from 1 to 100, found '0'/],
    ['weight', 'link1', 'x', /expected a weight from 1 to 100, found 'x'/],
    ['mode', 'lnik1', 'backup', /found 'lnik1'; did you mean 'link1'/],
  ] as const) {
    await assert.rejects(link(action, names, { value }), (error: Error) => {
      assert.equal(error.message.split('\n').length, 1);
      assert.match(error.message, says);
      return true;
    });
  }
  assert.deepEqual(tiers()?.[1], [0, 1]);
});

test('a quota that is used up makes its link the last of all, at once and after a restart', async () => {
  const text = TEXT.replace("option interface 'eth2'", "option interface 'eth2'\n\toption quota '5MB'");
  await start(text);
  const quota = async () => ((await daemon.status()) as Status).links[1].quota;
  assert.deepEqual([(await quota())?.state, (await quota())?.usedBytes], ['ok', 0]);
  backend.carried = 5e6;
  await until('the end of the quota', async () => (await quota())?.state === 'used');
  await until('its tier', () => tiers()?.[1][0] === 100);
  assert.match((await daemon.status()).warnings.join(), /link1: its quota is used up/);
  await daemon.stop();
  backend.carried = 0;
  await start(text);
  assert.equal(tiers()?.[1][0], 100);
  assert.equal((await quota())?.usedBytes, 5e6);
});

/** What the edge reads from other programs' files, and how it keeps its own. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { FileJournal } from '../../src/host/journal.ts';
import { leaseGateway, parseDhclientLeases } from '../../src/host/leases.ts';
import { parseInterfaceNames, parseNetifd } from '../../src/host/netifd.ts';
import { parseTableNames } from '../../src/host/observe.ts';
import { run, runWell } from '../../src/host/run.ts';
import type { Entry } from '../../src/plan/plan.ts';

const root = mkdtempSync(join(tmpdir(), 'yoke-host-'));
after(() => rmSync(root, { recursive: true, force: true }));

function put(name: string, text: string): void {
  mkdirSync(dirname(join(root, name)), { recursive: true });
  writeFileSync(join(root, name), text);
}

const DHCLIENT = `lease {
  interface "eth1";
  fixed-address 192.0.2.30;
  option routers 192.0.2.1;
  renew 2 2024/05/01 10:11:12;
}
lease {
  interface "eth2";
  fixed-address 198.51.100.9;
  option routers 198.51.100.1,198.51.100.2;
  renew 4 2024/05/02 10:11:12;
}
lease {
  interface "eth1";
  fixed-address 192.0.2.31;
  option routers 192.0.2.254;
  renew 5 2024/05/03 10:11:12;
}
`;

test('leases of dhclient: the last one of a device tells its gateway', async () => {
  assert.equal(parseDhclientLeases(DHCLIENT).length, 3);
  put('var/lib/dhcp/dhclient.leases', DHCLIENT);
  assert.equal(await leaseGateway('eth1', 2, root), '192.0.2.254');
  assert.equal(await leaseGateway('eth2', 3, root), '198.51.100.1');
  assert.equal(await leaseGateway('eth3', 4, root), undefined);
});

test('leases of systemd-networkd, NetworkManager and udhcpc', async () => {
  put('run/systemd/netif/leases/7', '# private\nADDRESS=10.1.2.3\nROUTER=10.1.2.1\nT1=1800\n');
  put('run/NetworkManager/devices/8', '[dhcp]\nroot-path=\nnext-hop=10.2.3.1\n');
  put('run/udhcpc.wan0.env', "router='10.3.4.1 10.3.4.2'\nsubnet=255.255.255.0\n");
  assert.equal(await leaseGateway('a', 7, root), '10.1.2.1');
  assert.equal(await leaseGateway('b', 8, root), '10.2.3.1');
  assert.equal(await leaseGateway('wan0', 9, root), '10.3.4.1');
});

test("netifd's answer", () => {
  const answer = {
    up: true,
    l3_device: 'pppoe-wan',
    device: 'eth0.2',
    route: [
      { target: '192.0.2.0', mask: 24, nexthop: '192.0.2.9' },
      { target: '0.0.0.0', mask: 0, nexthop: '192.0.2.1' },
      { target: '::', mask: 0, nexthop: 'fe80::1' },
    ],
  };
  const gateways = { 4: '192.0.2.1', 6: 'fe80::1' };
  assert.deepEqual(parseNetifd(JSON.stringify(answer)), { device: 'pppoe-wan', gateways });
  const unconnected = { up: false, route: [{ target: '0.0.0.0', mask: 0, nexthop: '0.0.0.0' }] };
  assert.deepEqual(parseNetifd(JSON.stringify(unconnected)), { device: undefined, gateways: {} });
  assert.equal(parseNetifd('Command failed: Not found'), undefined);
});

test('names of routing tables', () => {
  assert.deepEqual(parseTableNames('# reserved\n255\tlocal\n\n 1001 dsl # first\n0x3ea cable\nnonsense\n'), {
    local: 255,
    dsl: 1001,
    cable: 1002,
  });
});

test('a program that is missing is named with its package; one that fails is quoted', async () => {
  const path = process.env.PATH;
  process.env.PATH = root;
  try {
    await assert.rejects(run(['nothing-of-this-name', 'x']), /expected the program to be installed.*apt-get install/);
  } finally {
    process.env.PATH = path;
  }
  await assert.rejects(runWell(['ls', '/nowhere/at/all']), /ls \/nowhere\/at\/all: expected the command to succeed/);
  assert.equal(await runWell(['cat'], 'said on stdin'), 'said on stdin');
});

const ENTRY: Entry = {
  slot: 'sysctl net/ipv4/ip_forward',
  before: { kind: 'sysctl', key: 'net/ipv4/ip_forward', value: '0' },
  ours: { kind: 'sysctl', key: 'net/ipv4/ip_forward', value: '1' },
};

test('the journal is whole, private, and gone when it is empty', async () => {
  const store = new FileJournal(join(root, 'run-a'));
  assert.equal(await store.load(), undefined);
  writeFileSync(join(root, 'half'), '{"version":1,');
  await store.save({ entries: [ENTRY] });
  assert.deepEqual(await store.load(), { entries: [ENTRY] });
  assert.equal(statSync(store.path).mode & 0o777, 0o600);
  writeFileSync(`${store.path}.new`, '{"version":1,"ent'); // Killed while the next one was being written.
  assert.deepEqual(await store.load(), { entries: [ENTRY] });
  await store.save({ entries: [ENTRY, ENTRY] });
  assert.equal((await store.load())?.entries.length, 2);
  await store.save({ entries: [] });
  assert.throws(() => statSync(store.path), /ENOENT/);
});

test('a journal of an earlier boot or another namespace is not ours to undo', async () => {
  const store = new FileJournal(join(root, 'run-b'));
  for (const change of [{ bootId: '00000000-0000-0000-0000-000000000000' }, { netns: 'net:[1]' }]) {
    await store.save({ entries: [ENTRY] });
    const file = JSON.parse(readFileSync(store.path, 'utf8'));
    writeFileSync(store.path, JSON.stringify({ ...file, ...change }));
    assert.equal(await store.load(), undefined);
  }
});

test('a journal that cannot be read is an error, not an empty one', async () => {
  const store = new FileJournal(join(root, 'run-c'));
  await store.save({ entries: [ENTRY] });
  for (const text of ['{"version":1,"ent', '{"version":99,"entries":[]}', '[]']) {
    writeFileSync(store.path, text);
    await assert.rejects(store.load(), /host\.json: expected a journal of version 1/);
  }
});

test('the owner of a journal is alive only if it is the same process still', async () => {
  const store = new FileJournal(join(root, 'run-d'));
  await store.save({ entries: [ENTRY] });
  assert.equal(await store.liveOwner(), undefined, 'not oneself');
  const file = JSON.parse(readFileSync(store.path, 'utf8'));
  const stat = readFileSync('/proc/1/stat', 'utf8');
  const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  writeFileSync(store.path, JSON.stringify({ ...file, owner: { pid: 1, startTicks } }));
  assert.deepEqual(await store.liveOwner(), { pid: 1, startTicks });
  writeFileSync(store.path, JSON.stringify({ ...file, owner: { pid: 1, startTicks: `${startTicks}9` } }));
  assert.equal(await store.liveOwner(), undefined);
});

test('netifd: a device is called as its configured interface, the one with IPv4 of two', () => {
  const on = (name: string, device: string, more: object = {}) => ({
    interface: name,
    up: true,
    l3_device: device,
    'ipv4-address': [],
    ...more,
  });
  const v4 = { 'ipv4-address': [{ address: '192.0.2.2', mask: 24 }] };
  const dump = {
    interface: [
      on('wan6', 'eth1'),
      on('wan', 'eth1', v4),
      on('wwan_4', 'wwan0', { ...v4, dynamic: true }),
      on('wwan', 'wwan0'),
      on('wanb6', 'eth2'),
      { ...on('wanb', 'eth2', v4), up: false },
      { interface: 'guest', up: true },
    ],
  };
  const names = parseInterfaceNames(JSON.stringify(dump));
  assert.deepEqual([...names].sort(), [
    ['eth1', 'wan'],
    ['eth2', 'wanb6'],
    ['wwan0', 'wwan'],
  ]);
  for (const text of ['', 'null', '{}', 'Command failed: Not found'])
    assert.deepEqual([...parseInterfaceNames(text)], []);
});

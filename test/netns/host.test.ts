/**
 * The host in a throw-away network namespace: real commands, read back, taken back, killed on the way.
 *
 *    lan0 192.168.10.1/24      eth1 198.51.100.20/24, default via .1 (main)      eth2 192.0.2.30/24, gateway by hand      bond0
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../src/base/address.ts';
import type { Config } from '../../src/config/config.ts';
import { LinuxHost } from '../../src/host/host.ts';
import { FileJournal } from '../../src/host/journal.ts';
import { Monitor } from '../../src/host/monitor.ts';
import { observe } from '../../src/host/observe.ts';
import { applyPlan, revert } from '../../src/plan/apply.ts';
import { desired, diff, lookout, type Plan } from '../../src/plan/plan.ts';
import { addDevice, inNamespace, sh, snapshot } from '../host/namespace.ts';
import { sampleLink, sampleRouter, sampleServer } from '../plan/samples.ts';

const HERE = fileURLToPath(import.meta.url);
const VICTIM = join(dirname(HERE), '..', 'host', 'victim.js');

const LINKS = [sampleLink('one', 'eth1'), sampleLink('two', 'eth2', { gateway: parseAddress('192.0.2.1')! })];

inNamespace(HERE, () => {
  const runDir = mkdtempSync(join(tmpdir(), 'ykh-'));
  const host = new LinuxHost();
  const store = new FileJournal(runDir);
  after(() => rmSync(runDir, { recursive: true, force: true }));
  setUp();
  const untouched = snapshot();

  async function planFor(config: Config, innerMtu?: number): Promise<Plan> {
    const entries = (await store.load())?.entries ?? [];
    const facts = await observe(lookout(config), entries);
    return diff(facts, desired(config, facts, innerMtu === undefined ? undefined : { innerMtu }), entries);
  }
  const keep = async (config: Config, innerMtu?: number) => applyPlan(host, store, await planFor(config, innerMtu));

  test('what was found of the links', async () => {
    const { links, devices, ipv6 } = await observe(lookout(sampleRouter({}, [...LINKS, sampleLink('three', 'eth3')])));
    assert.ok(ipv6 && devices.includes('lan0'));
    const [one, two, three] = links;
    const base = { prefixLength: 24, others: [] };
    assert.deepEqual(one.v4, { ...base, address: '198.51.100.20', gateway: '198.51.100.1', source: 'main table' });
    assert.deepEqual(two.v4, { ...base, address: '192.0.2.30', gateway: '192.0.2.1', source: 'config' });
    assert.equal(two.v6?.address, '2001:db8:2::30');
    assert.equal(two.v6?.source, 'none');
    assert.equal(three.problem, 'no device eth3');
  });

  test('in two phases the host becomes what it should be; twice changes nothing; taken back it is as it was', async () => {
    const config = sampleRouter({}, LINKS);
    await keep(config);
    assert.match(sh('ip route get 203.0.113.1 oif eth2'), /via 192\.0\.2\.1 dev eth2/);
    assert.match(sh('ip route get 203.0.113.1'), /dev eth1/);
    addDevice('bond0');
    await keep(config, 1400);
    assert.deepEqual(await planFor(config, 1400), { steps: [], claims: [], releases: [] });

    assert.match(sh('ip route get 203.0.113.1'), /dev bond0/);
    assert.match(sh('ip -6 route get 2001:db8:99::1'), /dev bond0/);
    assert.match(sh('ip route get 203.0.113.1 mark 30327'), /dev eth1/, 'our own datagrams stay out of the bond');
    assert.match(sh('ip route get 203.0.113.1 mark 30327 oif eth2'), /via 192\.0\.2\.1 dev eth2/);
    assert.match(sh('ip route get 203.0.113.1 from 192.0.2.30'), /via 192\.0\.2\.1 dev eth2/);
    assert.match(sh('ip route get 192.168.10.7 from 192.0.2.30'), /dev lan0/, 'answers to neighbours do not leave');
    assert.match(sh('ip link show bond0'), /mtu 1400/);
    assert.match(sh('nft list table inet yoke_bond0'), /oifname "bond0" masquerade/);

    await keep(config, 1380);
    assert.match(sh('ip link show bond0'), /mtu 1380/);
    assert.equal(statSync(store.path).mode & 0o777, 0o600);
    await revert(host, store);
    sh('ip link del bond0');
    assert.deepEqual(snapshot(), untouched);
    assert.equal(await store.load(), undefined);
    assert.deepEqual(await revert(host, store), []);
  });

  test('a line that gets another address, or is away for a while, changes only what hangs on it', async () => {
    const config = sampleRouter({}, LINKS);
    await keep(config);
    sh('ip addr add 192.0.2.31/24 dev eth2');
    sh('ip addr del 192.0.2.30/24 dev eth2');
    if (!sh('ip addr show eth2').includes('192.0.2.31')) sh('ip addr add 192.0.2.31/24 dev eth2'); // It went as a secondary one.
    const plan = await planFor(config);
    assert.ok(plan.steps.length > 0 && plan.steps.every((s) => /192\.0\.2|1002/.test(s.slot)));
    await applyPlan(host, store, plan);
    assert.match(sh('ip route get 203.0.113.1 from 192.0.2.31'), /via 192\.0\.2\.1 dev eth2/);
    sh('ip link set eth2 down');
    await keep(config);
    assert.doesNotMatch(sh('ip rule'), /eth2/);
    sh('ip link set eth2 up');
    sh('ip addr del 192.0.2.31/24 dev eth2');
    sh('ip addr add 192.0.2.30/24 dev eth2');
    sh('ip addr add 2001:db8:2::30/64 dev eth2 nodad'); // The kernel drops IPv6 addresses of a device that goes down.
    await keep(config);
    assert.match(sh('ip route get 203.0.113.1 oif eth2'), /via 192\.0\.2\.1 dev eth2/);
    await revert(host, store);
    assert.deepEqual(snapshot(), untouched);
  });

  test('kill switch: nothing leaves when the device is gone, until it is taken back', async () => {
    const config = sampleRouter({ killswitch: true }, LINKS);
    addDevice('bond0');
    await keep(config, 1400);
    sh('ip link del bond0'); // As when the process dies.
    for (const line of ['ip route get 203.0.113.1', 'ip -6 route get 2001:db8:99::1']) {
      assert.throws(() => sh(line), /No route to host|unreachable/);
    }
    assert.match(sh('ip route get 203.0.113.1 mark 30327'), /dev eth1/);
    assert.deepEqual((await planFor(config)).steps, [], 'the next start does not open it');
    await revert(host, store);
    assert.match(sh('ip route get 203.0.113.1'), /dev eth1/);
    assert.deepEqual(snapshot(), untouched);
  });

  test('without it the host falls back to its plain line', async () => {
    const config = sampleRouter({}, LINKS);
    addDevice('bond0');
    await keep(config, 1400);
    assert.match(sh('ip route get 203.0.113.1'), /dev bond0/);
    sh('ip link del bond0');
    assert.match(sh('ip route get 203.0.113.1'), /dev eth1/);
    await revert(host, store);
    assert.deepEqual(snapshot(), untouched);
  });

  test('a server', async () => {
    const config = sampleServer();
    addDevice('bond0');
    await keep(config, 1400);
    assert.deepEqual((await planFor(config, 1400)).steps, []);
    assert.match(sh('ip route get 192.168.10.99 oif bond0'), /dev bond0/);
    await revert(host, store);
    sh('ip link del bond0');
    assert.deepEqual(snapshot(), untouched);
  });

  test('a step that fails leaves the host as it was', async () => {
    addDevice('bond0');
    const before = snapshot();
    // 100 bytes are too few for the kernel: half the plan is done by then.
    await assert.rejects(keep(sampleRouter({}, LINKS), 20), /mtu/);
    assert.deepEqual(snapshot(), before);
    assert.equal(await store.load(), undefined);
    sh('ip link del bond0');
  });

  test('killed at any step: the next start, or taking back, finds its way', async () => {
    const victim = (killswitch: string, at: number) =>
      spawnSync(process.execPath, [VICTIM, runDir, killswitch, String(at)], { encoding: 'utf8', timeout: 20_000 });
    addDevice('bond0');
    const steps = Number(victim('0', -1).stdout);
    assert.ok(steps > 20);
    await revert(host, store);
    sh('ip link del bond0');
    assert.deepEqual(snapshot(), untouched);
    for (const at of [0, 1, 7, 14, 16, 17, 20, steps - 1]) {
      addDevice('bond0');
      const killed = victim(String(at % 2), at);
      assert.equal(killed.signal, 'SIGKILL', killed.stderr);
      sh('ip link del bond0');
      if (at > 10) {
        addDevice('bond0'); // A new device under the old name: the process was started again.
        const again = victim('1', -1);
        assert.equal(again.status, 0, again.stderr);
        sh('ip link del bond0');
      }
      await revert(host, store);
      assert.deepEqual(snapshot(), untouched, `killed at step ${at}`);
    }
  });

  test('changes are told, also after the watcher died', async () => {
    let calls = 0;
    let last = 0;
    const monitor = new Monitor(() => calls++);
    try {
      const changeUntilTold = async () => {
        const before = calls;
        for (let i = 0; i < 100 && calls === before; i++) {
          sh(`ip addr replace 192.168.77.${++last}/32 dev lan0`);
          await new Promise((r) => setTimeout(r, 100));
        }
        assert.ok(calls > before);
      };
      await changeUntilTold();
      for (const pid of childrenNamed('ip')) process.kill(pid, 'SIGKILL');
      const before = calls;
      for (let i = 0; i < 100 && calls === before; i++) await new Promise((r) => setTimeout(r, 50));
      await changeUntilTold();
    } finally {
      monitor.stop();
    }
  });
});

/** The user's own things, which must survive. */
function setUp(): void {
  for (const name of ['lan0', 'eth1', 'eth2']) addDevice(name);
  sh('ip addr add 192.168.10.1/24 dev lan0');
  sh('ip addr add 198.51.100.20/24 dev eth1');
  sh('ip addr add 192.0.2.30/24 dev eth2');
  sh('ip addr add 2001:db8:2::30/64 dev eth2 nodad');
  for (const name of ['lan0', 'eth1', 'eth2']) sh(`ip link set ${name} up`);
  sh('ip route add default via 198.51.100.1 dev eth1');
  sh('ip rule add priority 701 from 192.168.10.99 lookup 1001');
  sh('ip route add 10.99.0.0/16 dev lan0 table 1001');
  sh('nft add table inet filter');
  sh('nft add chain inet filter forward { type filter hook forward priority 0 ; policy drop ; }');
  sh('nft add rule inet filter forward ct state established accept');
  for (const [key, value] of [
    ['ipv4/conf/eth1/rp_filter', '1'],
    ['ipv4/conf/all/accept_redirects', '0'],
    ['ipv6/conf/lan0/forwarding', '1'],
  ])
    writeFileSync(`/proc/sys/net/${key}`, value);
}

function childrenNamed(name: string): number[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return stat.includes(`(${name})`) && stat.split(') ')[1].split(' ')[1] === String(process.pid);
      } catch {
        return false; // It ended meanwhile.
      }
    });
}

/** What the transaction may expect of any host: one suite for the simulated one and for the real one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Host } from '../../src/plan/apply.ts';
import { groupsOf } from '../../src/plan/command.ts';
import { desiredNft } from '../../src/plan/nft.ts';
import { inverse, type Step } from '../../src/plan/plan.ts';
import { sameThing, slotOf, type Thing } from '../../src/plan/thing.ts';
import { sampleRouter, sampleServer } from '../plan/samples.ts';

/** A host with the devices `lan0` (192.0.2.10/24, 2001:db8::10/64) and `tun7` (no address, down), both without routes of ours. */
export interface World {
  host: Host;
  removeDevice(name: string): Promise<void>;
  setSetting(key: string, value: string): Promise<void>;
  /** Everything there is, in a form that can be compared. */
  snapshot(): Promise<unknown>;
  close(): Promise<void>;
}

const route = { kind: 'route', table: 1234, type: 'unicast', metric: 121 } as const;

/** One thing of each kind and form; to be made in this order. */
const THINGS: Thing[] = [
  { ...route, family: 4, to: '192.0.2.0/24', dev: 'lan0', src: '192.0.2.10' },
  { ...route, family: 4, to: 'default', dev: 'lan0', via: '192.0.2.1' },
  { ...route, family: 4, table: 1235, to: 'default', dev: 'lan0', via: '198.51.100.1', onlink: true },
  { ...route, family: 4, to: 'default', type: 'unreachable', metric: 9999 },
  { ...route, family: 6, to: '2001:db8::/64', dev: 'lan0' },
  { ...route, family: 6, to: 'default', dev: 'lan0', via: 'fe80::1' },
  { ...route, family: 6, to: 'default', type: 'unreachable', metric: 9999 },
  { kind: 'rule', family: 4, priority: 700, table: 254, suppressDefault: true },
  { kind: 'rule', family: 6, priority: 700, table: 254, suppressDefault: true },
  { kind: 'rule', family: 4, priority: 701, table: 1234, from: '192.0.2.10' },
  { kind: 'rule', family: 6, priority: 701, table: 1234, from: '2001:db8::10' },
  { kind: 'rule', family: 4, priority: 710, table: 1234, oif: 'lan0' },
  { kind: 'rule', family: 4, priority: 720, table: 1000, notFwmark: 30327 },
  { kind: 'rule', family: 6, priority: 720, table: 1000, notFwmark: 30327 },
  { kind: 'sysctl', key: 'net/ipv4/conf/lan0/rp_filter', value: '2' },
  { kind: 'sysctl', key: 'net/ipv6/conf/lan0/accept_ra', value: '2' },
  { kind: 'sysctl', key: 'net/ipv6/conf/all/forwarding', value: '1' },
  { kind: 'sysctl', key: 'net/ipv4/ip_forward', value: '1' },
  desiredNft(sampleRouter()),
  { kind: 'sysctl', key: 'net/ipv4/conf/tun7/rp_filter', value: '2' },
  { kind: 'mtu', dev: 'tun7', mtu: 1380 },
  { kind: 'up', dev: 'tun7', up: true },
  { kind: 'address', family: 4, dev: 'tun7', address: '10.7.0.2/24' },
  { kind: 'address', family: 6, dev: 'tun7', address: 'fd00:7::2/64' },
  { ...route, family: 4, table: 1000, to: 'default', dev: 'tun7' },
  { ...route, family: 4, table: 254, to: '198.51.100.0/24', dev: 'tun7' },
];

async function at(host: Host, thing: Thing): Promise<Thing | undefined> {
  const { things } = await host.read([thing]);
  return things.find((t) => slotOf(t) === slotOf(thing));
}

async function stepTo(host: Host, after: Thing): Promise<Step> {
  const before = await at(host, after);
  return { slot: slotOf(after), ...(before && { before }), after };
}

/** Declares the suite for one kind of host. */
export function hostContract(name: string, open: () => Promise<World>): void {
  const inWorld = (what: string, body: (w: World) => Promise<void>) =>
    test(`${name}: ${what}`, async () => {
      const world = await open();
      try {
        await body(world);
      } finally {
        await world.close();
      }
    });

  inWorld('every kind of step takes effect, may be repeated, and its inverse leaves the host as it was', async (w) => {
    const first = await w.snapshot();
    const steps: Step[] = [];
    const snapshots: unknown[] = [];
    for (const thing of THINGS) {
      const step = await stepTo(w.host, thing);
      steps.push(step);
      snapshots.push(await w.snapshot());
      for (const round of ['once', 'twice']) {
        await w.host.perform(step);
        assert.ok(sameThing(await at(w.host, thing), thing), `${round}: ${step.slot}`);
      }
    }
    for (const [i, step] of [...steps.entries()].reverse()) {
      for (const round of ['once', 'twice']) {
        await w.host.perform(inverse(step));
        assert.deepEqual(await w.snapshot(), snapshots[i], `${round}, back: ${step.slot}`);
      }
    }
    assert.deepEqual(await w.snapshot(), first);
  });

  inWorld('a group is done at once, and so is its undoing; one of which a step cannot be done says so', async (w) => {
    const first = await w.snapshot();
    const steps: Step[] = [];
    for (const thing of THINGS) steps.push(await stepTo(w.host, thing));
    const groups = groupsOf(steps);
    assert.deepEqual(groups.flat(), steps);
    assert.ok(groups.length < 0.7 * steps.length, `${groups.length} of ${steps.length}`);
    const carryOut = async (all: Step[][]) => {
      for (const group of all) {
        if (group.length > 1) assert.ok(await w.host.performTogether!(group), group.map((s) => s.slot).join(', '));
        else await w.host.perform(group[0]);
      }
    };
    await carryOut(groups);
    for (const thing of THINGS) assert.ok(sameThing(await at(w.host, thing), thing), slotOf(thing));
    assert.equal(await w.host.performTogether!(groups.find((g) => g.length > 1)!), false, 'it is there already');
    await carryOut(groupsOf([...steps].reverse().map(inverse)));
    assert.deepEqual(await w.snapshot(), first);
    const nowhere = await stepTo(w.host, { ...route, family: 4, to: 'default', dev: 'nowhere0' });
    assert.equal(await w.host.performTogether!([steps[0], nowhere]), false);
    await w.host.perform(inverse(steps[0]));
    assert.deepEqual(await w.snapshot(), first);
  });

  inWorld('a route is replaced by another one in its slot', async (w) => {
    for (const family of [4, 6] as const) {
      const via = (n: number) => (family === 4 ? `192.0.2.${n}` : `fe80::${n}`);
      const thing = (n: number): Thing => ({ ...route, family, to: 'default', dev: 'lan0', via: via(n) });
      await w.host.perform(await stepTo(w.host, thing(1)));
      const change = await stepTo(w.host, thing(2));
      assert.ok(change.before);
      await w.host.perform(change);
      assert.deepEqual(await at(w.host, thing(2)), thing(2));
      await w.host.perform(inverse(change));
      assert.deepEqual(await at(w.host, thing(1)), thing(1));
      const routes = (await w.host.read([thing(1)])).things.filter((t) => t.kind === 'route' && t.family === family);
      assert.equal(routes.length, 1);
    }
  });

  inWorld('a table of nftables is replaced whole', async (w) => {
    const [one, two] = [desiredNft(sampleRouter()), desiredNft(sampleServer())];
    await w.host.perform(await stepTo(w.host, one));
    const change = await stepTo(w.host, two);
    await w.host.perform(change);
    assert.ok(sameThing(await at(w.host, two), two));
    await w.host.perform(inverse(change)); // From the text that the host itself printed.
    assert.ok(sameThing(await at(w.host, one), one));
  });

  inWorld('what the kernel overwrites when forwarding changes is put back', async (w) => {
    await w.setSetting('net/ipv4/conf/all/accept_redirects', '0');
    await w.setSetting('net/ipv4/conf/lan0/forwarding', '1');
    await w.setSetting('net/ipv6/conf/lan0/forwarding', '1');
    const before = await w.snapshot();
    for (const key of ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding']) {
      const step = await stepTo(w.host, { kind: 'sysctl', key, value: '1' });
      await w.host.perform(step);
      assert.notDeepEqual(await w.snapshot(), before);
      await w.host.perform(inverse(step));
      assert.deepEqual(await w.snapshot(), before);
    }
  });

  inWorld('a step that cannot be done is refused', async (w) => {
    const before = await w.snapshot();
    for (const thing of [
      { ...route, family: 4, to: 'default', dev: 'nowhere0' },
      { ...route, family: 4, to: 'default', dev: 'tun7' }, // Down.
      { kind: 'sysctl', key: 'net/ipv4/conf/nowhere0/rp_filter', value: '2' },
      { kind: 'address', family: 4, dev: 'nowhere0', address: '10.7.0.2/24' },
      { kind: 'mtu', dev: 'nowhere0', mtu: 1400 },
    ] satisfies Thing[]) {
      await assert.rejects(async () => w.host.perform(await stepTo(w.host, thing)), slotOf(thing));
    }
    assert.deepEqual(await w.snapshot(), before);
  });

  inWorld('with a device go its routes and settings, not the rules and not the kill switch', async (w) => {
    const things: Thing[] = [
      { kind: 'up', dev: 'tun7', up: true },
      { ...route, family: 4, to: 'default', dev: 'tun7' },
      { ...route, family: 4, to: 'default', type: 'unreachable', metric: 9999 },
      { ...route, family: 6, to: 'default', type: 'unreachable', metric: 9999 },
      { kind: 'rule', family: 4, priority: 710, table: 1234, oif: 'tun7' },
      { kind: 'sysctl', key: 'net/ipv4/conf/tun7/rp_filter', value: '2' },
    ];
    for (const thing of things) await w.host.perform(await stepTo(w.host, thing));
    await w.removeDevice('tun7');
    const { devices, things: left } = await w.host.read(things);
    assert.ok(!devices.includes('tun7'));
    const slots = left.map(slotOf);
    assert.deepEqual(
      things.map((t) => slots.includes(slotOf(t))),
      [false, false, true, true, true, false],
    );
  });
}

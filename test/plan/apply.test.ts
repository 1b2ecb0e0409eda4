/**
 * The law of the transaction, on the simulated host under random configurations, failures, deaths and events.
 *
 * A twin host sees the same events and never meets yoke: after everything was taken back, both are equal.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parsePrefix } from '../../src/base/address.ts';
import type { Config } from '../../src/config/config.ts';
import { applyPlan, type Host, type Journal, type JournalStore, missing, revert } from '../../src/plan/apply.ts';
import { lookout } from '../../src/plan/facts.ts';
import { desired, diff, type Plan, type Step } from '../../src/plan/plan.ts';
import { sampleLink, sampleRouter, sampleServer } from './samples.ts';
import { SimulatedHost } from './simulated.ts';

/** The store of a simulated disk. */
class SimulatedStore implements JournalStore {
  text: string | undefined;
  async load(): Promise<Journal | undefined> {
    return this.text === undefined ? undefined : (JSON.parse(this.text) as Journal);
  }
  async save(journal: Journal): Promise<void> {
    this.text = journal.entries.length === 0 ? undefined : JSON.stringify(journal);
  }
}

/** The process was killed: nothing that it does from now on has an effect. */
class Killed extends Error {}

/** What goes wrong, by the number of the operation (a step performed, a journal written, each before and after its effect). */
interface Trouble {
  at: number;
  kind: 'fail before' | 'fail after' | 'kill before' | 'kill after';
}

/** One process: a host and a store that fail, or die, as they are told. */
class Process implements Host, JournalStore {
  readonly #host: SimulatedHost;
  readonly #store: SimulatedStore;
  readonly #trouble: Trouble | undefined;
  #count = 0;
  #dead = false;
  #stuck: Step | undefined;
  performed: Step[] = [];
  firstStepSawJournal = true;

  constructor(host: SimulatedHost, store: SimulatedStore, trouble?: Trouble) {
    this.#host = host;
    this.#store = store;
    this.#trouble = trouble;
  }

  async perform(step: Step): Promise<void> {
    this.#look(await this.#store.load(), step);
    await this.#operate(() => this.#host.perform(step));
    if (this.#stuck === step) throw new Error('failed again');
    this.performed.push(step);
  }

  /** A batch of which only some may be done, at the count of one operation for each step; the step that failed in it fails alone, too. */
  async performTogether(group: readonly Step[]): Promise<boolean> {
    for (const step of group) {
      this.#look(await this.#store.load(), step);
      try {
        await this.#operate(async () => assert.ok(await this.#host.performTogether([step])));
      } catch (error) {
        if (error instanceof Killed) throw error;
        // what was there already is no failure of the step
        if (!(error instanceof assert.AssertionError)) this.#stuck = step;
        return false;
      }
    }
    this.performed.push(...group);
    return true;
  }

  #look(journal: Journal | undefined, step: Step): void {
    if (!journal?.entries.some((e) => e.slot === step.slot) && !this.#sweeps(step)) this.firstStepSawJournal = false;
  }

  /** What bears our mark and is in no journal is swept without one; its coming back is no concern. */
  #sweeps(step: Step): boolean {
    return step.after === undefined || (step.before === undefined && /^(rule|route|nft)/.test(step.slot));
  }

  async read(things: Parameters<Host['read']>[0]): ReturnType<Host['read']> {
    if (this.#dead) throw new Killed();
    return this.#host.read(things);
  }

  async load(): Promise<Journal | undefined> {
    if (this.#dead) throw new Killed();
    return this.#store.load();
  }

  save(journal: Journal): Promise<void> {
    return this.#operate(() => this.#store.save(journal));
  }

  async #operate(effect: () => Promise<void>): Promise<void> {
    if (this.#dead) throw new Killed();
    const trouble = this.#count++ === this.#trouble?.at ? this.#trouble.kind : undefined;
    if (trouble === 'kill before') this.#dead = true;
    if (this.#dead) throw new Killed();
    if (trouble === 'fail before') throw new Error('failed before');
    await effect();
    if (trouble === 'kill after') this.#dead = true;
    if (this.#dead) throw new Killed();
    if (trouble === 'fail after') throw new Error('failed after');
  }
}

function freshHost(): SimulatedHost {
  const host = new SimulatedHost();
  for (const [i, dev] of ['eth0', 'eth1', 'eth2'].entries()) {
    host.addDevice(dev);
    host.setUp(dev, true);
    host.addAddress(dev, `192.0.2.${10 + i}/24`);
  }
  host.addAddress('eth2', '2001:db8:2::10/64');
  host.setSetting('net/ipv4/conf/eth1/rp_filter', '1');
  host.setSetting('net/ipv4/conf/all/accept_redirects', '0');
  host.setSetting('net/ipv6/conf/eth0/forwarding', '1');
  // The user's own: same tables, same preferences, another protocol.
  const user = (line: string) => host.carryOut({ run: line.split(' ') });
  user('ip -4 rule add priority 701 from 192.0.2.11 lookup 1001 protocol 4');
  user('ip -4 route add default via 192.0.2.1 dev eth1 table 1001 metric 0 proto 4');
  user('ip -4 route add default via 192.0.2.1 dev eth0 table main metric 0 proto 4');
  host.nft.set('filter', 'table inet filter {\n}\n');
  return host;
}

async function planFor(config: Config, host: SimulatedHost, store: SimulatedStore, innerMtu?: number): Promise<Plan> {
  const entries = (await store.load())?.entries ?? [];
  const facts = await host.observe(lookout(config), entries);
  return diff(facts, desired(config, facts, innerMtu === undefined ? undefined : { innerMtu }), entries);
}

const CONFIGS: Config[] = [
  sampleRouter(),
  sampleRouter({ killswitch: true, masquerade: false }),
  sampleRouter({ defaultRoute: false, routes: [parsePrefix('198.51.100.0/24')!, parsePrefix('2001:db8:9::/48')!] }),
  sampleRouter({ addresses: [parsePrefix('10.7.0.2/32')!], routingTable: 2000, rulePriority: 900 }, [
    sampleLink('two', 'eth2', { routingTable: '77' }),
    sampleLink('three', 'eth3'),
  ]),
  sampleRouter({ ifname: 'bond1' }, [sampleLink('one', 'eth1')]),
  sampleServer(),
  sampleServer({ masquerade: false }),
];

/** What happens to a host while yoke runs or does not; done to its twin, too. */
type Event =
  | { do: 'add' | 'remove' | 'up' | 'down'; dev: string }
  | { do: 'address'; dev: string; to: string }
  | { do: 'user rule'; priority: number };

function happen(host: SimulatedHost, e: Event): void {
  if (e.do === 'user rule') {
    const words = ['ip', '-4', 'rule', 'add', 'priority', String(e.priority), 'from', '192.0.2.99', 'lookup', 'main'];
    try {
      host.carryOut({ run: words });
    } catch {} // The same rule a second time.
    return;
  }
  const device = host.devices.get(e.dev);
  if (e.do === 'add') {
    if (!device) host.addDevice(e.dev);
  } else if (!device) return;
  else if (e.do === 'remove') host.removeDevice(e.dev);
  else if (e.do === 'address') {
    for (const a of [...device.addresses]) host.removeAddress(e.dev, a);
    host.addAddress(e.dev, e.to);
  } else host.setUp(e.dev, e.do === 'up');
}

const linkDevice = fc.constantFrom('eth1', 'eth2', 'eth3');
const event: fc.Arbitrary<Event> = fc.oneof(
  fc.record({ do: fc.constantFrom('add', 'remove', 'up', 'down'), dev: linkDevice }, { noNullPrototype: true }),
  fc.record(
    {
      do: fc.constant('address' as const),
      dev: linkDevice,
      to: fc.constantFrom('203.0.113.5/24', '203.0.113.6/24', '2001:db8:5::5/64'),
    },
    { noNullPrototype: true },
  ),
  fc.record(
    { do: fc.constant('user rule' as const), priority: fc.integer({ min: 690, max: 730 }) },
    { noNullPrototype: true },
  ),
) as fc.Arbitrary<Event>;
const trouble: fc.Arbitrary<Trouble> = fc.record(
  {
    at: fc.nat(45),
    kind: fc.constantFrom('fail before', 'fail after', 'kill before', 'kill after'),
  },
  { noNullPrototype: true },
) as fc.Arbitrary<Trouble>;
const configIndex = fc.nat(CONFIGS.length - 1);

test('whichever step fails, before or after it took effect, the host is as it was', async () => {
  const failure = fc.constantFrom('fail before' as const, 'fail after' as const);
  await fc.assert(
    fc.asyncProperty(configIndex, configIndex, fc.nat(45), failure, async (first, second, at, kind) => {
      const host = freshHost();
      const store = new SimulatedStore();
      for (const dev of ['bond0', 'bond1']) host.addDevice(dev);
      await applyPlan(host, store, await planFor(CONFIGS[first], host, store, 1400), () => {});
      const before = structuredClone(host.snapshot());
      const journal = store.text;
      const process = new Process(host, store, { at, kind });
      const plan = await planFor(CONFIGS[second], host, store, 1380);
      let failed = false;
      await applyPlan(process, process, plan).catch(() => {
        failed = true;
      });
      assert.ok(process.firstStepSawJournal, 'nothing is done before its undoing is written down');
      if (failed && process.performed.length < plan.steps.length) {
        assert.deepEqual(host.snapshot(), before);
        assert.equal(store.text, journal);
      }
      await applyPlan(host, store, await planFor(CONFIGS[second], host, store, 1380));
      assert.deepEqual((await planFor(CONFIGS[second], host, store, 1380)).steps, [], 'running twice changes nothing');
    }),
    { numRuns: 150 },
  );
});

interface Act {
  config: number;
  live: number | undefined;
  events: Event[];
  trouble: Trouble | undefined;
  /** The process, and so its device, is gone after the act. */
  dies: boolean;
  down: boolean;
}

const act: fc.Arbitrary<Act> = fc.record(
  {
    config: configIndex,
    live: fc.option(fc.integer({ min: 1280, max: 1450 }), { nil: undefined }),
    events: fc.array(event, { maxLength: 3 }),
    trouble: fc.option(trouble, { nil: undefined }),
    dies: fc.boolean(),
    down: fc.boolean(),
  },
  { noNullPrototype: true },
);

test('killed at any moment, changed in any way: taken back, the host is the twin that never met yoke', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 1, maxLength: 5 }), async (acts) => {
      const host = freshHost();
      const twin = freshHost();
      const store = new SimulatedStore();
      const devicesGone = () => {
        for (const dev of ['bond0', 'bond1']) if (host.devices.has(dev)) host.removeDevice(dev);
      };
      for (const a of acts) {
        const config = CONFIGS[a.config];
        const process = new Process(host, store, a.trouble);
        try {
          if (a.live !== undefined && !host.devices.has(config.bond.ifname)) host.addDevice(config.bond.ifname);
          await applyPlan(process, process, await planFor(config, host, store, a.live));
          for (const e of a.events) {
            happen(host, e);
            happen(twin, e);
            await applyPlan(process, process, await planFor(config, host, store, a.live));
          }
          if (a.down) await revert(process, process);
        } catch {
          for (const e of a.events) {
            happen(host, e);
            happen(twin, e);
          }
        }
        if (a.dies) devicesGone();
        if (a.events.length === 0 && !a.trouble && !a.down) {
          const live = a.dies ? undefined : a.live;
          await applyPlan(host, store, await planFor(config, host, store, live));
          const again = await planFor(config, host, store, live);
          assert.deepEqual([again.steps, again.claims, again.releases], [[], [], []], 'running twice changes nothing');
        }
      }
      await revert(host, store);
      devicesGone();
      assert.equal(store.text, undefined);
      assert.deepEqual(host.snapshot(), twin.snapshot());
    }),
    { numRuns: 250 },
  );
});

test('taking back may itself be killed at any moment', async () => {
  await fc.assert(
    fc.asyncProperty(configIndex, fc.array(trouble, { maxLength: 4 }), async (index, troubles) => {
      const host = freshHost();
      const before = structuredClone(host.snapshot());
      const store = new SimulatedStore();
      await applyPlan(host, store, await planFor(CONFIGS[index], host, store));
      for (const t of troubles) {
        const process = new Process(host, store, t);
        await revert(process, process).catch(() => {});
      }
      await revert(host, store);
      assert.deepEqual(host.snapshot(), before);
      assert.deepEqual(await revert(host, store), []);
    }),
    { numRuns: 80 },
  );
});

test('leftovers of ours that no journal knows are adopted when wanted and swept when not', async () => {
  const host = freshHost();
  const before = structuredClone(host.snapshot());
  const store = new SimulatedStore();
  const [wide, narrow] = [sampleRouter(), sampleRouter({}, [sampleLink('one', 'eth1')])];
  for (const key of ['net/ipv4/conf/eth1/rp_filter']) host.setSetting(key, '2'); // So that only marked things are left over.
  await applyPlan(host, store, await planFor(wide, host, store));
  store.text = undefined;
  const plan = await planFor(narrow, host, store);
  assert.ok(plan.steps.every((s) => s.after === undefined && /1002|eth2|from 192.0.2.12|2001/.test(s.slot)));
  await applyPlan(host, store, plan);
  assert.deepEqual((await planFor(narrow, host, store)).steps, []);
  await revert(host, store);
  const now = host.snapshot() as Record<string, unknown>;
  for (const what of ['rules', 'routes', 'nft']) assert.deepEqual(now[what], (before as typeof now)[what], what);
});

test('another instance on the same machine keeps its own', async () => {
  const host = freshHost();
  const mine = new SimulatedStore();
  const theirs = new SimulatedStore();
  const a = sampleRouter({}, [sampleLink('one', 'eth1')]);
  const b = sampleRouter({ ifname: 'bond1', routingTable: 2000, rulePriority: 900 }, [sampleLink('two', 'eth2')]);
  await applyPlan(host, theirs, await planFor(b, host, theirs));
  const before = structuredClone(host.snapshot());
  await applyPlan(host, mine, await planFor(a, host, mine));
  assert.deepEqual((await planFor(b, host, theirs)).steps, []);
  await revert(host, mine);
  assert.deepEqual(host.snapshot(), before);
});

test('a step that does nothing is noticed by reading back', async () => {
  const host = freshHost();
  const store = new SimulatedStore();
  const before = structuredClone(host.snapshot());
  const plan = await planFor(sampleRouter(), host, store);
  let count = 0;
  const lazy: Host = {
    perform: async (step) => {
      if (count++ !== 3) await host.perform(step);
    },
    read: (things) => host.read(things),
  };
  assert.equal((await missing(host, plan.steps)).length, plan.steps.length);
  await assert.rejects(applyPlan(lazy, store, plan), /to be there when read back/);
  assert.deepEqual(host.snapshot(), before);
  assert.equal(store.text, undefined);
});

test('with the kill switch, traffic has no other way when the process dies, until it is taken back', async () => {
  const host = freshHost();
  const store = new SimulatedStore();
  const config = sampleRouter({ killswitch: true });
  host.addDevice('bond0');
  await applyPlan(host, store, await planFor(config, host, store, 1400));
  host.removeDevice('bond0');
  const closed = () =>
    [4, 6].map((family) => [
      host.routes.filter((r) => r.family === family && r.table === 1000).map((r) => r.words.split(' ')[0]),
      host.rules.some((r) => r.family === family && r.words.includes('not fwmark')),
    ]);
  const shut = [
    [['unreachable'], true],
    [['unreachable'], true],
  ];
  assert.deepEqual(closed(), shut);
  const plan = await planFor(config, host, store); // The next start must not open it for a moment.
  assert.ok(plan.steps.every((s) => !/1000/.test(s.slot)));
  await applyPlan(host, store, plan);
  assert.deepEqual(closed(), shut);
  await revert(host, store);
  assert.deepEqual(closed(), [
    [[], false],
    [[], false],
  ]);
});

test('taking back goes the way back, step by step', async () => {
  const host = freshHost();
  const store = new SimulatedStore();
  host.addDevice('bond0');
  const plan = await planFor(sampleRouter(), host, store, 1400);
  await applyPlan(host, store, plan);
  const back = await revert(host, store);
  assert.deepEqual(
    back.map((s) => s.slot),
    plan.steps.map((s) => s.slot).reverse(),
  );
});

test('a device that came back under its old name keeps the settings that it came with', async () => {
  const host = freshHost();
  const store = new SimulatedStore();
  await applyPlan(host, store, await planFor(sampleRouter(), host, store));
  host.removeDevice('eth1');
  host.addDevice('eth1');
  await revert(host, store);
  assert.equal(host.sysctls.get('net/ipv4/conf/eth1/rp_filter'), '0');
});

test('a link that moved to another device is taken back from there', async () => {
  const host = freshHost();
  const store = new SimulatedStore();
  const on = (dev: string) => sampleRouter({}, [sampleLink('one', dev)]);
  const user = host.routes.length;
  await applyPlan(host, store, await planFor(on('eth1'), host, store));
  host.addDevice('eth3');
  host.setUp('eth3', true);
  host.addAddress('eth3', '192.0.2.11/24');
  await applyPlan(host, store, await planFor(on('eth3'), host, store));
  host.routes = host.routes.filter((r) => r.proto === 121 || r.dev !== 'eth1');
  const left = host.routes.filter((r) => r.proto !== 121).length;
  assert.ok(left < user && host.routes.length > left);
  host.removeDevice('eth1');
  await revert(host, store);
  assert.equal(host.routes.length, left);
});

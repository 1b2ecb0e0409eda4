/**
 * A few of the worlds of lab/scenarios, short, with bounds that leave room: the machinery of bench/worlds.ts and what the bond must never fall
 * below. The bars themselves are for the bench.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readEndpoint } from '../../src/io/endpoint.ts';
import { loadScenario } from '../../src/lab/scenario.ts';
import { Samples } from './apps.ts';
import type { Pair } from './pair.ts';
import { randomWorld } from './random-world.ts';
import { liveRoundRobin } from './round-robin.ts';
import { type Findings, varied, World, type WorldOptions } from './world.ts';

function live(name: string, options: Partial<WorldOptions> = {}): Findings {
  const o = { seed: 1, isUp: false, congestion: 'cubic', flows: 1, seconds: 4, ...options } as const;
  return new World(varied(loadScenario(name), o.seed), o).run();
}

test('an easy world is carried nearly in full, quickly found, in order and quiet, with CUBIC and with BBR', () => {
  for (const congestion of ['cubic', 'bbr'] as const) {
    const f = live('queue-mixed', { congestion });
    assert.ok(f.share > 0.9 && f.share <= 1.02, `share ${f.share}`);
    assert.ok(f.coldMs < 2500, `cold ${f.coldMs} ms`);
    assert.ok(f.reorder < 0.001 && f.tcpLoss < 0.001);
    assert.ok(f.pingIdleMs > 30 && f.pingIdleMs < 31.5, `idle ${f.pingIdleMs} ms`);
    assert.ok(f.pingP95Ms < f.pingIdleMs + 30, `ping ${f.pingP95Ms} ms`);
    assert.ok(f.voiceIdleMs > 15 && f.voiceP95Ms < f.voiceIdleMs + 30);
    assert.ok(f.voiceLost < 5 && f.voiceGapMs < 100);
  }
});

test('eight flows share', () => {
  const f = live('three', { flows: 8, isUp: true });
  assert.ok(f.share > 0.85 && f.jain > 0.9 && f.jain <= 1.0001, `${f.share} ${f.jain}`);
});

test('a link that dies and returns costs its own part, and is used again', () => {
  const f = live('dies', { seconds: 8 });
  assert.ok(f.share > 0.8, `share ${f.share}`);
  assert.ok(f.stallMs < 500 && f.voiceGapMs < 300 && f.pingGapMs < 300, JSON.stringify(f));
  assert.ok(f.againMs > 0 && f.againMs < 2000, `again ${f.againMs} ms`);
});

test('what happens beside the links: a NAT that rebinds, another address, a server that restarts, a router that sleeps', () => {
  for (const name of ['nat-rebind', 'new-address']) {
    const f = live(name, { seconds: 6 });
    assert.ok(f.share > 0.8, `${name}: share ${f.share}`);
  }
  let pair: Pair | undefined;
  live('nat-rebind', { seconds: 6, onWorld: (world) => (pair = world.pair) });
  // Its server follows: what it sends goes where the second rebinding put the link.
  const { port } = pair!.publicAddress[1];
  assert.equal(port, 30_001 + 2 * 100);
  const view = pair!.server.memory.view;
  assert.equal(readEndpoint(view, pair!.server.peer.bond.paths[1]!.endpointAt).port, port);
  const restarted = live('server-restarts', { seconds: 8 });
  assert.ok(restarted.share > 0.5 && restarted.voiceGapMs > 50, JSON.stringify(restarted));
  const slept = live('router-sleeps', { seconds: 10 });
  assert.ok(slept.voiceGapMs > 2900 && slept.share > 0.4 && slept.share < 0.8, JSON.stringify(slept));
});

test('small packets pass a hole that large ones do not; a size that all links carry is found', () => {
  const narrow = live('mtu-narrow');
  assert.ok(narrow.share > 0.45 && narrow.voiceLost < 5, JSON.stringify(narrow));
  const hole = live('mtu-hole');
  assert.ok(hole.share > 0.9 && hole.voiceLost < 5, JSON.stringify(hole));
});

test('a trace, a cycle and guests are played', () => {
  assert.ok(live('lte-walk', { isUp: true }).share > 0.5);
  const flapping = live('flapping', { seconds: 6 });
  assert.ok(flapping.share > 0.6 && flapping.againMs >= 0, JSON.stringify(flapping));
  const [alone, shared] = [live('guests', { seconds: 2 }), live('guests', { seconds: 5 })];
  assert.ok(alone.share > 0.8 && shared.share < 0.85 * alone.share, `${alone.share} ${shared.share}`);
});

test('the same seed is the same world, another one another', () => {
  const [a, b, c] = [
    live('loss-bursts', { seed: 2, seconds: 1 }),
    live('loss-bursts', { seed: 2, seconds: 1 }),
    live('loss-bursts', { seed: 3, seconds: 1 }),
  ];
  assert.deepEqual(a, b);
  assert.notEqual(a.bps, c.bps);
  assert.deepEqual(varied(loadScenario('three'), 1), loadScenario('three'));
});

test('BBR looks for the round trip every ten seconds, CUBIC does not', () => {
  const world = new World(loadScenario('queue-1s'), { seed: 1, isUp: false, congestion: 'bbr', flows: 1, seconds: 12 });
  const { pair, flows } = world;
  const windows = new Samples();
  const look = (): void => {
    windows.add(flows[0].cwnd);
    pair.events.after(50_000, look);
  };
  pair.events.at(10e6, look);
  const f = world.run();
  assert.equal(Math.min(...windows.values), 4);
  assert.ok(windows.quantile(0.5) > 100 && f.share > 0.9);
});

test('worlds by chance are lived through, and their memory is bounded', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const o = { seed, isUp: seed % 2 === 0, congestion: seed % 3 === 0 ? 'bbr' : 'cubic', flows: 1 } as const;
    const world = new World(randomWorld(seed), o);
    const f = world.run();
    assert.ok(f.bps > 0 && f.share < 1.01, `${seed}: ${JSON.stringify(f)}`);
    assert.ok(
      f.slotsMost > 0 && f.slotsMost < world.pair.router.endpoint.pool.count / 2,
      `${seed}: ${f.slotsMost} slots`,
    );
  }
});

test('packets in turn add up equal links, and nothing else', () => {
  const o = { seed: 1, isUp: false, congestion: 'cubic', flows: 1, seconds: 4 } as const;
  const equal = liveRoundRobin(loadScenario('queue-1s'), o);
  assert.ok(equal.bps > 0.6 * 40e6 && equal.bps < 40e6 && equal.pingP95Ms > 30, JSON.stringify(equal));
  const unequal = liveRoundRobin(loadScenario('delay-8-80'), o);
  assert.ok(unequal.bps < 0.3 * 40e6, JSON.stringify(unequal));
});

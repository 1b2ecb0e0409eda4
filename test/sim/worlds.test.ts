/**
 * Random worlds: links of all kinds, cut, changed, losing, duplicating and reordering by chance, under all kinds of traffic. Whatever
 * happens: what is delivered is what was sent, at most once, in the order of its flow but for counted exceptions; memory is bounded; and
 * when all is quiet every slot is free. A failing world is seen again with its seed: WORLDS=n-n.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Random } from '../../src/base/random.ts';
import { seeded } from '../../src/base/random.ts';
import { HELD_LIMIT } from '../../src/bond/reorder.ts';
import type { LinkSettings } from '../../src/lab/link.ts';
import { UdpStream } from './apps.ts';
import { type End, Pair, type SimLink } from './pair.ts';
import { TcpFlow } from './tcp.ts';

/** As many are lived through in the suite; WORLDS=FROM-TO lives through others. */
const WORLDS = (process.env.WORLDS ?? '1-120').split('-').map(Number);
const SECOND = 1e6;

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)];
}

function oneWay(random: Random): LinkSettings {
  return {
    rateBps: pick(random, [0.5, 2, 8, 20, 60]) * 1e6,
    delayUs: pick(random, [1, 5, 20, 60, 150]) * 1e3,
    jitterUs: pick(random, [0, 0, 2e3, 20e3]),
    reorder: random() < 0.15,
    lossRate: pick(random, [0, 0, 0.01, 0.1, 0.3]),
    queueUs: pick(random, [20e3, 60e3, 500e3]),
  };
}

function invariants(pair: Pair, seed: number): void {
  for (const end of [pair.router, pair.server]) {
    const { bond } = end.peer;
    assert.ok(bond.reorder.held <= HELD_LIMIT + 1, `seed ${seed}: ${bond.reorder.held} held`);
    assert.ok(bond.lanes.packets <= 4096, `seed ${seed}: ${bond.lanes.packets} queued`);
    assert.ok(bond.lanes.bytes >= 0 && bond.sender.resends.length >= 0);
    for (const p of bond.paths) {
      if (p === undefined) continue;
      assert.ok(p.inFlightBytes >= 0, `seed ${seed}: in flight ${p.inFlightBytes}`);
      assert.ok(p.rate.pacing > 0 && p.rate.pacing < 1e5, `seed ${seed}: pacing ${p.rate.pacing}`);
      assert.ok(Number.isFinite(p.rate.delayUs) && p.rate.queueUs >= 0);
    }
  }
}

/** Late packets, those that came after the others had given them up, are delivered out of order and counted. */
function late(end: End): number {
  return end.peer.bond.reorder.late;
}

function live(seed: number): void {
  const random = seeded(seed);
  const links: SimLink[] = Array.from({ length: 1 + Math.floor(random() * 4) }, () => ({
    down: oneWay(random),
    up: oneWay(random),
  }));
  const pair = new Pair({
    links,
    seed,
    poolSlots: pick(random, [1024, 4096]),
    drift: (random() - 0.5) * 2e-4,
    timerSlackUs: pick(random, [0, 0, 500, 3000]),
  });
  const duplicates = pick(random, [0, 0, 0.05]);
  if (duplicates > 0) pair.tamper = (_l, _u, bytes) => (random() < duplicates ? [bytes, bytes] : [bytes]);
  const streams = [true, false, true, false].map(
    (isUp, i) =>
      new UdpStream(
        pair,
        isUp,
        i + 1,
        i,
        pick(random, [60, 300, 1300]),
        pick(random, [1e3, 5e3, 20e3]) * (1 + random()),
      ),
  );
  const flows = [true, false].map(
    (isUp, i) => new TcpFlow(pair, { isUp, flow: 10 + i, bucket: 10 + i, segmentBytes: 1300 }),
  );
  for (let step = 0; step < 12; step++) {
    pair.run(pair.nowUs + random() * SECOND);
    invariants(pair, seed);
    const i = Math.floor(random() * links.length);
    const what = random();
    if (what < 0.25) pair.cut(i);
    else if (what < 0.5) pair.restore(i);
    else if (what < 0.6) pair.down[i].cut();
    else if (what < 0.7) (random() < 0.5 ? pair.up : pair.down)[i].set(oneWay(random));
    else if (what < 0.75) pair.dropPath(i);
    else if (what < 0.85) pair.usePath(i);
    else if (what < 0.95) pair.publicAddress[i] = { host: 50 + step, port: 1000 + seed };
  }
  for (let i = 0; i < links.length; i++) {
    pair.restore(i);
    pair.usePath(i);
    for (const model of [pair.up[i], pair.down[i]]) {
      model.set({ rateBps: 20e6, delayUs: 20e3, jitterUs: 0, reorder: false, lossRate: 0, queueUs: 60e3 });
    }
  }
  pair.tamper = undefined;
  const backUs = pair.nowUs;
  pair.runUntil(() => pair.isUp, 4 * SECOND);
  const counts = streams.map((s) => s.received);
  pair.runUntil(() => streams.every((s, i) => s.received > counts[i] + 10), 3 * SECOND);
  assert.ok(pair.nowUs - backUs < 7 * SECOND);
  for (const s of streams) s.stop();
  for (const f of flows) f.stop();
  pair.run(pair.nowUs + 20 * SECOND);
  invariants(pair, seed);
  assert.ok(
    pair.isQuiet,
    `seed ${seed}: slots free ${pair.router.endpoint.pool.free}, ${pair.server.endpoint.pool.free}`,
  );
  for (const s of streams) {
    assert.deepEqual([s.damaged, s.repeated], [0, 0], `seed ${seed}`);
    assert.ok(s.outOfOrder <= late(pair.router) + late(pair.server), `seed ${seed}: ${s.outOfOrder} out of order`);
  }
}

test(`random worlds ${WORLDS.join(' to ')}`, () => {
  for (let seed = WORLDS[0]; seed <= WORLDS[1]; seed++) {
    try {
      live(seed);
    } catch (e) {
      throw new Error(`world ${seed}: ${(e as Error).message}`, { cause: e });
    }
  }
});

/** By which path a sparse flow's packet goes, and when a copy goes by another one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapMemory } from '../../src/base/memory.ts';
import { Copies } from '../../src/bond/copies.ts';
import type { Path } from '../../src/bond/path.ts';
import { FLAG_TWICE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import { type Choice, chooseFirst } from '../../src/bond/scheduler.ts';

const ALL = 0xff;
const CALL = 240;

/** What is read of a path. */
function path(id: number, leastUs: number, capacity = 2.5) {
  return {
    id,
    isUp: true,
    hasEndpoint: true,
    fits: () => true,
    hasRoom: () => true,
    nextSendUs: 0,
    resendUs: 100_000,
    rate: {
      capacity,
      settled: true,
      leastUs,
      delayUs: leastUs,
      recentUs: leastUs,
      lateMeanUs: 0,
      loss: { mean: 0 },
      unsure: false,
      isUnsure() {
        return this.unsure;
      },
    },
  };
}

function chosen(paths: unknown[], sizeBytes: number, nowUs: number): number | undefined {
  const choice: Choice = { lostBy: -1, path: undefined, depthBytes: 0, wakeUs: 0 };
  chooseFirst(paths as Path[], ALL, sizeBytes, true, nowUs, choice);
  return choice.path?.id;
}

test('a small packet goes by the path with the least delay in the mean, a large one by the least delay', () => {
  const near = path(0, 16_000);
  const wandering = path(1, 10_000);
  wandering.rate.recentUs = 50_000;
  wandering.rate.lateMeanUs = 40_000;
  assert.equal(chosen([near, wandering], CALL, 0), 0);
  assert.equal(chosen([near, wandering], 1500, 0), 1);
});

test('small packets go ahead of pacing, and so by another path when the near one has enough before it', () => {
  const near = path(0, 20_000, 0.125);
  const far = path(1, 50_000);
  let byNear = 0;
  while (chosen([near, far], CALL, 0) === 0) {
    near.nextSendUs += CALL / near.rate.capacity;
    byNear++;
  }
  assert.equal(byNear, Math.ceil((30_000 * 0.125) / CALL));
  near.nextSendUs = 5_000;
  assert.equal(chosen([near, far], 1500, 0), undefined, 'it waits');
  near.rate.settled = false;
  assert.equal(chosen([near, far], CALL, 0), undefined, 'nobody knows how long the path is taken');
});

test('packets of a brief flow go twice only where the first path is unsure, and take a twentieth of the second', () => {
  const first = path(0, 20_000);
  const second = path(1, 50_000, 1);
  const pool = new PacketPool(heapMemory(8 * SLOT_BYTES), 0, 8);
  const copies = new Copies(pool, 44);
  const paths = [first, second] as unknown as Path[];
  const begin = (nowUs: number, sizeBytes = CALL): boolean => {
    copies.beginBrief(paths, paths[0], sizeBytes, nowUs);
    return copies.path !== undefined;
  };
  assert.ok(!begin(1e6));
  first.rate.unsure = true;
  assert.ok(!begin(1e6, 1500), 'not what bulk sends');
  second.rate.capacity = 0.2;
  assert.ok(!begin(1e6), 'a call would take too much');
  second.rate.capacity = 1;
  let bytes = 0;
  for (let nowUs = 1e6; nowUs < 3e6; nowUs += 1_000) {
    if (!begin(nowUs)) continue;
    const slot = pool.take();
    copies.add(slot);
    assert.ok(!copies.isVain(nowUs));
    // None begins while one waits.
    copies.beginBrief(paths, paths[1], CALL, nowUs);
    assert.equal(copies.path?.id, 1);
    assert.equal(copies.peek(), slot);
    copies.sent++;
    copies.noteSent(paths[1], CALL);
    pool.flags[slot] &= ~FLAG_TWICE;
    pool.give(slot);
    bytes += CALL;
  }
  assert.ok(bytes > 0.04 * 2e6 && bytes < 0.05 * 2e6 + 3_500, `${bytes}`);
});

/** Packets that wait to be sent again: their order, and what is said of those given up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapMemory } from '../../src/base/memory.ts';
import { FLAG_NUMBERED, FLAG_SPARSE, NONE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import { Resends } from '../../src/bond/resends.ts';

const SLOTS = 64;

function makeResends() {
  const pool = new PacketPool(heapMemory(SLOTS * SLOT_BYTES), 0, SLOTS);
  const resends = new Resends(pool);
  const offer = (bucket: number, sequence: number, flags: number, nowUs = 0): void => {
    const slot = pool.take();
    pool.length[slot] = 100;
    pool.bucket[slot] = bucket;
    pool.sequence[slot] = sequence;
    pool.flags[slot] = flags | FLAG_NUMBERED;
    pool.queuedUs[slot] = 0;
    resends.offer(slot, 0, sequence, nowUs);
  };
  const all = (nowUs: number): string[] => {
    const out: string[] = [];
    for (let slot = resends.peek(nowUs); slot !== NONE; slot = resends.peek(nowUs)) {
      out.push(`${pool.bucket[slot]}:${pool.sequence[slot]}`);
      resends.take();
      pool.give(slot);
    }
    return out;
  };
  return { pool, resends, offer, all };
}

test('sparse flows go first, each in the order in which it was lost', () => {
  const { pool, resends, offer, all } = makeResends();
  offer(1, 1, 0);
  offer(2, 5, FLAG_SPARSE);
  offer(1, 2, 0);
  offer(3, 9, FLAG_SPARSE);
  assert.deepEqual(all(0), ['2:5', '3:9', '1:1', '1:2']);
  offer(2, 6, FLAG_SPARSE);
  offer(1, 3, 0);
  offer(2, 7, FLAG_SPARSE);
  assert.deepEqual(all(0), ['2:6', '2:7', '1:3']);
  assert.equal(resends.length, 0);
  assert.equal(pool.free, SLOTS);
});

test('what is too old is given up, and the peer is told in runs', () => {
  const { pool, resends, offer, all } = makeResends();
  for (let i = 0; i < 40; i++) offer(1, 100 + i, 0);
  offer(4, 7, 0);
  offer(4, 9, 0);
  assert.deepEqual(all(700_001), []);
  assert.equal(resends.abandoned, 42);
  const told: number[][] = [];
  while (resends.takeSkip()) told.push([resends.skippedBucket, resends.skippedSequence, resends.skippedCount]);
  assert.deepEqual(told.reverse(), [
    [1, 100, 40],
    [4, 7, 1],
    [4, 9, 1],
  ]);
  assert.equal(pool.free, SLOTS);
});

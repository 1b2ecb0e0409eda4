/** The reorder buffer agrees with its slow twin, and what it promises holds whatever arrives. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import { NONE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import { HELD_LIMIT, ReorderBuffer } from '../../src/bond/reorder.ts';
import { SlowReorder } from '../twin/reorder.ts';

const SPREAD_US = 20_000;
const RESEND_US = 50_000;

/** A buffer over its own pool; what is delivered is known by the id that stands in the packet. */
class Bench {
  readonly pool: PacketPool;
  readonly reorder: ReorderBuffer;
  readonly delivered: number[] = [];

  constructor(slots: number, first = 0) {
    this.pool = new PacketPool(heapMemory(slots * SLOT_BYTES), 0, slots);
    this.reorder = new ReorderBuffer(this.pool, (slot) => {
      this.delivered.push(this.pool.memory.view.getInt32(this.pool.packetAt(slot)));
      this.pool.give(slot);
    });
    this.reorder.spreadUs = SPREAD_US;
    this.reorder.resendUs = RESEND_US;
    this.reorder.upMask = 3;
    // Walks the expected number of bucket 0 up to where the test wants to begin.
    for (let seq = 0; seq < first; seq++) this.arrive(-1, 0, seq, 0, 0);
    this.delivered.length = 0;
  }

  arrive(id: number, bucket: number, sequence: number, path: number, nowUs: number): void {
    const slot = this.pool.take();
    assert.notEqual(slot, NONE, 'a slot is free');
    this.pool.bucket[slot] = bucket;
    this.pool.sequence[slot] = sequence % (1 << 20);
    this.pool.length[slot] = 4;
    this.pool.memory.view.setInt32(this.pool.packetAt(slot), id);
    this.reorder.handle(slot, path, nowUs);
  }
}

/** Arrivals: bucket, distance of the sequence from a slowly growing middle, path, pause before it. */
function arrivals(buckets: number, maxLength: number) {
  return fc.array(
    fc.record(
      {
        bucket: fc.integer({ min: 0, max: buckets - 1 }),
        offset: fc.oneof(
          { weight: 8, arbitrary: fc.integer({ min: -4, max: 6 }) },
          { weight: 1, arbitrary: fc.integer({ min: -200, max: 200 }) },
          { weight: 1, arbitrary: fc.integer({ min: -130, max: -120 }) },
        ),
        path: fc.integer({ min: 0, max: 2 }),
        pauseUs: fc.oneof(
          { weight: 6, arbitrary: fc.integer({ min: 0, max: 2000 }) },
          { weight: 2, arbitrary: fc.integer({ min: RESEND_US - 5000, max: RESEND_US + SPREAD_US + 5000 }) },
        ),
      },
      { noNullPrototype: true },
    ),
    { minLength: maxLength / 2, maxLength },
  );
}

test('it delivers what its slow twin delivers, in the same order', () => {
  fc.assert(
    fc.property(fc.oneof(arrivals(6, 120), arrivals(1, 500)), (list) => {
      const bench = new Bench(1024);
      const twin = new SlowReorder(SPREAD_US, RESEND_US);
      twin.up = new Set([0, 1]);
      const middle = [0, 0, 0, 0, 0, 0];
      let nowUs = 0;
      list.forEach(({ bucket, offset, path, pauseUs }, id) => {
        nowUs += pauseUs;
        bench.reorder.handleTimeout(nowUs);
        twin.timeout(nowUs);
        const seq = Math.max(0, middle[bucket] + offset);
        middle[bucket]++;
        bench.arrive(id, bucket, seq, path, nowUs);
        twin.handle(id, bucket, seq, path, nowUs);
      });
      nowUs += 1e6;
      bench.reorder.handleTimeout(nowUs);
      twin.timeout(nowUs);
      // Buckets are independent: the order between them is nobody's promise.
      for (const b of middle.keys()) {
        const of = (ids: number[]) => ids.filter((id) => list[id].bucket === b);
        assert.deepEqual(of(bench.delivered), of(twin.delivered));
      }
      assert.equal(bench.reorder.duplicates, twin.dropped.length);
      assert.equal(bench.reorder.held, 0);
      assert.equal(bench.pool.free, bench.pool.count, 'no slot is lost');
      assert.equal(bench.reorder.pollTimeout(), Number.POSITIVE_INFINITY);
    }),
    { numRuns: 300 },
  );
});

test('the sequence runs around its circle of 2^20', () => {
  const first = (1 << 20) - 3;
  const bench = new Bench(16, first);
  for (const [id, seq] of [1, 0, 3, 2, 5, 4].entries()) bench.arrive(id, 0, first + seq, id % 2, 1000 + id);
  assert.deepEqual(bench.delivered, [1, 0, 3, 2, 5, 4]);
});

test('a gap in one bucket holds nothing in another', () => {
  const bench = new Bench(16);
  bench.arrive(1, 7, 1, 0, 0);
  bench.arrive(2, 8, 0, 0, 0);
  assert.deepEqual(bench.delivered, [2]);
});

test('a gap is given up a resend time after every up path has brought a later packet, sooner than else', () => {
  const one = new Bench(16);
  one.arrive(1, 0, 1, 0, 0);
  one.reorder.handleTimeout(RESEND_US + 1);
  assert.deepEqual(one.delivered, [], 'path 1 may still bring it');
  one.reorder.handleTimeout(SPREAD_US + RESEND_US);
  assert.deepEqual(one.delivered, [1]);

  const both = new Bench(16);
  both.arrive(1, 0, 1, 0, 0);
  both.arrive(2, 0, 2, 1, 100);
  both.reorder.handleTimeout(100 + RESEND_US);
  assert.deepEqual(both.delivered, [1, 2]);
});

test('a SKIP ends the wait for what will not come', () => {
  const bench = new Bench(16);
  bench.arrive(1, 0, 3, 0, 0);
  bench.reorder.handleSkip(0, 0, 2, 10);
  assert.deepEqual(bench.delivered, [], 'sequence 2 may still come');
  bench.reorder.handleSkip(0, 0, 3, 20);
  assert.deepEqual(bench.delivered, [1]);
});

test('what comes after it was given up is delivered once', () => {
  const bench = new Bench(16);
  bench.arrive(1, 0, 1, 0, 0);
  bench.reorder.handleTimeout(1e6);
  bench.arrive(2, 0, 0, 0, 1e6);
  bench.arrive(3, 0, 0, 1, 1e6);
  assert.deepEqual(bench.delivered, [1, 2]);
  assert.equal(bench.reorder.late, 1);
  assert.equal(bench.reorder.duplicates, 1);
});

test('it never holds more than its limit, and a reset frees all', () => {
  const bench = new Bench(2 * HELD_LIMIT + 64);
  for (let i = 0; i < HELD_LIMIT + 32; i++) bench.arrive(i, i % 1024, 1 + 2 * Math.floor(i / 1024), 0, i);
  assert.ok(bench.reorder.held <= HELD_LIMIT);
  bench.reorder.reset();
  assert.equal(bench.reorder.held, 0);
  assert.equal(bench.pool.free, bench.pool.count);
});

test('what peers hold leaves slots free, shared evenly, however many peers hold', () => {
  const pool = new PacketPool(heapMemory(1200 * SLOT_BYTES), 0, 1200);
  const peers = Array.from({ length: 5 }, () => new ReorderBuffer(pool, (slot) => pool.give(slot)));
  for (let i = 0; i < 1200; i++) {
    for (const peer of peers) {
      const slot = pool.take();
      assert.notEqual(slot, NONE, 'a slot is free');
      pool.bucket[slot] = i % 8;
      pool.sequence[slot] = 1 + 2 * (i >> 3);
      peer.handle(slot, 0, i);
    }
  }
  for (const { held } of peers) assert.ok(held > 190 && held <= 201, `${held} held, ${pool.free} free`);
});

test('while a path is silent a gap is waited for up to 0.7 s, and no longer', () => {
  for (const isPatient of [false, true]) {
    const b = new Bench(64);
    b.reorder.isPatient = isPatient;
    b.arrive(1, 0, 1, 0, 0);
    b.reorder.handleTimeout(SPREAD_US + RESEND_US);
    assert.equal(b.delivered.length, isPatient ? 0 : 1);
    for (let t = SPREAD_US + RESEND_US; t < 699_000; t += 1_000) b.reorder.handleTimeout(t);
    assert.equal(b.delivered.length, isPatient ? 0 : 1);
    b.reorder.handleTimeout(700_000);
    assert.deepEqual(b.delivered, [1]);
    assert.equal(b.reorder.pollTimeout(), Number.POSITIVE_INFINITY);
  }
});

test('a path that was silent and is back has the time of a resend to bring what it carried', () => {
  for (const backUs of [Number.NEGATIVE_INFINITY, SPREAD_US]) {
    const b = new Bench(64);
    b.arrive(1, 0, 1, 0, 0);
    b.reorder.backUs = backUs;
    b.reorder.handleTimeout(SPREAD_US + RESEND_US - 1);
    b.reorder.handleTimeout(SPREAD_US + RESEND_US);
    assert.equal(b.delivered.length, 1);
  }
  const b = new Bench(64);
  b.arrive(1, 0, 1, 0, 0);
  b.reorder.backUs = SPREAD_US + RESEND_US - 1_000;
  b.reorder.handleTimeout(SPREAD_US + RESEND_US);
  assert.equal(b.delivered.length, 0);
  b.reorder.handleTimeout(SPREAD_US + 2 * RESEND_US);
  assert.deepEqual(b.delivered, [1]);
});

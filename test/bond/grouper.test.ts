/** Groups of bulk packets: order and slots are kept, nothing waits longer than the window, and the sparse do not wait at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapMemory } from '../../src/base/memory.ts';
import { seeded } from '../../src/base/random.ts';
import { Grouper } from '../../src/bond/grouper.ts';
import { PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';

const SLOTS = 2048;
const WINDOW_US = 5_000;

class Bench {
  readonly pool = new PacketPool(heapMemory(SLOTS * SLOT_BYTES), 0, SLOTS);
  readonly out: { bucket: number; n: number; atUs: number }[] = [];
  readonly grouper: Grouper;
  nowUs = 0;
  private readonly next = new Map<number, number>();

  constructor() {
    this.grouper = new Grouper(this.pool, (slot) => {
      this.out.push({ bucket: this.pool.bucket[slot], n: this.pool.sequence[slot], atUs: this.nowUs });
      this.pool.give(slot);
    });
    this.grouper.windowUs = WINDOW_US;
  }

  arrive(bucket: number, length: number): void {
    const slot = this.pool.take();
    const n = this.next.get(bucket) ?? 0;
    this.next.set(bucket, n + 1);
    this.pool.bucket[slot] = bucket;
    this.pool.length[slot] = length;
    this.pool.sequence[slot] = n;
    this.grouper.handle(slot, this.nowUs);
  }

  advance(us: number): void {
    const end = this.nowUs + us;
    while (this.grouper.pollTimeout() <= end) {
      this.nowUs = Math.max(this.nowUs, this.grouper.pollTimeout());
      this.grouper.handleTimeout(this.nowUs);
    }
    this.nowUs = end;
  }
}

test('whatever comes is delivered once, in order, within the window', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seeded(seed);
    const bench = new Bench();
    const cameUs = new Map<string, number>();
    const counts = new Map<number, number>();
    for (let i = 0; i < 5000; i++) {
      bench.advance(random() < 0.02 ? 30_000 * random() : 300 * random());
      const bucket = Math.floor(random() ** 3 * 40);
      const n = counts.get(bucket) ?? 0;
      counts.set(bucket, n + 1);
      cameUs.set(`${bucket} ${n}`, bench.nowUs);
      bench.arrive(bucket, random() < 0.9 ? 1400 : 60);
      if (i === 3000) bench.grouper.windowUs = 2 * WINDOW_US;
    }
    bench.advance(1e6);
    assert.equal(bench.grouper.held, 0);
    assert.equal(bench.pool.free, SLOTS);
    assert.equal(bench.grouper.pollTimeout(), Number.POSITIVE_INFINITY);
    const next = new Map<number, number>();
    for (const { bucket, n, atUs } of bench.out) {
      assert.equal(n, next.get(bucket) ?? 0, 'in order');
      next.set(bucket, n + 1);
      assert.ok(atUs - (cameUs.get(`${bucket} ${n}`) ?? 0) <= 2 * WINDOW_US + 1e-6);
    }
    assert.deepEqual(next, counts);
  }
});

test('a bulk flow comes in groups, a sparse one and small packets at once', () => {
  const bench = new Bench();
  for (let i = 0; i < 400; i++) {
    bench.advance(250);
    bench.arrive(1, 1400);
    if (i % 80 === 0) {
      const before = bench.out.length;
      bench.arrive(2, 1400);
      bench.arrive(3, 200);
      assert.equal(bench.out.length, before + 2);
    }
  }
  const times = new Set(bench.out.filter((o) => o.bucket === 1 && o.n > 100).map((o) => o.atUs));
  // 300 packets in 75 ms: a group each 5 ms.
  assert.ok(times.size >= 12 && times.size <= 20, `${times.size} groups`);
});

test('the small last packet of an answer takes what is held with it', () => {
  const bench = new Bench();
  for (let i = 0; i < 100; i++) {
    bench.advance(250);
    bench.arrive(1, 1400);
  }
  assert.ok(bench.grouper.held > 0);
  bench.arrive(1, 300);
  assert.equal(bench.grouper.held, 0);
});

test('without a window nothing is held', () => {
  const bench = new Bench();
  bench.grouper.windowUs = 0;
  for (let i = 0; i < 100; i++) bench.arrive(1, 1400);
  assert.equal(bench.out.length, 100);
});

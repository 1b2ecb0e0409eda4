/** The flow queue agrees with its slow twin, and is fair, sparse flows first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import { NONE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import { FlowQueue } from '../../src/bond/queue.ts';
import { SlowFlowQueue } from '../twin/flow-queue.ts';

const SLOTS = 512;
const LIMIT = 100;

class Bench {
  readonly pool = new PacketPool(heapMemory(SLOTS * SLOT_BYTES), 0, SLOTS);
  readonly queue: FlowQueue;
  readonly ids = new Map<number, number>();
  readonly marked: number[] = [];
  readonly ect = new Set<number>();

  constructor(limitPackets: number) {
    this.queue = new FlowQueue(this.pool, limitPackets, (offset) => {
      const id = this.pool.memory.view.getInt32(offset);
      if (this.ect.has(id)) this.marked.push(id);
      return this.ect.has(id);
    });
  }

  offer(id: number, bucket: number, length: number, ect: boolean, nowUs: number): void {
    const slot = this.pool.take();
    assert.notEqual(slot, NONE);
    this.pool.memory.view.setInt32(this.pool.packetAt(slot), id);
    this.pool.bucket[slot] = bucket;
    this.pool.length[slot] = length;
    if (ect) this.ect.add(id);
    this.queue.offer(slot, nowUs);
  }

  take(nowUs: number): { id: number; sparse: boolean } | undefined {
    const slot = this.queue.peek(nowUs);
    if (slot === NONE) return undefined;
    const { sparse } = this.queue;
    assert.equal(this.queue.take(), slot);
    const id = this.pool.memory.view.getInt32(this.pool.packetAt(slot));
    this.pool.give(slot);
    return { id, sparse };
  }
}

const steps = fc.array(
  fc.record(
    {
      bucket: fc.nat({ max: 4 }),
      length: fc.constantFrom(60, 600, 1400, 1514),
      offers: fc.nat({ max: 9 }),
      takes: fc.nat({ max: 6 }),
      ect: fc.boolean(),
      pauseUs: fc.nat({ max: 20_000 }),
    },
    { noNullPrototype: true },
  ),
  { minLength: 20, maxLength: 250 },
);

for (const limitBytes of [Number.POSITIVE_INFINITY, 60_000]) {
  test(`it gives, drops and marks what its slow twin does; byte limit ${limitBytes}`, () => {
    let punished = 0;
    let shed = 0;
    fc.assert(
      fc.property(steps, (list) => {
        const bench = new Bench(LIMIT);
        const twin = new SlowFlowQueue(LIMIT);
        bench.queue.limitBytes = limitBytes;
        twin.limitBytes = limitBytes;
        let nowUs = 1000;
        let id = 0;
        for (const { bucket, length, offers, takes, ect, pauseUs } of list) {
          nowUs += pauseUs;
          for (let i = 0; i < offers; i++) {
            bench.offer(id, bucket, length, ect, nowUs);
            twin.offer(id++, bucket, length, ect, nowUs);
          }
          for (let i = 0; i < takes; i++) assert.deepEqual(bench.take(nowUs), twin.take(nowUs));
          const { waiting } = twin;
          assert.equal(bench.queue.packets, waiting.length);
          assert.equal(
            bench.queue.bytes,
            waiting.reduce((sum, p) => sum + p.length, 0),
          );
          assert.equal(bench.pool.free, SLOTS - waiting.length, 'each slot has one owner');
          assert.ok(bench.queue.packets <= LIMIT && bench.queue.bytes <= limitBytes);
        }
        assert.equal(bench.queue.droppedByCodel, twin.dropped.length);
        assert.equal(bench.queue.droppedByLimit, twin.shed.length);
        assert.deepEqual(bench.marked, twin.marked);
        punished += twin.dropped.length + twin.marked.length;
        shed += twin.shed.length;
        bench.queue.clear();
        assert.equal(bench.pool.free, SLOTS);
      }),
      { numRuns: 300 },
    );
    assert.ok(punished > 100 && shed > 100, `the runs reach what they are for: ${punished}, ${shed}`);
  });
}

test('looking twice gives the same packet', () => {
  const bench = new Bench(LIMIT);
  for (let i = 0; i < 50; i++) bench.offer(i, i % 3, 1400, false, i);
  for (let now = 0; now < 1e6; now += 7_000) {
    const slot = bench.queue.peek(now);
    assert.equal(bench.queue.peek(now), slot);
    if (slot !== NONE && now % 2 === 0) bench.pool.give(bench.queue.take());
  }
});

test('flows with a backlog share by bytes, whatever the size of their packets', () => {
  const bench = new Bench(4000);
  let id = 0;
  const taken = [0, 0];
  for (let i = 0; i < 200; i++) {
    while (bench.queue.packets < 400) {
      bench.offer(id++, 0, 1400, false, 0);
      bench.offer(id++, 1, 200, false, 0);
      for (let k = 0; k < 6; k++) bench.offer(id++, 1, 200, false, 0);
    }
    const slot = bench.queue.peek(0);
    taken[bench.pool.bucket[slot]] += bench.pool.length[slot];
    bench.pool.give(bench.queue.take());
  }
  assert.ok(Math.abs(taken[0] / taken[1] - 1) < 0.1, `${taken}`);
});

test('a packet of a sparse flow goes before a backlog', () => {
  const bench = new Bench(4000);
  for (let i = 0; i < 50; i++) bench.offer(i, 0, 1400, false, 0);
  for (let i = 0; i < 5; i++) bench.take(0);
  bench.offer(1000, 7, 80, false, 0);
  assert.deepEqual(bench.take(0), { id: 1000, sparse: true });
  assert.equal(bench.take(0)?.sparse, false);
});

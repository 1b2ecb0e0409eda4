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
      offers: fc.oneof({ weight: 9, arbitrary: fc.nat({ max: 9 }) }, { weight: 1, arbitrary: fc.nat({ max: 40 }) }),
      takes: fc.nat({ max: 6 }),
      ect: fc.boolean(),
      pauseUs: fc.oneof(
        { weight: 50, arbitrary: fc.nat({ max: 20_000 }) },
        { weight: 1, arbitrary: fc.nat({ max: 1_500_000 }) },
      ),
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
        assert.equal(bench.queue.droppedByAge, twin.expired.length);
        assert.deepEqual(bench.marked, twin.marked);
        punished += twin.dropped.length + twin.marked.length;
        shed += twin.shed.length;
        bench.queue.clear();
        assert.equal(bench.pool.free, SLOTS);
      }),
      { numRuns: 300 },
    );
    assert.ok(punished > 200 && shed > 10, `the runs reach what they are for: ${punished}, ${shed}`);
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

test('what waits of a sparse flow can be passed over, and is next all the same', () => {
  const bench = new Bench(4000);
  for (let i = 0; i < 50; i++) bench.offer(i, 0, 1400, false, 0);
  for (let i = 0; i < 5; i++) bench.take(0);
  bench.offer(1000, 7, 80, false, 0);
  for (let i = 5; i < 10; i++) {
    const slot = bench.queue.peek(0, true);
    assert.equal(bench.queue.sparse, false);
    assert.equal(bench.pool.memory.view.getInt32(bench.pool.packetAt(slot)), i);
    bench.pool.give(bench.queue.take());
  }
  assert.deepEqual(bench.take(0), { id: 1000, sparse: true });
  // Its bucket is among the old ones now.
  bench.offer(1002, 7, 80, false, 0);
  for (let i = 10; i < 15; i++) {
    const slot = bench.queue.peek(0, true);
    assert.equal(bench.pool.memory.view.getInt32(bench.pool.packetAt(slot)), i);
    bench.pool.give(bench.queue.take());
  }
  assert.deepEqual(bench.take(0), { id: 1002, sparse: true });
  while (bench.take(0) !== undefined);
  bench.offer(1001, 7, 80, false, 0);
  assert.equal(bench.queue.peek(0, true), NONE);
  assert.deepEqual(bench.take(0), { id: 1001, sparse: true });
});

test('packets that leave early, by any path and from any depth, leave the numbers of each bucket whole and in the order of arrival', () => {
  let early = 0;
  fc.assert(
    fc.property(
      fc.array(
        fc.record(
          {
            what: fc.constantFrom('offer', 'offer', 'take', 'early', 'early'),
            bucket: fc.nat({ max: 2 }),
            length: fc.constantFrom(100, 700, 1400),
            count: fc.integer({ min: 1, max: 12 }),
            path: fc.nat({ max: 3 }),
            depth: fc.nat({ max: 30_000 }),
            pauseUs: fc.nat({ max: 15_000 }),
          },
          { noNullPrototype: true },
        ),
        { minLength: 30, maxLength: 300 },
      ),
      (list) => {
        const bench = new Bench(LIMIT);
        const { pool, queue } = bench;
        queue.limitBytes = 60_000;
        const waiting = new Map<number, number[]>([0, 1, 2].map((b) => [b, []]));
        const left: { id: number; bucket: number; sequence: number }[] = [];
        let id = 0;
        let nowUs = 1000;
        const lengths = new Map<number, number>();
        const idOf = (slot: number): number => pool.memory.view.getInt32(pool.packetAt(slot));
        const leave = (slot: number): void => {
          left.push({ id: idOf(slot), bucket: pool.bucket[slot], sequence: pool.sequence[slot] });
          const own = waiting.get(pool.bucket[slot]) as number[];
          own.splice(own.indexOf(idOf(slot)), 1);
          pool.give(slot);
        };
        for (const { what, bucket, length, count, path, depth, pauseUs } of list) {
          nowUs += pauseUs;
          for (let i = 0; i < count; i++) {
            if (what === 'offer') {
              lengths.set(id, length);
              waiting.get(bucket)?.push(id);
              bench.offer(id++, bucket, length, false, nowUs);
              continue;
            }
            const head = queue.peek(nowUs);
            if (head === NONE) break;
            if (what === 'take') {
              assert.equal(queue.take(), head);
              leave(head);
              continue;
            }
            const slot = queue.peekEarly(path, depth);
            if (slot === NONE) {
              const still = alive(pool, head);
              assert.ok(still.reduce((sum, s) => sum + pool.length[s], 0) <= depth + 1400, 'there is none so deep');
              break;
            }
            const bucketSlots = alive(pool, head);
            const at = bucketSlots.indexOf(slot);
            assert.ok(at >= 0);
            assert.ok(
              bucketSlots.slice(0, at).reduce((sum, s) => sum + pool.length[s], 0) >= depth,
              'as deep as asked',
            );
            assert.equal(queue.takeEarly(path), slot);
            leave(slot);
            early++;
          }
        }
        for (let slot = queue.peek(nowUs); slot !== NONE; slot = queue.peek(nowUs)) leave(queue.take());
        assert.equal(pool.free, SLOTS);
        assert.deepEqual([queue.packets, queue.bytes], [0, 0]);
        for (const b of [0, 1, 2]) {
          const own = left.filter((p) => p.bucket === b).sort((x, y) => x.sequence - y.sequence);
          own.forEach((p, i) => {
            assert.equal(p.sequence, i, 'no number is missing, none is twice');
            if (i > 0) assert.ok(p.id > own[i - 1].id, 'in the order of arrival');
          });
        }
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(early > 1000, `${early} left early`);
});

/** The slots of a bucket, from its head on. */
function alive(pool: PacketPool, head: number): number[] {
  const out: number[] = [];
  for (let slot = head; slot !== NONE; slot = pool.next[slot]) out.push(slot);
  return out;
}

test('a new association numbers what waits from 0 again', () => {
  const bench = new Bench(LIMIT);
  for (let i = 0; i < 20; i++) bench.offer(i, 5, 1000, false, 0);
  bench.pool.give(bench.queue.peek(0) === NONE ? NONE : bench.queue.take());
  bench.queue.peek(0);
  assert.notEqual(bench.queue.peekEarly(0, 5000), NONE);
  bench.pool.give(bench.queue.takeEarly(0));
  bench.queue.restart();
  for (let n = 0; n < 18; n++) {
    const slot = bench.queue.peek(0);
    bench.queue.take();
    assert.equal(bench.pool.sequence[slot], n);
    bench.pool.give(slot);
  }
});

test('a flow that sends less than its share never waits for a turn, however long that is, and has no more for it', () => {
  const bench = new Bench(4000);
  let id = 0;
  const share = (everyTakes: number): number => {
    let mine = 0;
    let all = 0;
    let late = 0;
    let waiting = 0;
    for (let i = 0; i < 2000; i++) {
      while (bench.queue.packets < 200) bench.offer(id++, id % 8, 1514, false, 0);
      if (i % everyTakes === 0 && waiting < 10) {
        bench.offer(1e6 + i, 99, 300, false, 0);
        waiting++;
      }
      const { id: taken } = bench.take(0)!;
      const isMine = taken >= 1e6;
      if (isMine) waiting--;
      // At first all are new.
      if (i < 200) continue;
      if (isMine && taken !== 1e6 + i) late++;
      if (isMine) mine += 300;
      all += isMine ? 300 : 1514;
    }
    if (everyTakes > 1) assert.equal(late, 0);
    bench.queue.clear();
    return mine / all;
  };
  // Three packets a turn of nine; then as many as there is room for.
  share(3);
  const greedy = share(1);
  assert.ok(greedy > 0.1 && greedy < 0.12, `${greedy}: a ninth`);
});

test('a flow whose packets wait for a path, and are passed over meanwhile, has its turns all the same', () => {
  const bench = new Bench(4000);
  let id = 0;
  for (let i = 0; i < 1200; i++) {
    while (bench.queue.packets < 200) bench.offer(id++, id % 8, 1514, false, 0);
    if (i % 3 === 0) bench.offer(1e6 + i, 99, 300, false, 0);
    const isWaiting = i % 3 === 0 && i > 0;
    const slot = bench.queue.peek(0, isWaiting);
    const { sparse } = bench.queue;
    assert.equal(bench.queue.take(), slot);
    bench.pool.give(slot);
    // At first all are new.
    if (i > 200) assert.equal(sparse, i % 3 === 1, `${i}`);
  }
});

test('of flows that wait behind a backlog those with no more than a turn’s worth can be taken before it', () => {
  const bench = new Bench(4000);
  for (let i = 0; i < 50; i++) bench.offer(i, 0, 1400, false, 0);
  for (let i = 0; i < 5; i++) bench.take(0);
  bench.offer(1000, 7, 80, false, 0);
  assert.equal(bench.take(0)?.id, 1000);
  assert.equal(bench.take(0)?.sparse, false);
  // Its bucket is behind the backlog's now, empty.
  bench.offer(1001, 7, 80, false, 0);
  const slot = bench.queue.peekBrief(0);
  assert.equal(bench.pool.bucket[slot], 7);
  assert.ok(bench.queue.sparse);
  bench.pool.give(bench.queue.take());
  assert.equal(bench.queue.peekBrief(0), NONE);
  assert.equal(bench.take(0)?.sparse, false);
});

test('no slower path gets the packet of a call that has used up its turn in the place of bulk', () => {
  const bench = new Bench(4000);
  let id = 0;
  for (let i = 0; i < 80; i++) bench.offer(id++, i % 8, 1400, false, 0);
  for (let i = 0; i < 16; i++) bench.take(0);
  // No path carries bulk for long: turns do not go round, and the call uses its own up.
  for (let nowUs = 0; bench.queue.packets < 66; nowUs += 20_000) {
    bench.offer(1000, 99, 200, false, nowUs);
    const slot = bench.queue.peek(nowUs);
    if (!bench.queue.sparse) continue;
    assert.equal(bench.pool.bucket[slot], 99);
    bench.pool.give(bench.queue.take());
  }
  for (let depthBytes = 0; depthBytes < 14_000; depthBytes += 1_000) {
    bench.queue.peek(300_000);
    const slot = bench.queue.peekLater(depthBytes, 300_000);
    assert.notEqual(slot === NONE ? NONE : bench.pool.bucket[slot], 99);
  }
  // The same of a flow that sends more: its turn is as good as another's.
  for (let i = 0; i < 3; i++) bench.offer(2000, 99, 1400, false, 300_000);
  let found = false;
  for (let depthBytes = 0; depthBytes < 14_000; depthBytes += 1_000) {
    bench.queue.peek(300_000);
    const slot = bench.queue.peekLater(depthBytes, 300_000);
    if (slot !== NONE && bench.pool.bucket[slot] === 99) found = true;
  }
  assert.ok(found);
});

test('while a path has just fallen silent nothing is dropped for waiting or for want of room', () => {
  for (const graceUntilUs of [0, 600_000]) {
    const bench = new Bench(4000);
    bench.queue.limitBytes = 20_000;
    bench.queue.graceUntilUs = graceUntilUs;
    for (let i = 0; i < 50; i++) bench.offer(i, 0, 1400, false, 0);
    for (let nowUs = 0; nowUs < 600_000 && bench.queue.packets > 8; nowUs += 20_000) bench.take(nowUs);
    const dropped = bench.queue.droppedByCodel + bench.queue.droppedByLimit;
    assert.equal(dropped > 0, graceUntilUs === 0, `${dropped}`);
  }
});

test('a path that stays silent costs a flow all at once what has waited too long, and nothing more until that can have been sent again', () => {
  const PACKETS = 60;
  const graceUntilUs = 600_000;
  for (const thinUntilUs of [0, 3_000_000]) {
    const bench = new Bench(4000);
    const { queue } = bench;
    Object.assign(queue, { graceUntilUs, thinUntilUs, targetUs: 30_000 });
    let id = 0;
    let nowUs = 0;
    // A packet comes and one leaves each millisecond: all wait for as many.
    const pass = (forUs: number): number[] => {
      const out: number[] = [];
      for (const untilUs = nowUs + forUs; nowUs < untilUs; nowUs += 1_000) {
        bench.offer(id++, 0, 1400, false, nowUs);
        if (queue.packets > PACKETS || out.length > 0) out.push(bench.take(nowUs)?.id ?? -1);
      }
      return out;
    };
    pass(graceUntilUs + 95_000);
    assert.equal(queue.droppedByCodel, 0);
    const out = pass(10_000);
    const cut = queue.droppedByCodel;
    if (thinUntilUs === 0) {
      assert.equal(cut, 1);
      continue;
    }
    assert.ok(cut > 25 && cut <= PACKETS - 29, `${cut} of ${PACKETS}`);
    // From the head, so that the flow hears of it soon.
    assert.ok(out.includes(out[0] + out.length - 1 + cut), `${out}, ${cut} dropped`);
    // It sends that again, and keeps its queue as it was.
    for (let i = 0; i < cut; i++) bench.offer(id++, 0, 1400, false, nowUs);
    pass(100_000);
    assert.equal(queue.droppedByCodel, cut);
    pass(300_000);
    assert.ok(queue.droppedByCodel > cut);
  }
});

test('where many flows have little waiting a slower path gets the one whose turn comes when it has arrived', () => {
  const make = (): Bench => {
    const bench = new Bench(4000);
    for (let i = 0; i < 40; i++) bench.offer(i, i % 8, 1400, false, 0);
    // So that none is a new flow any more.
    for (let i = 0; i < 16; i++) bench.take(0);
    bench.queue.peek(0);
    return bench;
  };
  const twin = make();
  const turns: number[] = [];
  while (turns.length < 8) {
    const b = twin.pool.bucket[twin.queue.peek(0)];
    if (!turns.includes(b)) turns.push(b);
    twin.pool.give(twin.queue.take());
  }
  for (const depthBytes of [1_000, 2_000, 5_000, 9_000]) {
    const bench = make();
    assert.equal(bench.queue.peekEarly(0, 20_000), NONE, 'none has so much');
    const slot = bench.queue.peekLater(depthBytes, 0);
    assert.equal(turns.indexOf(bench.pool.bucket[slot]), Math.ceil(depthBytes / 1514));
    bench.pool.give(bench.queue.take());
    bench.queue.clear();
    assert.equal(bench.queue.peekLater(0, 0), NONE);
    assert.equal(bench.pool.free, bench.pool.count);
  }
});

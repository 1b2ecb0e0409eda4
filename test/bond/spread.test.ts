/** Which flows are spread over far paths: those whose window grows with bursts, and no others; and by which path their packets go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapMemory } from '../../src/base/memory.ts';
import type { Path } from '../../src/bond/path.ts';
import { NONE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import type { Choice } from '../../src/bond/scheduler.ts';
import { Spread } from '../../src/bond/spread.ts';

const ALL = 0xff;
const SIZE = 1500;
/** 20 Mbit/s in bytes per µs, and the round trips of both paths. */
const RATE = 2.5;
const NEAR_US = 16_000;
const FAR_US = 160_000;
const BUCKET = 7;

/** What `Spread` reads of a path. */
function path(id: number, rttUs: number) {
  return {
    id,
    isUp: true,
    hasEndpoint: true,
    fits: (sizeBytes: number) => sizeBytes <= 1500,
    hasRoom: () => true,
    txBytes: 0,
    nextSendUs: 0,
    minRttUs: rttUs,
    srttUs: rttUs,
    rate: { capacity: RATE, pacing: RATE, settled: true, leastUs: rttUs / 2, delayUs: rttUs / 2 },
  };
}

/** A near and a far path, and a host whose flow fills the near one and keeps `windowUs(now)` of its rate under way. */
class Bench {
  readonly pool = new PacketPool(heapMemory(64 * SLOT_BYTES), 0, 64);
  readonly spread = new Spread(this.pool);
  readonly near = path(0, NEAR_US);
  readonly far = path(1, FAR_US);
  nowUs = 1e6;
  holds = 0;
  /** How long a packet was kept back at the most. */
  longestUs = 0;
  /** Of the window, as time. */
  windowUs = 33_000;
  opens = false;
  /** Of its rate, what the far path carries of other flows. */
  farShare = 0;
  private heldUs = Number.NaN;
  private readonly choice: Choice = { lostBy: NONE, path: undefined, depthBytes: 0, wakeUs: 0 };

  get paths(): Path[] {
    return [this.near, this.far] as unknown as Path[];
  }

  /** So long the flow sends all it may. */
  run(us: number, bucket = BUCKET): void {
    const stepUs = SIZE / RATE;
    for (const endUs = this.nowUs + us; this.nowUs < endUs; this.nowUs += stepUs) {
      const { spread, nowUs } = this;
      this.far.txBytes += SIZE * this.farShare;
      const isStalled = nowUs - this.heldUs > this.windowUs;
      if (!isStalled) {
        spread.noteOffered(bucket, SIZE, nowUs);
        this.near.txBytes += SIZE;
      }
      spread.look(this.paths, ALL, nowUs);
      const slot = spread.release(nowUs);
      if (slot !== NONE) {
        this.longestUs = Math.max(this.longestUs, nowUs - this.heldUs);
        // The burst that is delivered then opens BBR's window by what came at once.
        if (this.opens) this.windowUs = 2 * NEAR_US + Math.min(100_000, this.windowUs, nowUs - this.heldUs);
        this.heldUs = Number.NaN;
        this.pool.give(slot);
      }
      if (!isStalled && spread.isHoldDue(bucket, nowUs)) {
        const held = this.pool.take();
        this.pool.bucket[held] = bucket;
        this.pool.queuedUs[held] = nowUs;
        spread.hold(held, 0, nowUs);
        this.heldUs = nowUs;
        this.holds++;
      }
    }
  }

  choose(): Path | undefined {
    this.spread.choose(this.paths, ALL, SIZE, this.nowUs, this.choice);
    return this.choice.path;
  }
}

test('a flow whose window grows with bursts is spread, the farthest path first', () => {
  const bench = new Bench();
  bench.opens = true;
  bench.run(700_000);
  assert.equal(bench.holds, 0);
  bench.run(2e6);
  assert.equal(bench.spread.state, 'spread');
  assert.ok(bench.spread.takes(BUCKET) && !bench.spread.takes(BUCKET + 1));
  assert.equal(bench.choose()?.id, 1);
  bench.far.nextSendUs = bench.nowUs + 1000;
  assert.equal(bench.choose()?.id, 0);
  bench.near.nextSendUs = bench.nowUs + 1000;
  assert.equal(bench.choose(), undefined);
  // Kept back no longer than the hold and what the far path is later.
  assert.ok(bench.longestUs < 100_000 + FAR_US / 2 + 5_000, `${bench.longestUs} µs`);
});

test('a flow whose window stays is asked twice, and then left alone for ten seconds', () => {
  for (const windowUs of [20_000, 33_000, 60_000]) {
    const bench = new Bench();
    bench.windowUs = windowUs;
    bench.run(8e6);
    assert.equal(bench.spread.state, 'watch');
    assert.equal(bench.holds, 2);
    bench.run(6e6);
    assert.equal(bench.holds, 4);
  }
});

test('nobody is asked while the near path is not full, the far one is used, the delays are equal, or the far one too far', () => {
  const cases: ((bench: Bench) => void)[] = [
    (bench) => (bench.near.rate.capacity = bench.near.rate.pacing = 2 * RATE),
    (bench) => (bench.near.rate.settled = false),
    (bench) => (bench.farShare = 0.6),
    (bench) => Object.assign(bench.far, { srttUs: NEAR_US, rate: bench.near.rate }),
    (bench) => (bench.far.srttUs = 600_000),
    (bench) => (bench.far.isUp = false),
  ];
  for (const [i, change] of cases.entries()) {
    const bench = new Bench();
    bench.opens = true;
    change(bench);
    bench.run(4e6);
    assert.equal(bench.holds, 0, `case ${i}`);
  }
});

test('it ends when the flow pauses, when a path is gone, and when less is carried than before', () => {
  const spread = (): Bench => {
    const bench = new Bench();
    bench.opens = true;
    bench.run(2.7e6);
    assert.equal(bench.spread.state, 'spread');
    return bench;
  };
  const paused = spread();
  paused.nowUs += 600_000;
  paused.run(200_000);
  assert.equal(paused.spread.state, 'watch');
  const alone = spread();
  alone.far.isUp = false;
  alone.run(300_000);
  assert.equal(alone.spread.state, 'watch');
  const slower = spread();
  for (let n = 0; n < 6; n++) {
    // Half of the time it sends nothing.
    slower.run(40_000);
    slower.nowUs += 40_000;
  }
  assert.equal(slower.spread.state, 'spread');
  for (let n = 0; n < 60; n++) {
    slower.run(40_000);
    slower.nowUs += 40_000;
  }
  assert.equal(slower.spread.state, 'watch');
});

test('when the near path dies the far one is helped while it is not full, until the near one is back', () => {
  const bench = new Bench();
  bench.opens = true;
  bench.run(2.7e6);
  bench.near.isUp = false;
  bench.run(400_000);
  const { holds } = bench;
  bench.run(2e6);
  assert.ok(bench.holds > holds + 1, `${bench.holds}`);
  bench.farShare = 1;
  bench.run(400_000);
  const then = bench.holds;
  bench.run(2e6);
  assert.equal(bench.holds, then);
  assert.equal(bench.spread.state, 'spread');
  bench.near.isUp = true;
  bench.run(200_000);
  assert.equal(bench.spread.state, 'watch');
});

test('a flow that has looked for its shortest round trip and nearly fills the paths is not kept back any more', () => {
  const bench = new Bench();
  bench.opens = true;
  bench.far.rate.capacity = bench.far.rate.pacing = RATE / 3;
  bench.run(2.7e6);
  const { holds } = bench;
  bench.run(2e6);
  assert.ok(bench.holds > holds + 1);
  bench.nowUs += 300_000;
  bench.run(300_000);
  const then = bench.holds;
  bench.run(3e6);
  assert.equal(bench.holds, then);
  assert.equal(bench.spread.state, 'spread');
});

test('a far path that adds little is let alone, and given up when that is known only then', () => {
  const bench = new Bench();
  bench.opens = true;
  bench.far.rate.capacity = bench.far.rate.pacing = RATE / 10;
  bench.run(2.7e6);
  assert.equal(bench.holds, 0);
  bench.far.rate.settled = false;
  bench.far.rate.capacity = 0.6;
  bench.run(2.7e6);
  assert.equal(bench.spread.state, 'spread');
  bench.far.rate.settled = true;
  bench.far.rate.capacity = RATE / 10;
  bench.run(400_000);
  assert.equal(bench.spread.state, 'watch');
});

test('what is kept back is freed with the association', () => {
  const bench = new Bench();
  bench.run(850_000);
  assert.equal(bench.holds, 1);
  assert.equal(bench.pool.free, 63);
  bench.spread.reset();
  assert.equal(bench.pool.free, 64);
  assert.equal(bench.spread.release(bench.nowUs + 1e6), NONE);
});

test('a path whose rate is not known yet is given a little more than it carries, the rest goes by the near one', () => {
  const bench = new Bench();
  bench.opens = true;
  bench.run(2.7e6);
  bench.far.rate.settled = false;
  bench.far.rate.capacity = RATE / 4;
  bench.far.rate.pacing = RATE / 2;
  let far = 0;
  for (let n = 0; n < 1000; n++) {
    if (bench.choose()?.id === 1) far++;
    bench.nowUs += SIZE / RATE;
  }
  // 1.25 of a quarter of what is sent.
  assert.ok(far > 300 && far < 325, `${far}`);
  bench.near.nextSendUs = Number.POSITIVE_INFINITY;
  assert.equal(bench.choose()?.id, 1);
});

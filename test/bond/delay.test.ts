/** The delay of a path: queue is told from unrest. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { Delay } from '../../src/bond/delay.ts';

const RTT_US = 60_000;
const BASE_US = 7e9;

/** Delays every 5 ms: base, a queue, and unrest of ± `jitterUs` that wanders over 20 ms. */
class Feed {
  readonly delay = new Delay();
  nowUs = 0;
  private from = 0;
  private to = 0;
  private readonly random = seeded(7);

  constructor() {
    this.delay.begin(0);
  }

  run(forUs: number, jitterUs: number, queueUs: (t: number) => number, fallsBehind = false): void {
    const start = this.nowUs;
    while (this.nowUs < start + forUs) {
      const part = (this.nowUs % 20_000) / 20_000;
      if (part === 0) {
        this.from = this.to;
        this.to = 2 * this.random() - 1;
      }
      const wander = this.from + (this.to - this.from) * part;
      const owdUs = BASE_US + 50_000 + jitterUs * wander + queueUs(this.nowUs - start);
      this.delay.note(owdUs, RTT_US, 300, true, fallsBehind, this.nowUs);
      this.nowUs += 5_000;
    }
  }
}

test('a queue on a link without unrest is measured as it is', () => {
  const f = new Feed();
  f.run(1e6, 0, () => 0);
  assert.ok(f.delay.queueUs === 0 && f.delay.jitterUs < 1);
  f.run(1e6, 0, () => 10_000);
  assert.ok(Math.abs(f.delay.queueUs - 10_000) < 1);
});

test('unrest of ± 40 ms makes hardly a queue, and a queue is still seen above it', () => {
  const f = new Feed();
  f.run(3e6, 40_000, () => 0);
  assert.ok(f.delay.jitterUs > 5_000);
  let sum = 0;
  for (let i = 0; i < 50; i++) {
    f.run(50_000, 40_000, () => 0);
    sum += f.delay.queueUs / 50;
  }
  assert.ok(sum < 15_000, `mean ${sum} µs`);
  f.run(2e6, 40_000, () => 60_000);
  assert.ok(f.delay.queueUs > 55_000, `${f.delay.queueUs}`);
});

test('a queue that grows and shrinks is no unrest', () => {
  const f = new Feed();
  for (let i = 0; i < 5; i++) {
    f.run(5e5, 0, (t) => t / 10);
    f.run(5e5, 0, (t) => 50_000 - t / 10);
  }
  assert.ok(f.delay.jitterUs < 1_000, `${f.delay.jitterUs}`);
});

test('where much less arrives than is sent, a queue is seen at once in spite of unrest', () => {
  const slow = new Feed();
  slow.run(3e6, 40_000, () => 0);
  const fast = new Feed();
  fast.run(3e6, 40_000, () => 0);
  slow.run(200_000, 40_000, () => 100_000);
  fast.run(200_000, 40_000, () => 100_000, true);
  assert.ok(slow.delay.queueUs < 40_000);
  assert.ok(fast.delay.queueUs > 80_000);
});

test('the base delay is forgotten after ten seconds', () => {
  const f = new Feed();
  f.run(1e6, 0, () => 0);
  f.run(11e6, 0, () => 30_000);
  assert.ok(f.delay.queueUs < 1);
});

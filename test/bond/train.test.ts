/** A train tells the rate of a slow, even link, and nothing of any other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { firstGuess, Train } from '../../src/bond/train.ts';

const SIZE = 1360;

/** What is told when they arrive at these times; undefined: never told. Missing arrivals were acknowledged with the next. */
function told(arrivals: readonly (number | undefined)[]): number | undefined {
  const train = new Train();
  train.begin();
  const numbers = arrivals.map((_, i) => 100 + i);
  for (const n of numbers) assert.ok(train.poll(n));
  assert.ok(!train.poll(104), 'four, no more');
  let rate: number | undefined;
  arrivals.forEach((us, i) => {
    if (us !== undefined) train.noteArrival(numbers[i], SIZE, us, { noteTrain: (r) => (rate = r) }, us);
  });
  return rate;
}

test('a slow link that takes its time for each tells its rate, whatever its delay', () => {
  fc.assert(
    fc.property(fc.integer({ min: 64, max: 3_900 }), fc.nat({ max: 1e6 }), (kbps, delayUs) => {
      const stepUs = (SIZE * 8000) / kbps;
      const rate = told([0, 1, 2, 3].map((i) => delayUs + (i + 1) * stepUs));
      assert.ok(Math.abs((rate ?? 0) * 8000 - kbps) < 1e-6 * kbps, `${(rate ?? 0) * 8000}`);
    }),
  );
});

test('a fast link, one that bunches, one whose delay wanders and one that loses one of them tell nothing', () => {
  for (const arrivals of [
    [10, 100, 190, 280],
    [10_000, 10_000, 30_000, 50_000],
    [10_000, 30_000, 30_000, 50_000],
    [undefined, 30_000, 50_000, 70_000],
    [10_000, undefined, 50_000, 70_000],
    [10_000, 25_000, 50_000, 65_000],
  ]) {
    assert.equal(told(arrivals), Number.POSITIVE_INFINITY, `${arrivals}`);
  }
  assert.equal(told([10_000, 30_000, 50_000, undefined]), undefined);
});

test('without it a link is taken for 4 to 12 Mbit/s', () => {
  assert.deepEqual(
    [1_000, 20_000, 500_000].map((rttUs) => Math.round(firstGuess(rttUs) * 8)),
    [12, 6, 4],
  );
});

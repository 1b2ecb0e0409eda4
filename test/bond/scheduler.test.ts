/** The choice of path: a packet that a path has lost, and may well lose again, goes by another one that brings it about as soon. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Path } from '../../src/bond/path.ts';
import { NONE } from '../../src/bond/pool.ts';
import { type Choice, choosePath } from '../../src/bond/scheduler.ts';

const ALL = 0xff;

/** A path that takes a packet now and brings it after so long. Units: µs. */
function pathOf(id: number, delayUs: number, resendUs: number): Path {
  const rate = { delayUs, leastUs: delayUs, capacity: 1, loss: { mean: 0 } };
  const may = { isUp: true, hasEndpoint: true, nextSendUs: 0, hasRoom: () => true, fits: () => true };
  return { id, rate, resendUs, ...may } as unknown as Path;
}

function chosen(paths: Path[], lostBy: number, queuedBytes = 1_000): number | undefined {
  const choice: Choice = { lostBy, path: undefined, depthBytes: 0, wakeUs: 0 };
  choosePath(paths, ALL, 1_400, queuedBytes, 1_000_000, choice);
  return choice.path?.id;
}

test('what a path lost goes by another when that brings it before the first could twice', () => {
  const near = pathOf(0, 10_000, 40_000);
  for (const [farUs, expected] of [
    [45_000, 1],
    [55_000, 0],
  ]) {
    const paths = [near, pathOf(1, farUs, 100_000)];
    assert.equal(chosen(paths, NONE), 0);
    assert.equal(chosen(paths, 0), expected);
    assert.equal(chosen(paths, 1), 0);
  }
});

test('when the other one is busy and much is to be sent again, the path that lost it takes its part', () => {
  const far = pathOf(1, 45_000, 100_000);
  far.nextSendUs = 1_001_000;
  const paths = [pathOf(0, 10_000, 40_000), far];
  assert.equal(chosen(paths, 0), undefined);
  assert.equal(chosen(paths, 0, 100_000), 0);
});

test('alone it sends again what it lost', () => {
  assert.equal(chosen([pathOf(0, 10_000, 40_000)], 0), 0);
});

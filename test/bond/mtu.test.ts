/** The search for the path MTU against links that let pass what they want. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { BASE_MTU, PathMtu } from '../../src/bond/mtu.ts';

/** Runs the search over a link with this MTU and loss; returns the time it took and the probes it cost. */
function search(mtu: PathMtu, linkMtu: number, lossRate: number, fromUs: number, seed: number) {
  const random = seeded(seed);
  let nowUs = fromUs;
  let probes = 0;
  while (nowUs < fromUs + 60e6 && mtu.pollTimeout() <= nowUs + 10e6) {
    nowUs = Math.max(nowUs, mtu.pollTimeout());
    const size = mtu.pollProbe(nowUs);
    if (size === 0) continue;
    probes++;
    nowUs += 20_000;
    if (size <= linkMtu && random() >= lossRate) mtu.handleProbePassed(size, nowUs);
    else mtu.handleProbeLost(size, nowUs);
  }
  return { tookUs: nowUs - fromUs, probes };
}

test('the largest size that passes is found, up to the ceiling', () => {
  for (const ceiling of [1360, 1400, 1450, 1492, 1500]) {
    for (let linkMtu = BASE_MTU; linkMtu <= 1500; linkMtu++) {
      const mtu = new PathMtu(ceiling);
      const { probes } = search(mtu, linkMtu, 0, 0, 1);
      const sizes = [ceiling, 1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, BASE_MTU].filter((s) => s <= ceiling);
      assert.equal(
        mtu.bytes,
        Math.max(...sizes.filter((s) => s <= linkMtu || s === BASE_MTU)),
        `${ceiling} ${linkMtu}`,
      );
      assert.ok(mtu.found);
      assert.ok(probes <= 27, `${probes} probes`);
    }
  }
});

test('a tenth of the probes lost by chance changes the result rarely, and never to too much', () => {
  let right = 0;
  for (let seed = 0; seed < 200; seed++) {
    const mtu = new PathMtu(1500);
    search(mtu, 1460, 0.1, 0, seed);
    assert.ok(mtu.bytes <= 1460);
    if (mtu.bytes === 1460) right++;
  }
  assert.ok(right >= 195, `${right} of 200`);
});

test('a black hole ends at the base and is searched again', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  for (let i = 0; i < 6; i++) assert.equal(mtu.handleLarge(false, 1e6, 1e6), false);
  assert.equal(mtu.handleLarge(false, 1e6, 1e6), true);
  assert.equal(mtu.bytes, BASE_MTU);
  search(mtu, 1420, 0, 1e6, 1);
  assert.equal(mtu.bytes, 1420);
});

test('large ones that pass in between are no black hole', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  for (let i = 0; i < 100; i++) {
    mtu.handleLarge(i % 6 === 0, 1e6, 1e6);
    if (i % 2 === 0) mtu.handleSilence(1e6);
    mtu.handleLarge(true, 1e6, 1e6);
  }
  assert.equal(mtu.bytes, 1500);
});

test('a burst of loss is no black hole when a large one that was sent after it has passed', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  // The acknowledgement names what came; what is missing before it is found after that.
  mtu.handleLarge(true, 20, 1e6);
  for (let sentUs = 0; sentUs < 20; sentUs++) assert.equal(mtu.handleLarge(false, sentUs, 1e6), false);
  assert.equal(mtu.bytes, 1500);
  for (let sentUs = 21; sentUs < 28; sentUs++) mtu.handleLarge(false, sentUs, 1e6);
  assert.equal(mtu.bytes, BASE_MTU);
});

test('two silences with nothing large between are a black hole', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  mtu.handleSilence(1e6);
  assert.equal(mtu.bytes, 1500);
  mtu.handleSilence(2e6);
  assert.equal(mtu.bytes, BASE_MTU);
});

test('a refused size (EMSGSIZE) is left out at once', () => {
  const mtu = new PathMtu(1500);
  let nowUs = 0;
  const sizes: number[] = [];
  for (;;) {
    const size = mtu.pollProbe(nowUs);
    if (size === 0) break;
    sizes.push(size);
    if (size > 1480) mtu.handleProbeRefused(size, nowUs);
    else {
      nowUs += 20_000;
      mtu.handleProbePassed(size, nowUs);
    }
  }
  assert.deepEqual(sizes, [1500, 1492, 1480]);
  assert.equal(mtu.bytes, 1480);
});

test('the size is looked at again after ten minutes', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1400, 0, 0, 1);
  assert.equal(mtu.bytes, 1400);
  assert.ok(mtu.pollTimeout() >= 600e6 && mtu.pollTimeout() < 605e6);
  search(mtu, 1500, 0, mtu.pollTimeout(), 1);
  assert.equal(mtu.bytes, 1500);
});

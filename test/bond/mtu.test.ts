/** The search for the path MTU against links that let pass what they want. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { LEAST_MTU, PathMtu } from '../../src/bond/mtu.ts';

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

test('the largest size that passes is found, up to the ceiling, with few probes', () => {
  for (const ceiling of [1280, 1290, 1360, 1400, 1450, 1492, 1500]) {
    for (let linkMtu = LEAST_MTU; linkMtu <= 1500; linkMtu++) {
      const mtu = new PathMtu(ceiling);
      const { probes } = search(mtu, linkMtu, 0, 0, 1);
      const sizes = [ceiling, 1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1360, 1340, 1320, 1300, LEAST_MTU];
      assert.equal(mtu.bytes, Math.max(...sizes.filter((s) => s <= ceiling && s <= linkMtu)), `${ceiling} ${linkMtu}`);
      assert.ok(mtu.found);
      // The ceiling, and four halvings of twelve sizes, three probes each.
      assert.ok(probes <= 15, `${probes} probes`);
    }
  }
});

test('a size that has passed may be used while larger ones are sought, and nothing larger than what passes is kept', () => {
  const mtu = new PathMtu(1500);
  let failed = 0;
  for (let nowUs = 0; !mtu.found; nowUs += 400_000) {
    const size = mtu.pollProbe(nowUs);
    if (size === 0) continue;
    if (size <= 1440) {
      mtu.handleProbePassed(size, nowUs);
      assert.ok(mtu.bytes >= size);
    } else failed++;
  }
  assert.equal(mtu.bytes, 1440);
  assert.ok(failed >= 6);
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

test('a black hole ends at the least size, is told to nobody until it is searched again, and is searched at once', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  for (let i = 0; i < 6; i++) assert.equal(mtu.handleLarge(false, 1e6, 1e6), false);
  assert.equal(mtu.handleLarge(false, 1e6, 1e6), true);
  assert.equal(mtu.bytes, LEAST_MTU);
  assert.equal(mtu.found, false);
  const { tookUs } = search(mtu, 1330, 0, 1e6, 1);
  assert.equal(mtu.bytes, 1320);
  assert.ok(mtu.found && tookUs < 1e6);
});

test('large ones that pass in between are no black hole', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  for (let i = 0; i < 100; i++) {
    mtu.handleLarge(i % 6 === 0, 1e6 + i, 1e6 + i);
    mtu.handleLarge(true, 1e6 + i, 1e6 + i);
  }
  assert.equal(mtu.bytes, 1500);
});

test('what was lost before a large one that passed is no black hole, in whatever order it is learned', () => {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  mtu.handleLarge(true, 1e6, 1e6);
  for (let i = 0; i < 20; i++) assert.equal(mtu.handleLarge(false, 1e6 - i, 1e6), false);
  assert.equal(mtu.bytes, 1500);
  for (let i = 1; i < 8; i++) mtu.handleLarge(false, 1e6 + i, 1e6);
  assert.equal(mtu.bytes, LEAST_MTU);
});

/** The path falls silent with `large` datagrams in flight, sends the check as number 7 if there is one, and a small probe behind it. */
function fallSilent(large: number): { mtu: PathMtu; check: number } {
  const mtu = new PathMtu(1500);
  search(mtu, 1500, 0, 0, 1);
  mtu.handleSilence(large);
  return { mtu, check: mtu.pollCheck(7) };
}

test('silence, and the small probe is answered without the large one before it: a black hole', () => {
  const { mtu, check } = fallSilent(10);
  assert.equal(check, 1500);
  assert.equal(mtu.pollCheck(8), 0);
  assert.equal(mtu.checkNumber, 7);
  mtu.handleAnswer(true, 1e6);
  assert.deepEqual([mtu.bytes, mtu.found], [LEAST_MTU, false]);
});

test('silence, and the large probe is answered too, or another small one: no black hole', () => {
  const passed = fallSilent(10).mtu;
  passed.handleProbePassed(1500, 1e6);
  passed.handleAnswer(true, 1e6);
  const outage = fallSilent(10).mtu;
  outage.handleAnswer(false, 1e6);
  const small = fallSilent(2);
  assert.equal(small.check, 0);
  small.mtu.handleAnswer(true, 1e6);
  for (const mtu of [passed, outage, small.mtu]) assert.deepEqual([mtu.bytes, mtu.found], [1500, true]);
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
  assert.equal(new Set(sizes).size, sizes.length);
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

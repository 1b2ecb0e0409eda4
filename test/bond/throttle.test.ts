/** The token bucket: what passes in any time is bounded, and a sender that stays below its rate loses nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Throttle } from '../../src/bond/throttle.ts';

const BPS = 1e6;
const BURST = 32_000;

test('over any time no more than burst and rate × time passes', () => {
  const gaps = fc.array(fc.tuple(fc.integer({ min: 0, max: 50_000 }), fc.integer({ min: 40, max: 1500 })), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(gaps, fc.nat(399), (packets, start) => {
      const throttle = new Throttle(BPS);
      let now = 0;
      let sinceUs = 0;
      let passed = 0;
      packets.forEach(([gap, bytes], i) => {
        now += gap;
        if (i === start) {
          sinceUs = now;
          passed = 0;
        }
        if (throttle.admits(bytes, now)) passed += bytes;
        assert.ok(passed <= BURST + (now - sinceUs) * (BPS / 8e6) + 1e-6);
      });
    }),
  );
});

test('half the rate passes whole, twice the rate passes half', () => {
  for (const [share, expected] of [
    [0.5, 1],
    [2, 0.5],
  ]) {
    const throttle = new Throttle(BPS);
    let passed = 0;
    const count = 20_000;
    for (let i = 0; i < count; i++) if (throttle.admits(1000, (i * 8000) / share)) passed++;
    assert.ok(Math.abs(passed / count - expected) < 0.01, `${share}: ${passed}`);
  }
});

test('another rate holds from then on, and a clock that stands still gives nothing', () => {
  const throttle = new Throttle(8e6);
  let passed = 0;
  while (throttle.admits(1000, 5)) passed++;
  assert.equal(passed, 200, '200 ms at the rate');
  throttle.setRate(BPS);
  assert.equal(throttle.admits(1000, 5), false);
  assert.equal(throttle.admits(1000, 4), false);
  assert.equal(throttle.admits(1000, 8_005), true);
  assert.equal(throttle.admits(1000, 8_005), false);
});

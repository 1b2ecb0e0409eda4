/** Quotas: states, and the months that they count by. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { quotaPeriod, quotaState } from '../../src/health/quota.ts';

test('ok below 80 %, near from there, used at 100 %', () => {
  assert.deepEqual(
    [0, 79, 80, 99, 100, 1000].map((n) => quotaState(n, 100)),
    ['ok', 'ok', 'near', 'near', 'used', 'used'],
  );
});

const local = (y: number, m: number, d: number, h = 0) => new Date(y, m - 1, d, h).getTime();

test('a period goes from midnight of the reset day to the next one; months that are too short end it on their last day', () => {
  for (const [now, day, since, until] of [
    [local(2026, 11, 23), 1, local(2026, 11, 1), local(2026, 12, 1)],
    [local(2026, 11, 23), 24, local(2026, 10, 24), local(2026, 11, 24)],
    [local(2026, 11, 24), 24, local(2026, 11, 24), local(2026, 12, 24)],
    [local(2026, 12, 31, 23), 1, local(2026, 12, 1), local(2027, 1, 1)],
    [local(2026, 2, 15), 31, local(2026, 1, 31), local(2026, 2, 28)],
    [local(2026, 2, 28, 5), 31, local(2026, 2, 28), local(2026, 3, 31)],
    [local(2028, 2, 28), 30, local(2028, 1, 30), local(2028, 2, 29)],
    [local(2026, 1, 3), 15, local(2025, 12, 15), local(2026, 1, 15)],
  ] as const) {
    assert.deepEqual(quotaPeriod(now, day), { sinceMs: since, untilMs: until }, `${new Date(now)} ${day}`);
  }
});

test('every moment lies in its period, and the periods of a day follow each other', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), fc.integer({ min: 1, max: 31 }), (now, day) => {
      const { sinceMs, untilMs } = quotaPeriod(now, day);
      assert.ok(sinceMs <= now && now < untilMs);
      assert.equal(quotaPeriod(untilMs, day).sinceMs, untilMs);
      assert.equal(quotaPeriod(sinceMs - 1, day).untilMs, sinceMs);
      const days = (untilMs - sinceMs) / 86_400_000;
      assert.ok(days > 27.9 && days < 31.1, `${days}`);
    }),
  );
});

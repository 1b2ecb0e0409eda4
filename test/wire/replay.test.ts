/** The replay window beside its slow twin, and packet numbers made whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { completePacketNumber, REPLAY_WINDOW, ReplayWindow } from '../../src/wire/replay.ts';
import { SlowReplayWindow } from '../twin/wire-replay.ts';

/** Steps of a walk over packet numbers: in order, a burst, a repetition or reordering, a leap around the edges of window and ring. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ by: fc.integer({ min: 1, max: 3 }), run: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 4, arbitrary: fc.record({ by: fc.integer({ min: -100, max: 0 }), run: fc.integer({ min: 1, max: 40 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      by: fc
        .tuple(fc.constantFrom(-1, 1), fc.constantFrom(32, 8160, 8192, 8224, 16352, 16384, 16416, 40000), fc.nat(66))
        .map(([sign, leap, jitter]) => sign * leap + jitter - 33),
      run: fc.integer({ min: 1, max: 40 }),
    }),
  },
);

test('the window agrees with its slow twin over ordered, reordered, repeated and leaping numbers', () => {
  const start = fc.oneof(
    fc.nat(70),
    fc.integer({ min: 2 ** 31 - 9000, max: 2 ** 31 + 9000 }),
    fc.integer({ min: 2 ** 32 - 9000, max: 2 ** 32 + 9000 }),
    fc.integer({ min: 2 ** 52, max: 2 ** 52 + 9000 }),
  );
  fc.assert(
    fc.property(start, fc.array(step, { minLength: 5, maxLength: 60 }), (from, steps) => {
      const fast = new ReplayWindow();
      const slow = new SlowReplayWindow(REPLAY_WINDOW);
      let at = from;
      for (const { by, run } of steps) {
        at = Math.max(0, at + by);
        for (let i = 0; i < run; i++, at++) {
          assert.equal(fast.mayAccept(at), slow.mayAccept(at), `mayAccept ${at}`);
          if (i % 5 !== 4) assert.equal(fast.accept(at), slow.accept(at), `accept ${at}`);
        }
      }
      const edge = fast.largest - REPLAY_WINDOW;
      for (let pn = Math.max(0, edge - 70); pn < edge + 70; pn++) {
        if (pn >= 0) assert.equal(fast.mayAccept(pn), slow.mayAccept(pn), `edge ${pn}`);
      }
    }),
    { numRuns: 300 },
  );
});

test('the window holds 8,192 numbers exactly', () => {
  const w = new ReplayWindow();
  assert.ok(w.accept(100_000));
  assert.ok(w.mayAccept(100_000 - REPLAY_WINDOW + 1));
  assert.ok(!w.mayAccept(100_000 - REPLAY_WINDOW));
  assert.ok(!w.accept(100_000));
  assert.ok(w.accept(100_000 - REPLAY_WINDOW + 1));
  assert.ok(!w.accept(100_000 - REPLAY_WINDOW + 1));
});

test('asking changes nothing, and a reset forgets', () => {
  const w = new ReplayWindow();
  assert.ok(w.mayAccept(5) && w.mayAccept(5) && w.largest === -1);
  assert.ok(w.accept(5) && !w.accept(5));
  w.reset();
  assert.ok(w.largest === -1 && w.accept(5));
});

/** All that are congruent, the one closest to the number after the largest; the rule in words. */
function slowComplete(low32: number, largest: number): number {
  const expected = BigInt(largest) + 1n;
  const base = (expected >> 32n) << 32n;
  const all = [-1n, 0n, 1n].map((k) => base + (k << 32n) + BigInt(low32)).filter((n) => n >= 0n);
  const distance = (n: bigint) => (n > expected ? n - expected : expected - n);
  // At equal distance the larger one, as in RFC 9000 §A.3.
  return Number(all.reduce((best, n) => (distance(n) <= distance(best) ? n : best)));
}

test('a packet number is made whole as the closest to the expected one', () => {
  const largest = fc.oneof(
    fc.integer({ min: -1, max: 100 }),
    fc.nat(2 ** 45).map((n) => n),
    fc.tuple(fc.nat(100_000), fc.integer({ min: -3, max: 3 })).map(([k, d]) => Math.max(-1, k * 2 ** 32 + d)),
    fc.tuple(fc.nat(100_000), fc.integer({ min: -3, max: 3 })).map(([k, d]) => k * 2 ** 32 + 2 ** 31 + d),
  );
  const low = fc.oneof(fc.nat(2 ** 32 - 1), fc.nat(5), fc.integer({ min: 2 ** 32 - 5, max: 2 ** 32 - 1 }));
  fc.assert(
    fc.property(largest, low, (l, n) => {
      assert.equal(completePacketNumber(n, l), slowComplete(n, l));
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(largest, fc.integer({ min: -8192, max: 2 ** 31 - 1 }), (l, d) => {
      const pn = Math.max(0, l + d);
      assert.equal(completePacketNumber(pn % 2 ** 32, l), pn);
    }),
    { numRuns: 2000 },
  );
});

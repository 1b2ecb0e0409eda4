/** How runs of a world are judged: medians, the worst and its seed, what never came, and which bars count. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allOk, type Judged, judge, type Run, rounded } from '../../bench/worlds-bars.ts';
import { parseScenario } from '../../src/lab/scenario.ts';
import { foundAfterUs } from '../../src/lab/timeline.ts';

const scenario = parseScenario(
  '{"about":"x","links":[{"name":"a","rate":"15mbit","delay":"1ms"}],"bars":{"share":0.9,"reorder":null}}',
  'x',
  'x',
  () => '',
);

function run(seed: number, values: Record<string, number>, bps = 9e6): Run {
  const all = { share: bps / 10e6, jain: 0.9, pingIdleMs: 10, pingP95Ms: 25, coldMs: 900, reorder: 0.5, ...values };
  return { seed, bps, limitBps: 10e6, bestBps: 9e6, values: all };
}

test('the median is judged, the worst is told with its seed, and what has no bar is a plain number', () => {
  const figures = judge(scenario, [run(1, {}), run(2, { pingP95Ms: 40 }, 8e6), run(3, {}, 9.5e6)], false);
  assert.deepEqual(figures.share, { value: 0.9, bar: 0.9, ok: true, worst: 0.8, worstSeed: 2 });
  assert.deepEqual(figures.pingMs, { value: 15, bar: 20, ok: true, worst: 30, worstSeed: 2 });
  assert.deepEqual([figures.mbit, figures.reorder], [9, 0.5]);
  assert.equal((figures.best as Judged).ok, true);
  assert.equal(allOk(figures), true);
});

test('a bar that is missed spoils the world; a capacity that was never found is as bad as can be', () => {
  const figures = judge(scenario, [run(1, { coldMs: Number.NaN }, 8e6)], false);
  assert.deepEqual(figures.share, { value: 0.8, bar: 0.9, ok: false });
  assert.deepEqual(figures.coldMs, { value: Number.POSITIVE_INFINITY, bar: 2000, ok: false });
  assert.equal(allOk(figures), false);
  assert.equal(JSON.stringify(figures.coldMs, rounded), '{"value":null,"bar":2000,"ok":false}');
});

test('eight flows are judged by their sum and their fairness, not by the best link or the begin', () => {
  const figures = judge(scenario, [run(1, { againMs: Number.NaN })], true);
  assert.deepEqual(figures.jain, { value: 0.9, bar: 0.95, ok: false });
  assert.deepEqual(figures.many, { value: 0.9, bar: undefined, ok: undefined });
  assert.ok(!('share' in figures) && !('best' in figures) && !('coldMs' in figures) && !('againMs' in figures));
});

test('the capacity is found when three tenths of a second in a row carry 90 % of it', () => {
  // 15 Mbit/s × 1392/1500 in a tenth of a second.
  const full = 174_000;
  const at = (...shares: number[]) =>
    foundAfterUs(
      scenario,
      'down',
      -3e6,
      shares.map((s) => s * full),
    ) / 1e5;
  assert.equal(at(0.1, 0.95, 0.95, 0.5, 0.91, 1, 1, 1), 7);
  assert.equal(at(0.91, 0.91, 0.91), 3);
  assert.ok(Number.isNaN(at(0.89, 0.89, 0.89, 0.89)));
});

/** The verdict on a link: bad news at once, good news after a while, no flicker between the two limits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HEALTH_LIMITS, LinkHealth } from '../../src/health/verdict.ts';

const good = { alive: true, sentDatagrams: 100, lostDatagrams: 0 };
const lossy = { alive: true, sentDatagrams: 100, lostDatagrams: 30 };
const dead = { alive: false, sentDatagrams: 0, lostDatagrams: 0 };

const samples = fc.array(
  fc.oneof(
    fc.constant(dead),
    fc.record(
      { alive: fc.constant(true), sentDatagrams: fc.nat(200), lostDatagrams: fc.nat(60) },
      { noNullPrototype: true },
    ),
  ),
  { maxLength: 60 },
);

test('a dead sample gives down, whatever came before', () => {
  fc.assert(
    fc.property(samples, (all) => {
      const health = new LinkHealth();
      for (const s of all) health.handleSample(s);
      assert.equal(health.handleSample(dead), 'down');
    }),
  );
});

test('a verdict gets better to up only after goodSamples samples with little loss in a row', () => {
  fc.assert(
    fc.property(samples, (all) => {
      const health = new LinkHealth();
      let before: string | undefined;
      let run = 0;
      for (const s of all) {
        const now = health.handleSample(s);
        run = s.alive && health.loss < HEALTH_LIMITS.leaveLoss ? run + 1 : 0;
        if (before !== undefined && before !== 'up' && now === 'up') assert.ok(run >= HEALTH_LIMITS.goodSamples);
        before = now;
      }
    }),
  );
});

test('loss between the two limits changes nothing', () => {
  const health = new LinkHealth();
  health.handleSample(good);
  for (let i = 0; i < 20; i++) health.handleSample({ alive: true, sentDatagrams: 1000, lostDatagrams: 35 });
  assert.equal(health.verdict, 'up');
  for (let i = 0; i < 5; i++) health.handleSample(lossy);
  assert.equal(health.verdict, 'degraded');
  for (let i = 0; i < 20; i++) health.handleSample({ alive: true, sentDatagrams: 1000, lostDatagrams: 35 });
  assert.equal(health.verdict, 'degraded');
  for (let i = 0; i < 20; i++) health.handleSample(good);
  assert.equal(health.verdict, 'up');
});

test('the first word about a link is believed at once; a handful of datagrams says nothing about loss', () => {
  assert.equal(new LinkHealth().handleSample(good), 'up');
  const health = new LinkHealth();
  health.handleSample(good);
  for (let i = 0; i < 10; i++) health.handleSample({ alive: true, sentDatagrams: 3, lostDatagrams: 3 });
  assert.equal(health.verdict, 'up');
});

/** The watchdog: acts once after a silence, never while replies come, never while there are no links. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Watchdog } from '../../src/health/watchdog.ts';

const TIMES = { periodUs: 5e6, timeoutUs: 30e6 };

test('it pings every period and acts after the timeout, once', () => {
  const dog = new Watchdog(TIMES);
  assert.equal(dog.poll(0), 'nothing');
  assert.equal(dog.pollTimeout(), Number.POSITIVE_INFINITY);
  dog.handleLinks(true, 0);
  const said: string[] = [];
  for (let now = 0; now <= 100e6; now += 1e6) {
    const action = dog.poll(now);
    if (action !== 'nothing') said.push(`${action}@${now / 1e6}`);
  }
  assert.deepEqual(said, ['ping@0', 'ping@5', 'ping@10', 'ping@15', 'ping@20', 'ping@25', 'act@30']);
});

test('after it acted it waits for the links before it counts again', () => {
  const dog = new Watchdog(TIMES);
  dog.handleLinks(true, 0);
  assert.equal(dog.poll(30e6), 'act');
  dog.handleLinks(false, 31e6);
  assert.equal(dog.poll(90e6), 'nothing');
  dog.handleLinks(true, 100e6);
  assert.equal(dog.poll(100e6), 'ping');
  assert.equal(dog.poll(129e6), 'ping');
  assert.equal(dog.poll(130e6), 'act');
});

test('it acts exactly when links were ready and silent for the timeout', () => {
  const events = fc.array(
    fc.record(
      { afterUs: fc.integer({ min: 1, max: 20e6 }), what: fc.constantFrom('reply', 'ready', 'gone', 'poll') },
      { noNullPrototype: true },
    ),
    { maxLength: 80 },
  );
  fc.assert(
    fc.property(events, (all) => {
      const dog = new Watchdog(TIMES);
      let now = 0;
      let silentSince: number | undefined;
      for (const e of all) {
        now += e.afterUs;
        if (e.what === 'ready') {
          dog.handleLinks(true, now);
          silentSince ??= now;
        } else if (e.what === 'gone') {
          dog.handleLinks(false, now);
          silentSince = undefined;
        } else if (e.what === 'reply') {
          dog.handleReply(now);
          if (silentSince !== undefined) silentSince = now;
        }
        const due = silentSince !== undefined && now - silentSince >= TIMES.timeoutUs;
        assert.equal(dog.poll(now) === 'act', due);
        if (due) silentSince = undefined;
        assert.ok(dog.pollTimeout() > now);
      }
    }),
  );
});

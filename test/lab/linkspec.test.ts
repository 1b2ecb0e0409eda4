/** Links on the command line: read, printed, refused with the form. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseLinkSpec, printLinkSpec } from '../../src/lab/linkspec.ts';

test('a link is read with and without its last parts', () => {
  const plain = { downBps: 48e6, upBps: 12e6, delayUs: 8000, jitterUs: 0, lossRate: 0 };
  assert.deepEqual(parseLinkSpec('48mbit/12mbit/8ms'), plain);
  assert.deepEqual(parseLinkSpec('48mbit/12mbit/8'), plain, 'a bare delay is milliseconds');
  assert.deepEqual(parseLinkSpec('48mbit/12mbit/8ms/2ms'), { ...plain, jitterUs: 2000 });
  assert.deepEqual(parseLinkSpec('48mbit/12mbit/8ms/0ms/1%'), { ...plain, lossRate: 0.01 });
  assert.deepEqual(parseLinkSpec('48mbit/12mbit/8ms/500us/0.02'), { ...plain, jitterUs: 500, lossRate: 0.02 });
});

test('what is printed reads as the same', () => {
  const spec = fc.record(
    {
      downBps: fc.integer({ min: 8_000, max: 1e9 }),
      upBps: fc.integer({ min: 8_000, max: 1e9 }),
      delayUs: fc.nat(1e6),
      jitterUs: fc.nat(1e5),
      lossRate: fc.nat(1000).map((n) => n / 1000),
    },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(spec, (s) => assert.deepEqual(parseLinkSpec(printLinkSpec(s)), s)));
});

test('what is not a link is refused, and the form is said', () => {
  for (const bad of [
    '',
    '12mbit',
    '12mbit/3mbit',
    'x/3mbit/5ms',
    '0/3mbit/5ms',
    '1mbit/1mbit/5ms/1ms/101%',
    '1/1/1/1/0/1',
    '20/20/10ms',
  ])
    assert.throws(() => parseLinkSpec(bad), /DOWN\/UP\/DELAY/, bad);
});

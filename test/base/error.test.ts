/** Errors say where, what was expected, what was found, what to do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { printComplaint, assert as promise, YokeError } from '../../src/base/error.ts';

const complaint = fc.record(
  { where: fc.string(), expected: fc.string(), found: fc.string(), todo: fc.string() },
  { noNullPrototype: true },
);

test('a message has a line for each complaint, in their order, with all of their parts', () => {
  fc.assert(
    fc.property(fc.array(complaint, { minLength: 1, maxLength: 4 }), fc.boolean(), (all, retryable) => {
      const error = new YokeError('host', all, retryable);
      assert.deepEqual(error.complaints, all);
      assert.equal(error.message, all.map(printComplaint).join('\n'));
      for (const c of all) for (const part of Object.values(c)) assert.ok(error.message.includes(part));
      assert.equal(error.retryable, retryable);
    }),
  );
});

test('one complaint needs no list', () => {
  const c = { where: 'eth1', expected: 'a device', found: 'none', todo: 'plug it in' };
  const error = new YokeError('config', c);
  assert.deepEqual(error.complaints, [c]);
  assert.equal(error.message, 'eth1: expected a device, found none; plug it in');
  assert.deepEqual(
    [error.name, error.kind, error.retryable, error instanceof Error],
    ['YokeError', 'config', false, true],
  );
});

test('a broken promise of our own is no operating error', () => {
  promise(true, 'fine');
  assert.throws(
    () => promise(false, 'one is two'),
    (e) => e instanceof Error && !(e instanceof YokeError) && /one is two/.test(e.message),
  );
});

/** Invitations: what is printed is read, and what a person can do to a line on its way is recognised. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Invitation, parseInvitation, printInvitation } from '../../src/setup/invitation.ts';

const SAMPLE: Invitation = {
  places: ['203.0.113.10'],
  port: 1194,
  serverKey: Uint8Array.from({ length: 32 }, (_, i) => i),
  secret: Uint8Array.from({ length: 16 }, (_, i) => 255 - i),
};
const LINE = printInvitation(SAMPLE);

const place = fc.oneof(
  fc.ipV4(),
  fc.constantFrom('2001:db8::1', 'fe80::1', '::1'),
  fc.domain().filter((d) => d.length <= 40),
);
const invitation: fc.Arbitrary<Invitation> = fc.record(
  {
    places: fc.array(place, { minLength: 1, maxLength: 4 }),
    port: fc.integer({ min: 1, max: 65535 }),
    serverKey: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    secret: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  },
  { noNullPrototype: true },
);

test('what is printed is read', () => {
  fc.assert(
    fc.property(invitation, (i) => {
      const line = printInvitation(i);
      assert.match(line, /^YOKE:[A-Z2-7]+$/);
      assert.deepEqual(parseInvitation(line), i);
    }),
  );
  assert.ok(LINE.length <= 110, `${LINE.length}`);
});

test('what terminals and people do to a line does no harm', () => {
  const wrapped = LINE.replace(/(.{40})/g, '$1\n   ');
  for (const text of [LINE.toLowerCase(), ` ${LINE}\n`, wrapped, `'${LINE}'`])
    assert.deepEqual(parseInvitation(text), SAMPLE);
});

test('a line that was cut off anywhere is recognised as such', () => {
  for (let n = 'YOKE:'.length; n < LINE.length; n++) {
    assert.throws(() => parseInvitation(LINE.slice(0, n)), /cut off/, `${n} of ${LINE.length}`);
  }
  assert.throws(() => parseInvitation('OKE:AAAA'), /begins with YOKE:/);
  assert.throws(() => parseInvitation(LINE.slice(20)), /begins with YOKE:/);
});

test('every wrong letter is recognised, and no message tells a letter of the secret', () => {
  for (let at = 'YOKE:'.length; at < LINE.length; at++) {
    const other = LINE[at] === 'B' ? 'C' : 'B';
    const text = LINE.slice(0, at) + other + LINE.slice(at + 1);
    // the last letter holds bits that fill nothing
    if (at === LINE.length - 1 && (LINE.length - 'YOKE:'.length) % 8 !== 0) continue;
    assert.throws(
      () => parseInvitation(text),
      (error: Error) =>
        !error.message.includes(LINE.slice(60, 80)) && /damaged|cut off|version|behind/.test(error.message),
    );
  }
  assert.throws(() => parseInvitation(`${LINE}${LINE}`), /letters|behind its end/);
  assert.throws(() => parseInvitation(`${LINE}A234567A`), /behind its end/);
  assert.throws(() => parseInvitation(LINE.replace(/.$/, '!')), /letters A to Z/);
  assert.throws(() => parseInvitation(''), /begins with YOKE:/);
});

test('an invitation of a newer yoke is refused by its version', () => {
  // the first byte lies in the first two letters: version 2
  const newer = `YOKE:AI${LINE.slice(7)}`;
  assert.throws(() => parseInvitation(newer), /newer yoke/);
});

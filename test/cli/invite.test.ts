/** What an invitation looks like on a terminal, and which addresses can stand in one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from 'uqr';
import { printQr } from '../../src/cli/invite.ts';
import { isPlace, isPublic } from '../../src/cli/places.ts';

test('the code on the terminal is the code: two rows a line, dark on light, four modules of margin', () => {
  const text = 'YOKE:AEBAGBAFAYDQQCIK';
  const { data, size } = encode(text, { ecc: 'L', border: 0 });
  const lines = printQr(text).trimEnd().split('\n');
  const rows = lines.flatMap((line) => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what a terminal is told.
    const letters = [.../^\u001b\[30;107m(.*)\u001b\[0m$/.exec(line)![1]];
    return [letters.map((c) => c === '█' || c === '▀'), letters.map((c) => c === '█' || c === '▄')];
  });
  assert.equal(lines.length, Math.ceil((size + 8) / 2));
  const inner = rows.slice(4, 4 + size).map((row) => row.slice(4, 4 + size));
  assert.deepEqual(inner, data);
  const dark = (all: boolean[][]) => all.flat().filter(Boolean).length;
  assert.equal(dark(rows), dark(inner), 'the margin is light');
});

test('addresses that nobody reaches from outside are known', () => {
  for (const a of ['10.1.2.3', '172.31.0.1', '192.168.1.1', '100.64.0.9', '169.254.1.1', 'fd00::1', 'fe80::1'])
    assert.ok(!isPublic(a), a);
  for (const a of ['203.0.113.1', '172.32.0.1', '100.128.0.1', '2001:db8::1']) assert.ok(isPublic(a), a);
});

test('places are addresses and host names', () => {
  for (const p of ['203.0.113.1', '2001:db8::1', 'vpn.example.net', 'server']) assert.ok(isPlace(p), p);
  for (const p of ['', 'a b', '203.0.113.1:1194', 'x'.repeat(101), '-a', 'http://a']) assert.ok(!isPlace(p), p);
});

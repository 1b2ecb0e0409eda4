/** How long a certificate is good for, at every moment of its life. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeAuthority } from '../../src/pki/certificate.ts';
import { expiryOf, expiryWarning, WARN_DAYS } from '../../src/pki/expiry.ts';

const DAY_MS = 86_400_000;

test('early, good, soon, expired; a warning for all but good', async () => {
  const notBefore = new Date('2026-01-01T00:00:00Z');
  const notAfter = new Date('2026-12-31T00:00:00Z');
  const { certificatePem } = await makeAuthority('x', { notBefore, notAfter });
  const pem = `text before it\n${certificatePem}`;
  const end = notAfter.getTime();
  const cases: [atMs: number, state: string, daysLeft: number, warning: RegExp | undefined][] = [
    [notBefore.getTime() - 1, 'early', 364, /^F is valid from 2026-01-01 on: is the clock .* right\?$/],
    [notBefore.getTime(), 'good', 364, undefined],
    [end - WARN_DAYS * DAY_MS, 'good', WARN_DAYS, undefined],
    [end - WARN_DAYS * DAY_MS + 1, 'soon', WARN_DAYS - 1, /^F expires on 2026-12-31 \(29 days left\): renew it/],
    [end - 1, 'soon', 0, /0 days left/],
    [end, 'expired', 0, /^F expired on 2026-12-31: renew it/],
    [end + DAY_MS, 'expired', -1, /expired/],
  ];
  for (const [atMs, state, daysLeft, warning] of cases) {
    const expiry = expiryOf(pem, atMs);
    assert.deepEqual(expiry, { notBeforeMs: notBefore.getTime(), notAfterMs: end, state, daysLeft });
    const said = expiryWarning('F', expiry);
    if (warning) assert.match(said ?? '', warning);
    else assert.equal(said, undefined);
  }
  assert.throws(() => expiryOf('no certificate', 0));
  assert.throws(() => expiryOf(pem.replace('MII', 'MMM'), 0));
});

test('several certificates in one file: all have to be good', async () => {
  const dates = ['2026-01-01', '2026-06-01', '2026-12-01', '2027-03-01'].map((day) => new Date(day));
  const early = await makeAuthority('x', { notBefore: dates[0], notAfter: dates[2] });
  const late = await makeAuthority('y', { notBefore: dates[1], notAfter: dates[3] });
  const { notBeforeMs, notAfterMs } = expiryOf(`${late.certificatePem}\n${early.certificatePem}`, 0);
  assert.deepEqual([notBeforeMs, notAfterMs], [dates[1].getTime(), dates[2].getTime()]);
});

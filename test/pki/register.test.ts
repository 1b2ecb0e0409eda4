/** index.txt as openssl and easy-rsa write it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { evenHex, type Issued, parseRegister, printRegister } from '../../src/pki/register.ts';

const second = fc.integer({ min: 0, max: 3_000_000_000 }).map((s) => s * 1000);
const entry: fc.Arbitrary<Issued> = fc
  .record(
    {
      serial: fc.stringMatching(/^[0-9a-f]{1,32}$/),
      name: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,20}$/),
      notAfterMs: second,
      revokedMs: fc.option(second, { nil: undefined }),
      reason: fc.constantFrom(undefined, 'keyCompromise', 'superseded'),
      country: fc.boolean(),
    },
    { noNullPrototype: true },
  )
  .map(({ serial, name, notAfterMs, revokedMs, reason, country }) => ({
    serial: evenHex(serial),
    name,
    notAfterMs,
    ...(revokedMs !== undefined && { revokedMs, ...(reason && { reason }) }),
    ...(country && { subject: `/C=DE/CN=${name}` }),
  }));

test('parse(print(x)) = x', () => {
  fc.assert(
    fc.property(fc.array(entry), (all) => {
      assert.deepEqual(parseRegister(printRegister(all)), all);
    }),
  );
});

test('lines of the programs; what is no line is left out', () => {
  const text = [
    'V\t490101000000Z\t\t01\tunknown\t/CN=a',
    'V\t20510101000000Z\t\tABC\tunknown\t/C=DE/CN=b/emailAddress=x',
    'R\t270101000000Z\t260102030405Z,keyCompromise\t03\tunknown\t/CN=c',
    'R\t270101000000Z\t\t04\tunknown\t/CN=revoked without a date',
    'nonsense',
    '',
  ].join('\n');
  assert.deepEqual(parseRegister(text), [
    { serial: '01', name: 'a', notAfterMs: Date.UTC(2049, 0, 1) },
    { serial: '0ABC', name: 'b', notAfterMs: Date.UTC(2051, 0, 1), subject: '/C=DE/CN=b/emailAddress=x' },
    {
      serial: '03',
      name: 'c',
      notAfterMs: Date.UTC(2027, 0, 1),
      revokedMs: Date.UTC(2026, 0, 2, 3, 4, 5),
      reason: 'keyCompromise',
    },
  ]);
});

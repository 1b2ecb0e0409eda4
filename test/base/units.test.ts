/** Rates, times and sizes: what operators write is the number that code carries. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseRateBps, parseSizeBytes, parseTimeUs, printRate, printSize } from '../../src/base/units.ts';

test('a printed size is read back as the same number', () => {
  const bytes = fc.oneof(
    fc.integer({ min: 0, max: 1e6 }).map((n) => n * 1e6),
    fc.maxSafeNat(),
  );
  fc.assert(
    fc.property(bytes, (n) => assert.equal(parseSizeBytes(printSize(n)), n)),
    { numRuns: 1000 },
  );
  assert.deepEqual([0, 999, 20e9, 1.5e12].map(printSize), ['0B', '999B', '20GB', '1.5TB']);
});

test('a printed rate is read back as the same number', () => {
  const bps = fc.oneof(
    fc.integer({ min: 0, max: 2e11 }),
    fc.integer({ min: 0, max: 1e6 }).map((n) => n * 1000),
    fc.integer({ min: 1, max: 400 }).map((n) => n * 5e8),
    fc.maxSafeNat(),
  );
  fc.assert(
    fc.property(bps, (n) => assert.equal(parseRateBps(printRate(n)), n)),
    { numRuns: 1000, examples: [[8991303344295808], [8991303344295000]] },
  );
  assert.deepEqual([0, 999, 1500, 20e6, 1.5e9, 12_345_678].map(printRate), [
    '0bit',
    '999bit',
    '1.5kbit',
    '20mbit',
    '1.5gbit',
    '12345.678kbit',
  ]);
});

const READERS = [
  { read: parseRateBps, units: { '': 1, bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 } },
  { read: (t: string) => parseTimeUs(t), units: { '': 1e6, us: 1, ms: 1e3, s: 1e6, m: 60e6, h: 3600e6, d: 86400e6 } },
  { read: (t: string) => parseTimeUs(t, 'ms'), units: { '': 1e3, s: 1e6 } },
  { read: parseSizeBytes, units: { '': 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 } },
] as const;

test('a number with a unit is that many of it, whole or with decimals, in any case', () => {
  for (const { read, units } of READERS) {
    const unit = fc.constantFrom(...Object.entries<number>(units));
    fc.assert(
      fc.property(
        unit,
        fc.nat(8999),
        fc.nat(999),
        fc.boolean(),
        fc.boolean(),
        ([word, factor], whole, thousandths, decimals, upper) => {
          const number = decimals ? `${whole}.${String(thousandths).padStart(3, '0')}` : String(whole);
          const wanted = Math.round((whole + (decimals ? thousandths / 1000 : 0)) * factor);
          assert.equal(read(` ${number}${upper ? word.toUpperCase() : word} `), wanted);
        },
      ),
    );
  }
});

test('anything else is no number: signs, exponents, blanks inside, foreign units, numbers too large to be exact', () => {
  const bad = [
    '',
    ' ',
    '-1',
    '+1',
    '1e3',
    '1 mbit',
    '.5',
    '5.',
    'x',
    'mbit',
    '1,5',
    '1.2.3',
    'NaN',
    'Infinity',
    '0x10',
    '1mbits',
    '9'.repeat(400),
    '99999999999999999999',
  ];
  for (const { read } of READERS) for (const text of bad) assert.equal(read(text), undefined, text);
  assert.equal(parseRateBps('10ms'), undefined);
  assert.equal(parseTimeUs('10mbit'), undefined);
  assert.equal(parseSizeBytes('10kbit'), undefined);
  assert.equal(parseRateBps('9999999999gbit'), undefined);
});

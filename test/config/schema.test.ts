/**
 * Configuration files and what they mean: fixtures/NAME.conf → NAME.json (the Config) or NAME.errors (every complaint, one a line).
 *
 * After a meant change: `YOKE_RENEW=1 node --test dist/test/config/schema.test.js`, and read the difference.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { printAddress, printPrefix } from '../../src/base/address.ts';
import { YokeError } from '../../src/base/error.ts';
import type { Config } from '../../src/config/config.ts';
import { parseKey, printKey } from '../../src/config/kinds.ts';
import { BOND_OPTIONS, SECTIONS } from '../../src/config/options.ts';
import { readConfig } from '../../src/config/schema.ts';
import { editDistance, nearest } from '../../src/config/suggest.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const FIXTURES = join(ROOT, 'test', 'config', 'fixtures');
const FILE = '/etc/config/bonding';

/** A Config with its bytes as text. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return value.length === 32 ? printKey(value) : printAddress(value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  if ('bytes' in value && 'length' in value) return printPrefix(value as Parameters<typeof printPrefix>[0]);
  if ('file' in value && 'line' in value) return value.line;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
}

function complaintsOf(text: string): string[] {
  try {
    readConfig(text, FILE);
    return [];
  } catch (error) {
    assert.ok(error instanceof YokeError && error.kind === 'config', String(error));
    return error.message.split('\n');
  }
}

for (const name of readdirSync(FIXTURES).filter((f) => f.endsWith('.conf'))) {
  test(`fixture ${name}`, () => {
    const text = readFileSync(join(FIXTURES, name), 'utf8');
    const bad = name.startsWith('bad-');
    const wanted = join(FIXTURES, name.replace(/\.conf$/, bad ? '.errors' : '.json'));
    const got = bad
      ? `${complaintsOf(text).join('\n')}\n`
      : `${JSON.stringify(plain(readConfig(text, FILE)), null, 2)}\n`;
    if (process.env.YOKE_RENEW) writeFileSync(wanted, got);
    assert.ok(existsSync(wanted), `${wanted} is missing`);
    const said = readFileSync(wanted, 'utf8');
    if (bad) assert.equal(got, said);
    else assert.deepEqual(JSON.parse(got), JSON.parse(said));
    if (bad) assert.notEqual(got, '\n');
  });
}

test('the sample files are read', () => {
  for (const name of readdirSync(join(ROOT, 'examples')).filter((f) => f.endsWith('.conf'))) {
    assert.deepEqual(complaintsOf(readFileSync(join(ROOT, 'examples', name), 'utf8')), [], name);
  }
});

const GOOD = readFileSync(join(FIXTURES, 'router-everything.conf'), 'utf8');

test('any one line that is spoilt is reported with its line, and with the lines it takes part in at most', () => {
  const lines = GOOD.split('\n');
  const options = lines.flatMap((l, i) => (/^\t(option|list) /.test(l) && !/''$|link' *$/.test(l) ? [i] : []));
  fc.assert(
    fc.property(fc.constantFrom(...options), fc.constantFrom('~/', ' \n ', "''"), (at, rubbish) => {
      if (rubbish === "''") {
        // Taken out: fine, or something that needs it complains.
        const without = lines.filter((_, i) => i !== at).join('\n');
        for (const c of complaintsOf(without)) assert.match(c, /^\/etc\/config\/bonding(:\d+)?( |:)/);
        return;
      }
      const broken = [...lines];
      broken[at] = broken[at].replace(/'[^']*'$/, `'${rubbish}'`);
      const complaints = complaintsOf(broken.join('\n'));
      assert.ok(
        complaints.some((c) => c.startsWith(`${FILE}:${at + 1} `)),
        `line ${at + 1} ${broken[at]}: ${complaints.join('\n')}`,
      );
    }),
  );
});

test('no message shows a secret', () => {
  const secret = fc.stringMatching(/^[a-z]{12,43}$/);
  fc.assert(
    fc.property(secret, fc.constantFrom('private_key', 'preshared_key'), (word, name) => {
      const text = GOOD.replace(new RegExp(`option ${name} .*`), `option ${name} '${word}'`);
      const complaints = complaintsOf(text);
      assert.ok(complaints.length > 0);
      assert.ok(!complaints.join('\n').includes(word));
    }),
  );
});

test('reading never fails but with complaints, each with a place and an instruction', () => {
  const names = SECTIONS.flatMap((s) => Object.keys(s.options ?? {}));
  const line = fc.oneof(
    fc.tuple(
      fc.constantFrom('option', 'list'),
      fc.constantFrom(...names),
      fc.constantFrom('1', '0', 'x', '10.0.0.1', 'fd00::1/64', 'server', '9'),
    ),
    fc.tuple(
      fc.constant('config'),
      fc.constantFrom('interface', 'link', 'client', 'openvpn', 'linc'),
      fc.constantFrom('bond', 'a', 'b', ''),
    ),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (words) => {
      const text = [`config interface 'bond'`, ...words.map(([a, b, c]) => `${a} ${b} '${c}'`)].join('\n');
      try {
        const config: Config = readConfig(text, FILE);
        assert.ok(config.bond.addresses.length > 0);
      } catch (error) {
        assert.ok(error instanceof YokeError, String((error as Error).stack));
        for (const c of error.complaints) {
          assert.match(c.where, /^\/etc\/config\/bonding/);
          for (const part of [c.expected, c.found, c.todo]) assert.ok(part !== '' && !part.includes('undefined'), part);
        }
        const lines = error.complaints.map((c) => Number(/:(\d+)/.exec(c.where)?.[1] ?? 0));
        assert.deepEqual(
          lines,
          lines.toSorted((a, b) => a - b),
        );
      }
    }),
    { numRuns: 300 },
  );
});

test('every default and every example of the table is a value of its kind', () => {
  for (const section of SECTIONS) {
    for (const [name, spec] of Object.entries(section.options ?? {})) {
      if (spec.default !== undefined) assert.notEqual(spec.kind.read(spec.default), undefined, `default of ${name}`);
      if (!spec.kind.secret) assert.notEqual(spec.kind.read(spec.kind.example), undefined, `example of ${name}`);
      assert.match(spec.doc, /\.$/, `words about ${name}`);
    }
  }
  assert.equal(BOND_OPTIONS.ifname.kind.read('sixteen-letters-'), undefined);
});

test('keys are 32 bytes in base64, as WireGuard writes them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      const text = printKey(key);
      assert.equal(text, Buffer.from(key).toString('base64'));
      assert.deepEqual(parseKey(text), key);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      fc.pre(bytes.length !== 32);
      assert.equal(parseKey(Buffer.from(bytes).toString('base64')), undefined);
    }),
  );
  assert.equal(parseKey(`${'A'.repeat(42)}B=`), undefined, 'bits behind the 256th are refused');
});

test('a slip of the pen is recognised, another word is not', () => {
  assert.equal(nearest('intreface', ['interface', 'ifname']), 'interface');
  assert.equal(nearest('local-port', ['local_port', 'remote_port']), 'local_port');
  assert.equal(nearest('colour', ['down', 'up', 'mtu']), undefined);
  assert.equal(nearest('xy', ['up']), undefined);
  assert.equal(nearest('mtx', ['mtu', 'mty']), 'mtu', 'the first of equals');
  fc.assert(
    fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (a, b) => {
      assert.equal(editDistance(a, b), editDistance(b, a));
      assert.equal(editDistance(a, b) === 0, a === b);
      assert.ok(editDistance(a, b) <= Math.max(a.length, b.length));
      assert.equal(editDistance(`${a}x`, a), 1);
    }),
  );
});

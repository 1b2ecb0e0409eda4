/** UCI text: read as libuci reads it, printed as it was, faults at their lines. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { YokeError } from '../../src/base/error.ts';
import { parseUci, printUci, scanUci, type UciDocument } from '../../src/config/uci.ts';
import { aFile, uciNoise } from './uci-texts.ts';

/** What a document says, without where. */
const model = (d: UciDocument) =>
  d.sections.map((s) => ({
    type: s.type,
    name: s.name,
    options: s.options.map((o) => ({ kind: o.kind, name: o.name, value: o.value })),
  }));

test('print(parse(x)) = x, for files as people write them', () => {
  fc.assert(fc.property(aFile, (f) => assert.equal(printUci(parseUci(f.text, 'f')), f.text)));
});

test('print(scan(x)) = x, for any text, and scanning never throws', () => {
  const property = (text: string) => assert.equal(printUci(scanUci(text, 'f').document), text);
  fc.assert(fc.property(uciNoise, property), { numRuns: 500 });
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 60 }), property));
});

test('parse reads what was meant, whatever the quotes, blanks and comments', () => {
  fc.assert(fc.property(aFile, (f) => assert.deepEqual(model(parseUci(f.text, 'f')), f.sections)));
});

test('every statement carries the line that its command stands in', () => {
  fc.assert(
    fc.property(aFile, (f) => {
      const document = parseUci(f.text, 'f');
      const lines = document.sections.flatMap((s) => [s.line, ...s.options.map((o) => o.line)]);
      assert.deepEqual(lines, f.lines);
    }),
  );
});

const FAULTS: readonly [text: string, found: RegExp][] = [
  ["optoin a 'b'", /optoin/],
  ['option', /nothing/],
  ['list', /nothing/],
  ['config', /nothing/],
  ['option a b c', /'c' behind it/],
  ["config a b 'c d'", /'c d' behind it/],
  ["option na-me 'v'", /na-me/],
  ["config a 'two words'", /two words/],
  ["config 'a b' c", /'a b'/],
  ["'option' a b", /'option'/],
  ['option a b\0c', /NUL/],
];

test('every fault is reported, at its line, all at once', () => {
  const faulty = fc.tuple(
    aFile,
    fc.array(fc.tuple(fc.nat(), fc.constantFrom(...FAULTS)), { minLength: 1, maxLength: 4 }),
  );
  fc.assert(
    fc.property(faulty, ([f, faults]) => {
      // A first section, so that an option may stand anywhere.
      const lines = ['config first', ...f.statements.map((s) => s.text)];
      const slots = faults.map(([at, fault]) => ({ at: at % lines.length, fault })).sort((a, b) => a.at - b.at);
      const out: string[] = [];
      const wanted: { line: number; found: RegExp }[] = [];
      let next = 1;
      const emit = (text: string) => {
        out.push(text);
        next += text.split('\n').length;
      };
      lines.forEach((text, i) => {
        emit(text);
        for (const slot of slots.filter((s) => s.at === i)) {
          wanted.push({ line: next, found: slot.fault[1] });
          emit(slot.fault[0]);
          emit('config next');
        }
      });
      const { complaints } = scanUci(`${out.join('\n')}\n`, 'f');
      assert.deepEqual(
        complaints.map((c) => c.where),
        wanted.map((w) => `f:${w.line}`),
      );
      complaints.forEach((c, i) => {
        assert.match(c.found, wanted[i].found);
      });
    }),
  );
});

test('an open quote is reported at the line that it stands in, wherever that is', () => {
  const plain = fc.array(fc.constantFrom('option a b', "list c 'd'", 'config e', '', '# remark'), { maxLength: 6 });
  fc.assert(
    fc.property(plain, plain, fc.constantFrom("'", '"'), (before, after, quote) => {
      const lines = ['config first', ...before, `option a ${quote}open`, ...after];
      const { complaints } = scanUci(lines.join('\n'), 'f');
      assert.deepEqual(
        complaints.map((c) => [c.where, c.expected]),
        [[`f:${before.length + 2}`, `a closing ${quote}`]],
      );
    }),
  );
});

const value = (text: string) => parseUci(`config a\n${text}`, 'f').sections[0].options[0].value;

test('quotes and backslashes mean what they mean to libuci', () => {
  assert.equal(value(`option k a'b'"c"d`), 'abcd', 'adjacent pieces are one word');
  assert.equal(value(`option k 'it'\\''s'`), "it's", "libuci's own escape");
  assert.equal(value(`option k 'a\\b'`), 'a\\b', 'a backslash in single quotes is itself');
  assert.equal(value(`option k "a\\"b\\\\c\\nd"`), 'a"b\\cnd', 'a backslash in double quotes takes the next character');
  assert.equal(value('option k a\\ b\\;c\\#d'), 'a b;c#d', 'and outside of quotes too');
  assert.equal(value('option k a\\\nb'), 'ab', 'a backslash at the end of a line joins two lines');
  assert.equal(value('option k a\\\r\nb'), 'ab', 'also before CRLF');
  assert.equal(value('option k "a\\\nb"'), 'ab', 'also in double quotes');
  assert.equal(value("option k 'a\nb'"), 'a\nb', 'a quoted value may span lines');
  assert.equal(value("option k 'a\noption b c'"), 'a\noption b c', 'even when the next line looks like a statement');
  assert.equal(value('option k a#b'), 'a', 'a comment may follow a word at once');
  assert.equal(value("option k 'a'#b"), 'a');
  assert.equal(value("option k 'a#b;c'"), 'a#b;c', 'but not inside quotes');
  assert.equal(value('option k'), '', 'a missing value is an empty one');
  assert.equal(value("option k ''"), '');
  assert.equal(value("option k 'v'\r"), 'v', 'CRLF');
  assert.equal(value(`\t option\t k \t 'v' \t`), 'v');
});

test('statements may share a line, and have short forms', () => {
  const d = parseUci("package x; config a 'b'; option k v;list l 'w'\nc d;o k 'v'; l m n;", 'f');
  assert.equal(d.packageName, 'x');
  assert.deepEqual(model(d), [
    {
      type: 'a',
      name: 'b',
      options: [
        { kind: 'option', name: 'k', value: 'v' },
        { kind: 'list', name: 'l', value: 'w' },
      ],
    },
    {
      type: 'd',
      name: undefined,
      options: [
        { kind: 'option', name: 'k', value: 'v' },
        { kind: 'list', name: 'm', value: 'n' },
      ],
    },
  ]);
});

test('a forgotten quote is reported where it was opened, and what follows is still read', () => {
  const { document, complaints } = scanUci("config a\noption k 'v\noption l 'w'\nopton m n\n", 'f');
  assert.deepEqual(
    complaints.map((c) => [c.where, c.expected]),
    [
      ['f:2', "a closing '"],
      ['f:4', 'config, option, list or package'],
    ],
  );
  assert.deepEqual(
    document.sections[0].options.map((o) => o.name),
    ['l'],
  );
});

test('an option before the first section, a second package, a backslash at the end', () => {
  assert.deepEqual(
    scanUci('option a b\npackage x\npackage y\nconfig c\noption d e\\', 'f').complaints.map((c) => c.where),
    ['f:1', 'f:3', 'f:5'],
  );
  assert.throws(
    () => parseUci('option a b', '/etc/config/bonding'),
    (e) =>
      e instanceof YokeError &&
      e.kind === 'config' &&
      e.message ===
        '/etc/config/bonding:1: expected a section before the first option, found option a; write config TYPE above it',
  );
});

/** Edits of a UCI document: what was meant changes, all else stays as it was written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseUci, printUci, type UciDocument } from '../../src/config/uci.ts';
import {
  addSection,
  deleteOption,
  deleteSection,
  findSection,
  getList,
  getOption,
  quoteUci,
  setOption,
} from '../../src/config/uci-edit.ts';
import { aFile } from './uci-texts.ts';

const model = (d: UciDocument) =>
  d.sections.map((s) => ({ type: s.type, name: s.name, options: s.options.map((o) => [o.name, o.value]) }));
const comments = (d: UciDocument) => d.tokens.filter((t) => t.kind === 'comment').map((t) => t.text);

const anyValue = fc.string({ unit: fc.constantFrom(...'ab \'"\\#;\n\t', 'option x') });
const aPlace = fc.record(
  { file: aFile, section: fc.nat(), name: fc.constantFrom('a', 'k', 'long_name'), old: fc.nat(), pick: fc.boolean() },
  { noNullPrototype: true },
);

/** A document, one of its sections, and an option's name that is there when the section has options and `pick` says so. */
function place(p: { file: { text: string }; section: number; name: string; old: number; pick: boolean }) {
  const document = parseUci(`${p.file.text}\nconfig last`, 'f');
  const section = p.section % document.sections.length;
  const { options } = document.sections[section];
  const name = p.pick && options.length > 0 ? options[p.old % options.length].name : p.name;
  return { document, section, name };
}

test('an option that is set is read back, and nothing else has changed', () => {
  fc.assert(
    fc.property(aPlace, anyValue, (p, value) => {
      const { document, section, name } = place(p);
      const edited = setOption(document, section, name, value);
      assert.equal(getOption(edited, section, name), value);
      assert.deepEqual(getList(edited, section, name), [value]);
      const others = (d: UciDocument) =>
        model(d).map((s, i) => (i === section ? { ...s, options: s.options.filter((o) => o[0] !== name) } : s));
      assert.deepEqual(others(edited), others(document));
      // A comment goes only with a line that goes: one for each double that is removed.
      const doubles = getList(document, section, name).length;
      const lost = comments(document).length - comments(edited).length;
      assert.ok(lost <= Math.max(0, doubles - 1), `${lost} comments lost`);
      assert.equal(printUci(setOption(edited, section, name, value)), printUci(edited), 'again: no change');
    }),
  );
});

test('a list that is set is read back in order', () => {
  fc.assert(
    fc.property(aPlace, fc.array(anyValue, { maxLength: 4 }), (p, values) => {
      const { document, section, name } = place(p);
      const edited = setOption(document, section, name, values);
      assert.deepEqual(getList(edited, section, name), values);
      assert.ok(edited.sections[section].options.every((o) => o.name !== name || o.kind === 'list'));
    }),
  );
});

test('deleting removes every occurrence and no other option; deleting what is not there changes nothing', () => {
  fc.assert(
    fc.property(aPlace, (p) => {
      const { document, section, name } = place(p);
      const edited = deleteOption(document, section, name);
      assert.equal(getOption(edited, section, name), undefined);
      const wanted = model(document);
      wanted[section].options = wanted[section].options.filter((o) => o[0] !== name);
      assert.deepEqual(model(edited), wanted);
      if (getOption(document, section, name) === undefined) assert.equal(printUci(edited), printUci(document));
    }),
  );
});

test('a section that is added stands at the end; deleting it leaves what was', () => {
  fc.assert(
    fc.property(aFile, anyValue, fc.array(anyValue), (file, value, values) => {
      const document = parseUci(file.text, 'f');
      const more = addSection(document, 'client', 'new', { key: value, many: values });
      assert.ok(printUci(more).startsWith(file.text));
      assert.deepEqual(model(more).slice(0, -1), model(document));
      assert.deepEqual(model(more).at(-1), {
        type: 'client',
        name: 'new',
        options: [['key', value], ...values.map((v) => ['many', v])],
      });
      assert.deepEqual(model(deleteSection(more, more.sections.length - 1)), model(document));
    }),
  );
});

test('any value can be quoted in any style', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.constantFrom("'", '"', 'x'), (value, like) => {
      fc.pre(!value.includes('\0'));
      assert.equal(parseUci(`config a\noption k ${quoteUci(value, like)}`, 'f').sections[0].options[0].value, value);
    }),
  );
});

const FILE = `# mine
config link 'dsl'   # attic
    option interface eth1   # left socket
    option server "a.example" # the old one

    # limits
    list x '1'
    list x '2' # two

config link 'cable'; option interface eth2; option up '3mbit' # shared
`;

test('a file of somebody, edited', () => {
  let d = parseUci(FILE, 'f');
  assert.equal(findSection(d, 'link', 'cable'), 1);
  assert.equal(findSection(d, 'client'), -1);
  d = setOption(d, 0, 'interface', 'ppp0');
  d = setOption(d, 0, 'server', 'b "c"');
  d = setOption(d, 0, 'mtu', '1400');
  d = setOption(d, 0, 'x', ['1']);
  d = deleteOption(d, 1, 'interface');
  d = setOption(d, 1, 'down', '9mbit');
  d = addSection(d, 'link', 'lte', { interface: 'wwan0' });
  assert.equal(
    printUci(d),
    `# mine
config link 'dsl'   # attic
    option interface ppp0   # left socket
    option server "b \\"c\\"" # the old one

    # limits
    list x '1'
    option mtu '1400'

config link 'cable'; option up '3mbit' # shared
\toption down '9mbit'

config link 'lte'
\toption interface 'wwan0'
`,
  );
});

test('an option without a value gets one', () => {
  assert.equal(
    printUci(setOption(parseUci('config a\n\toption k # none yet\n', 'f'), 0, 'k', 'v')),
    "config a\n\toption k 'v' # none yet\n",
  );
});

test('line ends stay what they are', () => {
  const d = parseUci("config a\r\n  option k 'v'\r\n", 'f');
  assert.equal(printUci(setOption(d, 0, 'l', 'w')), "config a\r\n  option k 'v'\r\n  option l 'w'\r\n");
  assert.equal(printUci(addSection(d, 'b')), "config a\r\n  option k 'v'\r\n\r\nconfig b\r\n");
  assert.equal(printUci(setOption(parseUci('config a', 'f'), 0, 'k', 'v')), "config a\n\toption k 'v'");
});

/**
 * docs/alarms.md names every line of level warn or error that the source can say, and every sentence of a status's warnings; and no other.
 *
 * A line is compared without what varies: `${…}` in the source, words in capitals on the page.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../packaging/bundle.ts';

const SRC = join(ROOT, 'src');
/** Where a level is said, up to the comma before the text. */
const SAID =
  /(?:\b(?:log|say)\(\s*'(?:warn|error)',|\? 'warn' : 'info',|level: '(?:warn|error)', text: ?|#tellRefusal\(|const text =)\s*/g;
/** Files whose sentences become warnings of a status or of the start, or lines by a variable. */
const SENTENCES = [
  'backend/openvpn/files.ts',
  'pki/expiry.ts',
  'health/unequal.ts',
  'daemon/names.ts',
  'daemon/trial.ts',
  'daemon/usage.ts',
];
/** Their other sentences are not for warnings. */
const FEWEST_WORDS = 4;
/** An error is passed on: its four parts are described as a whole. */
const PASSED_ON = /^(linesOf\(|\((e|error) as Error\)|error\.message|printError\(|text\b|`this is a bug)/;

const files = (readdirSync(SRC, { recursive: true, encoding: 'utf8' }) as string[]).filter(
  (path) => path.endsWith('.ts') && !path.startsWith('lab/'),
);
const read = (path: string) => readFileSync(join(SRC, path), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');

/** The first string in a piece of source, `${…}` as a star; undefined when it does not begin with one. */
function stringAt(source: string): string | undefined {
  const quote = source[0];
  if (quote !== "'" && quote !== '`') return undefined;
  let out = '';
  for (let i = 1; i < source.length; i++) {
    if (source[i] === quote) return out;
    if (quote === '`' && source.startsWith('${', i)) {
      let depth = 1;
      i += 2;
      for (; depth > 0; i++) depth += source[i] === '{' ? 1 : source[i] === '}' ? -1 : 0;
      i--;
      out += '*';
    } else if (source[i] === '\\') out += source[++i];
    else out += source[i];
  }
  return undefined;
}

const bare = (line: string) =>
  line
    .replace(/\b[A-Z][A-Z0-9]*\b/g, '*')
    .replace(/\*(?:[^\w\s]*\*)+/g, '*')
    .trim();

function saidInSource(): Map<string, string> {
  const said = new Map<string, string>();
  for (const path of files) {
    const source = read(path);
    const speaks = /level: 'warn', text \}/.test(source);
    for (const found of source.matchAll(SAID)) {
      const rest = source.slice(found.index + found[0].length);
      const text = stringAt(rest);
      // a type is no text; and a variable of that name is one only where it is passed on
      if (rest.startsWith('string') || (found[0].startsWith('const text') && !(speaks && text))) continue;
      if (text === undefined || PASSED_ON.test(rest) || !/[a-z]/.test(bare(text))) {
        if (text === undefined)
          assert.match(rest, PASSED_ON, `src/${path}: an alarm that this test cannot read: ${rest.slice(0, 80)}`);
      } else said.set(bare(text), path);
    }
    if (!SENTENCES.includes(path)) continue;
    for (const { index } of source.matchAll(/`/g)) {
      const text = stringAt(source.slice(index));
      if (
        text &&
        !text.includes('\n') &&
        text.split(/[^a-z]+/).filter((word) => word.length > 1).length >= FEWEST_WORDS
      ) {
        said.set(bare(text), path);
      }
    }
  }
  return said;
}

/** The first cells of the page's tables. */
function told(): string[] {
  const page = readFileSync(join(ROOT, 'docs/alarms.md'), 'utf8');
  return [...page.matchAll(/^\| `([^`]+)` \|/gm)].map((m) => m[1]);
}

test('every alarm of the source is on the page', () => {
  const onPage = new Set(told().map(bare));
  const missing = [...saidInSource()].filter(([line]) => !onPage.has(line)).map(([line, path]) => `${path}: ${line}`);
  assert.deepEqual(missing, []);
});

test('no alarm on the page is one that nothing says any more', () => {
  const said = saidInSource();
  assert.ok(said.size > 20, 'the source was not understood');
  assert.deepEqual(
    told().filter((line) => !said.has(bare(line))),
    [],
  );
});

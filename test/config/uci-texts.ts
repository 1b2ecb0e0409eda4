/** Arbitrary UCI files, written as people write them, together with what they mean. */
import fc from 'fast-check';

/** What a file says. */
export interface Meaning {
  type: string;
  name: string | undefined;
  options: { kind: 'option' | 'list'; name: string; value: string }[];
}

/** A file with its meaning. */
export interface AFile {
  text: string;
  sections: Meaning[];
  /** The line of each statement. */
  lines: number[];
  /** Each statement, with the lines of nothing in front of it, as one piece. */
  statements: { text: string }[];
}

/** Text of the characters that mean something to UCI: mostly faulty. */
export const uciNoise = fc
  .array(
    fc.constantFrom(
      'config ',
      'option ',
      'list ',
      'package ',
      'a',
      "'",
      '"',
      '\\',
      '#',
      ';',
      ' ',
      '\t',
      '\r',
      '\n',
      'ü',
      '\0',
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(''));

const name = fc.stringMatching(/^[A-Za-z0-9_]{1,8}$/);
const type = fc.constantFrom('link', 'client', 'openvpn-server', 'a.b', 'x');
const valueChar = fc.constantFrom(...'aZ09_. /:-#;\\\'"\t\n$ü', 'option ', '€');
const values = fc.oneof(
  fc.array(valueChar, { maxLength: 10 }).map((c) => c.join('')),
  name,
);

/** A way to write a character or a run of them. */
function spell(value: string, styles: readonly number[]): string {
  if (value === '') return styles[0] % 2 === 0 ? "''" : '""';
  let out = '';
  let rest = value;
  for (let i = 0; rest !== ''; i++) {
    const style = styles[i % styles.length];
    const piece = rest.slice(0, 1 + (style % 5));
    rest = rest.slice(piece.length);
    if (style % 3 === 0) out += `'${piece.replaceAll("'", "'\\''")}'`;
    else if (style % 3 === 1) out += `"${piece.replace(/["\\]/g, '\\$&')}${style % 7 === 0 ? '\\\n' : ''}"`;
    // A newline cannot be escaped: a backslash before it joins the lines.
    else
      out +=
        piece.replace(/[^A-Za-z0-9_]/g, (c) => (c === '\n' ? "'\n'" : `\\${c}`)) + (style % 11 === 0 ? '\\\n' : '');
  }
  return out;
}

const blank = fc.constantFrom(' ', '  ', '\t', ' \t ');
const indent = fc.constantFrom('', '\t', '  ');
const tail = fc.constantFrom('', ' ', ' # remark', '# it\'s; "so"', '\t#');
const nothing = fc.array(fc.constantFrom('', '   ', '# a comment', "\t# 'open", '#'), { maxLength: 2 });
const styles = fc.array(fc.nat(100), { minLength: 1, maxLength: 5 });

interface Written {
  text: string;
  nothing: string[];
  sort: 'config' | 'option' | 'list';
  first: string;
  second: string;
}

const statement = (sort: Written['sort']): fc.Arbitrary<Written> =>
  fc
    .record(
      {
        nothing,
        indent,
        gap: blank,
        gap2: blank,
        tail,
        styles,
        first: sort === 'config' ? type : name,
        second: sort === 'config' ? fc.oneof(name, fc.constant('')) : values,
        quoteFirst: fc.boolean(),
      },
      { noNullPrototype: true },
    )
    .map((r) => {
      const first = r.quoteFirst ? spell(r.first, r.styles) : r.first;
      const second = r.second === '' && sort === 'config' ? '' : `${r.gap2}${spell(r.second, r.styles)}`;
      return {
        text: `${r.indent}${sort}${r.gap}${first}${second}${r.tail}`,
        nothing: r.nothing,
        sort,
        first: r.first,
        second: r.second,
      };
    });

const option = fc.oneof(statement('option'), statement('list'));
const section = fc
  .tuple(statement('config'), fc.array(option, { maxLength: 5 }))
  .map(([head, options]) => [head, ...options]);

/** A file without a fault. */
export const aFile: fc.Arbitrary<AFile> = fc
  .tuple(fc.array(section, { maxLength: 4 }), fc.boolean(), fc.boolean())
  .map(([parts, crlf, closed]) => {
    const written = parts.flat();
    const sections: Meaning[] = [];
    const lines: number[] = [];
    const statements: { text: string }[] = [];
    let line = 1;
    for (const w of written) {
      const text = [...w.nothing, w.text].join('\n');
      lines.push(line + w.nothing.length);
      line += text.split('\n').length;
      statements.push({ text });
      if (w.sort === 'config') sections.push({ type: w.first, name: w.second || undefined, options: [] });
      else sections.at(-1)?.options.push({ kind: w.sort, name: w.first, value: w.second });
    }
    // A value that spans lines takes the carriage return as its own: no CRLF where there is one.
    const eol = crlf && !written.some((w) => w.second.includes('\n')) ? '\r\n' : '\n';
    const joined = statements.map((s) => s.text.replaceAll('\n', eol)).join(eol);
    return { text: closed && joined !== '' ? joined + eol : joined, sections, lines, statements };
  });

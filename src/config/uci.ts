/**
 * UCI text ⇄ document. Text is cut into tokens that lose nothing; words become statements, statements become sections.
 *
 *     config link 'dsl'  # attic         word space word space word space comment newline
 *     └──── statement ───┘
 *
 * Because every character is in exactly one token, printing is joining, and an edit (uci-edit.ts) changes only the tokens that it means.
 */
import { type Complaint, YokeError } from '../base/error.ts';
import { nearest } from './suggest.ts';

/** A stretch of the text. For a word, `value` is what its quotes and backslashes stand for. */
export interface UciToken {
  readonly kind: 'space' | 'newline' | 'comment' | 'semicolon' | 'word' | 'broken';
  readonly text: string;
  readonly value: string;
  readonly line: number;
}

/** One `package`, `config`, `option` or `list` and the tokens that it is made of. */
export interface UciStatement {
  readonly command: UciCommand;
  readonly line: number;
  /** Indices of its words in the document's tokens, the command first. */
  readonly words: readonly number[];
  /** Index of its last token. */
  readonly last: number;
}

/** The four statements of UCI. */
export type UciCommand = 'package' | 'config' | 'option' | 'list';

/** `option NAME VALUE` or `list NAME VALUE`. */
export interface UciOption {
  readonly kind: 'option' | 'list';
  readonly name: string;
  readonly value: string;
  readonly line: number;
  readonly statement: UciStatement;
}

/** `config TYPE ['NAME']` with what follows it. */
export interface UciSection {
  readonly type: string;
  /** Undefined: anonymous. */
  readonly name?: string;
  readonly line: number;
  readonly options: readonly UciOption[];
  readonly statement: UciStatement;
}

/** A file as its author wrote it. Invariant: the tokens' texts, joined, are the text that was read. */
export interface UciDocument {
  readonly file: string;
  readonly tokens: readonly UciToken[];
  readonly packageName?: string;
  readonly sections: readonly UciSection[];
}

/** Reads a document. @throws YokeError `config` with every syntax error at once. */
export function parseUci(text: string, file: string): UciDocument {
  const { document, complaints } = scanUci(text, file);
  if (complaints.length > 0) throw new YokeError('config', complaints);
  return document;
}

/** Prints a document: byte for byte what was read, edits excepted. */
export function printUci(document: UciDocument): string {
  return document.tokens.map((t) => t.text).join('');
}

/** Reads a document as far as it can be read, and says what could not be. */
export function scanUci(text: string, file: string): { document: UciDocument; complaints: Complaint[] } {
  const plain = build(text, file, false);
  // A value may span lines, so a forgotten quote swallows what follows and the error would name the wrong line. Read a faulty file
  // again, with a quote ending where the next line looks like a statement.
  return plain.complaints.length === 0 ? plain : build(text, file, true);
}

const COMMANDS = new Map<string, { command: UciCommand; shape: string; most: number }>();
for (const [command, shape, most] of [
  ['package', "package 'NAME'", 2],
  ['config', "config TYPE 'NAME'", 3],
  ['option', "option NAME 'VALUE'", 3],
  ['list', "list NAME 'VALUE'", 3],
] as const) {
  COMMANDS.set(command, { command, shape, most });
  // libuci knows the first letter as a short form.
  COMMANDS.set(command[0], { command, shape, most });
}

const BLANK = /[ \t\r\v\f]/;
const NAME = /^[A-Za-z0-9_]+$/;
const PACKAGE_NAME = /^[A-Za-z0-9_-]+$/;
const TYPE = /^[\x21-\x7e]+$/;

/** Whether a section or an option may be called so. Source: libuci, letters, digits and underscore. */
export function isUciName(text: string): boolean {
  return NAME.test(text);
}

/** Whether a section may be of this type. Source: libuci, any printable ASCII but the blank. */
export function isUciType(text: string): boolean {
  return TYPE.test(text);
}

/** Cuts text into tokens; `guess`: a quote ends before a line that looks like a statement. Cost: one pass. */
function tokenize(
  text: string,
  guess: boolean,
  complain: (line: number, c: Omit<Complaint, 'where'>) => void,
): UciToken[] {
  const tokens: UciToken[] = [];
  let at = 0;
  let line = 1;
  const push = (kind: UciToken['kind'], end: number, value = '') => {
    const piece = text.slice(at, end);
    tokens.push({ kind, text: piece, value, line });
    for (let i = at; i < end; i++) if (text[i] === '\n') line++;
    at = end;
  };
  while (at < text.length) {
    const c = text[at];
    let end = at + 1;
    if (c === '\n') push('newline', end);
    else if (c === ';') push('semicolon', end);
    else if (BLANK.test(c)) {
      while (end < text.length && BLANK.test(text[end])) end++;
      push('space', end);
    } else if (c === '#') {
      while (end < text.length && text[end] !== '\n') end++;
      push('comment', end);
    } else {
      const word = readWord(text, at, guess);
      if (word.fault) {
        let faultLine = line;
        for (let i = at; i < word.faultAt; i++) if (text[i] === '\n') faultLine++;
        complain(faultLine, word.fault);
      }
      push(word.fault ? 'broken' : 'word', word.end, word.value);
    }
  }
  return tokens;
}

interface ReadWord {
  end: number;
  value: string;
  fault?: Omit<Complaint, 'where'>;
  faultAt: number;
}

const DANGLING = {
  expected: 'a character after the backslash',
  found: 'the end of the file',
  todo: 'remove the backslash, or write it inside single quotes',
};

/** A word: unquoted, 'single' and "double" pieces in any order up to a blank. Inside single quotes a backslash is a backslash. */
function readWord(text: string, start: number, guess: boolean): ReadWord {
  let at = start;
  let value = '';
  let fault: ReadWord['fault'];
  let faultAt = start;
  const blame = (why: Omit<Complaint, 'where'>, where: number) => {
    if (!fault) faultAt = where;
    fault ??= why;
  };
  /** Reads what stands behind a backslash: itself, or nothing when it joins two lines. */
  const takeEscaped = () => {
    const next = text[at + 1];
    if (next === undefined) {
      blame(DANGLING, at);
      at++;
    } else if (next === '\n') at += 2;
    else if (next === '\r' && text[at + 2] === '\n') at += 3;
    else {
      value += next;
      at += 2;
    }
  };
  while (at < text.length) {
    const c = text[at];
    if (c === '\n' || c === '#' || c === ';' || BLANK.test(c)) break;
    if (c === '\\') takeEscaped();
    else if (c === "'" || c === '"') {
      const opened = at++;
      while (at < text.length && text[at] !== c && !(guess && text[at] === '\n' && looksLikeStatement(text, at + 1))) {
        if (c === '"' && text[at] === '\\') takeEscaped();
        else value += text[at++];
      }
      if (text[at] === c) at++;
      else {
        const what = at < text.length ? 'the end of the line' : 'the end of the file';
        blame({ expected: `a closing ${c}`, found: what, todo: `close the quote opened with ${c}` }, opened);
      }
    } else {
      if (c === '\0') blame({ expected: 'text', found: 'a NUL byte', todo: 'remove it' }, at);
      value += c;
      at++;
    }
  }
  return { end: at, value, fault, faultAt };
}

/** Whether a line begins with the name of a command, or nearly so: the line of a forgotten quote may be followed by another fault. */
function looksLikeStatement(text: string, start: number): boolean {
  const word = /^[ \t]*([a-z]{3,9})[ \t]/.exec(text.slice(start, start + 100))?.[1];
  return word !== undefined && nearest(word, ['package', 'config', 'option', 'list']) !== undefined;
}

/** Tokens → statements → sections. */
function build(text: string, file: string, guess: boolean): { document: UciDocument; complaints: Complaint[] } {
  const found: { line: number; complaint: Complaint }[] = [];
  const complain = (line: number, c: Omit<Complaint, 'where'>) => {
    found.push({ line, complaint: { where: `${file}:${line}`, ...c } });
  };
  const tokens = tokenize(text, guess, complain);
  const sections: (UciSection & { options: UciOption[] })[] = [];
  let packageName: string | undefined;
  let open: UciOption[] | undefined;

  const take = (words: readonly number[], last: number) => {
    const head = tokens[words[0]];
    const line = head.line;
    // A broken word was reported where it broke.
    const broken = words.some((w) => tokens[w].kind === 'broken');
    const known = COMMANDS.get(head.text);
    if (!known) {
      const todo = 'start the line with config, option or list, or with # for a comment';
      if (head.kind === 'word')
        complain(line, { expected: 'config, option, list or package', found: quoted(head.text), todo });
      return;
    }
    const { command, shape, most } = known;
    const values = words.slice(1).map((w) => tokens[w].value);
    const statement: UciStatement = { command, line, words, last };
    const name = values[0] ?? '';
    const fine = (good: boolean, expected: string, foundText: string, todo: string): boolean => {
      if (!good && !broken) complain(line, { expected, found: foundText, todo });
      return good && !broken;
    };
    const complete =
      fine(name !== '', shape, `${command} with nothing after it`, `write ${shape}`) &&
      fine(
        words.length <= most,
        shape,
        `${quoted(values[most - 1] ?? '')} behind it`,
        `quote the value, or begin a new line`,
      );
    const nameTodo = 'use letters, digits and _ only';
    if (command === 'package') {
      open = undefined;
      if (
        !complete ||
        !fine(PACKAGE_NAME.test(name), 'a package name', quoted(name), 'use letters, digits, _ and - only')
      )
        return;
      if (fine(packageName === undefined, 'one package a file', `a second one, ${quoted(name)}`, 'remove this line'))
        packageName = name;
    } else if (command === 'config') {
      open = [];
      if (!complete || !fine(TYPE.test(name), 'a section type', quoted(name), 'use printable ASCII only')) return;
      const label = values[1] ? values[1] : undefined;
      if (label !== undefined && !fine(NAME.test(label), 'a section name', quoted(label), nameTodo)) return;
      sections.push({ type: name, name: label, line, options: open, statement });
    } else {
      if (!complete || !fine(NAME.test(name), 'an option name', quoted(name), nameTodo)) return;
      const todo = 'write config TYPE above it';
      if (!fine(open !== undefined, `a section before the first ${command}`, `${command} ${name}`, todo)) return;
      open?.push({ kind: command, name, value: values[1] ?? '', line, statement });
    }
  };

  let words: number[] = [];
  let last = 0;
  const flush = () => {
    if (words.length > 0) take(words, last);
    words = [];
  };
  tokens.forEach((token, i) => {
    if (token.kind === 'newline' || token.kind === 'semicolon') flush();
    else if (token.kind === 'word' || token.kind === 'broken') {
      last = i;
      const most = words.length > 0 ? COMMANDS.get(tokens[words[0]].text)?.most : undefined;
      // libuci swallows one empty word behind a complete statement (a lone `\` at the end of a line is one) and starts anew.
      if (words.length === most && token.kind === 'word' && token.value === '') flush();
      else words.push(i);
    }
  });
  flush();
  const complaints = found.sort((a, b) => a.line - b.line).map((f) => f.complaint);
  return { document: { file, tokens, packageName, sections }, complaints };
}

/** Text as a message shows it: in quotes, on one line, of bearable length. */
export function quoted(text: string): string {
  const line = text.replace(/\s+/g, ' ').replaceAll('\0', '');
  return `'${line.length > 60 ? `${line.slice(0, 57)}…` : line}'`;
}

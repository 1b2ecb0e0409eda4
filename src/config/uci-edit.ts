/**
 * Edits of a UCI document: each returns a new document in which nothing but the meant statement has changed.
 *
 * An edit rewrites the texts of a few tokens and reads the result again, so what a document says and what it prints cannot drift apart.
 * Sections are named by their index in `document.sections`.
 */
import { assert } from '../base/error.ts';
import { isUciName, isUciType, parseUci, type UciDocument, type UciOption, type UciStatement } from './uci.ts';

/** What an option holds: one value (`option`), or several (`list`). */
export type UciValue = string | readonly string[];

/** Index of the first section of that type and name; -1: there is none. */
export function findSection(document: UciDocument, type: string, name?: string): number {
  return document.sections.findIndex((s) => s.type === type && (name === undefined || s.name === name));
}

/** The value of an option (the last one said, as UCI reads it), or undefined. */
export function getOption(document: UciDocument, section: number, name: string): string | undefined {
  return document.sections[section].options.findLast((o) => o.name === name)?.value;
}

/** Every value of a list or option, in the order of the file. */
export function getList(document: UciDocument, section: number, name: string): string[] {
  return document.sections[section].options.filter((o) => o.name === name).map((o) => o.value);
}

/** Sets an option or a list in its place, or adds it behind the section's last one; comments and quoting stay. */
export function setOption(document: UciDocument, section: number, name: string, value: UciValue): UciDocument {
  assert(isUciName(name), `'${name}' is no option name`);
  const { options, statement } = document.sections[section];
  const texts = document.tokens.map((t) => t.text);
  const command = typeof value === 'string' ? 'option' : 'list';
  const values = typeof value === 'string' ? [value] : value;
  const old = options.filter((o) => o.name === name);
  old.slice(0, values.length).forEach((o, i) => {
    replaceValue(document, texts, o, command, values[i]);
  });
  for (const o of old.slice(values.length)) removeStatement(document, texts, o.statement);
  const added = values.slice(old.length).map((v) => `${command} ${name} ${quoteUci(v)}`);
  if (added.length > 0) {
    const before = old.at(-1) ?? options.at(-1);
    insertBehind(document, texts, before?.statement ?? statement, indentOf(document, options.at(-1)), added);
  }
  return parseUci(texts.join(''), document.file);
}

/** Removes every occurrence of an option, each with its line and the comment on that line. */
export function deleteOption(document: UciDocument, section: number, name: string): UciDocument {
  return setOption(document, section, name, []);
}

/** Adds a section at the end, a blank line before it. */
export function addSection(
  document: UciDocument,
  type: string,
  name?: string,
  options: Readonly<Record<string, UciValue>> = {},
): UciDocument {
  assert(isUciType(type), `'${type}' is no section type`);
  assert(name === undefined || isUciName(name), `'${name}' is no section name`);
  const eol = lineEnd(document);
  let text = document.tokens.map((t) => t.text).join('');
  if (text !== '' && !/(^|\n)$/.test(text)) text += eol;
  if (text !== '') text += eol;
  text += `config ${bareOrQuoted(type)}${name === undefined ? '' : ` ${quoteUci(name)}`}${eol}`;
  for (const [key, value] of Object.entries(options)) {
    assert(isUciName(key), `'${key}' is no option name`);
    if (typeof value === 'string') text += `\toption ${key} ${quoteUci(value)}${eol}`;
    else for (const v of value) text += `\tlist ${key} ${quoteUci(v)}${eol}`;
  }
  return parseUci(text, document.file);
}

/** Removes a section with its options; the comments between them stay. */
export function deleteSection(document: UciDocument, section: number): UciDocument {
  const { options, statement } = document.sections[section];
  const texts = document.tokens.map((t) => t.text);
  for (const s of [statement, ...options.map((o) => o.statement)]) removeStatement(document, texts, s);
  return parseUci(texts.join(''), document.file);
}

/** Writes a value so that UCI reads it back; `like` is an older spelling, whose kind of quotes is kept where it can be. */
export function quoteUci(value: string, like = "'"): string {
  assert(!value.includes('\0'), 'a UCI value holds no NUL byte');
  if (like[0] === '"') return `"${value.replace(/["\\]/g, '\\$&')}"`;
  if (like[0] !== "'" && BARE.test(value)) return value;
  return `'${value.replaceAll("'", "'\\''")}'`;
}

const BARE = /^[A-Za-z0-9_.:/@%+=,-]+$/;
const bareOrQuoted = (text: string) => (BARE.test(text) ? text : quoteUci(text));

const lineEnd = (document: UciDocument) => {
  const newline = document.tokens.findIndex((t) => t.kind === 'newline');
  return newline > 0 && document.tokens[newline - 1].text.endsWith('\r') ? '\r\n' : '\n';
};

function replaceValue(
  document: UciDocument,
  texts: string[],
  option: UciOption,
  command: 'option' | 'list',
  value: string,
) {
  const [head, name, old] = option.statement.words;
  if (option.kind !== command) texts[head] = command;
  if (old === undefined) texts[name] += ` ${quoteUci(value)}`;
  else if (document.tokens[old].value !== value) texts[old] = quoteUci(value, document.tokens[old].text);
}

/** Index of the next token that is not a blank; the number of tokens when there is none. */
function skipSpace(document: UciDocument, from: number, step: 1 | -1): number {
  let i = from + step;
  while (document.tokens[i]?.kind === 'space') i += step;
  return i;
}

function removeStatement(document: UciDocument, texts: string[], statement: UciStatement) {
  const { tokens } = document;
  const first = statement.words[0];
  const left = skipSpace(document, first, -1);
  const right = skipSpace(document, statement.last, 1);
  const clear = (from: number, to: number) => texts.fill('', from, to + 1);
  const startsLine = tokens[left] === undefined || tokens[left].kind === 'newline';
  const ending = tokens[right]?.kind === 'comment' ? right + 1 : right;
  const endsLine = tokens[ending] === undefined || tokens[ending].kind === 'newline';
  if (startsLine && endsLine) clear(left + 1, ending);
  else if (tokens[right]?.kind === 'semicolon') clear(first, startsLine ? right : skipSpace(document, right, 1) - 1);
  else if (tokens[left]?.kind === 'semicolon') clear(left, statement.last);
  else clear(first, statement.last);
}

/** Puts lines behind a statement: on lines of their own, unless another statement follows on the same line. */
function insertBehind(
  document: UciDocument,
  texts: string[],
  statement: UciStatement,
  indent: string,
  lines: readonly string[],
) {
  const { tokens } = document;
  const eol = lineEnd(document);
  const right = skipSpace(document, statement.last, 1);
  const ending = tokens[right]?.kind === 'comment' ? right + 1 : right;
  if (tokens[ending]?.kind === 'newline') texts[ending] += lines.map((l) => `${indent}${l}${eol}`).join('');
  else if (tokens[ending] === undefined) texts[tokens.length - 1] += lines.map((l) => `${eol}${indent}${l}`).join('');
  else if (tokens[ending].kind === 'semicolon') texts[statement.last] += lines.map((l) => `; ${l}`).join('');
  else texts[statement.last] += `${lines.map((l) => `${eol}${indent}${l}`).join('')}${eol}`;
}

/** The blanks in front of an option that starts its line; a tab when there is none to follow. */
function indentOf(document: UciDocument, option: UciOption | undefined): string {
  if (!option) return '\t';
  const first = option.statement.words[0];
  const left = skipSpace(document, first, -1);
  if (document.tokens[left] !== undefined && document.tokens[left].kind !== 'newline') return '\t';
  return left + 1 < first ? document.tokens[first - 1].text : '';
}

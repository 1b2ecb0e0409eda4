/**
 * What the documents lead to is there: files and headings of links, files named in the text, commands with their options, npm scripts.
 *
 * A command is what begins with `yoke` in a piece of code; words in capitals and in <…> stand for arguments, […] for what may be left out.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import type { Command } from 'commander';
import { describeProgram } from '../../src/cli/cli.ts';
import { ROOT } from '../packaging/bundle.ts';

const pagesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return folder === '.' ? [] : pagesIn(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });
const PAGES = [...pagesIn('.'), ...pagesIn('docs'), ...pagesIn('bench')];
const textOf = (page: string) => readFileSync(join(ROOT, page), 'utf8');
const withoutCode = (text: string) => text.replace(/^```[\s\S]*?^```/gm, '').replace(/`[^`\n]*`/g, '');

/** A heading's anchor, as Markdown's readers make it. */
const anchorOf = (heading: string) =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-');
const anchorsOf = (text: string) => [...text.matchAll(/^#+ (.*)$/gm)].map((m) => anchorOf(m[1]));

test('every link of the documents leads to a file and a heading that are there', () => {
  const dead: string[] = [];
  for (const page of PAGES) {
    for (const [, target] of withoutCode(textOf(page)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const [path, anchor] = target.split('#');
      const file = path === '' ? page : relative(ROOT, join(ROOT, dirname(page), path));
      if (!existsSync(join(ROOT, file))) dead.push(`${page}: ${target}`);
      else if (anchor && !anchorsOf(textOf(file)).includes(anchor)) dead.push(`${page}: ${target}: no such heading`);
    }
  }
  assert.deepEqual(dead, []);
});

/** Pieces of code: lines of blocks, indented ones too, and spans. */
function codeOf(text: string): string[] {
  const blocks = [...text.matchAll(/^```\w*\n([\s\S]*?)^```/gm)].flatMap((m) => m[1].split('\n'));
  const rest = text.replace(/^```[\s\S]*?^```/gm, '');
  const indented = rest.split('\n').filter((line) => /^( {4}|\t)/.test(line));
  return [...blocks, ...indented, ...[...rest.matchAll(/`([^`\n]+)`/g)].map((m) => m[1])].map((line) => line.trim());
}

const KEPT = /^(src|test|docs|scripts|packaging|examples|bench|lab)\/[\w./-]+\.\w+$/;

test('every file of ours that the documents name is there', () => {
  const gone = PAGES.flatMap((page) =>
    codeOf(textOf(page))
      .filter((code) => KEPT.test(code))
      // a page of docs/ may leave out src/ or test/
      .filter((path) => !['', 'src', 'test'].some((folder) => existsSync(join(ROOT, folder, path))))
      .map((path) => `${page}: ${path}`),
  );
  assert.deepEqual(gone, []);
});

const program = describeProgram(() => {});
const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };

/** What is wrong with the words behind `yoke`; undefined when nothing is. */
function wrongWith(words: readonly string[]): string | undefined {
  let command: Command = program;
  for (let word of words) {
    word = word.replace(/^\[+|[\],.:]+$/g, '');
    const [flag] = word.split(/[=|]/);
    if (/^--\w/.test(flag)) {
      const known = (c: Command | null): boolean =>
        c !== null && (c.options.some((option) => option.long === flag) || known(c.parent));
      if (flag !== '--help' && !known(command)) return `${flag} is no option of ${command.name()}`;
    } else if (/^[a-z][a-z-]*$/.test(word)) {
      const next = command.commands.find((c) => c.name() === word);
      if (next) command = next;
      else if (command.commands.length > 0) return `no command ${word}`;
    }
  }
  return undefined;
}

test('every command that the documents show is there, with its options', () => {
  const wrong: string[] = [];
  let seen = 0;
  for (const page of PAGES) {
    for (const line of codeOf(textOf(page))) {
      for (const part of line.split(/#(?= )|[;|>)…]|&&|< /)) {
        const words = part.replace(/^[\s(]*(?:\w+#)?\s*(?:sudo )?/, '').split(/\s+/);
        if (words[0] === 'yoke' && words.length > 1 && !words[1].startsWith('…')) {
          seen++;
          const trouble = wrongWith(words.slice(1));
          if (trouble) wrong.push(`${page}: ${part.trim()}: ${trouble}`);
        }
        if (words[0] === 'npm' && words[1] === 'run' && !scripts[words[2]])
          wrong.push(`${page}: ${part.trim()}: no such script`);
        if (words[0] === 'node' && words[1]?.startsWith('scripts/') && !existsSync(join(ROOT, words[1])))
          wrong.push(`${page}: ${words[1]}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(seen > 40, `only ${seen} commands were seen`);
});

test('a command that is none, and an option of another command, are found', () => {
  assert.equal(wrongWith(['stattus']), 'no command stattus');
  assert.equal(wrongWith(['status', '--seconds']), '--seconds is no option of status');
  assert.equal(wrongWith(['pki', 'frobnicate']), 'no command frobnicate');
  for (const good of [
    ['status', '--json', '--run-dir', 'x'],
    ['pki', 'renew', 'NAME', '--new-key'],
    ['test', '[--down]'],
  ]) {
    assert.equal(wrongWith(good), undefined);
  }
});

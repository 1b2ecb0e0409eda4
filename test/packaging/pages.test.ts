/** Manual pages and completion: every command and option is in them, and the programs that read them are content. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { roffOf } from '../../src/base/roff.ts';
import { describeProgram } from '../../src/cli/cli.ts';
import { commandsIn } from '../../src/cli/manual.ts';
import { SECTIONS } from '../../src/config/options.ts';
import { ROOT } from './bundle.ts';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), `yoke-pages-${process.pid}-`));
  const made = spawnSync(process.execPath, [join(ROOT, 'scripts/pages.js'), folder], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const COMMANDS = commandsIn(describeProgram(() => {}));

function rendered(page: string): string {
  const env = { ...process.env, LC_ALL: 'C.UTF-8', MANWIDTH: '1000', PAGER: 'cat' };
  const { status, stdout, stderr } = spawnSync('man', ['--warnings', '-l', join(folder, page)], {
    encoding: 'utf8',
    env,
  });
  assert.equal(status, 0, stderr);
  assert.equal(stderr, '');
  return stdout.replaceAll('‐', '-');
}

const skip = spawnSync('man', ['--version']).status === 0 ? false : 'no program man';

test('yoke(8) has every command with its options', { skip }, () => {
  const page = rendered('yoke.8');
  for (const { words, command } of COMMANDS) {
    const [, after] = page.split(new RegExp(`^ +yoke ${words.join(' ')}\\b.*$`, 'm'));
    assert.ok(after, words.join(' '));
    const chapter = after.split(/^ {3}yoke |^[A-Z]/m)[0];
    for (const option of command.options)
      assert.ok(chapter.includes(option.flags), `${words.join(' ')} ${option.flags}`);
  }
  assert.doesNotMatch(page, /undefined|\[object|\\f|\\&/);
});

test('bonding(5) has every section with its options', { skip }, () => {
  const page = rendered('bonding.5');
  for (const section of SECTIONS) {
    const [, after] = page.split(`\n${section.heading}\n`);
    assert.ok(after, section.heading);
    const chapter = after.split(/^\S/m)[0];
    for (const name of Object.keys(section.options ?? {}))
      assert.match(chapter, new RegExp(`^ +${name} \\(`, 'm'), name);
  }
  assert.doesNotMatch(page, /undefined|\[object|\\f|\\&|`/);
});

test('words become roff: what would be a command there is none', () => {
  assert.equal(roffOf('.TP `-x` **b** *i* a\\b [w](u)'), '\\&.TP \\fB\\-x\\fR \\fBb\\fR \\fIi\\fR a\\eb w');
  assert.equal(roffOf("`'1'` or\n'2'"), "\\fB\\&'1'\\fR or '2'");
});

/** Runs a shell in the folder of the scripts; the lines that it printed, sorted. */
function linesOf(argv: string[]): string[] {
  // a home of its own: fish writes there
  const env = { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder };
  const { status, stdout, stderr } = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8', cwd: folder, env });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter(Boolean).sort();
}

/** What each shell would offer for a line whose last word is begun. */
const SHELLS: Record<string, (...words: string[]) => string[]> = {
  bash: (...words) =>
    linesOf([
      'bash',
      '-uc',
      `source ./yoke.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _yoke; printf '%s\\n' "\${COMPREPLY[@]}"`,
      'bash',
      ...words,
    ]),
  // the functions of zsh's own that the script calls, in their place: which words, and of them those that begin so
  zsh: (...words) =>
    linesOf([
      'zsh',
      '-fc',
      `compdef() { : }; _files() { print -l -- *(N) }
       _describe() { print -l -- \${(P)@[-1]} | sed -e 's/\\([^\\]\\):.*/\\1/' }
       source ./yoke.zsh; words=("$@"); CURRENT=$#; _yoke | while read -r w; do [[ "$w" == "\${words[-1]}"* ]] && print -r -- "$w"; done; true`,
      'zsh',
      ...words,
    ]),
  fish: (...words) =>
    linesOf(['fish', '--no-config', '-c', `source ./yoke.fish; complete -C '${words.join(' ')}'`]).map(
      (line) => line.split('\t')[0],
    ),
};

for (const [shell, offered] of Object.entries(SHELLS)) {
  const lacks = spawnSync(shell, ['-c', 'true']).status === 0 ? false : `no program ${shell}`;
  test(`${shell} completes commands, options and files`, { skip: lacks }, () => {
    assert.deepEqual(offered('yoke', 'sta'), ['status']);
    assert.ok(offered('yoke', '').includes('run'));
    assert.deepEqual(offered('yoke', 'pki', 're'), ['renew', 'revoke']);
    assert.deepEqual(offered('yoke', '--config', 'x', 'stat'), ['status']);
    assert.deepEqual(offered('yoke', 'status', '--js'), ['--json']);
    assert.deepEqual(offered('yoke', 'pki', 'renew', 'a', '--n'), ['--new-key']);
    assert.deepEqual(offered('yoke', 'server', 'init', '--public-p'), ['--public-port']);
    assert.ok(offered('yoke', 'check', '--').includes('--config'));
    assert.ok(offered('yoke', 'check', '--config', 'yo').includes('yoke.8'));
    assert.deepEqual(offered('yoke', 'test', '--seconds', ''), []);
    for (const { words, command } of COMMANDS) {
      const options = offered('yoke', ...words, ...command.registeredArguments.map(() => 'x'), '--');
      for (const { long } of command.options) assert.ok(options.includes(long!), `${words.join(' ')} ${long}`);
    }
  });
}

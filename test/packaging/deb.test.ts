/** What is in the .deb, judged without installing it: lintian, systemd's own judges, shellcheck. Installed it is in test/netns/deb.test.ts. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ROOT } from './bundle.ts';

const lacks = (program: string, ...argv: string[]) =>
  spawnSync(program, argv.length > 0 ? argv : ['--version']).status === 0 ? false : `no ${program}`;

let folder: string;
let deb: string;
let tree: string;

const say = (program: string, ...argv: string[]) => {
  const { status, stdout, stderr } = spawnSync(program, argv, { encoding: 'utf8' });
  return { status, text: stdout + stderr };
};

function make(out: string): string {
  const made = spawnSync(process.execPath, [join(ROOT, 'scripts/deb.js'), '--out', out], { encoding: 'utf8' });
  assert.equal(made.status, 0, made.stderr);
  return made.stdout.trim();
}

const skip = lacks('dpkg-deb');

before(() => {
  if (skip) return;
  folder = mkdtempSync(join(tmpdir(), `yoke-debs-${process.pid}-`));
  deb = make(folder);
  tree = join(folder, 'tree');
  assert.equal(say('dpkg-deb', '-R', deb, tree).status, 0);
});
after(() => folder && rmSync(folder, { recursive: true, force: true }));

test('the same source gives the same bytes, whatever the umask', { skip }, () => {
  const sum = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
  const mask = process.umask(0o077);
  try {
    assert.equal(sum(make(join(folder, 'again'))), sum(deb));
  } finally {
    process.umask(mask);
  }
});

test('it holds what belongs to it, closed where keys will be', { skip }, () => {
  const files = `usr/bin/yoke usr/lib/yoke/yoke.js usr/lib/yoke/pump.js usr/lib/systemd/system/yoke.service usr/share/man/man8/yoke.8.gz
    usr/share/man/man5/bonding.5.gz usr/share/bash-completion/completions/yoke usr/share/zsh/vendor-completions/_yoke
    usr/share/fish/vendor_completions.d/yoke.fish usr/share/doc/yoke/copyright usr/share/doc/yoke/changelog.gz
    usr/share/doc/yoke/docs/config.md usr/share/doc/yoke/examples/router.conf`;
  for (const file of files.split(/\s+/)) assert.ok(statSync(join(tree, file)).size > 0, file);
  assert.equal(statSync(join(tree, 'etc/yoke')).mode & 0o777, 0o700);
  // no configuration: a file that comes with a package would be in the way of `yoke join`
  assert.deepEqual(spawnSync('ls', [join(tree, 'etc/config')], { encoding: 'utf8' }).stdout, '');
  assert.equal(say('sh', '-c', `cd '${tree}' && md5sum --quiet -c DEBIAN/md5sums`).status, 0);
});

test('lintian finds no error', { skip: skip || lacks('lintian') }, () => {
  const { status, text } = say('lintian', '--fail-on', 'error', deb);
  assert.equal(status, 0, text);
});

test('its scripts pass shellcheck', { skip: skip || lacks('shellcheck') }, () => {
  for (const name of ['postinst', 'prerm', 'postrm']) {
    const { status, text } = say('shellcheck', '-s', 'sh', join(tree, 'DEBIAN', name));
    assert.equal(status, 0, text);
  }
});

test('systemd understands every line of the unit, and finds it closed', {
  skip: skip || lacks('systemd-analyze'),
}, () => {
  // the program is not installed here: any other stands in for it
  const text = readFileSync(join(tree, 'usr/lib/systemd/system/yoke.service'), 'utf8');
  assert.match(text, /^ExecStart=\/usr\/bin\/yoke run\nExecReload=\/usr\/bin\/yoke reload$/m);
  const unit = join(folder, 'yoke.service');
  spawnSync('tee', [unit], { input: text.replaceAll('/usr/bin/yoke', '/bin/sh') });
  const verified = say('systemd-analyze', 'verify', '--man=no', unit);
  assert.deepEqual(
    verified.text.split('\n').filter((line) => line.includes('yoke')),
    [],
  );
  // 100 is wide open; sshd has 96, a network daemon that sets addresses cannot come below 25
  const { status, text: judged } = say('systemd-analyze', 'security', '--offline=true', '--threshold=40', unit);
  assert.equal(status, 0, judged);
});

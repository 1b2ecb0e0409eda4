/** The bundle without node_modules: what is in it, and that it runs from any folder. A real bond of it is in test/netns/bundle.test.ts. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Bundle, makeBundle, ROOT } from './bundle.ts';

let bundle: Bundle;
before(() => {
  bundle = makeBundle();
});
after(() => bundle?.remove());

const yoke = (...argv: string[]) =>
  spawnSync(process.execPath, [bundle.program, ...argv], { cwd: bundle.folder, encoding: 'utf8', env: {} });
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

test('the bundle tells its version, also through a link to it', () => {
  assert.equal(yoke('--version').stdout, `${version}\n`);
  const link = join(bundle.folder, 'link');
  symlinkSync(bundle.program, link);
  assert.equal(spawnSync(link, ['--version'], { encoding: 'utf8' }).stdout, `${version}\n`);
});

test('the bundle checks a configuration: its errors with their lines, and a good one', () => {
  const bad = join(bundle.folder, 'bad.conf');
  writeFileSync(bad, "config interface 'bond'\n\toption role 'rooter'\n");
  const complaint = yoke('check', '--config', bad);
  assert.equal(complaint.status, 1);
  assert.match(complaint.stderr, /bad\.conf:2 .*rooter/);

  const key = join(bundle.folder, 'key');
  writeFileSync(key, yoke('keygen').stdout, { mode: 0o600 });
  const open = spawnSync(process.execPath, [bundle.program, 'pubkey'], { input: readFileSync(key), encoding: 'utf8' });
  const good = join(bundle.folder, 'good.conf');
  const text = `config interface 'bond'\n\toption role 'server'\n\toption ipaddr '10.99.0.1/24'\n\toption private_key_file '${key}'\nconfig client 'a'\n\toption public_key '${open.stdout.trim()}'\n\toption ipaddr '10.99.0.2'\n`;
  writeFileSync(good, text);
  const checked = yoke('check', '--config', good, '--run-dir', join(bundle.folder, 'run'));
  // what a host lacks for it (rights, a program) is told by the same command, of the host, not of the file
  assert.doesNotMatch(checked.stderr, /good\.conf|bug/);
});

test('every command of the bundle loads: certificates too, whose packages are the largest part', () => {
  const made = yoke('pki', 'init', '--dir', join(bundle.folder, 'pki'));
  assert.equal(made.status, 0, made.stderr);
  assert.match(yoke('pki', 'list', '--dir', join(bundle.folder, 'pki')).stdout, /good|valid/);
  for (const command of ['run', 'plan', 'status', 'down', 'doctor', 'test']) {
    const { status, stderr } = yoke(command, '--config', '/nowhere', '--run-dir', join(bundle.folder, 'none'));
    assert.ok(status !== null && status <= 1, `${command}: ${stderr}`);
    assert.doesNotMatch(stderr, /bug|Cannot find/, command);
  }
});

test('the licence of everything in the bundle lies beside it', () => {
  const text = readFileSync(join(dirname(bundle.program), 'LICENSES'), 'utf8');
  for (const name of ['yoke', 'commander', 'koffi', '@peculiar/x509', 'reflect-metadata', 'tslib']) {
    assert.match(text, new RegExp(`^${name}\\b.*$`, 'm'));
  }
});

test('two bundles of one source are the same, byte for byte, and name no folder of this machine', () => {
  const other = makeBundle();
  try {
    const [a, b] = [bundle, other].map((one) => dirname(one.program));
    const files = readdirSync(a, { recursive: true, encoding: 'utf8' }).filter((f) => /\.\w+$|LICENSES/.test(f));
    assert.ok(files.includes('pump.js') && files.includes('yoke.service') && files.length >= 7, files.join(' '));
    for (const file of files) assert.ok(readFileSync(join(a, file)).equals(readFileSync(join(b, file))), file);
    assert.ok(!readFileSync(bundle.program, 'utf8').includes(ROOT));
  } finally {
    other.remove();
  }
});

test('without the library beside it the bundle says what is missing, in one line', () => {
  const other = makeBundle();
  try {
    const folder = join(dirname(other.program), 'koffi');
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    const { status, stderr } = spawnSync(process.execPath, [other.program, 'doctor'], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /^the foreign-function library: expected koffi\/\w+\.node beside the program, found .*\n$/);
  } finally {
    other.remove();
  }
});

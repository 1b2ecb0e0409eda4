/** The command line, as a process: exit codes, words, every error at once; nothing here needs rights. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type ControlServer, startControl } from '../../src/daemon/control.ts';
import { takeLock } from '../../src/daemon/lock.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const KEY = 'XasIfmJKikt54X+Lg4AO5m87sSkmGLb9HC+LJ/+I4Os=';
const PUBLIC = '3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-cli-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

interface Said {
  code: number | null;
  out: string;
  err: string;
}

function yoke(argv: string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Said> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, ...argv], { env: { ...process.env, ...env } });
    const said: Said = { code: null, out: '', err: '' };
    child.stdout.on('data', (d) => {
      said.out += d;
    });
    child.stderr.on('data', (d) => {
      said.err += d;
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.on('close', (code) => resolve({ ...said, code }));
  });
}

function config(text: string): string[] {
  const file = join(dir, 'bonding');
  writeFileSync(file, text);
  return ['--config', file, '--run-dir', join(dir, 'run')];
}

const router = (more = '') => `config interface 'bond'
  option ipaddr '10.0.0.2/24'
  option remote_ipaddr '10.0.0.1'
  option private_key_file '${join(dir, 'key')}'
  option public_key '${PUBLIC}'
  ${more}
config link 'a'
  option interface 'eth-none'
  option server '192.0.2.1'
`;

test('keys go from stdout to stdin, as with wg', async () => {
  const made = await yoke(['keygen']);
  assert.match(made.out, /^[A-Za-z0-9+/]{43}=\n$/);
  assert.match((await yoke(['genpsk'])).out, /^[A-Za-z0-9+/]{43}=\n$/);
  assert.deepEqual(await yoke(['pubkey'], `${KEY}\n`), { code: 0, out: `${PUBLIC}\n`, err: '' });
  assert.notEqual((await yoke(['pubkey'], made.out)).out, made.out);
  const bad = await yoke(['pubkey'], 'hello\n');
  assert.deepEqual(bad, {
    code: 1,
    out: '',
    err: 'stdin: expected a private key: 32 bytes in base64, found something else; make one with yoke keygen\n',
  });
});

test('version and help; wrong usage is 2', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  assert.deepEqual(await yoke(['--version']), { code: 0, out: `${version}\n`, err: '' });
  const help = await yoke(['--help']);
  assert.equal(help.code, 0);
  for (const word of [
    'keygen',
    'pubkey',
    'genpsk',
    'check',
    'plan',
    'run',
    'status',
    'down',
    '--config',
    '--run-dir',
  ]) {
    assert.ok(help.out.includes(word), word);
  }
  assert.match((await yoke(['status', '--help'])).out, /--json[\s\S]*--run-dir/);
  for (const argv of [[], ['frobnicate'], ['status', '--frob'], ['status', '--watch', 'often'], ['keygen', 'extra']]) {
    const { code, err, out } = await yoke(argv);
    assert.equal(code, 2, argv.join(' '));
    assert.ok(err !== '' && out === '', argv.join(' '));
  }
});

test('check tells every error of the file at once, with its line', async () => {
  const text = `config interface 'bond'\n  option ipaddr '10.0.0.300'\n  option colour 'red'\nconfig link 'a'\n  option server '192.0.2.1'\n  option down 'fast'\n`;
  const { code, err, out } = await yoke(['check', ...config(text)]);
  assert.equal(code, 1);
  assert.equal(out, '');
  const lines = err.trimEnd().split('\n');
  for (const line of [2, 3, 4, 6])
    assert.ok(
      lines.some((l) => l.startsWith(`${join(dir, 'bonding')}:${line} `)),
      `${line}: ${err}`,
    );
  for (const l of lines) assert.match(l, /: expected .+, found .+; .+/);
});

test('check goes on to keys and host when the file is good', async () => {
  const none = await yoke(['check', ...config(router())], '', { PATH: '/nowhere' });
  assert.equal(none.code, 1);
  assert.match(
    none.err,
    /bonding:1: expected a readable key file, found no file .*key; make it: \(umask 077; yoke keygen > /,
  );
  writeFileSync(join(dir, 'key'), `${KEY}\n`);
  chmodSync(join(dir, 'key'), 0o644);
  const open = await yoke(['check', ...config(router())]);
  assert.match(open.err, /expected a key file that is closed to others, found .* with mode 644; chmod 600 /);
  assert.ok(!open.err.includes(KEY));
});

test('a missing file, an engine without its section', async () => {
  const missing = await yoke(['check', '--config', join(dir, 'none')]);
  assert.deepEqual(missing, {
    code: 1,
    out: '',
    err: `${join(dir, 'none')}: expected a configuration file, found none; make it: yoke server init on a server, yoke join on a router (docs/setup.md); or name another with --config\n`,
  });
  const openvpn = router("option engine 'openvpn'")
    .replace(/ {2}option public_key.*\n/, '')
    .replace(/ {2}option private_key_file.*\n/, '');
  for (const command of ['check', 'plan', 'run']) {
    const { code, err } = await yoke([command, ...config(openvpn)]);
    assert.equal(code, 1);
    assert.match(err, /expected a section config openvpn, found none; add it/);
  }
});

test('a broken configuration starts nothing and leaves nothing', async () => {
  const { code, err } = await yoke(['run', ...config("config interface 'bond'\n")]);
  assert.equal(code, 1);
  assert.match(err, /bonding:1 /);
  assert.ok(!existsSync(join(dir, 'run')));
});

test('without an instance status says so, and down has nothing to do', async () => {
  const status = await yoke(['status', '--run-dir', dir]);
  assert.deepEqual(status, {
    code: 1,
    out: '',
    err: `${dir}/control.sock: expected a running yoke, found none; start it (systemctl start yoke, or yoke run); where nothing is set up yet: yoke server init or yoke join; or name its --run-dir\n`,
  });
  const down = await yoke(['down', '--run-dir', join(dir, 'none')]);
  assert.deepEqual(down, { code: 0, out: 'nothing runs, nothing to take back\n', err: '' });
  assert.ok(!existsSync(join(dir, 'none')));
});

const STATUS = {
  version: 1,
  role: 'router',
  engine: 'multipath',
  ifname: 'bond0',
  pid: 1,
  startedAt: new Date(0).toISOString(),
  cpuSeconds: 0,
  rssBytes: 0,
  bonds: [],
  drops: {},
  links: [],
  warnings: [],
};

test('status prints words, or one JSON value; watching, again and again', async () => {
  let asked = 0;
  const server: ControlServer = await startControl(dir, async () => {
    asked++;
    if (asked > 4) throw new Error('enough');
    return STATUS;
  });
  assert.match(
    (await yoke(['status', '--run-dir', dir])).out,
    /^instance: bond0\n {2}role: router, engine multipath, pid 1\n/,
  );
  const json = await yoke(['status', '--json', '--run-dir', dir]);
  assert.deepEqual([json.code, JSON.parse(json.out)], [0, STATUS]);
  const watched = await yoke(['status', '--json', '--watch', '0.1', '--run-dir', dir]);
  assert.equal(watched.code, 1);
  assert.equal(watched.out.trimEnd().split('\n').length, 2);
  assert.match(watched.err, /enough/);
  await server.stop();
});

test('down asks a running instance to end and waits until it has', async () => {
  const lock = takeLock(dir);
  const server = await startControl(dir, async (method) => {
    if (method === 'stop') setTimeout(() => lock.release(), 300);
    return { pid: process.pid };
  });
  const { code, out } = await yoke(['down', '--run-dir', dir]);
  assert.deepEqual([code, out], [0, `ended pid ${process.pid}\n`]);
  await server.stop();
});

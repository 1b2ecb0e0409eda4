/**
 * Certificates of `yoke pki` in the hands of the real program: an OpenVPN server and a client in two namespaces.
 *
 *   ykpA<pid> ── veth ── ykpB<pid>      198.18.9.1 the server      198.18.9.2 the client
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Pki } from '../../src/pki/pki.ts';

const LIMIT_MS = 20_000;
const [A, B] = [`ykpA${process.pid}`, `ykpB${process.pid}`];
const ip = (...argv: string[]) => execFileSync('ip', argv, { stdio: ['ignore', 'pipe', 'pipe'] });

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync('/dev/net/tun')) return 'no /dev/net/tun';
  if (spawnSync('openvpn', ['--version']).error) return 'no openvpn';
  return false;
}

/** An OpenVPN that is started and watched by its log. */
class Vpn {
  readonly child: ChildProcess;
  log = '';

  constructor(namespace: string, argv: string[]) {
    this.child = spawn('ip', ['netns', 'exec', namespace, 'openvpn', '--verb', '3', ...argv], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (d) => {
        this.log += d;
      });
    }
  }

  async says(words: RegExp): Promise<void> {
    const limit = Date.now() + LIMIT_MS;
    while (!words.test(this.log)) {
      assert.ok(Date.now() < limit && this.child.exitCode === null, `expected ${words} in:\n${this.log}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    await ended;
  }
}

test('openvpn connects with what yoke pki makes, and refuses what it revoked', { skip: whyNot() }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'yoke-pki-ovpn-'));
  const running: Vpn[] = [];
  const start = (namespace: string, argv: string[]) => {
    const vpn = new Vpn(namespace, argv);
    running.push(vpn);
    return vpn;
  };
  try {
    const pki = () => new Pki({ dir, now: new Date() });
    await pki().init('test');
    await pki().issue('dc', 'server');
    for (const name of ['good', 'bad']) await pki().issue(name, 'router');
    const bad = ['issued/bad.crt', 'private/bad.key'].map((f) => readFileSync(join(dir, f), 'utf8'));
    writeFileSync(join(dir, 'bad.crt'), bad[0]);
    writeFileSync(join(dir, 'bad.key'), bad[1], { mode: 0o600 });

    ip('netns', 'add', A);
    ip('netns', 'add', B);
    ip('link', 'add', 'v0', 'netns', A, 'type', 'veth', 'peer', 'name', 'v0', 'netns', B);
    for (const [namespace, address] of [
      [A, '198.18.9.1/24'],
      [B, '198.18.9.2/24'],
    ]) {
      ip('-n', namespace, 'addr', 'add', address, 'dev', 'v0');
      ip('-n', namespace, 'link', 'set', 'v0', 'up');
    }
    const shared = ['--dev', 'ykp-tap', '--dev-type', 'tap', '--proto', 'udp', '--ca', join(dir, 'ca.crt')];
    const server = start(A, [
      ...[...shared, '--tls-server', '--dh', 'none', '--local', '198.18.9.1', '--port', '1194'],
      ...['--cert', join(dir, 'issued/dc.crt'), '--key', join(dir, 'private/dc.key')],
      ...['--tls-crypt', join(dir, 'ta.key'), '--remote-cert-tls', 'client', '--crl-verify', join(dir, 'crl.pem')],
      ...['--keepalive', '1', '5'],
    ]);
    const client = (certificate: string, key: string) =>
      start(B, [
        ...[
          ...shared,
          '--tls-client',
          '--nobind',
          '--remote',
          '198.18.9.1',
          '1194',
          '--cert',
          certificate,
          '--key',
          key,
        ],
        ...['--tls-crypt', join(dir, 'ta.key'), '--remote-cert-tls', 'server', '--keepalive', '1', '5'],
      ]);
    await server.says(/UDPv4 link local|link local \(bound\)/);

    const first = client(join(dir, 'bad.crt'), join(dir, 'bad.key'));
    await first.says(/Initialization Sequence Completed/);
    await first.stop();

    await pki().revoke('bad');
    server.log = '';
    // a point-to-point server has read the list for its next connection already
    server.child.kill('SIGUSR1');
    await server.says(/link local \(bound\)/);
    const refused = client(join(dir, 'bad.crt'), join(dir, 'bad.key'));
    await server.says(/CN=bad.*certificate revoked|certificate revoked.*CN=bad/);
    assert.doesNotMatch(refused.log, /Initialization Sequence Completed/);
    await refused.stop();

    await pki().renew('good');
    const good = client(join(dir, 'issued/good.crt'), join(dir, 'private/good.key'));
    await good.says(/Initialization Sequence Completed/);
  } finally {
    for (const vpn of running) await vpn.stop();
    for (const namespace of [A, B]) spawnSync('ip', ['netns', 'del', namespace]);
    rmSync(dir, { recursive: true, force: true });
  }
});

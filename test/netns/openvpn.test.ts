/**
 * Real OpenVPN tunnels between two namespaces, kept by the backend: without the bonding device, which this kernel may not have
 * (test/guest has one that does).
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BackendReport, BackendSettings } from '../../src/backend/backend.ts';
import { Pki } from '../../src/pki/pki.ts';
import { makeCertificates, pairOf } from '../backend/openvpn-samples.ts';
import { CANNOT, SERVER, until, Veths } from './veths.ts';

const END = fileURLToPath(new URL('./openvpn-end.js', import.meta.url));
const skip = CANNOT || (spawnSync('openvpn', ['--version']).error ? 'no openvpn' : false);
const LIMIT_MS = 20_000;
/** OpenVPN sends the first word of a handshake again after 1, 2, 4, 8 and 16 s. */
const CONNECT_LIMIT_MS = 45_000;

/** Settings with the shortest timers that OpenVPN takes. */
function hasty(...args: Parameters<typeof pairOf>): ReturnType<typeof pairOf> {
  const ends = pairOf(...args);
  for (const { openvpn } of [ends.server, ends.router]) {
    openvpn!.lines = openvpn!.lines.map((l) => (l.startsWith('keepalive') ? 'keepalive 1 3' : l));
  }
  return ends;
}

/** One end as a program of its own, in its namespace. */
class End {
  readonly child: ChildProcess;
  readonly events: { kind: string; text?: string; state?: string; path?: string; report?: BackendReport }[] = [];
  readonly ended: Promise<number | null>;

  constructor(namespace: string, settings: string, runDir: string) {
    const argv = ['netns', 'exec', namespace, process.execPath, END, settings, runDir, 'without-bond'];
    this.child = spawn('ip', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.events.push(JSON.parse(line)));
  }

  async says(kind: string, words = /./, from = 0): Promise<void> {
    const found = () => this.events.slice(from).some((e) => e.kind === kind && words.test(JSON.stringify(e)));
    await until(`${kind} ${words}`, found, LIMIT_MS, () => JSON.stringify(this.events.slice(-15), undefined, 1));
  }

  async status(): Promise<BackendReport> {
    const from = this.events.length;
    this.child.stdin!.write('status\n');
    await this.says('status', /./, from);
    return this.events.slice(from).find((e) => e.kind === 'status')!.report!;
  }

  async states(): Promise<string[]> {
    return (await this.status()).bonds[0].paths.map((p) => p.state);
  }

  async become(...states: string[]): Promise<void> {
    await until(
      `${states}`,
      async () => `${await this.states()}` === `${states}`,
      CONNECT_LIMIT_MS,
      () => JSON.stringify(this.events.slice(-15), undefined, 1),
    );
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null) this.child.stdin!.write('stop\n');
    await this.ended;
  }
}

describe('OpenVPN tunnels', { skip }, () => {
  let net: Veths;
  let certificates: Awaited<ReturnType<typeof makeCertificates>>;
  const running: End[] = [];

  before(async () => {
    net = await Veths.open();
    certificates = await makeCertificates();
  });
  after(async () => {
    await net?.close();
    certificates?.remove();
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((end) => end.stop()));
    for (const at of ['router', 'server'] as const) {
      assert.deepEqual(openvpns(at), [], 'no OpenVPN is left');
      assert.doesNotMatch(await net.must(at, ['ip', '-br', 'link']), /bond0-t/);
    }
  });

  const openvpns = (at: 'router' | 'server') =>
    execFileSync('ip', ['netns', 'pids', net.namespace(at)], { encoding: 'utf8' })
      .split('\n')
      .filter((pid) => pid !== '' && existsSync(`/proc/${pid}`))
      .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('openvpn'));

  const settings = (dir = certificates.dir) =>
    hasty(dir, [
      { device: 'eth1', local: '192.0.2.2', server: SERVER, port: 1194 },
      { device: 'eth2', local: '198.51.100.2', server: SERVER, port: 1195 },
    ]);
  const write = (name: string, value: BackendSettings) => {
    const text = JSON.stringify(value, (_key, v) => (v instanceof Uint8Array ? { bytes: [...v] } : v));
    const path = join(net.folder, name);
    writeFileSync(path, text);
    return path;
  };
  const start = (at: 'router' | 'server', value: BackendSettings) => {
    const end = new End(net.namespace(at), write(`${at}.json`, value), join(net.folder, at));
    running.push(end);
    return end;
  };
  const pair = async (ends = settings()) => {
    const server = start('server', ends.server);
    await server.says('started');
    const router = start('router', ends.router);
    await router.says('started');
    await router.become('up', 'up');
    await server.become('up', 'up');
    return { server, router, ends };
  };

  test('two tunnels stand, each by its own line; what they are is known, secrets are closed', async () => {
    const { router, server } = await pair();
    const { bonds } = await router.status();
    assert.equal(bonds[0].established, true);
    assert.equal(bonds[0].cipher, 'aes-256-gcm');
    assert.equal(bonds[0].innerMtu, 1400);
    const paths = bonds[0].paths.map((p) => [p.name, p.local.split(':')[0], p.remote]);
    assert.deepEqual(paths, [
      ['link0', '192.0.2.2', `${SERVER}:1194`],
      ['link1', '198.51.100.2', `${SERVER}:1195`],
    ]);
    await until('bytes', async () =>
      (await server.status()).bonds[0].paths.every((p) => p.rxBytes > 0 && p.txBytes > 0),
    );
    for (const p of bonds[0].paths) assert.ok(p.srttMs > 0);
    const folder = join(net.folder, 'router', 'openvpn');
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    for (const file of readdirSync(folder).filter((f) => f.endsWith('.conf'))) {
      assert.equal(statSync(join(folder, file)).mode & 0o777, 0o600);
    }
    assert.ok(router.events.some((e) => e.kind === 'log' && /^link0: openvpn: .*Initialization/.test(e.text ?? '')));
    const from = (await net.must('router', ['ip', '-br', 'link'])).split('\n').filter((l) => l.startsWith('bond0-t'));
    assert.equal(from.length, 2);
    await router.stop();
    await server.stop();
    assert.ok(!existsSync(folder));
  });

  test('killed, left out, on a dead line: a tunnel comes back, and the other is not disturbed', async () => {
    const { router, ends } = await pair();
    const [first, second] = openvpns('router');
    const seen = router.events.length;
    process.kill(Number(first), 'SIGKILL');
    await router.says('log', /openvpn ended .*again in 1 s/, seen);
    await router.become('up', 'up');
    assert.ok(openvpns('router').includes(second));
    const fallen = router.events.slice(seen).filter((e) => e.kind === 'path' && e.state === 'down');
    assert.equal(fallen.length, 1);

    const before = openvpns('router').sort();
    const set = async (value: BackendSettings) => {
      const from = router.events.length;
      router.child.stdin!.write(`set ${write('new.json', value)}\n`);
      await router.says('set', /./, from);
    };
    await set(ends.router);
    assert.deepEqual(openvpns('router').sort(), before);
    await set({ ...ends.router, links: ends.router.links.map((l, i) => ({ ...l, usable: i === 1 })) });
    assert.deepEqual(await router.states(), ['closed', 'up']);
    assert.equal(openvpns('router').length, 1);
    await set(ends.router);
    await router.become('up', 'up');

    await net.ip('server', 'link set dev eth1 down');
    await router.become('down', 'up');
    await net.ip('server', 'link set dev eth1 up');
    await router.become('up', 'up');
  });

  test('when yoke is killed its tunnels end, and the next start is an ordinary one', async () => {
    const { router, server, ends } = await pair();
    assert.equal(openvpns('router').length, 2);
    const node = execFileSync('ip', ['netns', 'pids', net.namespace('router')], { encoding: 'utf8' })
      .split('\n')
      .find((pid) => pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(END));
    process.kill(Number(node), 'SIGKILL');
    await router.ended;
    await until('the end of its tunnels', () => openvpns('router').length === 0, LIMIT_MS);
    await server.says('path', /down/);
    const again = start('router', ends.router);
    await again.says('started');
    await again.become('up', 'up');
  });

  test('one that comes back from another port soon after its death is heard', async () => {
    const ends = settings();
    const links = (port: number) => ({
      ...ends.router,
      links: ends.router.links.map((l) => ({ ...l, localPort: port })),
    });
    const server = start('server', ends.server);
    await server.says('started');
    const router = start('router', links(5001));
    await router.says('started');
    await router.become('up', 'up');
    for (const pid of openvpns('router')) process.kill(Number(pid), 'SIGKILL');
    router.child.stdin!.write('stop\n');
    await router.ended;
    const again = start('router', links(5002));
    await again.says('started');
    await again.become('up', 'up');
  });

  test('a new list of revoked certificates counts at once; tunnels that stand begin anew one after the other', async () => {
    const own = await makeCertificates();
    const pki = () => new Pki({ dir: own.dir, now: new Date() });
    try {
      await pki().issue('lost', 'router');
      const ends = settings(own.dir);
      const list = join(own.dir, 'crl.pem');
      ends.server.openvpn!.lines.push(`crl-verify ${list}`);
      ends.server.openvpn!.files.push({ where: 'option crl_verify', option: 'crl_verify', path: list });
      const { server } = await pair(ends);
      const told = (from: number) =>
        server.events.slice(from).flatMap((e) => (e.kind === 'path' ? [`${e.path} ${e.state}`] : []));

      let from = server.events.length;
      await pki().revoke('lost');
      await server.says('log', /crl\.pem has changed/, from);
      await until(
        'both anew',
        () => told(from).length >= 4,
        LIMIT_MS,
        () => `${told(from)}`,
      );
      assert.deepEqual(told(from), ['link0 down', 'link0 up', 'link1 down', 'link1 up']);

      from = server.events.length;
      await pki().revoke('home');
      for (const link of ['link0', 'link1'])
        await server.says('log', new RegExp(`${link}: openvpn: .*certificate revoked`), from);
      assert.deepEqual(told(from), ['link0 down', 'link1 down']);
      for (const state of await server.states()) assert.notEqual(state, 'up');
    } finally {
      own.remove();
    }
  });

  test('bad input is one line each, and nothing is left', async () => {
    const refusal = async (change: (s: BackendSettings) => void): Promise<string[]> => {
      const { server } = settings();
      change(server);
      const end = start('server', server);
      await end.says('refused');
      assert.equal(await end.ended, 1);
      return end.events.find((e) => e.kind === 'refused')!.text!.split('\n');
    };
    const missing = await refusal((s) => {
      s.openvpn!.files[0] = { where: 'bonding:7 option ca', option: 'ca', path: '/none/ca.crt' };
    });
    assert.deepEqual(missing, [
      'bonding:7 option ca: expected a readable file, found no file /none/ca.crt; make it, or correct the path',
    ]);
    const unknown = await refusal((s) => s.openvpn!.lines.push('no-such-option 1'));
    assert.match(
      unknown[0],
      /^link link0: openvpn: expected .*, found Options error: Unrecognized option.*no-such-option/,
    );
    await net.ip('server', 'link add bond0-t1 type veth peer name other');
    const taken = await refusal(() => {});
    await net.ip('server', 'link del bond0-t1');
    assert.equal(taken.length, 1);
    assert.match(taken[0], /device bond0-t1: expected a device name that is free, found a device of that name; choose/);
  });
});

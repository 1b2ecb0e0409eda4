/** `yoke test` as a process, against the daemon's own service and a web server, over loopback. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAddress, parsePrefix } from '../../src/base/address.ts';
import { parseTarget } from '../../src/cli/speed-targets.ts';
import { printResult } from '../../src/cli/test.ts';
import { startSpeedTest } from '../../src/daemon/speedtest.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
/** Loopback has room: an address for this process alone, so that the service's port is free there. */
const NEAR = `127.77.${process.pid & 255}.2`;
const FAR = `127.77.${process.pid & 255}.1`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-test-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function yoke(...argv: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const file = join(dir, 'bonding');
  writeFileSync(
    file,
    `config interface 'bond'
  option ipaddr '${NEAR}/24'
  option remote_ipaddr '${FAR}'
  option private_key_file '/none'
  option public_key '3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08='
config link 'a'
  option interface 'eth-none'
  option server '192.0.2.1'
`,
  );
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [MAIN, 'test', '--config', file, ...argv]);
    const said = { out: '', err: '' };
    child.stdout.on('data', (d) => {
      said.out += d;
    });
    child.stderr.on('data', (d) => {
      said.err += d;
    });
    child.on('close', (code) => resolve({ ...said, code }));
  });
}

test('against the server: words for both ways, or one JSON value for one of them', async () => {
  const service = await startSpeedTest({ addresses: [parseAddress(FAR)!], allowed: [parsePrefix(`${NEAR}/32`)!] });
  try {
    const words = await yoke('--seconds', '1');
    assert.equal(words.code, 0, words.err);
    const [head, down, up] = words.out.split('\n');
    assert.equal(head, `from ${NEAR} (bond0) to ${FAR}, 1 s each way`);
    assert.match(down, /^down +\d+\.\d\d Mbit\/s {2}\(\d+\.\d MB in \d\.\d s\)$/);
    assert.match(up, /^up +\d+\.\d\d Mbit\/s /);
    const json = JSON.parse((await yoke('--seconds', '1', '--up', '--json')).out);
    assert.deepEqual(Object.keys(json), ['local', 'target', 'up']);
    assert.ok(json.up.bps > 1e6 && Math.abs(json.up.bps - (json.up.bytes * 8000) / json.up.elapsedMs) < 1);
  } finally {
    await service.stop();
  }
});

test('against a web address, behind a redirect', async () => {
  const server = createServer((request, response) => {
    assert.equal(request.socket.remoteAddress, NEAR);
    if (request.url === '/') response.writeHead(302, { location: '/big' }).end();
    else if (request.url === '/big') response.end(Buffer.alloc(3_000_000));
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, FAR, resolve));
  const base = `http://${FAR}:${(server.address() as AddressInfo).port}`;
  try {
    const { code, out, err } = await yoke('--url', `${base}/`, '--json', '--seconds', '5');
    assert.equal(code, 0, err);
    assert.equal(JSON.parse(out).down.bytes, 3_000_000);
    const missing = await yoke('--url', `${base}/none`);
    assert.equal(missing.code, 1);
    assert.match(missing.err, /\/none: expected something to fetch, found 404; /);
  } finally {
    server.close();
  }
});

test('against an iperf3 server, both ways', { skip: spawnSync('iperf3', ['-v']).error && 'no iperf3' }, async () => {
  const port = String(20_000 + (process.pid % 20_000));
  const server = spawn('iperf3', ['-s', '-B', FAR, '-p', port, '--forceflush'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    await once(server.stdout, 'data');
    const { code, out, err } = await yoke('--iperf3', `${FAR}:${port}`, '--json', '--seconds', '1');
    assert.equal(code, 0, err);
    const { down, up } = JSON.parse(out);
    assert.ok(down.bps > 1e6 && up.bps > 1e6, out);
  } finally {
    server.kill();
    await once(server, 'exit');
  }
  const { code, err } = await yoke('--iperf3', `${FAR}:${port}`);
  assert.equal(code, 1);
  assert.match(err, /^iperf3 -c 127.*expected a result, found .*refused/);
});

test('no server, wrong targets, wrong numbers', async () => {
  const none = await yoke();
  assert.equal(none.code, 1);
  assert.match(none.err, /expected a test of its own, found ECONNREFUSED; see whether the bond is up/);
  assert.match((await yoke('--url', 'ftp://x/')).err, /^--url: expected http:\/\/ or https:\/\//);
  assert.match((await yoke('--iperf3', '-c')).err, /^--iperf3: expected HOST or HOST:PORT, found "-c"/);
  assert.equal((await yoke('--seconds', '31')).code, 2);
});

test('targets and results, read and printed', () => {
  assert.deepEqual(parseTarget('host.example'), { host: 'host.example' });
  assert.deepEqual(parseTarget('192.0.2.1:5202'), { host: '192.0.2.1', port: '5202' });
  assert.deepEqual(parseTarget('2001:db8::1'), { host: '2001:db8::1' });
  assert.deepEqual(parseTarget('[2001:db8::1]:5202'), { host: '2001:db8::1', port: '5202' });
  for (const bad of ['', '-c', 'a b', 'a:b', 'a;b']) assert.equal(parseTarget(bad), undefined, bad);
  assert.equal(
    printResult('up', { bps: 21_900_000, bytes: 27_400_000, elapsedMs: 10_009 }),
    'up      21.90 Mbit/s  (27.4 MB in 10.0 s)',
  );
});

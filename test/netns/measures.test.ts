/** `yoke doctor` beside a router that is not running, and `yoke test` through a real bond. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DoctorReport } from '../../src/cli/doctor/print.ts';
import { printKey } from '../../src/config/kinds.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import { SPEEDTEST_PORT } from '../../src/daemon/speedtest.ts';
import { CANNOT, type End, type Program, SERVER, until, Veths } from './veths.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];

describe('measures', { skip: CANNOT }, () => {
  let net: Veths;
  const config: Partial<Record<End, string>> = {};

  before(async () => {
    net = await Veths.open();
    const keys = { router: generatePrivateKey(), server: generatePrivateKey() };
    const common = (at: End) => {
      const file = net.write(`${at}.key`, `${printKey(keys[at])}\n`);
      return `config interface 'bond'\n  option role '${at}'\n  option private_key_file '${file}'\n`;
    };
    config.router = net.write(
      'router.conf',
      `${common('router')}  option ipaddr '10.77.0.2/24'
  option remote_ipaddr '10.77.0.1'
  option public_key '${printKey(publicKeyOf(keys.server))}'
config link 'one'
  option interface 'eth1'
  option server '${SERVER}'
  option down '20mbit'
config link 'two'
  option interface 'eth2'
  option server '${SERVER}'
  option down '10mbit'
`,
    );
    config.server = net.write(
      'server.conf',
      `${common('server')}  option ipaddr '10.77.0.1/24'
config client 'router'
  option public_key '${printKey(publicKeyOf(keys.router))}'
  option ipaddr '10.77.0.2'
`,
    );
  });
  after(() => net?.close());

  const words = (at: End, command: string) => [
    ...[...YOKE, command, '--config', config[at]!],
    ...['--run-dir', join(net.folder, at)],
  ];

  test('doctor measures each link by its own device, finds a smaller packet size on the way, and changes nothing', async () => {
    // a veth lets four bytes more pass; what is larger is lost without a word, as behind a wrongly set tunnel of a provider
    await net.ip('server', 'link set dev eth2 mtu 1412');
    const before = await net.picture('router');
    const { stdout, stderr } = await net.exec('router', [...words('router', 'doctor'), '--json'], 60_000);
    await net.ip('server', 'link set dev eth2 mtu 1500');
    assert.equal(await net.picture('router'), before);
    const report = JSON.parse(stdout || stderr) as DoctorReport;
    assert.deepEqual(
      report.links.map((l) => [l.name, l.device, l.server, l.loss, l.mtu]),
      [
        ['one', 'eth1', SERVER, 0, 1500],
        ['two', 'eth2', SERVER, 0, 1500],
      ],
    );
    for (const l of report.links) assert.ok(l.rttMs && l.rttMs.min > 0 && l.rttMs.min <= l.rttMs.avg);
    assert.equal(report.links[0].pathMtu, 1500);
    assert.ok(report.links[1].pathMtu! <= 1416 && report.links[1].pathMtu! >= 1408, `${report.links[1].pathMtu}`);
    assert.ok(report.findings.some((f) => f.about === 'link two' && /device says 1500/.test(f.text)));
    assert.ok(
      report.findings.some((f) => f.about === 'start' && f.level === 'good'),
      stdout,
    );
    assert.ok(report.expectation!.downBps! > 25e6 && report.expectation!.limit === 'links');
  });

  test('doctor says which line is dead', async () => {
    await net.ip('server', 'link set dev eth2 down');
    const { code, stdout } = await net.exec('router', words('router', 'doctor'));
    await net.ip('server', 'link set dev eth2 up');
    assert.equal(code, 1);
    assert.match(stdout, /^BAD {2}link two: eth2 has no carrier$/m);
  });

  test('yoke test through the bond, both ways; nobody outside is served', async () => {
    const running: Program[] = [];
    try {
      for (const at of ['server', 'router'] as const) {
        const program = net.spawn(at, words(at, 'run'));
        running.push(program);
        await program.says(/info bond0 is there/);
      }
      await until(
        'a reply',
        async () => (await net.exec('router', ['ping', '-c', '1', '-W', '1', '10.77.0.1'])).code === 0,
      );
      const { code, stdout, stderr } = await net.exec('router', [
        ...words('router', 'test'),
        '--seconds',
        '1',
        '--json',
      ]);
      assert.equal(code, 0, stderr);
      const { local, target, down, up } = JSON.parse(stdout);
      assert.deepEqual([local, target], ['10.77.0.2', '10.77.0.1']);
      assert.ok(down.bps > 1e6 && up.bps > 1e6, stdout);
      const sockets = await net.must('server', ['ss', '-Htln', `sport = :${SPEEDTEST_PORT}`]);
      assert.deepEqual(
        sockets.split('\n').flatMap((l) => /\S+:30327/.exec(l) ?? []),
        [`10.77.0.1:${SPEEDTEST_PORT}`],
      );
    } finally {
      for (const program of running) {
        program.child.kill('SIGTERM');
        await program.ended();
      }
    }
  });
});

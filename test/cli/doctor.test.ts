/** What `yoke doctor` makes of figures, and what it says as a process; nothing here needs rights. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { bondFindings } from '../../src/cli/doctor/bond.ts';
import { type CipherSpeed, measureCpu } from '../../src/cli/doctor/ciphers.ts';
import { cpuLimit, expect } from '../../src/cli/doctor/expect.ts';
import { parsePing } from '../../src/cli/doctor/links.ts';
import { type DoctorReport, printDoctor } from '../../src/cli/doctor/print.ts';
import type { Config } from '../../src/config/config.ts';
import { unequalLinks } from '../../src/health/unequal.ts';
import type { Status } from '../../src/status/status.ts';
import { sampleRouter, sampleServer } from '../plan/samples.ts';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const ciphers = (gcmUs: number, chachaUs: number, cbcUs: number): CipherSpeed[] => [
  { cipher: 'aes-256-gcm', packetUs: gcmUs, bps: 0 },
  { cipher: 'chacha20-poly1305', packetUs: chachaUs, bps: 0 },
  { cipher: 'aes-256-cbc+sha1', packetUs: cbcUs, bps: 0 },
];
const FAST = ciphers(0.85, 1.4, 2.5);

test("the article's lines: 22 of 24 Mbit/s by bonding, a little more by multipath; the links limit both", () => {
  const links = ['a', 'b'].map((name) => ({ name, downBps: 12e6, upBps: 1e6, rttMs: 10 }));
  const bonding = expect('openvpn', links, FAST);
  assert.deepEqual([bonding.downBps, bonding.upBps, bonding.limit, bonding.warnings], [21.6e6, 1.8e6, 'links', []]);
  const multipath = expect('multipath', links, FAST);
  assert.ok(multipath.downBps! > 22e6 && multipath.downBps! < 24e6);
});

test('bonding goes at the pace of the slowest link, multipath has the sum', () => {
  const links = [
    { name: 'fast', downBps: 48e6, upBps: 12e6 },
    { name: 'slow', downBps: 12e6, upBps: 12e6 },
  ];
  assert.equal(expect('openvpn', links, FAST).downBps, 21.6e6);
  assert.ok(expect('multipath', links, FAST).downBps! > 50e6);
});

test('a slow CPU is named as the limit; nothing is invented where rates are not known', () => {
  const slow = ciphers(60, 40, 120);
  const links = [{ name: 'a', downBps: 1e9, upBps: 1e9 }];
  const e = expect('multipath', links, slow);
  assert.deepEqual([e.limit, e.downBps], ['cpu', e.cpuBps]);
  assert.ok(e.cpuBps < 150e6);
  const unknown = expect('multipath', [{ name: 'a', downBps: 1e6 }, { name: 'b' }], FAST);
  assert.deepEqual([unknown.limit, 'downBps' in unknown, 'upBps' in unknown], ['unknown', false, false]);
});

test('a faster cipher never lowers what a core carries', () => {
  const us = fc.double({ min: 0.1, max: 1000, noNaN: true });
  fc.assert(
    fc.property(us, us, us, fc.constantFrom('multipath' as const, 'openvpn' as const), (gcm, chacha, cbc, engine) => {
      const now = cpuLimit(engine, ciphers(gcm, chacha, cbc));
      assert.ok(cpuLimit(engine, ciphers(gcm / 2, chacha / 2, cbc / 2)) >= now);
    }),
  );
});

test('unequal links are told, with the link and the way out of it; equal ones are not', () => {
  const near = { name: 'near', rttMs: 10, downBps: 12e6, upBps: 3e6 };
  assert.deepEqual(unequalLinks([near, { ...near, name: 'other', rttMs: 70, downBps: 15e6 }]), []);
  assert.deepEqual(unequalLinks([near]), []);
  const far = unequalLinks([near, { ...near, name: 'far', rttMs: 110 }]);
  assert.equal(far.length, 1);
  assert.match(far[0], /^link far answers 100 ms later than near: .*use engine 'multipath'$/);
  const slow = unequalLinks([near, { ...near, name: 'slow', downBps: 4e6 }]);
  assert.equal(slow.length, 1);
  assert.match(slow[0], /^link near is 3\.0 times as fast as slow \(down\)/);
  assert.match(unequalLinks([near, { ...near, name: 'lossy', loss: 0.01 }])[0], /^link lossy loses 1\.0 % /);
});

test('the closing lines of two pings', () => {
  const iputils =
    '--- 192.0.2.1 ping statistics ---\n5 packets transmitted, 4 received, 20% packet loss, time 803ms\nrtt min/avg/max/mdev = 10.1/12.5/20.25/1.2 ms\n';
  assert.deepEqual(parsePing(iputils), { loss: 0.2, rttMs: { min: 10.1, avg: 12.5, max: 20.25 } });
  const busybox =
    '3 packets transmitted, 3 packets received, 0% packet loss\nround-trip min/avg/max = 0.058/0.060/0.063 ms\n';
  assert.deepEqual(parsePing(busybox), { loss: 0, rttMs: { min: 0.058, avg: 0.06, max: 0.063 } });
  const dead = '5 packets transmitted, 0 received, +5 errors, 100% packet loss, time 4086ms\n';
  assert.deepEqual(parsePing(dead), { loss: 1 });
  assert.equal(parsePing('ping: invalid option'), undefined);
});

test('every cipher in use is measured', () => {
  const cpu = measureCpu(5);
  assert.deepEqual(
    cpu.ciphers.map((c) => c.cipher),
    ['aes-256-gcm', 'chacha20-poly1305', 'aes-256-cbc+sha1'],
  );
  for (const c of cpu.ciphers) {
    assert.ok(c.packetUs > 0.01 && c.packetUs < 1e4, `${c.cipher} ${c.packetUs}`);
    assert.ok(Math.abs(c.bps - 11_200e6 / c.packetUs) < c.bps * 1e-6 + 1);
  }
});

test('words for eyes', () => {
  const report: DoctorReport = {
    version: 1,
    engine: 'openvpn',
    cpu: { model: 'Atom', cores: 4, aes: true, direct: true, ciphers: [{ ...FAST[0], bps: 13.176e9 }] },
    links: [
      {
        name: 'dsl',
        device: 'eth1',
        trouble: '',
        server: '192.0.2.1',
        mtu: 1500,
        pathMtu: 1492,
        loss: 0,
        rttMs: { min: 1, avg: 2, max: 3 },
      },
      { name: 'lte', device: 'wwan0', trouble: 'wwan0 is down', server: '192.0.2.1', mtu: 0 },
    ],
    findings: [
      { level: 'good', about: 'clock', text: 'right' },
      { level: 'bad', about: 'link lte', text: 'wwan0 is down' },
    ],
    expectation: { downBps: 21.6e6, upBps: 1.8e6, cpuBps: 4e8, limit: 'links', warnings: [] },
  };
  assert.equal(
    printDoctor(report),
    `cpu: Atom, 4 cores, AES in hardware
  aes-256-gcm        13.18 Gbit/s on one core  (0.85 µs a packet)
link: dsl (eth1) to 192.0.2.1
  rtt: 1 / 2 / 3 ms (least, mean, most)
  loss: 0 %
  mtu: 1500, 1492 to the server
link: lte (wwan0) to 192.0.2.1
ok   clock: right
BAD  link lte: wwan0 is down
expect: about 21.6 Mbit/s down, 1.8 Mbit/s up; the links limit it (one core carries about 400.0 Mbit/s)
`,
  );
});

test('without a configuration the machine is still looked at; the exit code says that something is bad', () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, 'doctor', '--json', '--config', '/none'], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  assert.equal(status, 1);
  const report = JSON.parse(stdout) as DoctorReport;
  assert.equal(report.cpu.ciphers.length, 3);
  assert.ok(report.findings.some((f) => f.level === 'bad' && f.about === 'configuration'));
  for (const about of ['programs', 'kernel', 'clock', 'others']) {
    assert.ok(
      report.findings.some((f) => f.about === about),
      about,
    );
  }
});

test('the bond: a session, or where to look for it; whether anybody has joined; what it warns of', () => {
  const status = (bonds: object[], warnings: string[] = []) => ({ bonds, warnings }) as unknown as Status;
  const path = (state: string) => ({ name: 'one', state });
  const said = (config: Config, of: Status) => bondFindings(config, of).map((f) => `${f.level} ${f.text}`);
  const up = status([{ established: true, paths: [path('up'), path('down')] }], ['beware']);
  assert.deepEqual(said(sampleRouter(), up), ['note beware', 'good a session with the server, 1 of 2 paths up']);
  const [bad] = said(sampleRouter(), status([{ established: false, paths: [path('up')] }]));
  assert.match(bad, /^bad no session with the server, .* UDP port 1194 open/);
  assert.deepEqual(said(sampleServer(), status([])), []);
  assert.deepEqual(said(sampleServer({}, []), status([])), ['note no router has joined yet: yoke invite NAME']);
});

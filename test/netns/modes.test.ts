/** Modes, backup links and quotas with the real daemons, emulated lines and real packets. Named `yk<pid>-…` by the lab, removed by it. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Bond, startBond, waitForStatus, YOKE } from '../../src/lab/daemons.ts';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { probe, transfer, until } from '../../src/lab/measure.ts';
import { Lab } from '../../src/lab/topology.ts';
import type { PathStatus } from '../../src/status/status.ts';
import { startStream } from './stream.ts';

const LIMIT_MS = 20_000;

/** Adds lines to a link's section. */
const say = (text: string, link: string, ...lines: string[]): string =>
  text.replace(`config link '${link}'\n`, (heading) => heading + lines.map((l) => `\t${l}\n`).join(''));

async function pathOf(bond: Bond, name: string): Promise<PathStatus> {
  const path = (await bond.router.status()).bonds[0].paths.find((p) => p.name === name);
  assert.ok(path, name);
  return path;
}

describe('a voice stream chosen by its port, over two lines that lose 20 % each', () => {
  let lab: Lab;
  let bond: Bond;

  before(async () => {
    lab = await Lab.open({ links: ['10mbit/10mbit/20ms', '10mbit/10mbit/35ms'].map(parseLinkSpec), seed: 7 });
    bond = await startBond(lab, 'multipath', {}, (text) =>
      [
        text,
        "config policy 'voice'",
        "\toption proto 'udp'",
        "\toption dest_port '5300-5399'",
        "\toption mode 'redundant'",
      ].join('\n'),
    );
    for (const link of lab.links) await link.set({ lossRate: 0.2 });
  });
  after(() => lab?.close());

  test('loses less than 4 % each way, though the server was told nothing of it', async () => {
    const report = await probe(lab, 20);
    const up = report.upLost / report.sent;
    const down = report.downLost / (report.sent - report.upLost);
    console.log(`# up ${(100 * up).toFixed(2)} %, down ${(100 * down).toFixed(2)} % of ${report.sent}`);
    assert.ok(report.sent > 500, `${report.sent} sent`);
    assert.ok(up < 0.04 && down < 0.04, `lost up ${up}, down ${down}`);
    // Resends alone might reach that: each way the stream was on both lines.
    const leastBytes = 0.9 * report.sent * (160 + 28);
    for (const daemon of [bond.router, bond.server]) {
      for (const { name, txBytes } of (await daemon.status()).bonds[0].paths) {
        assert.ok(txBytes > leastBytes, `${daemon.place}: ${txBytes} bytes by ${name}`);
      }
    }
  });
});

describe('a metered backup line', () => {
  let lab: Lab;
  let bond: Bond;

  before(async () => {
    lab = await Lab.open({ links: ['12mbit/12mbit/10ms', '12mbit/12mbit/20ms'].map(parseLinkSpec), seed: 7 });
    bond = await startBond(lab, 'multipath', {}, (text) =>
      say(
        say(text, 'link0', "option down '6mbit'", "option up '4mbit'"),
        'link1',
        "option mode 'backup'",
        "option quota '2MB'",
        "option quota_action 'off'",
      ),
    );
    await waitForStatus(bond.router);
    await until(async () => (await pathOf(bond, 'link1')).state === 'up', LIMIT_MS, 'link1');
  });
  after(() => lab?.close());

  const yoke = (...argv: string[]) =>
    lab.exec('router', [...YOKE, ...argv, '--run-dir', bond.router.runDir], { timeoutMs: 10_000 });

  test('carries nothing, both ways, while the other is up', async () => {
    // What is said of the other one is an upper limit, for each way its own.
    for (const [direction, limitBps] of [
      ['down', 6e6],
      ['up', 4e6],
    ] as const) {
      const { bps } = await transfer(lab, { meter: 'builtin', direction, flows: 1, seconds: 2, warmupMs: 1000 });
      assert.ok(bps < limitBps && bps > 1e6, `${direction}: ${bps} of ${limitBps}`);
    }
    const { txBytes, rxBytes, standby } = await pathOf(bond, 'link1');
    assert.equal(standby, true);
    assert.ok(txBytes + rxBytes < 60_000, `${txBytes} sent, ${rxBytes} received`);
    await yoke('link', 'mode', 'link1', 'normal');
    await until(async () => (await pathOf(bond, 'link1')).standby === false, LIMIT_MS, 'link1 in use');
    await yoke('link', 'mode', 'link1', 'backup');
    await until(async () => (await pathOf(bond, 'link1')).standby === true, LIMIT_MS, 'link1 at rest');
    const wrong = await yoke('link', 'mode', 'link1', 'spare');
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /^[^\n]*expected 'normal' or 'backup', found 'spare'[^\n]*\n$/);
    const { stdout } = await yoke('status');
    assert.match(stdout, /path: link1\n {4}state: up, stands by/);
    assert.match(stdout, /quota: .* of 2\.00 MB/);
  });

  test('carries when the other is dead; at 80 % a warning, at 100 % it is off, and that outlives a restart', async () => {
    await lab.link(0).cut();
    // More than what is left of its quota.
    await transfer(lab, { meter: 'builtin', direction: 'down', flows: 1, seconds: 2, warmupMs: 500 }).catch(() => {});
    await lab.link(0).restore();
    const link1 = async () => (await bond.router.status()).links.find((l) => l.name === 'link1');
    await until(async () => (await link1())?.quota?.state === 'used', LIMIT_MS, 'the end of the quota');
    await until(async () => (await link1())?.usable === false, LIMIT_MS, 'the link being off');
    assert.equal((await link1())?.reason, 'its quota is used up');
    assert.ok(
      bond.router.log.some((l) => /link1: 8\d % of its quota/.test(l) || /link1: its quota is used up/.test(l)),
    );
    const used = (await link1())?.quota?.usedBytes ?? 0;
    assert.ok(used > 2e6, `${used}`);
    await bond.router.stop();
    const kept = JSON.parse(readFileSync(join(bond.router.runDir, 'usage.json'), 'utf8'));
    assert.ok(kept.links.link1.usedBytes >= used);
    bond.router.start();
    await waitForStatus(bond.router);
    await until(async () => (await link1())?.reason === 'its quota is used up', LIMIT_MS, 'the link being off');
  });
});

describe('a metered client of the server', () => {
  let lab: Lab;
  let bond: Bond;

  before(async () => {
    lab = await Lab.open({ links: ['12mbit/12mbit/10ms', '12mbit/12mbit/20ms'].map(parseLinkSpec), seed: 7 });
    bond = await startBond(lab);
  });
  after(() => lab?.close());

  const reload = async (...lines: string[]) => {
    const file = bond.server.configFile;
    const text = readFileSync(file, 'utf8').replace(/\toption quota.*\n/g, '');
    writeFileSync(
      file,
      text.replace("config client 'router'\n", (h) => h + lines.map((l) => `\t${l}\n`).join('')),
    );
    const done = await lab.exec('server', [...YOKE, 'reload', '--config', file, '--run-dir', bond.server.runDir]);
    assert.equal(done.code, 0, done.stderr);
    return done.stdout;
  };
  const client = async () => (await bond.server.status()).clients?.find((c) => c.name === 'router');
  const rate = async (direction: 'down' | 'up') =>
    (await transfer(lab, { meter: 'builtin', direction, flows: 1, seconds: 3, warmupMs: 2000 })).bps;

  test('is counted over both links, and that its quota comes, goes and is used up costs no packet', async () => {
    assert.ok((await rate('down')) > 6e6);
    const { bonds } = await bond.server.status();
    const stream = await startStream(lab);
    assert.equal(
      await reload("option quota '10GB'"),
      "~ client 'router': quota none → 10GB, quota_reset 1, quota_action slow, quota_rate 1mbit\n",
    );
    assert.ok((await client())!.quota!.usedBytes < 4e6, 'it counts from now, or the second before');
    await reload("option quota '1MB'", "option quota_rate '3mbit'");
    await until(async () => ((await client())?.quota?.usedBytes ?? 0) > 1000, LIMIT_MS, 'the count');
    const outer = ({ paths }: { paths: PathStatus[] }) => paths.reduce((n, p) => n + p.txBytes + p.rxBytes, 0);
    const passed = outer((await bond.server.status()).bonds[0]) - outer(bonds[0]);
    const { usedBytes } = (await client())!.quota!;
    assert.ok(usedBytes <= passed + 4e6, `${usedBytes} counted, ${passed} passed`);
    const { sent, lost } = await stream.end();
    assert.ok(sent > 20 && lost === 0, `${lost} of ${sent} lost`);
  });

  test('at 100 % is slow, both ways, with both links', async () => {
    await rate('down');
    await until(async () => (await client())?.quota?.state === 'used', LIMIT_MS, 'the end of the quota');
    for (const direction of ['down', 'up'] as const) {
      const bps = await rate(direction);
      console.log(`# ${direction} ${(bps / 1e6).toFixed(2)} of 3 Mbit/s`);
      assert.ok(bps < 3.1e6 && bps > 1.5e6, `${direction}: ${bps}`);
    }
    const { stdout } = await lab.exec('server', [...YOKE, 'status', '--run-dir', bond.server.runDir]);
    assert.match(stdout, /^ {2}quota: .* of 1\.00 MB used \(\d+ %\), used up, at 3\.00 Mbit\/s, counts anew on/m);
    assert.match(stdout, /warning: client router: its quota is used up: .*; each way has 3\.00 Mbit\/s/);
    await reload("option quota '10GB'");
    const bps = await rate('down');
    // far above what it had, whatever the machine is busy with
    assert.ok(bps > 6e6, `${bps} with a larger quota`);
    assert.ok((await rate('up')) > 6e6);
  });

  test('off: its session ends, also over a restart of the server; and comes back with a larger quota', async () => {
    await reload("option quota '1MB'", "option quota_action 'off'");
    await until(async () => (await client())?.reason === 'its quota is used up', LIMIT_MS, 'it not being served');
    await until(async () => (await bond.server.status()).bonds.length === 0, LIMIT_MS, 'its session to end');
    const { usedBytes } = (await client())!.quota!;
    await bond.server.stop();
    const kept = JSON.parse(readFileSync(join(bond.server.runDir, 'usage.json'), 'utf8'));
    assert.ok(kept.clients.router.usedBytes >= usedBytes);
    bond.server.start();
    await until(async () => (await client().catch(() => undefined))?.reason !== undefined, LIMIT_MS, 'the server');
    assert.equal((await client())?.reason, 'its quota is used up');
    const { stdout } = await lab.exec('server', [...YOKE, 'status', '--run-dir', bond.server.runDir]);
    assert.match(stdout, /client router: is not served: its quota is used up\n[\s\S]*until \S+; it is not served/);
    await until(async () => (await bond.server.status()).drops['unknown-peer'] > 0, LIMIT_MS, 'it being turned away');
    assert.ok(!bond.server.log.some((l) => /expected the public key of a client/.test(l)), 'it is no stranger');
    await reload("option quota '10GB'");
    await until(async () => (await bond.server.status()).bonds[0]?.established === true, LIMIT_MS, 'its session');
  });
});

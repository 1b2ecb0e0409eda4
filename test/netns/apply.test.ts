/** `yoke apply --confirm` as a remote operator: cut off by his own edit, he gets the old configuration back; also when the daemon dies meanwhile. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Bond, INNER, startBond, waitForStatus, YOKE } from '../../src/lab/daemons.ts';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { Lab } from '../../src/lab/topology.ts';
import { CANNOT, until } from './veths.ts';

describe('apply on trial', { skip: CANNOT }, () => {
  let lab: Lab;
  let bond: Bond;
  let good: string;
  /** With it no packet of the LAN goes by the bond any more: its other end has another key. */
  let bad: string;

  before(async () => {
    lab = await Lab.open({ links: [parseLinkSpec('20mbit/20mbit/5ms'), parseLinkSpec('20mbit/20mbit/5ms')] });
    bond = await startBond(lab);
    await waitForStatus(bond.router);
    good = readFileSync(bond.router.configFile, 'utf8');
    bad = good.replace(/option server '[^']+'/g, "option server '203.0.113.77'");
    assert.notEqual(good, bad);
  });
  after(() => lab?.close());

  const yoke = (...argv: string[]) =>
    lab.exec('router', [...YOKE, ...argv, '--config', bond.router.configFile, '--run-dir', bond.router.runDir]);
  const file = () => readFileSync(bond.router.configFile, 'utf8');
  const beside = (what: string) => join(dirname(bond.router.configFile), `.router.conf.${what}`);
  const pings = async () =>
    (await lab.exec('client', ['ping', '-n', '-q', '-c', '1', '-W', '1', INNER.server])).code === 0;
  const reached = () => until('the server', pings, 20_000, () => bond.router.log.slice(-20).join('\n'));
  const edit = (text: string) => writeFileSync(bond.router.configFile, text);

  test('not confirmed: the old one comes back, into the file and into the bond', async () => {
    edit(bad);
    const { code, stdout, stderr } = await yoke('apply', '--confirm', '5');
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^~ link 'link0': server 203\.0\.113\.2 → 203\.0\.113\.77\n~ link 'link1'.*\non trial until 20.*Z; keep it: yoke confirm/,
    );
    await until('the cut', async () => !(await pings()));
    assert.match((await bond.router.status()).warnings.join(), /on trial until .*: yoke confirm keeps it/);
    await until(
      'the old file',
      () => file() === good,
      15_000,
      () => bond.router.log.slice(-20).join('\n'),
    );
    await reached();
    assert.equal(readFileSync(beside('refused'), 'utf8'), bad);
    assert.ok(!existsSync(beside('trial')) && !existsSync(beside('before')));
    assert.deepEqual((await bond.router.status()).warnings, []);
  });

  test('confirmed: it stays', async () => {
    const more = good.replace('option remote_ipaddr', "option mtu '1300'\n\toption remote_ipaddr");
    edit(more);
    assert.equal((await yoke('apply', '--confirm', '5')).code, 0);
    assert.equal((await yoke('confirm')).stdout, 'confirmed\n');
    await new Promise((resolve) => setTimeout(resolve, 5500));
    assert.equal(file(), more);
    assert.ok(!existsSync(beside('trial')));
    const again = await yoke('confirm');
    assert.equal(again.code, 1);
    assert.match(again.stderr, /expected a configuration on trial, found none; nothing to do/);
    edit(good);
    assert.match((await yoke('apply')).stdout, /^~ bond: mtu 1300 → none\n$/);
  });

  for (const [what, pauseMs] of [
    ['in time: it waits for the rest', 0],
    ['too late: it begins with the old one', 6000],
  ] as const) {
    test(`killed, and started again ${what}`, async () => {
      edit(bad);
      assert.equal((await yoke('apply', '--confirm', '6')).code, 0);
      await bond.router.kill();
      assert.equal(file(), bad);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      bond.router.start();
      await waitForStatus(bond.router);
      if (pauseMs > 0) assert.equal(file(), good);
      await until('the old file', () => file() === good, 15_000);
      await reached();
    });
  }

  test('what does not start is put back at once; what cannot be taken leaves no trial', async () => {
    edit(bad);
    assert.equal((await yoke('apply', '--confirm', '600')).code, 0);
    await bond.router.stop();
    edit(good.replace("option ipaddr '", "option ipaddr 'x"));
    bond.router.start();
    await waitForStatus(bond.router);
    assert.equal(file(), good);
    await reached();
    edit(good.replace('option ipaddr', "option ifname 'other0'\n\toption ipaddr"));
    const { code, stderr } = await yoke('apply', '--confirm', '60');
    assert.equal(code, 1);
    assert.match(stderr, /option ifname: expected 'bond0', as it runs, found 'other0'; restart yoke to change it\n$/);
    assert.ok(!existsSync(beside('trial')));
    edit(good);
    assert.equal((await yoke('apply', '--confirm', '60')).stdout, 'nothing has changed\n');
    for (const seconds of ['4', '3601', 'x']) assert.equal((await yoke('apply', '--confirm', seconds)).code, 2);
    assert.ok(await pings());
  });
});

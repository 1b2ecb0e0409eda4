/** The bonding device as the backend makes it, in a guest kernel: every mode takes a tunnel; whose a name is; a driver's refusal in one line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BackendSettings } from '../../src/backend/backend.ts';
import {
  addSlave,
  changeBond,
  hasDriver,
  holderOf,
  leftovers,
  makeBond,
  removeBond,
  slavesOf,
  takesTun,
} from '../../src/backend/openvpn/bond-device.ts';
import { YokeError } from '../../src/base/error.ts';
import { BONDING_MODES } from '../../src/config/bonding.ts';
import { pairOf } from '../backend/openvpn-samples.ts';
import { sh } from '../host/namespace.ts';
import { inGuest } from './guest.ts';

const OWNER = 'yoke /run/yoke-test';
const quiet = () => {};

function settings(mode: string, parameters: { name: string; value: string }[] = []): BackendSettings {
  const { router } = pairOf('/none', [{ device: 'lo', local: '127.0.0.1', server: '127.0.0.2', port: 1 }]);
  const openvpn = { ...router.openvpn!, mode, parameters, peerAddress: Uint8Array.of(10, 0, 0, 1) };
  return { ...router, ifname: 'ykb0', openvpn };
}

inGuest(process.argv[1], () => {
  for (const mode of BONDING_MODES) {
    test(`mode ${mode}`, async () => {
      sh('ip tuntap add dev ykt0 mode tap');
      await makeBond(settings(mode), 'tap', OWNER, quiet);
      await addSlave(settings(mode, [{ name: 'primary', value: 'ykt0' }]), 'ykt0', quiet).catch(async (error) => {
        // only some modes have a preferred slave
        if (['active-backup', 'balance-tlb', 'balance-alb'].includes(mode)) throw error;
      });
      assert.deepEqual(
        (await slavesOf('ykb0')).map((s) => s.device),
        ['ykt0'],
      );
      assert.equal(await holderOf('ykb0', OWNER), 'us');
      const [{ gso_max_segs }] = JSON.parse(sh('ip -j -d link show dev ykb0'));
      assert.equal(gso_max_segs === 1, mode === 'balance-rr', 'packets are dealt out singly, where in turn');
      assert.deepEqual(await leftovers(OWNER), ['ykb0']);
      await removeBond('ykb0');
      await removeBond('ykb0');
      sh('ip link del ykt0');
      assert.equal(await holderOf('ykb0', OWNER), 'nobody');
    });
  }

  test('a device that the driver made and nobody uses gives way; one that is used does not', async () => {
    sh('ip link add ykb0 type bond');
    await makeBond(settings('balance-rr'), 'tap', OWNER, quiet);
    await removeBond('ykb0');
    sh('ip link add ykb0 type bond');
    sh('ip link set ykb0 up');
    await assert.rejects(
      makeBond(settings('balance-rr'), 'tap', OWNER, quiet),
      /device ykb0: expected a device name that is free/,
    );
    assert.equal(await holderOf('ykb0', OWNER), 'somebody');
    sh('ip link del ykb0');
  });

  test('a parameter that the driver refuses is one line, and nothing is left', async () => {
    const bad = settings('balance-rr', [{ name: 'lacp_rate', value: 'fast' }]);
    await assert.rejects(
      makeBond(bad, 'tap', OWNER, quiet),
      (e) => e instanceof YokeError && e.complaints.length === 1,
    );
    assert.equal(await holderOf('ykb0', OWNER), 'nobody');
  });

  test('a running device takes new parameters; what it does not take, and another mode, is told of', async () => {
    const value = (name: string) => sh(`cat /sys/class/net/ykb0/bonding/${name}`).trim();
    const change = (before: BackendSettings, now: BackendSettings) => changeBond(before, now, 'tap', quiet);
    const before = settings('balance-rr', [{ name: 'resend_igmp', value: '3' }]);
    sh('ip tuntap add dev ykt0 mode tap');
    await makeBond(before, 'tap', OWNER, quiet);
    await addSlave(before, 'ykt0', quiet);
    const said = [
      { name: 'arp_interval', value: '500' },
      { name: 'packets_per_slave', value: '2' },
      { name: 'fail_over_mac', value: 'active' },
    ];
    const now = settings('balance-rr', said);
    const sentences = await change(before, now);
    assert.deepEqual([value('arp_interval'), value('packets_per_slave')], ['500', '2']);
    assert.deepEqual(value('arp_ip_target'), '10.0.0.1');
    assert.equal(sentences.length, 2, `${sentences}`);
    assert.match(sentences[0], /^resend_igmp, which the file no longer says, goes only with a restart of yoke$/);
    assert.match(sentences[1], /^fail_over_mac 'active' only with a restart of yoke: /);
    assert.deepEqual(await change(now, now), []);
    assert.deepEqual(
      await change(now, settings('balance-rr', [{ name: 'miimon', value: '300' }, ...said.slice(1)])),
      [],
    );
    assert.deepEqual([value('arp_interval'), value('miimon')], ['0', '300']);
    assert.deepEqual(await change(now, settings('active-backup', said)), [
      "mode 'active-backup' only with a restart of yoke: the bond is in 'balance-rr'",
    ]);
    await removeBond('ykb0');
    sh('ip link del ykt0');
  });

  test('tries in a throw-away namespace leave nothing', async () => {
    const before = sh('ip -br link');
    assert.equal(await hasDriver(), true);
    assert.equal(await takesTun('balance-rr'), false);
    assert.equal(await takesTun('active-backup'), true);
    assert.equal(sh('ip -br link'), before);
  });
});

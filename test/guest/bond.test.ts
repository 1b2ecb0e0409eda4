/** The kernel's bonding driver, as the second backend stands on it: facts, tried in a guest kernel. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { sh } from '../host/namespace.ts';
import { inGuest } from './guest.ts';

/** Two namespaces with a bond each, over the two ends of two veth pairs. */
function bondOverVeths(): void {
  for (const end of ['a', 'b']) sh(`ip netns add ${end}`);
  for (const i of [0, 1]) sh(`ip link add s${i} netns a type veth peer name s${i} netns b`);
  for (const [end, address] of [
    ['a', '10.0.0.1'],
    ['b', '10.0.0.2'],
  ]) {
    sh(`ip -n ${end} link add bond0 type bond mode balance-rr`);
    for (const i of [0, 1]) sh(`ip -n ${end} link set s${i} master bond0`);
    sh(`ip -n ${end} address add ${address}/24 dev bond0`);
    sh(`ip -n ${end} link set bond0 up`);
  }
}

const packets = (device: string) =>
  Number(sh(`ip netns exec a cat /sys/class/net/${device}/statistics/tx_packets`).trim());

const facts = () => {
  test('balance-rr: every answer comes, and both slaves carry their half', () => {
    bondOverVeths();
    const before = [packets('s0'), packets('s1')];
    const said = sh('ip netns exec a ping -n -q -i 0.02 -c 40 -w 10 10.0.0.2');
    assert.match(said, /40 packets transmitted, 40 received/);
    const carried = ['s0', 's1'].map((device, i) => packets(device) - before[i]);
    for (const count of carried) assert.ok(count >= 18, `${carried}`);
  });

  test('a TAP is taken as a slave; a TUN is refused in balance-rr, which is why yoke uses TAPs', () => {
    for (const kind of ['tap', 'tun']) {
      sh(`ip link add bond-${kind} type bond mode balance-rr`);
      sh(`ip tuntap add dev ${kind}9 mode ${kind}`);
    }
    sh('ip link set tap9 master bond-tap');
    assert.match(sh('ip link show master bond-tap'), /tap9/);
    const refused = spawnSync('ip', ['link', 'set', 'tun9', 'master', 'bond-tun'], { encoding: 'utf8' });
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /not supported/);
  });
};

// a fact is one when both kernels have it
for (const kernel of ['own', 'debian'] as const) inGuest(process.argv[1], facts, { kernel });

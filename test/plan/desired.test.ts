/** What the wish says beyond the golden cases: errors, nftables text, what does not flap. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, parsePrefix, printPrefix } from '../../src/base/address.ts';
import { printCommand } from '../../src/plan/command.ts';
import { desired } from '../../src/plan/desired.ts';
import type { Facts } from '../../src/plan/facts.ts';
import { desiredNft, markOfListing, nftTableName, outermost } from '../../src/plan/nft.ts';
import { sampleClient, sampleLink, sampleRouter, sampleServer } from './samples.ts';

const FACTS: Facts = {
  ipv6: true,
  devices: ['eth1'],
  tables: { dsl: 300, main: 254 },
  links: [],
  raDevices: [],
  things: [],
};

test('a routing table of a link is a number, a known name, and never one of the system', () => {
  const tableOf = (routingTable: string) =>
    desired(sampleRouter({}, [sampleLink('one', 'eth1', { routingTable })]), FACTS).owns.tables.at(-1);
  assert.equal(tableOf('1234'), 1234);
  assert.equal(tableOf('dsl'), 300);
  assert.throws(() => tableOf('cable'), /bonding:1: link 'one': expected a routing table number.*found 'cable'/);
  for (const system of ['main', '254', '255', '253', '0'])
    assert.throws(() => tableOf(system), /which is the system's/);
});

test('a setting that is as we would have it stays wanted: a second look takes nothing back', () => {
  const config = sampleRouter({}, [sampleLink('one', 'eth1')]);
  const links = [{ name: 'one', device: 'eth1', up: true, mtu: 1500 }];
  const wish = (values: Record<string, string>) =>
    desired(config, {
      ...FACTS,
      links,
      devices: ['eth1', 'lan0'],
      things: Object.entries(values).map(([key, value]) => ({ kind: 'sysctl', key: `net/${key}`, value })),
    }).things.flatMap((t) => (t.kind === 'sysctl' ? [`${t.key.slice(4)}=${t.value}`] : []));
  const all = 'ipv6/conf/all/forwarding';
  const [rp, ra, lan] = ['ipv4/conf/eth1/rp_filter', 'ipv6/conf/eth1/accept_ra', 'ipv6/conf/lan0/accept_ra'];
  for (const value of ['1', '2']) assert.deepEqual(wish({ [rp]: value }), [`${rp}=2`]);
  assert.deepEqual(wish({ [rp]: '0' }), []);
  assert.deepEqual(wish({ [rp]: '0', 'ipv4/conf/all/rp_filter': '1' }), [`${rp}=2`]);
  for (const value of ['1', '2']) assert.deepEqual(wish({ [ra]: value, [all]: '1' }), [`${ra}=2`, `${all}=1`]);
  assert.deepEqual(wish({ [ra]: '0', [all]: '0' }), [`${all}=1`], 'who does not listen is left alone');
  assert.deepEqual(wish({ [lan]: '1', [all]: '0' }), [`${lan}=2`, `${all}=1`]);
  assert.deepEqual(wish({ [lan]: '2', [all]: '1' }), [`${lan}=2`, `${all}=1`]);
  assert.deepEqual(wish({ [lan]: '1', [all]: '1' }), [`${all}=1`], "the user's router does not listen there");
});

test('names of tables, whatever the device is called', () => {
  assert.equal(nftTableName('bond0'), 'yoke_bond0');
  assert.equal(nftTableName('eth0.2'), 'yoke_eth0.2');
  assert.equal(nftTableName('b@d+1'), 'yoke_b/40d/2b1');
});

test('the mark of a table tells changed text and changed rules', () => {
  const one = desiredNft(sampleRouter());
  assert.equal(markOfListing(one.text), one.mark);
  assert.notEqual(desiredNft(sampleRouter({ masquerade: false })).mark, one.mark);
  const more = one.text.replace('masquerade\n', 'masquerade\n\t\tcounter drop\n');
  assert.notEqual(markOfListing(more), one.mark);
  assert.notEqual(markOfListing('table inet x {\n}\n'), one.mark);
});

test('a server translates what its clients send, each family as it can', () => {
  const clients = [
    sampleClient('a', ['10.7.0.2/32', 'fd00::/64']),
    sampleClient('b', ['0.0.0.0/0'], { disabled: true }),
  ];
  const nat = (bond: Parameters<typeof sampleServer>[0]) =>
    desiredNft(sampleServer(bond, clients)).text.match(/oifname != .*/g) ?? [];
  assert.deepEqual(nat({}), [
    'oifname != "bond0" ip saddr 10.7.0.2/32 masquerade',
    'oifname != "bond0" ip6 saddr fd00::/64 masquerade',
  ]);
  const publicIpaddr = parseAddress('203.0.113.7');
  assert.deepEqual(nat({ publicIpaddr })[0], 'oifname != "bond0" ip saddr 10.7.0.2/32 snat ip to 203.0.113.7');
  assert.equal(nat({ publicIpaddr, masquerade: false }).length, 1);
  assert.deepEqual(nat({ masquerade: false }), []);
});

test('of prefixes inside each other the outer one is kept', () => {
  const kept = (...texts: string[]) => outermost(texts.map((t) => parsePrefix(t)!)).map(printPrefix);
  assert.deepEqual(kept('10.0.0.2', '10.0.0.0/24', '10.0.0.7/24', 'fd00::1', '10.0.1.0/24'), [
    '10.0.0.0/24',
    'fd00::1/128',
    '10.0.1.0/24',
  ]);
});

test('a client never takes the route of the server itself, nor what the device covers', () => {
  const config = sampleServer({}, [sampleClient('a', ['0.0.0.0/0', '::/0']), sampleClient('b', ['10.7.0.9/32'])]);
  const { things } = desired(config, { ...FACTS, devices: ['bond0'] }, { innerMtu: 1400 });
  assert.deepEqual(
    things.filter((t) => t.kind === 'route'),
    [],
  );
});

test('a command is printed so that a shell would take it', () => {
  assert.equal(printCommand({ run: ['ip', 'link', 'set', 'dev', "a'b c"] }), `ip link set dev 'a'\\''b c'`);
  assert.equal(printCommand({ write: '/proc/sys/net/ipv4/ip_forward', text: '1' }), 'sysctl -w net/ipv4/ip_forward=1');
});

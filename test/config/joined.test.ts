/** A router's file when it joins: what is there is kept, what the invitation decides is set, another bond's is told apart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printAddress } from '../../src/base/address.ts';
import type { NewRouter } from '../../src/config/compose.ts';
import { belongsTo, joinedText, keyFileIn, linkInterfaces, linkName, withLinks } from '../../src/config/joined.ts';
import { printKey } from '../../src/config/kinds.ts';
import { readConfig } from '../../src/config/schema.ts';

const KEY = printKey(new Uint8Array(32).fill(9));
const OTHER = printKey(new Uint8Array(32).fill(7));
const ROUTER: NewRouter = {
  links: [
    { name: 'eth1', interface: 'eth1' },
    { name: 'wwan0', interface: 'wwan0' },
  ],
  server: '203.0.113.10',
  port: 1194,
  ipaddr: '10.1.0.2/24',
  remoteIpaddr: '10.1.0.1',
  privateKeyFile: '/etc/yoke/private.key',
  serverPublicKey: KEY,
};
const joined = (text: string, router = ROUTER, serverOf = (_: string) => router.server) =>
  joinedText(text, 'f', router, serverOf);
const linksOf = (text: string) => readConfig(text, 'f').links.map((l) => [l.name, l.interface, l.server]);

test('no file: a new one with all links', () => {
  const config = readConfig(joined(''), 'f');
  assert.deepEqual(
    config.links.map((l) => [l.name, l.interface, l.server, l.remotePort]),
    [
      ['eth1', 'eth1', '203.0.113.10', 1194],
      ['wwan0', 'wwan0', '203.0.113.10', 1194],
    ],
  );
  assert.equal(printAddress(config.bond.remoteAddresses[0]), '10.1.0.1');
  assert.equal(belongsTo(joined(''), 'f', KEY), 'same');
});

test('a file with links and wishes of the operator keeps them, with every comment', () => {
  const text = `# mine
config link 'attic'   # the mast
	option interface 'wwan0'
	option up '5mbit'
	option server 'old.example.net'

config interface 'bond'
	option killswitch '1'  # never naked
	option ifname 'bond7'
	option remote_ipaddr "10.9.9.9"
`;
  const out = joined(text);
  for (const kept of ['# mine', '# the mast', "killswitch '1'  # never naked", "up '5mbit'", "ifname 'bond7'"]) {
    assert.ok(out.includes(kept), out);
  }
  assert.deepEqual(linksOf(out), [
    ['attic', 'wwan0', '203.0.113.10'],
    ['eth1', 'eth1', '203.0.113.10'],
  ]);
  const { bond } = readConfig(out, 'f');
  assert.deepEqual([bond.ifname, bond.killswitch, printAddress(bond.remoteAddresses[0])], ['bond7', true, '10.1.0.1']);
  assert.equal(joined(out), out, 'a second time changes nothing');
});

test('keys and addresses said in another way go: one of each is left', () => {
  const text = `config interface 'bond'
	option ipaddr '10.7.0.2'
	option netmask '255.255.255.0'
	option ip6addr 'fd00::2/64'
	option remote_ip6addr 'fd00::1'
	option private_key '${OTHER}'
	option preshared_key '${OTHER}'
	option public_key '${OTHER}'
`;
  const { bond } = readConfig(joined(text), 'f');
  assert.equal(bond.addresses.length, 1);
  assert.deepEqual([bond.privateKey, bond.presharedKey, printKey(bond.peerPublicKey!)], [undefined, undefined, KEY]);
});

test('whose a file is', () => {
  const bond = (more: string) => `config interface 'bond'\n${more}`;
  assert.equal(belongsTo('', 'f', KEY), 'nobody');
  assert.equal(belongsTo("config link 'a'\n option interface 'eth1'\n", 'f', KEY), 'nobody');
  assert.equal(belongsTo(bond(" option role 'server'\n"), 'f', KEY), 'server');
  assert.equal(belongsTo(bond(` option public_key '${KEY}'\n`), 'f', KEY), 'same');
  assert.equal(belongsTo(bond(` option public_key '${OTHER}'\n`), 'f', KEY), 'other');
  assert.equal(belongsTo(`${bond('')}config openvpn\n option ca /x\n`, 'f', KEY), 'other');
});

test('a key that is kept somewhere stays there', () => {
  assert.equal(keyFileIn("config interface 'bond'\n option private_key_file '/k'\n", 'f'), '/k');
  assert.equal(keyFileIn("config link 'a'\n option interface 'x'\n", 'f'), undefined);
});

test('the file of the other engine becomes one of this engine, with its links', () => {
  const text = `config interface 'bond'
	option ipaddr '10.0.0.2'
	option netmask '255.255.255.0'
	option remote_ipaddr '10.0.0.1'
	option mode 'balance-rr'

config link 'dsl'
	option interface 'eth1'
	option server '203.0.113.1'
	option remote_port '1195'
	option tunnel 'tap3'

config openvpn
	option ca '/etc/openvpn/ca.crt'
`;
  const config = readConfig(joined(text), 'f');
  assert.equal(config.engine, 'multipath');
  assert.deepEqual(
    config.links.map((l) => [l.name, l.interface, l.remotePort]),
    [
      ['dsl', 'eth1', 1194],
      ['wwan0', 'wwan0', 1194],
    ],
  );
});

test('each link gets the place that it can reach', () => {
  const router = { ...ROUTER, links: [{ name: 'eth1', interface: 'eth1', server: '2001:db8::1' }, ROUTER.links[1]] };
  const out = joined('', router);
  assert.deepEqual(
    linksOf(out).map((l) => l[2]),
    ['2001:db8::1', '203.0.113.10'],
  );
});

test('new links are added behind, others are not touched; at most eight', () => {
  const text = joined('');
  const link = (n: number) => ({ name: `eth${n}`, interface: `eth${n}` });
  const more = withLinks(text, 'f', { links: [link(1), link(2)], server: 's.example', port: 5 });
  assert.ok(more.startsWith(text));
  assert.deepEqual(linkInterfaces(more, 'f'), ['eth1', 'wwan0', 'eth2']);
  const many = withLinks(text, 'f', { links: Array.from({ length: 20 }, (_, i) => link(i)), server: 's.example' });
  assert.equal(readConfig(many, 'f').links.length, 8);
});

test('devices with other characters get names that UCI takes, each its own', () => {
  assert.equal(linkName('eth1.7'), 'eth1_7');
  const links = ['eth1.7', 'eth1-7'].map((d) => ({ name: linkName(d), interface: d }));
  const names = readConfig(withLinks(joined(''), 'f', { links, server: 'a.b' }), 'f').links.map((l) => l.name);
  assert.equal(new Set(names).size, 4);
});

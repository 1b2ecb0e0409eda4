/** Differences of two files in the words of the file, and what of them needs a restart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesOf, needsRestart } from '../../src/config/changes.ts';
import { readConfig } from '../../src/config/schema.ts';

const KEY = (name: string) => `KEY/OF/${name}`.padEnd(42, '/').concat('0=');
const SERVER = `config interface 'bond'
	option role 'server'
	option ipaddr '10.0.0.1/24'
	option private_key '${KEY('server')}'
	list open 'tcp/22'

config client 'home'
	option public_key '${KEY('home')}'
	option ipaddr '10.0.0.2'

config forward 'web'
	option proto 'tcp'
	option port '443'
	option client 'home'
`;
const read = (text: string) => readConfig(text, '/etc/config/bonding');
const lines = (after: string, before = SERVER) => changesOf(read(before), read(after));
const restarts = (after: string) =>
  needsRestart(read(SERVER), read(after)).map((c) => `${c.where}: ${c.expected}, ${c.found}`);

test('what means the same is no change: comments, order of options, places', () => {
  assert.deepEqual(lines(`# new\n\n${SERVER.replace("'home'\n	option public", "'home' # x\n\n	option public")}`), []);
});

test('sections that come, go and change; values as the file has them, keys of the private kind never', () => {
  const more = `config client 'office'\n	option public_key '${KEY('office')}'\n	option ipaddr '10.0.0.3'\n`;
  assert.deepEqual(lines(SERVER + more), ["+ client 'office'"]);
  assert.deepEqual(lines(SERVER, SERVER + more), ["- client 'office'"]);
  assert.deepEqual(lines(SERVER.replace("port '443'", "port '444-450'")), ["~ forward 'web': port 443 → 444-450"]);
  assert.deepEqual(lines(SERVER.replace("'10.0.0.2'", "'10.0.0.4'")), [
    "~ client 'home': allowed_ip 10.0.0.2/32 → 10.0.0.4/32",
    "~ forward 'web': dest_ip 10.0.0.2 → 10.0.0.4",
  ]);
  assert.deepEqual(lines(SERVER.replace("list open 'tcp/22'", "option public_ipaddr '203.0.113.1'")), [
    '~ bond: public_ipaddr none → 203.0.113.1',
    '~ bond: open tcp/22 → none',
  ]);
  const secret = lines(SERVER.replace(KEY('server'), KEY('other')));
  assert.deepEqual(secret, ['~ bond: private_key (a key) → (a key)']);
  const psk = SERVER.replace("'10.0.0.2'", `'10.0.0.2'\n	option preshared_key '${KEY('psk')}'`);
  assert.deepEqual(lines(psk), ["~ client 'home': preshared_key none → (a key)"]);
});

test('device, sockets and the private key need a restart; the rest does not', () => {
  assert.deepEqual(restarts(SERVER.replace("list open 'tcp/22'", "option listen_port '1195'")), [
    "/etc/config/bonding:1 option listen: '1194', as it runs, '1195'",
  ]);
  assert.deepEqual(restarts(SERVER.replace("list open 'tcp/22'", "option ifname 'bond7'")), [
    "/etc/config/bonding:1 option ifname: 'bond0', as it runs, 'bond7'",
  ]);
  assert.equal(restarts(SERVER.replace(KEY('server'), KEY('other'))).length, 1);
  assert.deepEqual(restarts(SERVER.replace("port '443'", "port '444'").replace('tcp/22', 'tcp/23')), []);
});

test('modes, quotas and policies, and the order of policies: all without a restart', () => {
  const router = (more: string, link = '') => `config interface 'bond'
	option ipaddr '10.0.0.2/24'
	option private_key '${KEY('router')}'
	option public_key '${KEY('server')}'
config link 'dsl'
	option interface 'eth1'
	option server '203.0.113.10'
${link}${more}`;
  const policy = (name: string, dscp: string) =>
    `config policy '${name}'\n	option dscp '${dscp}'\n	option mode 'redundant'\n`;
  const [a, b] = [policy('a', 'ef'), policy('b', 'af41')];
  assert.deepEqual(lines(router(b + a), router(a + b)), ['~ policies: in the order b a']);
  assert.deepEqual(lines(router(a + b), router(a)), ["+ policy 'b'"]);
  assert.deepEqual(lines(router(a.replace("'ef'", "'1'")), router(a)), ["~ policy 'a': dscp 46 → 1"]);
  assert.deepEqual(lines(router('', "	option mode 'backup'\n	option quota '20GB'\n"), router('')), [
    "~ link 'dsl': tier 0 → 1",
    "~ link 'dsl': quota none → 20GB, quota_reset 1, quota_action backup",
  ]);
  assert.deepEqual(needsRestart(read(router(a + b)), read(router(''))), []);
});

/** The package's scripts for OpenWrt under busybox's ash: init script, sections of network and firewall; around them stubs. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseUci } from '../../src/config/uci.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const FILES = join(ROOT, 'packaging', 'openwrt', 'yoke', 'files');
const STUB = join(ROOT, 'test', 'packaging', 'uci-stub.sh');
const skip = spawnSync('busybox', ['ash', '-c', 'true']).status === 0 ? false : 'no busybox with ash';

const NETWORK = `config interface 'wan0'
	option device 'eth1'
	option proto 'static'
`;
const FIREWALL = `config defaults
	option input 'REJECT'

config zone
	option name 'lan'
	list network 'lan'

config zone
	option name 'wan'
	option network 'wan0 wan1'
	option masq '1'

config forwarding
	option src 'lan'
	option dest 'wan'

config forwarding
	option src 'guest'
	option dest 'wan'
`;
const MULTIPATH = `config interface 'bond'
	option ifname 'bond7'
	option public_key 'x'

config link 'dsl'
	option interface 'wan0'
	option server '203.0.113.10'
	option local_port '4000'

config link 'lte'
	option interface 'wan1'
	option server 'dc.example'
	option local_port '4001'
`;
const OPENVPN = `config link 'link0'
	option interface 'wan0'
	option tunnel 'tun0'
	option local_port '1194'
	option server '203.0.113.10'

config link 'link1'
	option interface 'wan1'
	option tunnel 'tun1'
	option local_port '1195'
	option server '203.0.113.11'

config link 'off'
	option interface 'wan9'
	option local_port '1196'
	option server '203.0.113.12'
	option disabled '1'

config interface 'bond'
	option ifname 'bond0'

config openvpn
	option client '1'
`;

let root: string;
const at = (...parts: string[]) => join(root, ...parts);
/** What `uci` has of a package: lines KEY=VALUE. */
const config = (name: string) => readFileSync(at('db', name), 'utf8');

/** Puts a file of UCI text where the stub of `uci` finds it. */
function load(name: string, text: string): string {
  const lines = parseUci(text, name).sections.flatMap((s, i) => {
    const key = `${name}.${s.name ?? `cfg${(i + 1).toString(16).padStart(2, '0')}beef`}`;
    const options = [...new Set(s.options.map((o) => o.name))];
    const allOf = (option: string) => s.options.flatMap((o) => (o.name === option ? [o.value] : [])).join(' ');
    return [`${key}=${s.type}\n`, ...options.map((o) => `${key}.${o}=${allOf(o)}\n`)];
  });
  writeFileSync(at('db', name), lines.join(''));
  return lines.join('');
}

function program(name: string, body: string): void {
  const path = at('bin', name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, 0o755);
}

let before: string[];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'yoke-openwrt-'));
  cpSync(FILES, root, { recursive: true });
  for (const folder of ['bin', 'lib', 'db']) mkdirSync(at(folder), { recursive: true });
  before = [load('network', NETWORK), load('firewall', FIREWALL)];
  load('bonding', readFileSync(at('etc', 'config', 'bonding'), 'utf8'));
  // functions, not programs: busybox prefers its own
  const loud = (name: string) => `${name}() { echo "${name} $*"; [ ! -e "$IPKG_INSTROOT/no-${name}" ]; }\n`;
  writeFileSync(at('lib', 'functions.sh'), ['insmod', 'modprobe', 'logger'].map(loud).join(''));
  writeFileSync(at('etc', 'rc.common'), RC_COMMON);
  program('uci', `exec busybox ash '${STUB}' "$@"`);
  program('yoke', 'echo "yoke $*"');
  for (const name of ['network', 'firewall']) {
    writeFileSync(at('etc', 'init.d', name), `#!/bin/sh\necho "${name} $*"\n`);
    chmodSync(at('etc', 'init.d', name), 0o755);
  }
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** What OpenWrt's own does, as far as it matters here: commands are those it knows and EXTRA_COMMANDS; procd's words are printed. */
const RC_COMMON = `. "$IPKG_INSTROOT/lib/functions.sh"
initscript=$1; action=\${2:-help}; shift 2
boot() { start "$@"; }
for f in procd_open_instance procd_set_param procd_close_instance procd_send_signal procd_add_reload_trigger; do
	eval "$f() { echo $f \\"\\$*\\"; }"
done
. "$initscript"
start() { start_service "$@"; }
stop() { stop_service "$@"; echo procd_kill; }
restart() { stop "$@"; start "$@"; }
reload() { reload_service "$@"; }
case " start stop restart reload boot $EXTRA_COMMANDS " in *" $action "*) $action "$@" ;; *) echo "help"; echo "$EXTRA_HELP" ;; esac
`;

function ash(...argv: string[]): string[] {
  const env = { ...process.env, IPKG_INSTROOT: root, UCI_DB: at('db'), PATH: `${at('bin')}:${process.env.PATH}` };
  const { status, stdout, stderr } = spawnSync('busybox', ['ash', ...argv], { env, encoding: 'utf8' });
  assert.equal(stderr, '');
  assert.equal(status, 0);
  return stdout.split('\n').slice(0, -1);
}
const service = (...argv: string[]) => ash(at('etc', 'rc.common'), at('etc', 'init.d', 'yoke'), ...argv);
const defaults = () => ash(at('etc', 'uci-defaults', '60-yoke'));
const bonding = (text: string) => load('bonding', text);

/** `TYPE NAME: option=value …` of the sections that were added. */
function added(name: string): string[] {
  const sections = new Map<string, string>();
  for (const line of config(name).split('\n')) {
    const m = /^\w+\.(yoke\w*)(?:\.(\w+))?=(.*)$/.exec(line);
    if (m && m[2] === undefined) sections.set(m[1], `${m[3]} ${m[1]}:`);
    else if (m) sections.set(m[1], `${sections.get(m[1])} ${m[2]}=${m[3]}`);
  }
  return [...sections.values()];
}

test('the configuration that comes with the package does nothing', { skip }, () => {
  assert.deepEqual(defaults(), []);
  assert.deepEqual([config('network'), config('firewall')], before);
  const said = service('start');
  assert.equal(said.length, 1);
  assert.match(said[0], /^logger .*bonding has no section config interface 'bond' yet: not started$/);
});

test('sections of the multipath engine: zone, forwardings, a port for its server alone; the second time nothing', {
  skip,
}, () => {
  bonding(MULTIPATH);
  assert.deepEqual(defaults(), ['network reload', 'firewall reload']);
  assert.deepEqual(added('network'), ['interface yoke: proto=none device=bond7']);
  assert.deepEqual(added('firewall'), [
    'zone yoke: name=yoke network=yoke input=REJECT output=ACCEPT forward=REJECT masq=0 mtu_fix=1',
    'rule yoke_in_dsl: name=yoke-dsl src=wan proto=udp src_ip=203.0.113.10 dest_port=4000 target=ACCEPT',
    'forwarding yoke_from_lan: src=lan dest=yoke',
    'forwarding yoke_from_guest: src=guest dest=yoke',
  ]);
  const first = [config('network'), config('firewall')];
  assert.ok(first[0].startsWith(before[0]) && first[1].startsWith(before[1]), 'what was there is as it was');
  assert.deepEqual(defaults(), []);
  assert.deepEqual([config('network'), config('firewall')], first);
});

test("sections of the article's engine; they follow the file, and go with it", { skip }, () => {
  bonding(OPENVPN);
  defaults();
  assert.deepEqual(added('network'), [
    'interface yoke: proto=none device=bond0',
    'interface yoke_t_link0: proto=none device=tun0',
    'interface yoke_t_link1: proto=none device=tun1',
  ]);
  assert.deepEqual(
    added('firewall').filter((s) => !s.startsWith('forwarding')),
    [
      'zone yoke: name=yoke network=yoke input=REJECT output=ACCEPT forward=REJECT masq=0 mtu_fix=1',
      'rule yoke_in_link0: name=yoke-link0 src=wan proto=udp src_ip=203.0.113.10 dest_port=1194 target=ACCEPT',
      'rule yoke_in_link1: name=yoke-link1 src=wan proto=udp src_ip=203.0.113.11 dest_port=1195 target=ACCEPT',
      'zone yoke_tunnels: name=yoketun network=yoke_t_link0 yoke_t_link1 input=DROP output=ACCEPT forward=DROP',
    ],
  );
  bonding(MULTIPATH.replace('4000', '4009'));
  assert.deepEqual(service('sections'), ['network reload', 'firewall reload']);
  assert.deepEqual(added('network'), ['interface yoke: proto=none device=bond7']);
  assert.deepEqual(
    added('firewall').map((s) => s.split(':')[0]),
    ['zone yoke', 'forwarding yoke_from_lan', 'forwarding yoke_from_guest', 'rule yoke_in_dsl'],
  );
  assert.ok(added('firewall').some((s) => s.includes('dest_port=4009')));
  bonding("config interface 'bond'\n\toption role 'server'\n");
  defaults();
  assert.deepEqual([added('network'), added('firewall')], [[], []]);
});

test('start, boot, reload, stop: what procd and the program are told', { skip }, () => {
  bonding(MULTIPATH);
  const file = at('etc', 'config', 'bonding');
  const where = `--config ${file} --run-dir /var/run/yoke`;
  const start = [
    'procd_open_instance ',
    `procd_set_param command yoke run ${where}`,
    'procd_set_param respawn 3600 5 0',
    'procd_set_param term_timeout 20',
    'procd_set_param stdout 1',
    'procd_set_param stderr 1',
    'procd_close_instance ',
  ];
  assert.deepEqual(service('start'), ['network reload', 'firewall reload', ...start]);
  assert.deepEqual(service('boot'), start);
  assert.deepEqual(service('reload'), ['procd_send_signal yoke * HUP']);
  assert.deepEqual(service('stop'), [`yoke down ${where}`, 'procd_kill']);
  assert.deepEqual(service('restart'), [`yoke down ${where}`, 'procd_kill', ...start]);
  bonding(OPENVPN);
  assert.equal(service('boot')[0], 'insmod bonding max_bonds=0');
  writeFileSync(at('no-insmod'), '');
  assert.equal(service('boot')[1], 'modprobe bonding');
  writeFileSync(at('no-modprobe'), '');
  assert.match(service('boot')[2], /^logger .*no bonding driver: install kmod-bonding$/);
  mkdirSync(at('sys', 'module', 'bonding'), { recursive: true });
  assert.equal(service('boot')[0], start[0]);
});

test("the article's extra commands", { skip }, () => {
  bonding(MULTIPATH);
  const where = `--config ${at('etc', 'config', 'bonding')} --run-dir /var/run/yoke`;
  assert.deepEqual(service('d_start'), [`yoke plan ${where}`]);
  assert.deepEqual(service('d_stop'), [`yoke plan --down ${where}`]);
  assert.deepEqual(service('status'), [`yoke status ${where}`]);
  assert.deepEqual(service('test'), [`yoke test ${where}`]);
  assert.deepEqual(service('test', '--iperf3', 'host'), [`yoke test --iperf3 host ${where}`]);
  assert.deepEqual(service('test', 'a', '=', 'a'), []);
  assert.ok(service('help').some((l) => l.includes('d_start')));
});

test('shellcheck finds nothing', { skip: spawnSync('shellcheck', ['--version']).error && 'no shellcheck' }, () => {
  const files = ['etc/init.d/yoke', 'lib/yoke/sections.sh', 'etc/uci-defaults/60-yoke'].map((f) => join(FILES, f));
  const { status, stdout } = spawnSync('shellcheck', ['-s', 'dash', ...files], { encoding: 'utf8' });
  assert.equal(stdout, '');
  assert.equal(status, 0);
});

/**
 * The article's own sections → generated configurations and what is said about them: article/*.conf → article/*.ROLE.{ovpn,said}.
 *
 * After a meant change: `YOKE_RENEW=1 node --test dist/test/backend/`, and read the difference.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { BackendSettings } from '../../src/backend/backend.ts';
import { bondParameters, makeCommands } from '../../src/backend/openvpn/bond-device.ts';
import { innerMtu, tunnelConf, tunnelName } from '../../src/backend/openvpn/conf.ts';
import { checkFiles } from '../../src/backend/openvpn/files.ts';
import { Lines, parseLog, parseManagement } from '../../src/backend/openvpn/management.ts';
import { translateOpenvpn } from '../../src/config/openvpn.ts';
import { OPENVPN_OPTIONS } from '../../src/config/openvpn-options.ts';
import { readConfig } from '../../src/config/schema.ts';
import { backendSettings } from '../../src/daemon/settings.ts';
import { makeCertificates, pairOf } from './openvpn-samples.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const GOLDEN = join(ROOT, 'test', 'backend', 'article');
const FILE = '/etc/config/bonding';
const ARTICLE = readFileSync(join(GOLDEN, 'bonding.conf'), 'utf8');
const AS_SERVER = ARTICLE.replace("option ifname 'bond0'", "option role 'server'\noption ifname 'bond0'").replace(
  /^option watchdog.*\n/gm,
  '',
);

function golden(name: string, text: string): void {
  const path = join(GOLDEN, name);
  if (process.env.YOKE_RENEW) writeFileSync(path, text);
  assert.ok(existsSync(path), `${path} is missing`);
  assert.equal(text, readFileSync(path, 'utf8'));
}

/** What the daemon tells the backend, with links as an observer would find them. */
function settingsOf(text: string): BackendSettings {
  const config = readConfig(text, FILE);
  const links = config.links.map((l, i) => ({
    name: l.name,
    device: `eth${i + 1}`,
    index: i + 1,
    up: true,
    mtu: 1500,
    v4: { address: `192.0.2.${16 * i + 2}`, prefixLength: 28, others: [], source: 'none' as const },
  }));
  const facts = { ipv6: false, devices: [], tables: {}, links, raDevices: [], things: [] };
  const keys = {
    privateKey: new Uint8Array(0),
    publicKey: new Uint8Array(0),
    clientPresharedKeys: new Map<string, Uint8Array>(),
  };
  const servers = new Map(config.links.map((l) => [l.name, Uint8Array.of(203, 0, 113, 10)]));
  const ids = new Map(config.links.map((l, i) => [l.name, i]));
  return backendSettings({ config, keys, facts, servers, ids, offload: true });
}

for (const [role, text] of [
  ['router', ARTICLE],
  ['server', AS_SERVER],
] as const) {
  test(`the article's file at the ${role}: every tunnel's configuration, and what is said`, () => {
    const settings = settingsOf(text);
    const conf = settings.links.map((l) => tunnelConf(settings, l, 'tap', `/run/yoke/openvpn/t${l.id}.sock`));
    golden(`${role}.ovpn`, conf.join('\n'));
    golden(`${role}.said`, `${settings.openvpn?.remarks.join('\n')}\n`);
    assert.equal(settings.openvpn?.devType, 'tun');
    assert.equal(innerMtu(settings), 1500);
    assert.deepEqual(
      settings.openvpn?.files.map((f) => f.option),
      role === 'router' ? ['ca', 'cert', 'key', 'tls_auth'] : ['ca', 'cert', 'key', 'dh', 'tls_auth'],
    );
  });
}

const AT = { file: FILE, line: 1 };
const translate = (options: [string, string][], role: 'router' | 'server' = 'router') => {
  const section = role === 'router' ? ('openvpn' as const) : ('openvpn-server' as const);
  const all = options.map(([name, value], i) => ({ name, value, place: { file: FILE, line: i + 2 } }));
  return translateOpenvpn([{ section, place: AT, options: all }], role);
};

test("every name of the article's two lists is known", () => {
  const lists = readFileSync(join(GOLDEN, 'lists.txt'), 'utf8').split(/\s+/).filter(Boolean);
  assert.ok(lists.length > 140);
  assert.deepEqual(
    lists.filter((name) => !OPENVPN_OPTIONS.has(name)),
    [],
  );
});

test('an option that OpenVPN does not know is an error with its line and a guess', () => {
  const text = ARTICLE.replace("option mssfix '1'", "option mssfx '1'");
  const line = text.split('\n').findIndex((l) => l.includes('mssfx')) + 1;
  assert.throws(
    () => readConfig(text, FILE),
    (e: Error) =>
      e.message.startsWith(`${FILE}:${line} option mssfx: `) && e.message.endsWith("did you mean 'mssfix'?"),
  );
});

test('what the author meant is done where OpenVPN takes it no more', () => {
  const linesOf = (...options: [string, string][]) => translate(options).lines;
  assert.ok(linesOf(['keepalive', '5 5']).includes('keepalive 1 5'));
  assert.ok(linesOf(['keepalive', '5 10']).includes('keepalive 5 10'));
  assert.ok(linesOf(['float', '1']).includes('float'));
  assert.ok(!linesOf(['float', '0']).includes('float'));
  assert.ok(linesOf(['mssfix', '1']).includes('mssfix'));
  assert.ok(linesOf(['mssfix', '1300']).includes('mssfix 1300'));
  assert.ok(linesOf(['tls_remote', 'dc']).includes('verify-x509-name dc name'));
  assert.deepEqual(translate([['cipher', 'BF-CBC']]).faults.length, 1);
  assert.deepEqual(translate([['ca', 'ca.crt']]).faults.length, 1);
  assert.deepEqual(translate([['proto', 'tcp']]).faults.length, 1);
  assert.ok(translate([['ns_cert_type', 'server']], 'server').lines.includes('remote-cert-tls client'));
});

test('a value cannot bring a line of its own into the configuration', () => {
  const { faults, lines } = translate([['setenv', 'A b\nscript-security 3']]);
  assert.equal(faults.length, 1);
  assert.ok(!lines.join('\n').includes('script-security'));
});

test('an option said twice: the last one counts, and that is said', () => {
  const { lines, remarks } = translate([
    ['replay_window', '512'],
    ['replay_window', '256 60'],
  ]);
  assert.ok(lines.includes('replay-window 256 60') && !lines.includes('replay-window 512'));
  assert.match(remarks[0].text, /'512' is said again in line 3, which counts/);
});

test('the bonding driver asks by ARP where its mode can, and looks at the carrier elsewhere', () => {
  const { router } = pairOf('/none', [{ device: 'lo', local: '127.0.0.1', server: '127.0.0.2', port: 1 }]);
  const openvpn = { ...router.openvpn!, peerAddress: Uint8Array.of(10, 0, 0, 1) };
  const text = (more: Partial<typeof openvpn>, type: 'tun' | 'tap' = 'tap') =>
    bondParameters({ ...openvpn, ...more }, type)
      .map((p) => p.join(' '))
      .join(', ');
  assert.equal(text({}), 'arp_interval 200, arp_ip_target 10.0.0.1');
  assert.equal(text({}, 'tun'), 'miimon 100');
  assert.equal(text({ mode: '802.3ad' }), 'miimon 100');
  assert.equal(text({ peerAddress: undefined }), 'miimon 100');
  assert.equal(text({ parameters: [{ name: 'miimon', value: '50' }] }), 'miimon 50');
  assert.match(text({ mode: 'active-backup' }), /all_slaves_active 1/);
  const [make] = makeCommands({ ...router, openvpn }, 'tap', 'yoke /run/yoke');
  assert.match(
    make.join(' '),
    /^ip link add name bond0 address [0-9a-f]{2}(:[0-9a-f]{2}){5} gso_max_segs 1 type bond mode balance-rr arp_/,
  );
  assert.equal(Number.parseInt(make[6].slice(0, 2), 16) & 3, 2, 'a local address that is not multicast');
});

test('a tunnel without a name is called after the bond, in 15 bytes', () => {
  const { router } = pairOf('/none', [{ device: 'lo', local: '127.0.0.1', server: '127.0.0.2', port: 1 }]);
  assert.equal(tunnelName(router, router.links[0]), 'bond0-t0');
  assert.equal(tunnelName({ ...router, ifname: 'abcdefghijklmno' }, router.links[0]).length, 15);
});

test('files: what is missing is an error with its place', async () => {
  const { dir, remove } = await makeCertificates();
  try {
    const files = [
      { where: 'f:1 option ca', option: 'ca', path: join(dir, 'ca.crt') },
      { where: 'f:2 option cert', option: 'cert', path: join(dir, 'issued') },
      { where: 'f:3 option key', option: 'key', path: join(dir, 'no.key') },
    ];
    assert.deepEqual(
      checkFiles(files).map((c) => `${c.where} ${c.found}`),
      [`f:2 option cert ${join(dir, 'issued')}: which is not a file`, `f:3 option key no file ${join(dir, 'no.key')}`],
    );
  } finally {
    remove();
  }
});

test("OpenVPN's own words are read", () => {
  assert.deepEqual(parseManagement('>STATE:1795396677,CONNECTED,SUCCESS,,127.0.0.1,5555,192.0.2.1,5556'), {
    kind: 'state',
    state: 'CONNECTED',
    detail: 'SUCCESS',
    remote: '127.0.0.1:5555',
    local: '192.0.2.1:5556',
  });
  assert.deepEqual(parseManagement('>STATE:1795396676,WAIT,,,,,,'), {
    kind: 'state',
    state: 'WAIT',
    detail: '',
    remote: '',
    local: '',
  });
  assert.deepEqual(parseManagement('>BYTECOUNT:2011,1985'), { kind: 'bytes', rxBytes: 2011, txBytes: 1985 });
  assert.deepEqual(parseManagement('>HOLD:Waiting for hold release:0'), { kind: 'hold' });
  assert.deepEqual(parseManagement('SUCCESS: hold release succeeded'), { kind: 'other' });
  assert.deepEqual(parseLog('1795396675.991625 40 WARNING: no'), { level: 'warn', text: 'WARNING: no' });
  assert.equal(parseLog('1795396675.991625 14000002 VERIFY OK').level, 'info');
  assert.equal(parseLog('Options error: Unrecognized option').level, 'error');
  const lines = new Lines();
  assert.deepEqual([...lines.take('a\r\nb'), ...lines.take('c\n\nd')], ['a', 'bc']);
});

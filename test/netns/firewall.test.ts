/**
 * The server's firewall and its port forwards, with real daemons in the lab: an internet host asks the server's public address, a host of
 * the LAN behind the router answers.
 *
 *   client (LAN, 192.168.77.2) ── router ══ bond ══ server (203.0.113.2, 192.0.2.1, 192.0.2.9) ── host (192.0.2.2, the internet)
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Daemon, INNER, labFolder, makeKeys, waitForStatus, writeSecret, YOKE } from '../../src/lab/daemons.ts';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { ADDRESS, Lab, type Place } from '../../src/lab/topology.ts';
import { ASK, ECHO } from './ask.ts';
import { CANNOT, until } from './veths.ts';

/** A second public address of the server, that of `public_ipaddr`. */
const PUBLIC = '192.0.2.9';
const PUBLIC6 = '2001:db8:fe::9';
describe('firewall and forwards', { skip: CANNOT }, () => {
  let lab: Lab;
  let server: Daemon;
  let router: Daemon;
  const keys = { router: makeKeys(), server: makeKeys() };
  let folder: string;

  const FORWARDS = `
config forward 'web'
	option proto 'tcp'
	option port '443'
	option client 'router'
	option dest_ip '${ADDRESS.client}'
	option dest_port '8443'
config forward 'range'
	option proto 'udp'
	option port '7000-7010'
	option client 'router'
	option dest_ip '${ADDRESS.client}'
config forward 'six'
	option port '8080'
	option address '${PUBLIC6}'
	option client 'router'
	option dest_ip '${ADDRESS.client6}'
	option dest_port '8443'
config forward 'itself'
	option port '2222'
	option address '${ADDRESS.serverInside}'
	option client 'router'
`;
  const serverText = (more = '') => `
config interface 'bond'
	option role 'server'
	option ipaddr '${INNER.server}/24'
	option ip6addr '${INNER.server6}/64'
	option private_key_file '${join(folder, 'server.key')}'
	option public_ipaddr '${PUBLIC}'
	list open 'tcp/5002'
config client 'router'
	option public_key '${keys.router.publicKey}'
	option ipaddr '${INNER.router}'
	option ip6addr '${INNER.router6}'
${more}`;
  const routerText = (more = '') => `
config interface 'bond'
	option ipaddr '${INNER.router}/24'
	option ip6addr '${INNER.router6}/64'
	option remote_ipaddr '${INNER.server}'
	option remote_ip6addr '${INNER.server6}'
	option private_key_file '${join(folder, 'router.key')}'
	option public_key '${keys.server.publicKey}'
	${more}
${lab.links.map((l) => `config link '${l.name}'\n\toption interface '${l.name}'\n\toption server '${l.server}'\n`).join('')}`;

  const said = () => [server, router].map((d) => `--- ${d.place}\n${d.log.slice(-12).join('\n')}`).join('\n');
  const echo = async (place: Place, port: number) => {
    const child = lab.spawn(place, [process.execPath, '-e', ECHO, String(port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise<void>((resolve) => child.stdout!.once('data', () => resolve()));
  };
  const ask = async (from: Place, proto: 'tcp' | 'udp', host: string, port: number): Promise<string> =>
    (await lab.exec(from, [process.execPath, '-e', ASK, proto, host, String(port)])).stdout.trim();
  const asks = (from: Place, proto: 'tcp' | 'udp', host: string, port: number, answer: string) =>
    until(
      `${from} to hear '${answer}' from ${proto} ${host} ${port}`,
      async () => (await ask(from, proto, host, port)) === answer,
      15_000,
      said,
    );
  const pings = async (from: Place, to: string) =>
    (await lab.exec(from, ['ping', '-n', '-q', '-c', '1', '-W', '1', to])).code === 0;
  const start = async (more = '') => {
    writeSecret(server.configFile, serverText(FORWARDS));
    writeSecret(router.configFile, routerText(more));
    server.start();
    await waitForStatus(server);
    router.start();
    await until('the bond', () => pings('router', INNER.server), 15_000, said);
  };
  const stop = async () => {
    await router.stop();
    await server.stop();
  };

  before(async () => {
    lab = await Lab.open({ links: [parseLinkSpec('50mbit/50mbit/2ms'), parseLinkSpec('50mbit/50mbit/2ms')] });
    folder = labFolder(lab);
    server = new Daemon(lab, 'server', folder);
    router = new Daemon(lab, 'router', folder);
    for (const name of ['server', 'router'] as const)
      writeSecret(join(folder, `${name}.key`), `${keys[name].privateKey}\n`);
    await lab.must('server', ['ip', 'address', 'add', `${PUBLIC}/24`, 'dev', 'eth1']);
    await lab.must('server', ['ip', 'address', 'add', `${PUBLIC6}/64`, 'dev', 'eth1', 'nodad']);
    await echo('client', 8443);
    await echo('client', 7005);
    await echo('router', 2222);
    for (const port of [5001, 5002]) await echo('server', port);
    await echo('host', 9000);
  });
  after(() => lab?.close());

  for (const [what, more, client] of [
    ['a default route through the bond', '', PUBLIC],
    ['a default route elsewhere', "option default_route '0'", undefined],
  ] as const) {
    test(`forwards to the LAN and to the router, TCP and UDP, IPv4 and IPv6, with ${what}`, async () => {
      await start(more);
      try {
        await asks('host', 'tcp', PUBLIC, 443, `${ADDRESS.host} hello`);
        await asks('host', 'udp', PUBLIC, 7005, `${ADDRESS.host} hello`);
        await asks('host', 'tcp', PUBLIC6, 8080, `${ADDRESS.host6} hello`);
        await asks('host', 'udp', PUBLIC6, 8080, `${ADDRESS.host6} hello`);
        await asks('host', 'tcp', ADDRESS.serverInside, 2222, `${ADDRESS.host} hello`);
        await asks('host', 'udp', ADDRESS.serverInside, 2222, `${ADDRESS.host} hello`);
        // a port of the public address alone, and no port beside those named
        assert.notEqual(await ask('host', 'tcp', ADDRESS.serverInside, 443), `${ADDRESS.host} hello`);
        assert.equal(await ask('host', 'tcp', PUBLIC, 8443), 'ECONNREFUSED');
        if (client === undefined) return;
        // who asks from inside comes back by the server
        await asks('client', 'tcp', PUBLIC, 443, `${INNER.server} hello`);
        // and what goes out has the public address
        await asks('client', 'tcp', ADDRESS.host, 9000, `${client} hello`);
      } finally {
        await stop();
      }
    });
  }

  test('a client reaches of the server what is open and what the internet reaches, and no more', async () => {
    await start();
    try {
      await asks('router', 'tcp', INNER.server, 5002, `${INNER.router} hello`);
      assert.equal(await ask('router', 'tcp', INNER.server, 5001), 'silence');
      assert.equal(await ask('router', 'udp', INNER.server, 5002), 'silence');
      assert.equal(await ask('router', 'tcp', INNER.server6, 5001), 'silence');
      assert.ok(await pings('router', INNER.server6));
      assert.equal(await ask('client', 'tcp', ADDRESS.serverInside, 5001), `${INNER.router} hello`);
      assert.equal(await ask('host', 'tcp', PUBLIC, 5001), `${ADDRESS.host} hello`);
      const { code, stderr } = await lab.exec('router', [
        ...YOKE,
        'test',
        '--config',
        router.configFile,
        '--run-dir',
        router.runDir,
        '--seconds',
        '1',
        '--down',
      ]);
      assert.equal(code, 0, stderr);
    } finally {
      await stop();
    }
  });

  test('strangers who open flow after flow are held back, by address; who is there already is not', async () => {
    await start();
    try {
      const entries = async () =>
        Number(await lab.must('server', ['cat', '/proc/sys/net/netfilter/nf_conntrack_count']));
      const before = await entries();
      const flood = `
        const dgram = require('dgram');
        let n = 0;
        const one = () => { if (n++ === 400) process.exit(); const s = dgram.createSocket('udp4'); s.send('x', 1194, '${ADDRESS.serverInside}', () => s.close(one)); };
        one();`;
      await lab.must('host', [process.execPath, '-e', flood]);
      const kept = (await entries()) - before;
      assert.ok(kept > 50 && kept < 250, `${kept} entries of 400 flows`);
      const { stdout } = await lab.exec('server', ['nft', 'list', 'set', 'inet', 'yoke_bond0', 'strangers4']);
      assert.match(stdout, /192\.0\.2\.2 limit rate over 10\/second burst 100 packets/);
      assert.ok(await pings('router', INNER.server));
    } finally {
      await stop();
    }
  });

  test('a port that a program of the server holds, and an unknown client, are a line each', async () => {
    const check = async (more: string) => {
      writeSecret(server.configFile, serverText(more));
      const argv = [...YOKE, 'check', '--config', server.configFile, '--run-dir', server.runDir];
      const { stderr } = await lab.exec('server', argv);
      return stderr.trim().split('\n');
    };
    const forward = (more: string) => `config forward 'a'\n\toption port '5000-5001'\n\toption proto 'tcp'\n${more}`;
    const held = await check(forward("\toption client 'router'\n"));
    assert.equal(held.length, 1);
    assert.match(
      held[0],
      /server\.conf:\d+ forward 'a': expected TCP port 5001 of this server to be free, found a program that listens there \(every address\) .*ss -tlnp sport = :5001/,
    );
    const elsewhere = forward(`\toption client 'router'\n\toption address '${PUBLIC}'\n`);
    assert.deepEqual(await check(elsewhere), [''], 'the program is still reached by the other address');
    const unknown = await check(forward("\toption client 'ruter'\n"));
    assert.equal(unknown.length, 1);
    assert.match(
      unknown[0],
      /server\.conf:\d+ option client: expected the name of a client of this file, found 'ruter'; did you mean 'router'\?/,
    );
  });
});

/** A reload while packets flow: a client, a forward and a link more, and a stream of which nothing is lost. And what `yoke plan` says before. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Bond, type Daemon, INNER, makeKeys, startBond, YOKE } from '../../src/lab/daemons.ts';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { ADDRESS, Lab, type Place } from '../../src/lab/topology.ts';
import { startStream } from './stream.ts';
import { CANNOT, until } from './veths.ts';

describe('reload', { skip: CANNOT }, () => {
  let lab: Lab;
  let bond: Bond;

  before(async () => {
    lab = await Lab.open({
      links: ['20mbit/20mbit/5ms', '20mbit/20mbit/15ms', '20mbit/20mbit/10ms'].map(parseLinkSpec),
    });
    bond = await startBond(lab);
    await standing(3);
  });
  after(() => lab?.close());

  const standing = (links: number) =>
    until(
      `${links} paths`,
      async () => {
        const paths = (await bond.router.status().catch(() => undefined))?.bonds[0]?.paths ?? [];
        return paths.filter((p) => p.state === 'up').length === links;
      },
      15_000,
      () => bond.router.log.join('\n'),
    );
  const yoke = async (daemon: Daemon, ...argv: string[]) => {
    const place: Place = daemon.place;
    return lab.exec(place, [...YOKE, ...argv, '--config', daemon.configFile, '--run-dir', daemon.runDir]);
  };
  const edit = (daemon: Daemon, change: (text: string) => string) =>
    writeFileSync(daemon.configFile, change(readFileSync(daemon.configFile, 'utf8')));

  test('a client, a forward and a link come and go, and no packet of the rest is lost', async () => {
    const third = /\nconfig link 'link2'\n[\s\S]*$/;
    const section = third.exec(readFileSync(bond.router.configFile, 'utf8'))![0];
    const stream = await startStream(lab);
    edit(bond.router, (text) => text.replace(third, ''));
    assert.equal((await yoke(bond.router, 'reload')).stdout, "- link 'link2'\n");
    await standing(2);
    edit(bond.router, (text) => text + section);
    assert.equal((await yoke(bond.router, 'reload')).stdout, "+ link 'link2'\n");
    await standing(3);

    const before = readFileSync(bond.server.configFile, 'utf8');
    edit(
      bond.server,
      (text) => `${text}
config client 'second'
	option public_key '${makeKeys().publicKey}'
	option ipaddr '10.77.0.3'
config forward 'web'
	option proto 'tcp'
	option port '443'
	option client 'router'
	option dest_ip '${ADDRESS.client}'
`,
    );
    const plan = await yoke(bond.server, 'plan');
    assert.match(
      plan.stdout,
      /^# yoke reload would change:\n# ~ client 'router': allowed_ip .* → .* 192\.168\.77\.2\/32\n# \+ client 'second'\n# \+ forward 'web'\n/,
    );
    assert.match(plan.stdout, /dport 443 dnat ip to 192\.168\.77\.2\n/);
    const reload = await yoke(bond.server, 'reload');
    assert.match(reload.stdout, /\+ client 'second'\n\+ forward 'web'\n/, reload.stderr);
    assert.match(
      (await yoke(bond.server, 'plan')).stdout,
      /^# the running instance has this configuration already\n# nothing to change\n$/,
    );
    assert.match(await lab.must('server', ['nft', 'list', 'table', 'inet', 'yoke_bond0']), /dport 443 dnat/);
    assert.deepEqual((await bond.server.status()).bonds.map((b) => b.peer).sort(), ['router', 'second']);
    edit(bond.server, () => before);
    assert.equal((await yoke(bond.server, 'reload')).code, 0);
    const { sent, lost } = await stream.end();
    assert.ok(sent > 100, `${sent}`);
    assert.equal(lost, 0, `of ${sent}\n${bond.router.log.slice(-30).join('\n')}`);
  });

  test('what needs a restart is a line, and everything goes on as it was', async () => {
    const before = readFileSync(bond.server.configFile, 'utf8');
    edit(bond.server, (text) => text.replace("listen_port '1194'", "listen_port '1195'"));
    const plan = await yoke(bond.server, 'plan');
    assert.match(
      plan.stdout,
      /^# a restart would change:\n# ~ bond: listen 1194 → 1195\n# .* option listen: expected '1194', as it runs, found '1195'; restart yoke/,
    );
    const { code, stderr } = await yoke(bond.server, 'reload');
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^[^\n]* option listen: expected '1194', as it runs, found '1195'; restart yoke to change it\n$/,
    );
    edit(bond.server, () => 'config interface\n');
    const broken = await yoke(bond.server, 'reload');
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /server\.conf:1 config interface: expected the name 'bond', found no name/);
    edit(bond.server, () => before);
    assert.equal((await yoke(bond.server, 'reload')).stdout, 'nothing has changed\n');
  });

  test('a forward over the port of a running program is refused, and what runs goes on', async () => {
    const before = readFileSync(bond.server.configFile, 'utf8');
    const listen = "require('net').createServer().listen(5055, () => console.log('ready'))";
    const program = lab.spawn('server', [process.execPath, '-e', listen], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(program.stdout!, 'data');
    edit(bond.server, (text) => `${text}\nconfig forward 'x'\n\toption port '5055'\n\toption client 'router'\n`);
    const { code, stderr } = await yoke(bond.server, 'reload');
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^[^\n]*forward 'x': expected TCP port 5055 of this server to be free, found a program [^\n]*\n$/,
    );
    await lab.end(program);
    assert.equal((await yoke(bond.server, 'reload')).stdout, "+ forward 'x'\n");
    edit(bond.server, () => before);
    assert.equal((await yoke(bond.server, 'reload')).stdout, "- forward 'x'\n");
  });

  test('a speed test from the server, against a connected client by name', async () => {
    const one = await yoke(bond.server, 'test', '--client', 'router', '--seconds', '1', '--json');
    assert.equal(one.code, 0, one.stderr);
    const { local, target, down, up } = JSON.parse(one.stdout);
    assert.deepEqual([local, target], [INNER.server, INNER.router]);
    assert.ok(down.bps > 1e6 && up.bps > 1e6, one.stdout);
    assert.equal(
      (await yoke(bond.server, 'test', '--seconds', '1', '--down')).code,
      0,
      'the only client needs no name',
    );
    const wrong = await yoke(bond.server, 'test', '--client', 'ruter');
    assert.match(wrong.stderr, /^--client: expected the name of a client, found 'ruter'; did you mean 'router'\?\n$/);
    assert.match(
      (await yoke(bond.router, 'test', '--client', 'router')).stderr,
      /^--client: expected the server of a bond/,
    );
    await bond.router.stop();
    const gone = await yoke(bond.server, 'test', '--client', 'router');
    assert.match(gone.stderr, /client 'router': expected it to be connected, found no session with it/);
  });
});

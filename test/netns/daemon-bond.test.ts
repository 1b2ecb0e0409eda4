/** Two real daemons with the real packet path, on plain veth lines: what a person's line goes through. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { printKey } from '../../src/config/kinds.ts';
import { generatePresharedKey, generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import type { BondStatus, Status } from '../../src/status/status.ts';
import { CANNOT, defaultsOf, type End, lineOf, type Program, SERVER, SERVER6, until, Veths } from './veths.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];
const KEYS = Object.fromEntries(
  ['server', 'router', 'second', 'stranger'].map((name) => {
    const key = generatePrivateKey();
    return [name, { secret: printKey(key), open: printKey(publicKeyOf(key)) }];
  }),
);
const PSK = printKey(generatePresharedKey());

describe('two daemons', { skip: CANNOT }, () => {
  let net: Veths;
  const running = new Map<string, Program>();

  before(async () => {
    net = await Veths.open();
    for (const [name, { secret }] of Object.entries(KEYS)) net.write(`${name}.key`, `${secret}\n`);
    net.write('psk', `${PSK}\n`);
  });
  after(() => net?.close());
  afterEach(async () => {
    for (const program of running.values()) {
      program.child.kill('SIGTERM');
      await program.ended();
    }
    running.clear();
    for (const at of ['router', 'server'] as const) await net.exec(at, ['nft', 'delete', 'table', 'inet', 'cut']);
  });

  const serverText = (clients: string[], more = '') => `
config interface 'bond'
  option role 'server'
  list ipaddr '10.77.0.1/24'
  list ip6addr 'fd77::1/64'
  option private_key_file '${join(net.folder, 'server.key')}'
  list open 'tcp/5001'
  ${more}
${clients.map((name, i) => `config client '${name}'\n  option public_key '${KEYS[name].open}'\n  option ipaddr '10.77.0.${i + 2}'\n  option ip6addr 'fd77::${i + 2}'\n`).join('')}`;

  const routerText = (o: { key?: string; last?: number; server?: string; more?: string } = {}) => `
config interface 'bond'
  list ipaddr '10.77.0.${o.last ?? 2}/24'
  list ip6addr 'fd77::${o.last ?? 2}/64'
  option remote_ipaddr '10.77.0.1'
  option private_key_file '${join(net.folder, `${o.key ?? 'router'}.key`)}'
  option public_key '${KEYS.server.open}'
  ${o.more ?? ''}
config link 'one'
  option interface 'eth1'
  option server '${o.server ?? SERVER}'
config link 'two'
  option interface 'eth2'
  option server '${o.server ?? SERVER}'
`;

  /** Starts an instance of that name; its directory bears the name, too. */
  const launch = (at: End, name: string, text: string, env: NodeJS.ProcessEnv = {}): Program => {
    const argv = [...YOKE, 'run', '--config', net.write(`${name}.conf`, text), '--run-dir', join(net.folder, name)];
    const program = net.spawn(at, argv, env);
    running.set(name, program);
    return program;
  };
  const start = async (at: End, name: string, text: string, env: NodeJS.ProcessEnv = {}): Promise<Program> => {
    const program = launch(at, name, text, env);
    await program.says(/info bond\d is there/);
    return program;
  };
  const status = async (name: string): Promise<Status> => {
    const { stdout, stderr } = await net.exec('router', [
      ...YOKE,
      'status',
      '--json',
      '--run-dir',
      join(net.folder, name),
    ]);
    assert.notEqual(stdout, '', stderr);
    return JSON.parse(stdout) as Status;
  };
  const bond = async (name: string): Promise<BondStatus> => (await status(name)).bonds[0];
  const said = () =>
    [...running].map(([name, p]) => `--- ${name}\n${p.output.split('\n').slice(-12).join('\n')}`).join('\n');
  const pings = async (at: End, ...argv: string[]) =>
    (await net.exec(at, ['ping', '-n', '-q', '-c', '1', '-W', '1', ...argv])).code === 0;
  const reached = (at: End, ...argv: string[]) => until(`a reply from ${argv}`, () => pings(at, ...argv), 10_000, said);
  const state = (path: number, ...states: string[]) =>
    until(
      `path ${path} to be ${states}`,
      async () => states.includes((await bond('router'))?.paths.find((p) => p.id === path)?.state ?? 'closed'),
      15_000,
      said,
    );
  /** Both ends, and the first packets through. */
  const pair = async (env: NodeJS.ProcessEnv = {}, more = '') => {
    await start('server', 'server', serverText(['router']), env);
    await start('router', 'router', routerText({ more }), env);
    await reached('router', '10.77.0.1');
  };
  /** Silently loses what comes in by a line, at both ends; the devices stay as they are. */
  const cut = async (line: number) => {
    const rules = `table inet cut {\n chain in {\n type filter hook prerouting priority raw; policy accept;\n iifname "eth${line}" drop\n }\n}\n`;
    for (const at of ['router', 'server'] as const) await net.must(at, ['nft', '-f', net.write('cut.nft', rules)]);
  };
  const mend = async () => {
    for (const at of ['router', 'server'] as const) await net.must(at, ['nft', 'delete', 'table', 'inet', 'cut']);
  };

  /** Sends bytes from one end to the other through TCP and compares their hashes. */
  const carry = async (from: End, to: string, bytes: number) => {
    const file = net.write('load', '');
    const data = randomBytes(bytes);
    const { writeFileSync } = await import('node:fs');
    writeFileSync(file, data);
    const far: End = from === 'router' ? 'server' : 'router';
    const take = `const h=require('crypto').createHash('sha256');require('net').createServer(s=>s.on('data',d=>h.update(d)).on('end',()=>{console.log('sum '+h.digest('hex'));process.exit()})).listen(5001,'::',()=>console.log('ready'))`;
    const give = `require('fs').createReadStream(process.argv[1]).pipe(require('net').connect(5001,process.argv[2]))`;
    const taker = net.spawn(far, [process.execPath, '-e', take]);
    await taker.says(/ready/);
    const giver = net.spawn(from, [process.execPath, '-e', give, file, to]);
    await taker.says(/sum/, 30_000);
    assert.equal(await giver.ended(), 0, giver.output);
    assert.equal(/sum (\w+)/.exec(taker.output)![1], createHash('sha256').update(data).digest('hex'));
  };

  for (const [way, env] of [
    ['with offloads', {}],
    ['on the plain path', { YOKE_OFFLOAD: '0' }],
  ] as const) {
    test(`traffic, ${way}: both ways, IPv4 and IPv6, over both links`, async () => {
      await pair(env);
      await reached('server', '10.77.0.2');
      await reached('router', 'fd77::1');
      await carry('router', '10.77.0.1', 8e6);
      await carry('server', '10.77.0.2', 8e6);
      await carry('router', 'fd77::1', 2e6);
      const { paths, established } = await bond('router');
      assert.ok(established);
      for (const path of paths) assert.ok(path.txBytes > 100_000 && path.rxBytes > 100_000, JSON.stringify(paths));
    });
  }

  test('a silent cut of either line is survived, and the line is used again after it', async () => {
    await pair();
    for (const line of [1, 2]) {
      await cut(line);
      await state(line - 1, 'down');
      await carry('router', '10.77.0.1', 2e6);
      await mend();
      await state(line - 1, 'up');
    }
  });

  test('a line that loses its carrier, and one that changes its address', async () => {
    await pair();
    await net.ip('server', 'link set dev eth2 down');
    await until('link two to go', async () => !(await status('router')).links[1].usable, 10_000, said);
    assert.ok(await pings('router', '10.77.0.1'));
    await net.ip('server', ...lineOf(2, 1).slice(-1));
    await net.exec('server', ['ip', 'address', 'replace', '2001:db8:2::1/64', 'dev', 'eth2', 'nodad']);
    await state(1, 'up');
    await net.ip('router', 'address del 198.51.100.2/24 dev eth2', 'address add 198.51.100.9/24 dev eth2');
    await net.ip('router', 'route add default via 198.51.100.1 dev eth2 metric 102');
    await until(
      'the server to see the new address',
      async () => (await bond('server')).paths.some((p) => p.state === 'up' && p.remote.startsWith('198.51.100.9')),
      15_000,
      said,
    );
    assert.ok((await status('router')).links[1].address === '198.51.100.9');
    await net.ip('router', 'address del 198.51.100.9/24 dev eth2', 'address add 198.51.100.2/24 dev eth2');
    await net.ip('router', 'route add default via 198.51.100.1 dev eth2 metric 102');
  });

  test('a link that comes later', async () => {
    await net.ip('router', 'link set dev eth2 down');
    try {
      await pair();
      assert.equal((await status('router')).links[1].usable, false);
    } finally {
      await net.ip('router', 'link set dev eth2 up');
      await net.exec('router', ['ip', 'address', 'add', '2001:db8:2::2/64', 'dev', 'eth2', 'nodad']);
      await net.ip('router', ...defaultsOf(2));
    }
    await state(1, 'up');
  });

  test('both ends come back after kill -9, and the host is put right', async () => {
    const before = { router: await net.picture('router'), server: await net.picture('server') };
    await pair();
    for (const name of ['router', 'server'] as const) {
      const program = running.get(name)!;
      program.child.kill('SIGKILL');
      await program.ended();
      const text = name === 'router' ? routerText() : serverText(['router']);
      await start(name, name, text);
      await reached('router', '10.77.0.1');
      await reached('server', '10.77.0.2');
    }
    for (const name of ['router', 'server'] as const) {
      const program = running.get(name)!;
      program.child.kill('SIGTERM');
      assert.equal(await program.ended(), 0, program.output);
      assert.equal(await net.picture(name), before[name]);
    }
  });

  test('a stranger, a wrong pre-shared key and garbage get no answer; who belongs here is served', async () => {
    const own = `list listen '0.0.0.0:1194'\n  list listen '[::]:1194'`;
    await start('server', 'server', serverText(['router'], own));
    const stranger = await start('router', 'stranger', routerText({ key: 'stranger' }));
    const throwing = `
      const { randomBytes } = require('crypto');
      const socket = require('dgram').createSocket('udp4');
      socket.on('message', () => { console.log('an answer'); process.exit(1); });
      // from the line's own address: past the bond's default route
      socket.bind(0, '192.0.2.2', () => {
        for (let i = 0; i < 2000; i++) {
          const bytes = randomBytes([1, 8, 64, 101, 156, 300, 1400][i % 7]);
          bytes[0] = [0x11, 0x21, 0x31, 0x40, 0x50, 0x12, 0xff][(i / 7 | 0) % 7];
          socket.send(bytes, 1194, '${SERVER}');
        }
        setTimeout(() => process.exit(0), 1000);
      });`;
    const garbage = await net.exec('router', [process.execPath, '-e', throwing]);
    assert.deepEqual([garbage.code, garbage.stdout], [0, '']);
    assert.equal((await bond('stranger')).established, false);
    const { drops, bonds } = await status('server');
    assert.ok(Object.values(drops).reduce((a, b) => a + b, 0) > 1000, JSON.stringify(drops));
    assert.ok(bonds.every((b) => !b.established));
    stranger.child.kill('SIGTERM');
    await stranger.ended();
    const half = await start(
      'router',
      'half',
      routerText({ more: `option preshared_key_file '${join(net.folder, 'psk')}'` }),
    );
    await half.says(/one is waiting/);
    assert.equal(await pings('router', '10.77.0.1'), false);
    assert.equal((await bond('half')).established, false);
    half.child.kill('SIGTERM');
    await half.ended();
    await start('router', 'router', routerText());
    await reached('router', '10.77.0.1');
  });

  test('two clients on one server, and neither can pass for another', async () => {
    await start('server', 'server', serverText(['router', 'second']));
    await start('router', 'router', routerText());
    const more =
      "option ifname 'bond1'\n  option routing_table '40000'\n  option rule_priority '600'\n  option default_route '0'\n  option masquerade '0'";
    await start('router', 'second', routerText({ key: 'second', last: 3, more }));
    await reached('router', '-I', 'bond0', '10.77.0.1');
    await reached('router', '-I', 'bond1', '10.77.0.1');
    const bonds = (await status('server')).bonds;
    assert.deepEqual(bonds.map((b) => [b.peer, b.established]).sort(), [
      ['router', true],
      ['second', true],
    ]);
    const refused = (s: Status) => s.drops['not-allowed'] ?? 0;
    const before = refused(await status('server'));
    await net.ip('router', 'address add 10.77.0.99/32 dev bond1');
    assert.equal(await pings('router', '-I', 'bond1', '-I', '10.77.0.99', '10.77.0.1'), false);
    await until('the refusal', async () => refused(await status('server')) > before, 5000, said);
  });

  test('over IPv6 outside', async () => {
    await start('server', 'server', serverText(['router']));
    await start('router', 'router', routerText({ server: SERVER6 }));
    await reached('router', '10.77.0.1');
    await reached('router', 'fd77::1');
    const there = (b: BondStatus) => b.paths.length === 2 && b.paths.every((p) => p.remote.includes(SERVER6));
    await until('both paths to the IPv6 address', async () => there(await bond('router')), 10_000, said);
    await carry('router', '10.77.0.1', 2e6);
  });

  test('a busy port is told, and nothing is left half done', async () => {
    await start('server', 'server', serverText(['router']));
    const clean = await net.picture('server');
    const second = launch(
      'server',
      'another',
      serverText(['router'], "option ifname 'bond1'").replaceAll('10.77', '10.78'),
    );
    assert.equal(await second.ended(), 1);
    assert.match(
      second.output,
      /another\.conf:2 option listen: expected UDP port 1194 of 0\.0\.0\.0 to be free, found another program there; /,
    );
    assert.equal(await net.picture('server'), clean);
  });

  test('the server follows a reload: a client more, without a restart', async () => {
    const server = await start('server', 'server', serverText(['router']));
    await start('router', 'second', routerText({ key: 'second', last: 3 }));
    net.write('server.conf', serverText(['router', 'second']));
    server.child.kill('SIGHUP');
    await server.says(/took the configuration again/);
    await reached('router', '10.77.0.1');
  });
});

/** The daemon and a real host: what it changes, follows and takes back; the packet path is idle. */
import assert from 'node:assert/strict';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { printKey } from '../../src/config/kinds.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import type { Status } from '../../src/status/status.ts';
import { CANNOT, defaultsOf, lineOf, type Program, SERVER, until, Veths } from './veths.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];
const IDLE = [process.execPath, fileURLToPath(new URL('./idle-daemon.js', import.meta.url))];

describe('the daemon on a real host', { skip: CANNOT }, () => {
  let net: Veths;
  let clean: string;
  let config: string;
  let runDir: string;
  let running: Program | undefined;

  before(async () => {
    net = await Veths.open();
    runDir = join(net.folder, 'run');
    const key = generatePrivateKey();
    net.write('key', `${printKey(key)}\n`);
    config = net.write('bonding', routerText(printKey(publicKeyOf(key))));
    clean = await net.picture('router');
  });
  after(() => net?.close());
  afterEach(async () => {
    if (running) {
      running.child.kill('SIGKILL');
      await running.ended();
      running = undefined;
    }
    await yoke('down');
    assert.equal(await net.picture('router'), clean, 'the host is as it was');
  });

  const routerText = (publicKey: string, more = '') => `
config interface 'bond'
  option ipaddr '10.77.0.2'
  option netmask '255.255.255.0'
  list ip6addr 'fd77::2/64'
  option remote_ipaddr '10.77.0.1'
  option private_key_file '${join(net.folder, 'key')}'
  option public_key '${publicKey}'
  ${more}
config link 'one'
  option interface 'eth1'
  option server '${SERVER}'
config link 'two'
  option interface 'eth2'
  option server '${SERVER}'
`;
  const yoke = (command: string, ...more: string[]) =>
    net.exec('router', [...YOKE, command, '--config', config, '--run-dir', runDir, ...more]);
  const start = async (file = config): Promise<Program> => {
    running = net.spawn('router', [...IDLE, file, runDir]);
    await running.says(/info bond0 is there/);
    return running;
  };
  const status = async () => JSON.parse((await yoke('status', '--json')).stdout) as Status;

  test('plan prints the changes with their undo, and changes nothing', async () => {
    const { code, stdout, stderr } = await yoke('plan');
    assert.equal(code, 0, stderr);
    for (const words of [
      /^# the device bond0 comes and goes with the process$/m,
      /^\[#\] ip -4 rule add .*lookup \d+.* protocol 121$/m,
      /^\[#\] ip -4 route add default via 192\.0\.2\.1 dev eth1/m,
      /^\[#\] ip -4 addr add 10\.77\.0\.2\/24 dev bond0$/m,
      /^\[#\] nft delete table inet yoke_bond0$/m,
      /^\[#\] sysctl -w net\/ipv4\/ip_forward=1$/m,
    ]) {
      assert.match(stdout, words);
    }
    assert.ok(!existsSync(runDir), 'not even a directory');
    assert.equal(await net.picture('router'), clean);
  });

  test('run does what plan said; a plan beside it has nothing to change; down takes it back', async () => {
    const program = await start();
    assert.notEqual(await net.picture('router'), clean);
    assert.equal(statSync(runDir).mode & 0o777, 0o700);
    assert.equal(statSync(join(runDir, 'control.sock')).mode & 0o777, 0o600);
    assert.match((await yoke('plan')).stdout, /^# nothing to change$/m);
    assert.match(await net.must('router', ['ip', 'route', 'get', '8.8.8.8']), /dev bond0/);
    assert.match(await net.must('router', ['ip', 'route', 'get', '8.8.8.8', 'mark', '0x796f6b65']), /dev/);
    assert.match((await yoke('status')).stdout, /^instance: bond0$/m);
    const { stdout, code } = await yoke('down');
    assert.deepEqual([code, stdout], [0, `ended pid ${program.pid}\n`]);
    assert.equal(await program.ended(), 0);
    assert.deepEqual(await yoke('down').then((o) => [o.code, o.stdout]), [0, 'nothing runs, nothing to take back\n']);
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} ends it in order`, async () => {
      const program = await start();
      program.child.kill(signal);
      assert.equal(await program.ended(), 0, program.output);
      assert.ok(!existsSync(join(runDir, 'control.sock')) && !existsSync(join(runDir, 'host.json')));
      assert.equal(await net.picture('router'), clean);
    });
  }

  test('after kill -9 the host falls back to its line, and down puts it as it was', async () => {
    const program = await start();
    program.child.kill('SIGKILL');
    await program.ended();
    assert.match(await net.must('router', ['ip', 'route', 'get', '8.8.8.8']), /via 192\.0\.2\.1 dev eth1/);
    const { code, stdout } = await yoke('down');
    assert.equal(code, 0);
    assert.match(stdout, /^took back \d+ changes$/m);
    assert.equal(await net.picture('router'), clean);
  });

  test('after kill -9 the next run puts it in order', async () => {
    const program = await start();
    program.child.kill('SIGKILL');
    await program.ended();
    await start();
    assert.match(running!.output, /warn an earlier instance was killed/);
    assert.match((await yoke('plan')).stdout, /^# nothing to change$/m);
  });

  test('with the kill switch nothing leaves by the plain line, not even after kill -9', async () => {
    const key = /public_key '(.*)'/.exec((await net.exec('router', ['cat', config])).stdout)![1];
    const program = await start(net.write('closed', routerText(key, "option killswitch '1'")));
    program.child.kill('SIGKILL');
    await program.ended();
    const { code, stderr } = await net.exec('router', ['ip', 'route', 'get', '8.8.8.8']);
    assert.notEqual(code, 0);
    assert.match(stderr, /No route to host|unreachable/i);
  });

  test('a link that changes its address, goes, and comes again is followed', async () => {
    const program = await start();
    await program.says(/told: one 192\.0\.2\.2, two 198\.51\.100\.2/);
    await net.ip('router', 'address del 198.51.100.2/24 dev eth2', 'address add 198.51.100.9/24 dev eth2');
    await net.ip('router', 'route add default via 198.51.100.1 dev eth2 metric 102');
    await program.says(/told: one 192\.0\.2\.2, two 198\.51\.100\.9/);
    assert.match(await net.must('router', ['ip', 'route', 'get', SERVER, 'from', '198.51.100.9']), /dev eth2/);
    await net.ip('router', 'link set dev eth1 down');
    await program.says(/link one: cannot be used/);
    const { links } = await status();
    assert.deepEqual(
      links.map((l) => [l.name, l.usable, l.address]),
      [
        ['one', false, ''],
        ['two', true, '198.51.100.9'],
      ],
    );
    await net.ip('router', 'link set dev eth1 up', 'address add 2001:db8:1::2/64 dev eth1 nodad', ...defaultsOf(1));
    await until('link one', async () => (await status()).links[0].usable);
    // as it was, for the picture
    await net.ip('router', 'address flush dev eth2', ...lineOf(2, 2));
    await net.exec('router', [
      'ip',
      'route',
      'replace',
      'default',
      'via',
      '198.51.100.1',
      'dev',
      'eth2',
      'metric',
      '102',
    ]);
    await net.exec('router', [
      'ip',
      'route',
      'replace',
      'default',
      'via',
      '2001:db8:2::1',
      'dev',
      'eth2',
      'metric',
      '102',
    ]);
  });

  test('a second instance, a device name that is taken and a missing right are told, and change nothing', async () => {
    const first = await start();
    const busy = await net.picture('router');
    const second = net.spawn('router', [...IDLE, config, runDir]);
    assert.equal(await second.ended(), 1);
    assert.equal(
      second.output,
      `${runDir}: expected no running instance, found pid ${first.pid}; stop it with yoke down, or give this one its own --run-dir\n`,
    );
    const other = net.spawn('router', [...IDLE, config, `${runDir}2`]);
    assert.equal(await other.ended(), 1);
    assert.match(
      other.output,
      /bonding:2 option ifname: expected a device name that is free, found bond0, which exists; /,
    );
    assert.equal(await net.picture('router'), busy);
    const nobody = ['setpriv', '--reuid=65534', '--clear-groups', ...YOKE];
    const folder = await net.must('router', ['chmod', '755', net.folder]);
    assert.equal(folder, '');
    const refused = await net.exec('router', [
      ...nobody,
      'run',
      '--config',
      net.write('x', ''),
      '--run-dir',
      '/run/none',
    ]);
    assert.equal(refused.code, 1);
  });

  test('two bonds on one host', async () => {
    await start();
    const key = /public_key '(.*)'/.exec((await net.exec('router', ['cat', config])).stdout)![1];
    const more =
      "option ifname 'bond1'\n  option routing_table '40000'\n  option rule_priority '600'\n  option default_route '0'\n  list route '10.9.0.0/16'";
    const file = net.write('other', routerText(key, more).replaceAll('10.77.0', '10.78.0').replace('fd77', 'fd78'));
    const alone = await net.picture('router');
    const second = net.spawn('router', [...IDLE, file, `${runDir}2`]);
    await second.says(/info bond1 is there/);
    assert.match(await net.must('router', ['ip', 'route', 'get', '10.9.1.1']), /dev bond1/);
    assert.match(await net.must('router', ['ip', 'route', 'get', '8.8.8.8']), /dev bond0/);
    second.child.kill('SIGTERM');
    assert.equal(await second.ended(), 0, second.output);
    assert.equal(await net.picture('router'), alone);
  });
});

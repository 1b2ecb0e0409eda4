/**
 * The .deb as an administrator meets it: on two clean Debians with systemd, a server and a router, with one command on each.
 *
 *   installed: nothing starts → server init, join: a bond → its sandbox, reload, watchdog → upgraded → removed → purged
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ROOT } from '../packaging/bundle.ts';
import { DebianMachine, NO_MACHINE } from './machine.ts';
import { CANNOT, SERVER, until, Veths } from './veths.ts';

describe('the .deb on two clean Debians', { skip: CANNOT || NO_MACHINE }, () => {
  let net: Veths;
  let machine: DebianMachine;
  let router: DebianMachine;
  let deb: string;
  let empty: string;
  let missing: string | undefined;
  const step = (name: string, work: () => Promise<void>) =>
    test(name, (t) => (missing === undefined ? work() : t.skip(missing)));

  before(async () => {
    net = await Veths.open();
    const made = spawnSync(process.execPath, [join(ROOT, 'scripts/deb.js'), '--out', net.folder], { encoding: 'utf8' });
    assert.equal(made.status, 0, made.stderr);
    deb = made.stdout.trim();
    const relations = spawnSync('dpkg-deb', ['-f', deb, 'Depends'], { encoding: 'utf8' }).stdout;
    const depends = relations.split(',').map((relation) => relation.trim().split(' ')[0]);
    const root = DebianMachine.root(depends);
    if ('missing' in root) missing = root.missing;
    else {
      machine = await DebianMachine.boot(root.folder, net.namespace('server'));
      router = await DebianMachine.boot(root.folder, net.namespace('router'));
    }
  });
  after(async () => {
    await router?.stop();
    await machine?.stop();
    await net?.close();
  });

  const state = async () => (await machine.exec('systemctl', 'is-active', 'yoke')).stdout.trim();
  const log = async () => (await machine.exec('journalctl', '-u', 'yoke', '-o', 'cat', '--no-pager')).stdout;
  const answers = async () => (await router.exec('ping', '-n', '-q', '-c', '1', '-W', '1', '10.121.111.1')).code === 0;
  const said = async () => `${await log()}${(await router.exec('journalctl', '-u', 'yoke', '-o', 'cat')).stdout}`;
  const bond = async () => {
    try {
      await until('an answer through the bond', answers, 20_000);
    } catch (error) {
      throw new Error(`${(error as Error).message}${await said()}`);
    }
  };

  step('it installs, tells its version, and starts nothing', async () => {
    empty = await machine.must('nft', 'list', 'ruleset');
    for (const each of [machine, router]) {
      each.copy(deb, '/root/yoke.deb');
      await each.must('dpkg', '--install', '/root/yoke.deb');
    }
    assert.match(await machine.must('yoke', '--version'), /^\d+\.\d+\.\d+\n$/);
    assert.equal(await state(), 'inactive');
    assert.equal((await machine.exec('systemctl', 'is-enabled', 'yoke')).stdout.trim(), 'disabled');
    await machine.must('systemctl', 'start', 'yoke');
    assert.equal(await state(), 'inactive', 'without a configuration there is nothing to start');
    assert.equal(await machine.must('stat', '-c', '%a', '/etc/yoke'), '700\n');
  });

  step('one command on each makes a bond, and systemd knows how it is', async () => {
    const told = await machine.must('yoke', 'server', 'init', '--public-ip', SERVER, '--no-qr');
    const invitation = /YOKE:\S+/.exec(told)?.[0] ?? assert.fail(told);
    const joined = await router.exec('yoke', 'join', invitation, '--yes', '--no-test');
    assert.equal(joined.code, 0, `${joined.stdout}${joined.stderr}${await said()}`);
    await bond();
    for (const each of [machine, router]) {
      assert.equal((await each.exec('systemctl', 'is-active', 'yoke')).stdout.trim(), 'active');
      assert.equal((await each.exec('systemctl', 'is-enabled', 'yoke')).stdout.trim(), 'enabled');
      assert.equal((await each.must('stat', '-c', '%a', '/etc/yoke/private.key')).trim(), '600');
    }
    const tells = async (who: DebianMachine, words: string) => (await who.unit('yoke', 'StatusText')) === words;
    await until(
      'the server to tell',
      () => tells(machine, '1 of 1 routers connected'),
      30_000,
      () => machine.output,
    );
    await until(
      'the router to tell',
      () => tells(router, '2 of 2 links up'),
      30_000,
      () => router.output,
    );
    assert.match(await machine.must('yoke', 'peers'), /home/);
    await machine.must('yoke', 'check');
  });

  step('it runs in the sandbox of its unit', async () => {
    const pid = await machine.unit('yoke', 'MainPID');
    const status = await machine.must('cat', `/proc/${pid}/status`);
    assert.match(status, /^Seccomp:\s+2$/m);
    assert.match(status, /^NoNewPrivs:\s+1$/m);
    // NET_ADMIN 12, NET_RAW 13, NET_BIND_SERVICE 10, DAC_OVERRIDE 1, SETGID 6, SETUID 7
    assert.match(status, new RegExp(`^CapBnd:\\s+${(0x34c2).toString(16).padStart(16, '0')}$`, 'm'));
    const inIt = async (...argv: string[]) => (await machine.exec('nsenter', '-t', pid, '-m', '--', ...argv)).code;
    assert.notEqual(await inIt('touch', '/usr/x'), 0);
    assert.equal(await inIt('touch', '/etc/yoke/x'), 0);
    assert.equal(await inIt('touch', '/var/lib/yoke/x'), 0);
  });

  step('it takes a new configuration while it runs, and the journal knows levels', async () => {
    await machine.must('systemctl', 'reload', 'yoke');
    assert.ok(await answers());
    await machine.must('sed', '-i', "s/role 'server'/role 'router'/", '/etc/config/bonding');
    assert.notEqual((await machine.exec('systemctl', 'reload', 'yoke')).code, 0, 'a refusal is told');
    await machine.must('sh', '-c', `kill -HUP ${await machine.unit('yoke', 'MainPID')}`);
    const errors = async () =>
      (await machine.must('journalctl', '-u', 'yoke', '-p', 'err', '-o', 'cat', '--no-pager')).trim();
    const refused = async () => /^(<3>)?error \/etc\/config\/bonding/m.test(await errors());
    await until('a refusal', refused, 10_000, () => machine.output);
    await machine.must('sed', '-i', "s/role 'router'/role 'server'/", '/etc/config/bonding');
    assert.ok(await answers());
  });

  step('one that hangs is ended and started again by the watchdog; what it left is put in order', async () => {
    await machine.must('mkdir', '-p', '/run/systemd/system/yoke.service.d');
    machine.write('/run/systemd/system/yoke.service.d/test.conf', '[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n');
    await machine.must('systemctl', 'daemon-reload');
    await machine.must('systemctl', 'restart', 'yoke');
    await bond();
    const pid = await machine.unit('yoke', 'MainPID');
    await machine.must('sh', '-c', `kill -STOP ${pid}`);
    const again = async () => (await machine.unit('yoke', 'NRestarts')) === '1' && (await state()) === 'active';
    await until('a restart', again, 30_000, () => machine.output);
    assert.notEqual(await machine.unit('yoke', 'MainPID'), pid);
    await machine.must('rm', '-r', '/run/systemd/system/yoke.service.d');
    await machine.must('systemctl', 'daemon-reload');
    await bond();
  });

  step('an upgrade restarts it', async () => {
    const pid = await machine.unit('yoke', 'MainPID');
    await machine.must('dpkg', '--install', '/root/yoke.deb');
    assert.equal(await state(), 'active');
    assert.notEqual(await machine.unit('yoke', 'MainPID'), pid);
    await bond();
  });

  step('removed, the machine is as it was; purged, keys and configuration are kept and named', async () => {
    await machine.must('dpkg', '--remove', 'yoke');
    assert.equal(await machine.must('nft', 'list', 'ruleset'), empty);
    assert.doesNotMatch(await machine.must('ip', 'link'), /bond/);
    assert.doesNotMatch(await machine.must('ip', 'rule'), /fwmark/);
    const said = await machine.must('dpkg', '--purge', 'yoke');
    assert.match(said, /\/etc\/config\/bonding is kept/);
    assert.match(said, /\/etc\/yoke is kept/);
    const left = await machine.exec('ls', '-d', '/etc/yoke/private.key', '/var/lib/yoke', '/run/yoke', '/usr/lib/yoke');
    assert.equal(left.stdout, '/etc/yoke/private.key\n');
    assert.equal((await machine.exec('systemctl', 'is-enabled', 'yoke')).stdout.trim(), 'not-found');
  });
});

/** The service where somebody keeps services: systemd with and without a unit of the package, and OpenWrt's procd; both are stand-ins. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { Machines } from './machines.ts';
import { CANNOT, SERVER } from './veths.ts';

/** Starts what the unit says, as systemd would, and writes down what it was asked. */
const SYSTEMCTL = `#!/bin/sh
unit=/etc/systemd/system/yoke.service
echo "$*" >> /run/asked
case "$1" in
  cat) [ -e "$unit" ] ;;
  start) [ -e /run/broken ] && exit 1; setsid $(sed -n 's/^ExecStart=//p' "$unit") >> /run/journal 2>&1 < /dev/null & ;;
  restart) $(sed -n 's/^ExecStart=//p' "$unit" | sed 's/ run$/ down/') && "$0" start ;;
esac
`;
const JOURNALCTL = '#!/bin/sh\necho "one thing"\necho "error: no luck"\n';
const INIT_SCRIPT = `#!/bin/sh
echo "$*" >> /run/asked
[ "$1" = start ] || exit 0
setsid YOKE run --run-dir /var/run/yoke >> /run/journal 2>&1 < /dev/null &
`;

describe('the service', { skip: CANNOT }, () => {
  let m: Machines;
  before(async () => {
    m = await Machines.open();
  });
  after(() => m?.close());
  afterEach(async () => {
    await m.exec('server', [...m.program, 'down', '--run-dir', '/var/run/yoke']);
    await m.reset('server');
  });

  const script = async (path: string, text: string) => {
    await m.write('server', path, text);
    await m.exec('server', ['chmod', '755', path]);
  };
  const withSystemd = async () => {
    await m.exec('server', ['mkdir', '-p', '/run/systemd/system']);
    await script('/usr/local/bin/systemctl', SYSTEMCTL);
    await script('/usr/local/bin/journalctl', JOURNALCTL);
  };
  const init = ['server', 'init', '--public-ip', SERVER];

  test('systemd: a unit is written where the package has brought none, enabled and started; twice is once', async () => {
    await withSystemd();
    assert.match(await m.must('server', ...init), /the service runs, and will at every boot \(systemctl status yoke\)/);
    const unit = await m.read('server', '/etc/systemd/system/yoke.service');
    assert.match(unit, /^ExecStart=\/\S*node \/\S+main\.js run$/m);
    assert.match(
      unit,
      /^ReadWritePaths=.*\/etc\/config.*\/etc\/yoke/m,
      'what a router that joins changes may be written',
    );
    const asked = await m.read('server', '/run/asked');
    assert.match(asked, /cat yoke\.service\ndaemon-reload\nenable yoke\.service\n[\s\S]*start yoke\.service\n$/);
    assert.match(await m.must('server', ...init), /the service runs already/);
    assert.match(await m.must('server', 'status'), /role: server/);
  });

  test('systemd: the package’s unit is used as it is', async () => {
    await withSystemd();
    const unit = `# mine\n[Service]\nExecStart=${m.program.join(' ')} run\n`;
    await m.write('server', '/etc/systemd/system/yoke.service', unit);
    await m.must('server', ...init);
    assert.equal(await m.read('server', '/etc/systemd/system/yoke.service'), unit);
    assert.doesNotMatch(await m.read('server', '/run/asked'), /daemon-reload/);
  });

  test('systemd: a start that fails is told with the last lines of the journal', async () => {
    await withSystemd();
    await m.write('server', '/run/broken', '');
    const { code, stderr } = await m.yoke('server', ...init);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /the service: expected it to run, found its last words: one thing \/ error: no luck; mend that/,
    );
  });

  test('procd: the init script is enabled and started, and its run directory is the one that counts', async () => {
    await script('/usr/sbin/procd', '#!/bin/sh\n');
    await script('/etc/init.d/yoke', INIT_SCRIPT.replace('YOKE', m.program.join(' ')));
    const told = await m.must('server', ...init);
    assert.match(told, /at every boot \(\/etc\/init\.d\/yoke\)/);
    assert.equal(await m.read('server', '/run/asked'), 'enable\nstart\n');
    assert.match(await m.must('server', 'invite', 'cabin'), /YOKE:/);
    assert.deepEqual(
      JSON.parse(await m.must('server', 'peers', '--json')).invitations.map((i: { name: string }) => i.name),
      ['home', 'cabin'],
    );
  });

  test('no manager: a start that fails is told with the last words of the log', async () => {
    // a device of that name is in the way
    await m.net.ip('server', 'link add bond0 type veth peer name bond0p');
    try {
      const { code, stderr } = await m.yoke('server', ...init);
      assert.equal(code, 1);
      assert.match(stderr, /the service: expected it to run, found its last words: [^\n]*a device name that is free/);
    } finally {
      await m.net.ip('server', 'link del bond0');
    }
    assert.match(await m.must('server', ...init), /kept \/etc\/config\/bonding[\s\S]*in the background[\s\S]*YOKE:/);
  });
});

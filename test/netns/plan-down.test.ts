/** `yoke plan --down` against what is done: by the end of a running instance, and by `yoke down` after one that was killed. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { printKey } from '../../src/config/kinds.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import { CANNOT, SERVER, Veths } from './veths.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];
const IDLE = [process.execPath, fileURLToPath(new URL('./idle-daemon.js', import.meta.url))];

describe('plan --down', { skip: CANNOT }, () => {
  let net: Veths;
  let config: string;
  let runDir: string;

  before(async () => {
    net = await Veths.open();
    runDir = join(net.folder, 'run');
    const key = generatePrivateKey();
    net.write('key', `${printKey(key)}\n`);
    config = net.write(
      'bonding',
      `config interface 'bond'
  option ipaddr '10.77.0.2/24'
  list ip6addr 'fd77::2/64'
  option remote_ipaddr '10.77.0.1'
  option killswitch '1'
  option private_key_file '${join(net.folder, 'key')}'
  option public_key '${printKey(publicKeyOf(key))}'
config link 'one'
  option interface 'eth1'
  option server '${SERVER}'
`,
    );
  });
  after(() => net?.close());

  const yoke = async (...words: string[]) => {
    const { code, stdout, stderr } = await net.exec('router', [...YOKE, ...words, '--run-dir', runDir]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const commands = (text: string) => text.split('\n').flatMap((l) => /\[#\] .*/.exec(l) ?? []);

  test('is what a running instance does at its end, command for command, and changes nothing', async () => {
    assert.equal(await yoke('plan', '--down'), '# nothing runs, nothing to take back\n');
    const program = net.spawn('router', [...IDLE, config, runDir]);
    await program.says(/info bond0 is there/);
    const picture = await net.picture('router');
    const planned = await yoke('plan', '--down');
    assert.equal(await net.picture('router'), picture);
    assert.match(planned, new RegExp(`^# pid ${program.pid} is asked to end, and the device bond0 goes with it\n`));
    const start = commands(program.output).length;
    program.child.kill('SIGTERM');
    assert.equal(await program.ended(), 0, program.output);
    assert.deepEqual(commands(planned), commands(program.output).slice(start));
    assert.ok(commands(planned).length > 5);
  });

  test('is what down does after a kill -9', async () => {
    const program = net.spawn('router', [...IDLE, config, runDir]);
    await program.says(/info bond0 is there/);
    program.child.kill('SIGKILL');
    await program.ended();
    const planned = commands(await yoke('plan', '--down'));
    assert.deepEqual(commands(await yoke('down')), planned);
    assert.ok(planned.length > 5);
    assert.equal(await yoke('plan', '--down'), '# nothing runs, nothing to take back\n');
  });
});

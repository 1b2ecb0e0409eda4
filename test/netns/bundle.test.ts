/** A real bond with the bundle as the program at both ends: both links carry, and the worker thread is found without node_modules. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { printKey } from '../../src/config/kinds.ts';
import { generatePrivateKey, publicKeyOf } from '../../src/daemon/keys.ts';
import type { Status } from '../../src/status/status.ts';
import { type Bundle, makeBundle } from '../packaging/bundle.ts';
import { CANNOT, type End, type Program, SERVER, until, Veths } from './veths.ts';

let net: Veths;
let bundle: Bundle;
const programs: Program[] = [];

before(async () => {
  if (CANNOT) return;
  bundle = makeBundle();
  net = await Veths.open();
});
after(async () => {
  for (const program of programs) {
    program.child.kill('SIGTERM');
    await program.ended();
  }
  await net?.close();
  bundle?.remove();
});

test('a bond of two bundles', { skip: CANNOT }, async () => {
  const [server, router] = [generatePrivateKey(), generatePrivateKey()];
  const key = (name: string, secret: Uint8Array) => net.write(name, `${printKey(secret)}\n`);
  const start = async (at: End, text: string) => {
    const argv = [bundle.program, 'run', '--config', net.write(`${at}.conf`, text), '--run-dir', join(net.folder, at)];
    const program = net.spawn(at, argv);
    programs.push(program);
    await program.says(/info bond\d is there/);
  };
  await start(
    'server',
    `config interface 'bond'
  option role 'server'
  option ipaddr '10.78.0.1/24'
  option private_key_file '${key('server.key', server)}'
config client 'home'
  option public_key '${printKey(publicKeyOf(router))}'
  option ipaddr '10.78.0.2'
`,
  );
  await start(
    'router',
    `config interface 'bond'
  option ipaddr '10.78.0.2/24'
  option remote_ipaddr '10.78.0.1'
  option private_key_file '${key('router.key', router)}'
  option public_key '${printKey(publicKeyOf(server))}'
config link 'one'
  option interface 'eth1'
  option server '${SERVER}'
config link 'two'
  option interface 'eth2'
  option server '${SERVER}'
`,
  );
  await until(
    'an answer through the bond',
    async () => (await net.exec('router', ['ping', '-n', '-q', '-c', '1', '-W', '1', '10.78.0.1'])).code === 0,
    15_000,
    () => programs.map((p) => p.output).join('\n'),
  );
  const status = async () =>
    JSON.parse(
      await net.must('router', [bundle.program, 'status', '--json', '--run-dir', join(net.folder, 'router')]),
    ) as Status;
  await until(
    'both paths up',
    async () => (await status()).bonds[0]?.paths.filter((p) => p.state === 'up').length === 2,
  );
  assert.equal((await status()).bonds[0].established, true);
});

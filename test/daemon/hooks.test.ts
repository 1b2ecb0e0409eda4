/** The article's hooks: run if they are there, told of the bond, never in the way. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Config } from '../../src/config/config.ts';
import { readConfig } from '../../src/config/schema.ts';
import { hooksIn } from '../../src/daemon/hooks.ts';

const dir = mkdtempSync(join(tmpdir(), 'yoke-hooks-'));
after(() => rmSync(dir, { recursive: true }));

const config: Config = readConfig(
  `config interface 'bond'
  option ipaddr '10.0.0.2/24'
  option remote_ipaddr '10.0.0.1'
config link 'a'
  option interface 'eth1'
  option tunnel 'tun0'
  option server '203.0.113.1'
config openvpn
  option ca '/etc/openvpn/ca.crt'
`,
  '/etc/config/bonding',
);

const run = async (name: 'preup' | 'up' | 'predown' | 'down', limitMs?: number): Promise<string> => {
  const said: string[] = [];
  await hooksIn(dir, limitMs)(name, config, (level, text) => said.push(`${level} ${text}`));
  return said.join('\n');
};

test('a hook is run with the facts in its environment, and what it says is logged', async () => {
  const file = join(dir, 'bonding-up.sh');
  writeFileSync(file, `#!/bin/sh\necho "$YOKE_HOOK|$YOKE_ENGINE|$YOKE_LINKS|$YOKE_TUNNELS" >${dir}/out\necho hello\n`, {
    mode: 0o755,
  });
  assert.equal(await run('up'), `info hook ${file}\ninfo hook ${file}: hello`);
  assert.equal(readFileSync(join(dir, 'out'), 'utf8'), 'up|openvpn|a|tun0\n');
});

test('none there, one that fails, one that hangs, one that others may write', async () => {
  assert.equal(await run('down'), '');
  const file = join(dir, 'bonding-predown');
  writeFileSync(file, '#!/bin/sh\nexit 3\n', { mode: 0o755 });
  assert.match(await run('predown'), /warn hook .*bonding-predown: failed: 3/);
  writeFileSync(file, '#!/bin/sh\nexec sleep 60\n');
  assert.match(await run('predown', 100), /warn hook .*: ended, for it took more than 0\.1 s/);
  chmodSync(file, 0o777);
  assert.match(await run('predown'), /not run: others may write it/);
  chmodSync(file, 0o644);
  assert.match(await run('predown'), /not run: it may not be executed/);
});

/** What a status with engine openvpn tells of certificates and of links that do not suit it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Config } from '../../src/config/config.ts';
import { readConfig } from '../../src/config/schema.ts';
import { certificatesOf } from '../../src/daemon/certificates.ts';
import { buildStatus } from '../../src/daemon/status.ts';
import { Pki } from '../../src/pki/pki.ts';
import { printStatus } from '../../src/status/print.ts';
import type { PathStatus } from '../../src/status/status.ts';

const DAY_MS = 86_400_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-certificates-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const config = (): Config =>
  readConfig(
    `config interface 'bond'
  option ipaddr '10.0.0.2/24'
  option remote_ipaddr '10.0.0.1'
config link 'a'
  option interface 'eth1'
  option server '192.0.2.1'
  option down '12mbit'
config link 'b'
  option interface 'eth2'
  option server '192.0.2.1'
  option remote_port '1195'
  option down '4mbit'
config openvpn
  option client '1'
  option ca '${join(dir, 'ca.crt')}'
  option cert '${join(dir, 'issued', 'home.crt')}'
  option key '${join(dir, 'private', 'home.key')}'
`,
    'bonding',
  );

const path = (name: string, srttMs: number) => ({ name, id: 0, state: 'up', srttMs }) as PathStatus;
const statusOf = (c: Config, paths: PathStatus[] = []) =>
  buildStatus({
    config: c,
    facts: undefined,
    servers: new Map(),
    startedAt: new Date(),
    // only what is looked at here
    report: { bonds: [{ peer: 'server', paths }] as never, drops: {} },
    verdicts: new Map(),
    warnings: ['of others'],
    quotas: () => undefined,
  });

test('certificates with the days they have left; a warning in time; none that is missing', async () => {
  const now = new Date();
  const pki = new Pki({ dir, now });
  await pki.init('x');
  await pki.issue('home', 'router', 40);
  const told = certificatesOf(config(), now.getTime());
  assert.deepEqual(
    told.certificates.map((c) => [c.option, c.state, c.daysLeft >= 39]),
    [
      ['ca', 'good', true],
      ['cert', 'good', true],
    ],
  );
  assert.deepEqual(told.warnings, []);
  const later = certificatesOf(config(), now.getTime() + 20 * DAY_MS);
  assert.equal(later.warnings.length, 1);
  assert.match(later.warnings[0], /issued\/home\.crt expires on .* \(19 days left\): renew it/);
  writeFileSync(join(dir, 'ca.crt'), 'x');
  assert.deepEqual(certificatesOf(config(), now.getTime()).warnings, [
    `${join(dir, 'ca.crt')}: no certificate that can be read`,
  ]);
  rmSync(join(dir, 'ca.crt'));
  assert.deepEqual(
    certificatesOf(config(), now.getTime()).certificates.map((c) => c.option),
    ['cert'],
  );
  assert.deepEqual(certificatesOf({ ...config(), engine: 'multipath' }, 0), { certificates: [], warnings: [] });
});

test('status says so, and warns of links that are too unequal', async () => {
  const pki = new Pki({ dir, now: new Date() });
  await pki.init('x');
  await pki.issue('home', 'router', 20);
  const status = statusOf(config(), [path('a', 10), path('b', 120)]);
  assert.equal(status.certificates?.length, 2);
  assert.equal(status.warnings[0], 'of others');
  assert.equal(status.warnings.length, 4);
  assert.match(status.warnings[1], /home\.crt expires on/);
  assert.match(status.warnings[2], /link b answers 110 ms later than a/);
  assert.match(status.warnings[3], /link a is 3\.0 times as fast as b \(down\)/);
  assert.deepEqual(statusOf({ ...config(), engine: 'multipath' }).warnings, ['of others']);
  const text = printStatus({ ...status, bonds: [] }, { nowMs: Date.now() });
  assert.match(text, /^ {2}cert: .*issued\/home\.crt, until \d{4}-\d\d-\d\d \((19|20) days\)$/m);
});

/** What metered links have used: counted, kept over restarts, judged. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { BackendReport } from '../../src/backend/backend.ts';
import type { ClientConfig, Config, LinkConfig } from '../../src/config/config.ts';
import { Usage } from '../../src/daemon/usage.ts';
import { LAST_TIER } from '../../src/wire/preferences.ts';
import { sampleClient, sampleLink, sampleRouter, sampleServer } from '../plan/samples.ts';

const NOV_23 = new Date(2026, 10, 23, 12).getTime();
const DEC_1 = new Date(2026, 11, 1).getTime();
const MB = 1e6;

let dir: string;
let lines: string[];
let changes: number;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), `yoke-usage-${process.pid}-`));
  lines = [];
  changes = 0;
});
afterEach(() => rmSync(dir, { recursive: true }));

function config(quota: LinkConfig['quota']): Config {
  return sampleRouter({}, [sampleLink('dsl', 'eth1'), sampleLink('lte', 'wwan0', { quota })]);
}

const quota = (limitMb: number, action: 'backup' | 'off' | 'warn' = 'backup') => ({
  limitBytes: limitMb * MB,
  resetDay: 1,
  action,
});

function usage(of: Config, nowMs = NOV_23): Usage {
  const log = (level: string, text: string) => lines.push(`${level} ${text}`);
  return new Usage(dir, of, log, () => changes++, nowMs);
}

/** What the backend reports when the path of `lte` has carried so much. */
function report(txBytes: number, rxBytes = 0): BackendReport {
  const paths = [
    { name: 'dsl', txBytes: 5, rxBytes: 5 },
    { name: 'lte', txBytes, rxBytes },
  ];
  return { bonds: [{ peer: 'server', paths }], drops: {} } as unknown as BackendReport;
}

const used = (u: Usage, nowMs = NOV_23) => u.statusOf('lte', nowMs)?.usedBytes;

test('both ways are counted, from differences, and from nothing when the counters began anew', () => {
  const u = usage(config(quota(100)));
  u.handleReport(report(3 * MB, 2 * MB), NOV_23);
  u.handleReport(report(4 * MB, 2 * MB), NOV_23 + 1000);
  assert.equal(used(u), 6 * MB);
  u.handleReport(report(1 * MB, 0), NOV_23 + 2000);
  assert.equal(used(u), 7 * MB);
  assert.equal(u.statusOf('dsl', NOV_23), undefined, 'not metered');
});

test('a restart, even of the machine, loses no more than a minute; the file is its owner’s, whole or not there', () => {
  const file = join(dir, 'usage.json');
  const u = usage(config(quota(1000)));
  let bytes = 0;
  let nowMs = NOV_23;
  for (let s = 0; s < 200; s++) {
    bytes += MB;
    nowMs += 1000;
    u.handleReport(report(bytes), nowMs);
    const kept = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).links.lte.usedBytes : 0;
    assert.ok(bytes - kept <= 60 * MB, `${s}: ${kept} of ${bytes}`);
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
  // Ended properly: nothing is lost.
  u.save(nowMs);
  const again = usage(config(quota(1000)), nowMs);
  assert.equal(used(again, nowMs), 200 * MB);
  again.handleReport(report(5 * MB), nowMs + 1000);
  assert.equal(used(again, nowMs), 205 * MB);
});

test('80 % is said once; 100 % is said once, and done: backup, off, or nothing', () => {
  const of = config(quota(100));
  const u = usage(of);
  u.handleReport(report(79 * MB), NOV_23);
  assert.deepEqual([lines, changes, u.warnings(NOV_23)], [[], 0, []]);
  u.handleReport(report(80 * MB), NOV_23);
  u.handleReport(report(85 * MB), NOV_23);
  assert.deepEqual(lines, ['warn link lte: 80 % of its quota is used: 80.0 MB of 100 MB, until 2026-12-01']);
  assert.equal(u.warnings(NOV_23).length, 1);
  assert.equal(u.apply(of), of);
  u.handleReport(report(100 * MB), NOV_23);
  u.handleReport(report(101 * MB), NOV_23);
  assert.match(lines[1], /^warn link lte: its quota is used up: .*; it carries only while nothing else is up$/);
  assert.deepEqual([lines.length, changes], [2, 1]);
  assert.deepEqual(
    u.apply(of).links.map((l) => l.tier),
    [0, LAST_TIER],
  );
  const off = config(quota(100, 'off'));
  u.setConfig(off, NOV_23);
  assert.equal(u.apply(off).links[1].held, 'its quota is used up');
  const warn = config(quota(100, 'warn'));
  u.setConfig(warn, NOV_23);
  assert.deepEqual(u.apply(warn), warn);
  // More is allowed: at once.
  u.setConfig(config(quota(1000)), NOV_23);
  assert.equal(u.statusOf('lte', NOV_23)?.state, 'ok');
});

test('the month ends: from 0, and what was done is taken back', () => {
  const of = config(quota(100));
  const u = usage(of);
  u.handleReport(report(100 * MB), NOV_23);
  assert.equal(changes, 1);
  u.handleReport(report(100 * MB), DEC_1 - 1);
  assert.equal(used(u, DEC_1 - 1), 100 * MB);
  u.handleReport(report(101 * MB), DEC_1);
  assert.equal(used(u, DEC_1), 1 * MB);
  assert.deepEqual([changes, lines.at(-1)], [2, 'info link lte: its quota counts from 0 again']);
  assert.equal(u.apply(of), of);
});

test('a clock that nobody has set begins no month, and one that ran ahead keeps none', () => {
  const u = usage(config(quota(100)));
  u.handleReport(report(50 * MB), NOV_23);
  u.save(NOV_23);
  const booted = usage(config(quota(100)), 60_000);
  booted.handleReport(report(1 * MB), 61_000);
  assert.equal(used(booted, 62_000), 51 * MB);
  assert.equal(used(booted, NOV_23), 51 * MB);
  const ahead = usage(config(quota(100)), DEC_1 + 5);
  ahead.handleReport(report(2 * MB), DEC_1 + 5);
  ahead.handleReport(report(3 * MB), NOV_23);
  assert.equal(used(ahead), 3 * MB);
  assert.equal(used(ahead, DEC_1), 0);
});

test('a damaged file is put aside, with a line that says so', () => {
  for (const text of [
    '{',
    '[]',
    '{"version":2,"links":{}}',
    '{"version":1,"links":{"lte":{"usedBytes":-1,"since":"x"}}}',
  ]) {
    writeFileSync(join(dir, 'usage.json'), text);
    const u = usage(config(quota(100)));
    assert.equal(used(u), 0);
    assert.match(lines.at(-1) ?? '', /^error what has been used counts from 0: .*usage.json: expected/);
    assert.equal(readFileSync(join(dir, 'usage.json.damaged'), 'utf8'), text);
  }
});

test('a quota that is new counts from now, not from the start of the counters', () => {
  const u = usage(config(undefined));
  u.handleReport(report(90 * MB), NOV_23);
  u.setConfig(config(quota(100)), NOV_23);
  u.handleReport(report(95 * MB), NOV_23);
  assert.equal(used(u), 5 * MB);
});

describe('clients of a server', () => {
  const client = (name: string, key: number, more: Partial<ClientConfig> = {}) =>
    sampleClient(name, [`10.7.0.${key}`], { publicKey: new Uint8Array(32).fill(key), ...more });
  const serverQuota = (limitMb: number, action: 'slow' | 'off' | 'warn' = 'slow') => ({
    limitBytes: limitMb * MB,
    resetDay: 1,
    action,
    slowBps: 2e6,
  });
  const server = (...clients: ClientConfig[]) => sampleServer({}, clients);
  /** What each client's paths have carried, of the first both ways. */
  const reportOf = (carried: Record<string, number[]>): BackendReport =>
    ({
      bonds: Object.entries(carried).map(([peer, paths]) => ({
        peer,
        paths: paths.map((bytes, i) => ({ name: `path ${i}`, txBytes: bytes - 1, rxBytes: 1 })),
      })),
      drops: {},
    }) as unknown as BackendReport;

  test('are counted over all their links, each for itself; a path that begins anew counts from nothing', () => {
    const u = usage(server(client('home', 3, { quota: serverQuota(100) }), client('cabin', 4)));
    u.handleReport(reportOf({ home: [3 * MB, 2 * MB], cabin: [50 * MB] }), NOV_23);
    u.handleReport(reportOf({ home: [4 * MB, 1 * MB], cabin: [70 * MB] }), NOV_23);
    assert.equal(u.statusOf('home', NOV_23)?.usedBytes, 7 * MB);
    assert.equal(u.statusOf('cabin', NOV_23), undefined);
    u.save(NOV_23);
    const again = usage(server(client('home', 3, { quota: serverQuota(100) })));
    again.handleReport(reportOf({ home: [1 * MB] }), NOV_23);
    assert.equal(again.statusOf('home', NOV_23)?.usedBytes, 8 * MB);
  });

  test('at 100 % are slow, off, or warned of, by their own file; a link of that name is nothing to them', () => {
    for (const [action, then, effect] of [
      ['slow', 'each way has 2.00 Mbit/s', { limitBps: 2e6 }],
      ['off', 'it is not served', { held: 'its quota is used up' }],
      ['warn', 'it goes on', {}],
    ] as const) {
      lines = [];
      const home = client('home', 3, { quota: serverQuota(100, action) });
      const of = server(home, client('cabin', 4));
      rmSync(join(dir, 'usage.json'), { force: true });
      const u = usage(of);
      u.handleReport(reportOf({ home: [80 * MB] }), NOV_23);
      assert.equal(u.apply(of), of);
      u.handleReport(reportOf({ home: [100 * MB] }), NOV_23);
      assert.deepEqual(lines, [
        'warn client home: 80 % of its quota is used: 80.0 MB of 100 MB, until 2026-12-01',
        `warn client home: its quota is used up: 100 MB of 100 MB, until 2026-12-01; ${then}`,
      ]);
      assert.deepEqual(u.apply(of).clients, [{ ...home, ...effect }, of.clients[1]]);
      assert.deepEqual(u.warnings(NOV_23), [lines[1].slice(5)]);
      u.handleReport(reportOf({ home: [100 * MB] }), DEC_1);
      assert.deepEqual([u.apply(of), lines[2]], [of, 'info client home: its quota counts from 0 again']);
    }
  });

  test('keep their count under another name, whoever has the old one then', () => {
    const quota = serverQuota(100);
    const u = usage(server(client('home', 3, { quota }), client('cabin', 4, { quota })));
    u.handleReport(reportOf({ home: [60 * MB], cabin: [10 * MB] }), NOV_23);
    u.setConfig(server(client('cabin', 3, { quota }), client('home', 4, { quota })), NOV_23);
    // the backend may speak of the old names once more
    u.handleReport(reportOf({ cabin: [61 * MB], home: [10 * MB] }), NOV_23);
    assert.deepEqual(
      ['cabin', 'home'].map((name) => u.statusOf(name, NOV_23)?.usedBytes),
      [61 * MB, 10 * MB],
    );
    u.setConfig(server(client('attic', 3, { quota }), client('home', 4, { quota })), NOV_23);
    u.handleReport(reportOf({ cabin: [62 * MB], home: [10 * MB] }), NOV_23);
    u.handleReport(reportOf({ attic: [63 * MB], home: [10 * MB] }), NOV_23);
    assert.equal(u.statusOf('attic', NOV_23)?.usedBytes, 63 * MB);
  });
});

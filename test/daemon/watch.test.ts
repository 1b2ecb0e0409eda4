/** The watchdog's hands, on the loopback device: a reply keeps it quiet, silence runs the action or the restart. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { Watch } from '../../src/daemon/watch.ts';

const until = async (what: string, condition: () => boolean) => {
  for (let i = 0; i < 500; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`waited in vain for ${what}`);
};
const base = (log: string[]) => ({
  ifname: 'lo',
  periodUs: 50_000,
  timeoutUs: 400_000,
  log: (level: string, text: string) => void log.push(`${level} ${text}`),
  nowUs: () => performance.now() * 1000,
  restart: async () => assert.fail('no restart was asked for'),
  restartLinks: async () => assert.fail('no restart of links was asked for'),
});

test('silence restarts the bond, once, until the links are there again', async () => {
  const log: string[] = [];
  let restarts = 0;
  const watch = new Watch({
    ...base(log),
    address: parseAddress('192.0.2.77')!,
    ifname: 'yoke-none',
    restart: async () => void restarts++,
  });
  watch.handleLinks(true);
  await until('a restart', () => restarts === 1);
  assert.match(log[0], /^warn watchdog: no reply from 192\.0\.2\.77 for 0\.4 s: restarting the bond$/);
  watch.handleLinks(true);
  await until('another', () => restarts === 2);
  watch.stop();
});

test('an action is a program with arguments and no shell', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'yoke-watch-'));
  const log: string[] = [];
  const watch = new Watch({
    ...base(log),
    address: parseAddress('192.0.2.77')!,
    ifname: 'yoke-none',
    action: `touch ${join(dir, 'a')} ${join(dir, '$HOME;b')}`,
    restart: async () => assert.fail('not asked for'),
  });
  watch.handleLinks(true);
  await until('the action', () => existsSync(join(dir, '$HOME;b')));
  watch.stop();
  rmSync(dir, { recursive: true });
});

test('replies keep it quiet', {
  skip: existsSync('/usr/bin/ping') || existsSync('/bin/ping') ? false : 'no ping here',
}, async () => {
  const log: string[] = [];
  let clock = 0;
  const watch = new Watch({
    ...base(log),
    // a clock that leaps: three time-outs pass while replies come
    nowUs: () => (clock += 20_000),
    address: parseAddress('127.0.0.1')!,
    restart: async () => void log.push('restart'),
  });
  watch.handleLinks(true);
  await until('three time-outs', () => clock > 1_200_000);
  watch.stop();
  assert.deepEqual(log, []);
});

test('restart-links restarts the links and runs no program', async () => {
  const log: string[] = [];
  let restarts = 0;
  const watch = new Watch({
    ...base(log),
    address: parseAddress('192.0.2.77')!,
    ifname: 'yoke-none',
    action: 'restart-links',
    restartLinks: async () => void restarts++,
  });
  watch.handleLinks(true);
  await until('a restart', () => restarts === 1);
  assert.match(log[0], /: restart-links$/);
  watch.stop();
});

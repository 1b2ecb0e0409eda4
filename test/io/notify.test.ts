/** Messages to a service manager: a socket of the test's takes them. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { serviceOf } from '../../src/cli/service.ts';
import { type Arena, openArena } from '../../src/io/arena.ts';
import { libc } from '../../src/io/libc.ts';
import { openNotifier } from '../../src/io/notify.ts';
import type { Status } from '../../src/status/status.ts';

let folder: string;
let arena: Arena;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'yoke-notify-'));
  arena = openArena(16384);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** A socket that takes datagrams at a name, as a service manager has it. */
function listen(name: string): { next(): string; close(): void } {
  const path = Buffer.from(name.startsWith('@') ? `\0${name.slice(1)}` : `${name}\0`);
  arena.view.setUint16(0, 1, true);
  arena.bytes.set(path, 2);
  const fd = libc.socket(1, 2 | 0x800 | 0x80000, 0) as number;
  assert.equal(libc.bind(fd, arena.base, 2 + path.length), 0);
  return {
    next() {
      const size = libc.read(fd, arena.base + 8192, 8192) as number;
      return size < 0 ? '' : Buffer.from(arena.bytes.subarray(8192, 8192 + size)).toString();
    },
    close: () => void libc.close(fd),
  };
}

for (const name of ['path', '@abstract']) {
  test(`words arrive at a ${name}`, () => {
    const at = name === 'path' ? join(folder, 'socket') : `@yoke-test-${process.pid}`;
    const manager = listen(at);
    const notifier = openNotifier(at)!;
    assert.ok(notifier.tell('READY=1'));
    assert.ok(notifier.tell('STATUS=zwei Wege, früh\nWATCHDOG=1'));
    assert.equal(manager.next(), 'READY=1');
    assert.equal(manager.next(), 'STATUS=zwei Wege, früh\nWATCHDOG=1');
    assert.equal(manager.next(), '');
    assert.ok(notifier.tell('x'.repeat(10_000)));
    assert.equal(manager.next(), 'x'.repeat(4096 - 256));
    manager.close();
    assert.equal(notifier.tell('READY=1'), false);
    notifier.close();
  });
}

test('a name of another family, or one that is too long, is nobody', () => {
  for (const name of ['vsock:2:1', '', '/', `/${'x'.repeat(200)}`]) assert.equal(openNotifier(name), undefined, name);
});

test('a service tells that it is ready, how it is and that it lives while questions are answered, and programs it starts cannot', async () => {
  const at = join(folder, 'manager');
  const manager = listen(at);
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: at, WATCHDOG_USEC: '60000', PATH: '/bin' };
  const service = await serviceOf(env);
  assert.deepEqual(env, { PATH: '/bin' });
  let answering = true;
  const status = () =>
    answering
      ? Promise.resolve({ role: 'router', links: [{}, {}], bonds: [{ paths: [{ state: 'up' }] }], warnings: [] })
      : new Promise(() => {});
  service.ready(status as unknown as () => Promise<Status>);
  assert.match(manager.next(), /^READY=1\n/);
  for (let i = 0; i < 3; i++) assert.equal(await said(manager), 'WATCHDOG=1\nSTATUS=1 of 2 links up');
  answering = false;
  await new Promise((resolve) => setTimeout(resolve, 20));
  while (manager.next() !== '');
  // several times the watchdog's interval: whatever the machine's pace, an answer that never comes is never told
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(manager.next(), '');
  service.stopping();
  assert.match(manager.next(), /^STOPPING=1\n/);
  manager.close();
});

test('without a service manager nothing is told', async () => {
  const service = await serviceOf({});
  service.ready(() => assert.fail('asked'));
  service.stopping();
});

async function said(manager: { next(): string }): Promise<string> {
  for (let i = 0; i < 500; i++) {
    const words = manager.next();
    if (words !== '') return words;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return '';
}

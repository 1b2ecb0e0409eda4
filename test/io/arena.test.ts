/** The arena and the waiting on it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { openArena } from '../../src/io/arena.ts';
import { closeFd, drainWake, openWake, POLLIN, POLLOUT, Poller, sharpenTimers, wake } from '../../src/io/poll.ts';

test('regions are zeroed, aligned, apart, and a full arena says so', () => {
  const arena = openArena(100_000);
  assert.ok(arena.sizeBytes >= 100_000);
  const a = arena.take('a', 10);
  const b = arena.take('b', 5000, 4096);
  const c = arena.take('c', 1, 16);
  assert.equal((arena.base + b) % 4096, 0);
  assert.equal(c % 16, 0);
  assert.ok(a + 10 <= b && b + 5000 <= c);
  assert.ok(arena.bytes.every((x) => x === 0));
  assert.throws(() => arena.take('too much', arena.freeBytes + 1), /too much/);
  arena.setWord(a, arena.base);
  assert.equal(arena.word(a), arena.base);
  assert.equal(arena.view.getBigUint64(a, true), BigInt(arena.base));
});

test('arenas lie below 2^31 while there is room, never in each other, and above when there is none', () => {
  const many = Array.from({ length: 10 }, () => openArena(128 << 20));
  const spans = many.map((a) => [a.base, a.base + a.sizeBytes]).sort((a, b) => a[0] - b[0]);
  for (let i = 1; i < spans.length; i++) assert.ok(spans[i - 1][1] <= spans[i][0]);
  assert.ok(spans[0][1] < 2 ** 31);
  assert.ok(spans[9][1] > 2 ** 31);
  for (const a of many) a.bytes[a.sizeBytes - 1] = 1;
});

test('it outlives garbage collection and works in a worker', async () => {
  const url = new URL('../../src/io/arena.js', import.meta.url);
  const code = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(url.href)}).then(({ openArena }) => {
      const arena = openArena(1 << 20);
      arena.bytes.fill(7);
      parentPort.postMessage(arena.bytes[arena.sizeBytes - 1] + arena.view.getUint8(0));
    });`;
  assert.ok(fileURLToPath(url));
  for (let i = 0; i < 2; i++) {
    const worker = new Worker(code, { eval: true });
    const answer = await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    assert.equal(answer, 14);
    await worker.terminate();
  }
});

test('a wake-up is seen once, from here and by descriptor number from elsewhere', () => {
  const arena = openArena(65_536);
  const scratch = arena.take('scratch', 8);
  const poller = new Poller(arena, 4);
  const fd = openWake();
  sharpenTimers();
  const index = poller.add(fd, POLLIN);
  assert.equal(poller.wait(0), 0);
  assert.equal(poller.wait(1_500_000), 0, 'a timeout ends the wait');
  wake(fd);
  wake(fd);
  assert.equal(poller.wait(10e9), 1);
  assert.equal(poller.ready(index), POLLIN);
  drainWake(arena, fd, scratch);
  assert.equal(arena.word(scratch), 2);
  assert.equal(poller.wait(0), 0);
  assert.equal(poller.ready(index), 0);
  poller.setEvents(index, POLLOUT);
  assert.equal(poller.wait(10e9), 1);
  assert.equal(poller.ready(index), POLLOUT);
  poller.setEvents(index, 0);
  assert.equal(poller.wait(0), 0);
  poller.clear();
  const again = poller.add(fd, POLLIN);
  assert.equal(again, 0);
  for (let i = 1; i < 4; i++) poller.add(fd, 0);
  assert.throws(() => poller.add(fd, 0), /more than 4/);
  closeFd(fd);
});

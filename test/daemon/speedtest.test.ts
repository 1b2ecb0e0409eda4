/** The speed test's two halves against each other, over loopback. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { afterEach, test } from 'node:test';
import { parseAddress, parsePrefix } from '../../src/base/address.ts';
import { YokeError } from '../../src/base/error.ts';
import { runSpeedTest, type SpeedTestService, startSpeedTest } from '../../src/daemon/speedtest.ts';

const HERE = parseAddress('127.0.0.1')!;
/** Of this process alone, so that two runs do not meet. */
const PORT = 20_000 + (process.pid % 20_000);

let service: SpeedTestService | undefined;
afterEach(async () => {
  await service?.stop();
  service = undefined;
});

const start = async (allowed = ['127.0.0.0/8']) => {
  service = await startSpeedTest({ addresses: [HERE], allowed: allowed.map((p) => parsePrefix(p)!), port: PORT });
};
const run = (way: 'down' | 'up', seconds = 1) => runSpeedTest({ remote: HERE, local: HERE, way, seconds, port: PORT });
const refused = (words: RegExp) => (error: unknown) => {
  assert.ok(error instanceof YokeError, String(error));
  assert.match(error.message, words);
  return true;
};

/** What the server says to raw bytes, until it closes. */
function say(text: string, from = '127.0.0.1'): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: PORT, localAddress: from });
    let answer = '';
    socket.on('data', (d) => {
      answer += d.toString('latin1').slice(0, 100);
    });
    socket.on('error', (e: NodeJS.ErrnoException) => (e.code === 'ECONNRESET' ? resolve('') : reject(e)));
    socket.on('close', () => resolve(answer));
    socket.write(text);
  });
}

for (const way of ['down', 'up'] as const) {
  test(`${way}: the receiver counts bytes and time`, async () => {
    await start();
    const { bytes, elapsedMs } = await run(way);
    assert.ok(bytes > 1_000_000, `${bytes}`);
    assert.ok(elapsedMs > 100 && elapsedMs < 10_000, `${elapsedMs}`);
  });
}

test('one at a time; the next one after it', async () => {
  await start();
  const first = run('down');
  await new Promise((resolve) => setTimeout(resolve, 200));
  await assert.rejects(run('up'), refused(/found another test under way; try again in half a minute/));
  assert.ok((await first).bytes > 0);
  assert.ok((await run('up')).bytes > 0);
});

test('what is no request gets no answer, and holds no place', async () => {
  await start();
  for (const text of ['GET / HTTP/1.0\r\n\r\n', 'yoke-test 1 down -1\n', 'yoke-test 2 down 1\n', 'x'.repeat(100)]) {
    assert.equal(await say(text), '', JSON.stringify(text));
  }
  assert.ok((await run('down')).bytes > 0);
});

test('addresses outside are not served', async () => {
  await start(['127.0.0.2/32']);
  assert.equal(await say('yoke-test 1 down 1\n'), '');
  assert.match(await say('yoke-test 1 down 0\n', '127.0.0.2'), /^ok\n/);
  await assert.rejects(
    run('down'),
    refused(/^speed test at 127\.0\.0\.1 port \d+: expected a test of its own, found /),
  );
});

test('no server; a port that is taken; a stop in the midst of a test', async () => {
  await assert.rejects(run('down'), refused(/found ECONNREFUSED/));
  await start();
  await assert.rejects(
    startSpeedTest({ addresses: [HERE], allowed: [], port: PORT }),
    refused(/expected a TCP port that is free, found EADDRINUSE/),
  );
  const under = run('down', 20);
  const ended = assert.rejects(under, refused(/found (the connection cut|ECONNRESET)/));
  await new Promise((resolve) => setTimeout(resolve, 200));
  await service?.stop();
  await ended;
});

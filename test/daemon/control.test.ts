/** The control socket: its modes, its answers, and its limits. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { askControl, type ControlServer, controlPath, startControl } from '../../src/daemon/control.ts';

let dir: string;
let server: ControlServer;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-control-'));
  writeFileSync(join(dir, 'control.sock'), 'stale');
  server = await startControl(dir, async (method, params) => {
    if (method === 'stop') throw new Error('not today');
    return { said: method, ...params };
  });
});
afterEach(async () => {
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** Sends raw text and gives what came back until the end. */
function say(text: string, open: Socket[] = []): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(join(dir, 'control.sock'));
    open.push(socket);
    let back = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      back += chunk;
    });
    socket.on('close', () => resolve(back));
    socket.on('error', reject);
    socket.write(text);
  });
}

test('a method is answered, an error is told, the socket is the owner’s alone and goes away', async () => {
  assert.equal(statSync(join(dir, 'control.sock')).mode & 0o777, 0o600);
  assert.deepEqual(await askControl(dir, 'status'), { said: 'status' });
  assert.deepEqual(await askControl(dir, 'revoke', { name: 'home', n: 1 }), { said: 'revoke', name: 'home', n: 1 });
  await assert.rejects(askControl(dir, 'stop'), /found an error: not today/);
  await server.stop();
  assert.ok(!existsSync(join(dir, 'control.sock')));
  await assert.rejects(askControl(dir, 'status'), /control\.sock: expected a running yoke, found none; start it/);
});

for (const [what, text] of [
  ['no JSON', 'status\n'],
  ['an unknown method', '{"method":"reboot"}\n'],
  ['a method that is no text', '{"method":["status"]}\n'],
  ['null', 'null\n'],
  ['a parameter that is a list', '{"method":"revoke","params":{"name":["home"]}}\n'],
] as const) {
  test(`${what} is refused with a line`, async () => {
    assert.match(await say(text), /^\{"error":"expected \{\\"method\\": one of status, stop, [a-z, ]+\}/);
  });
}

test('a request in two pieces is answered; one without end is refused', async () => {
  const socket = connect(join(dir, 'control.sock'));
  socket.write('{"method":');
  setTimeout(() => socket.write('"version"}\n{"method":"status"}\n'), 20);
  const answer = await new Promise((resolve) => socket.setEncoding('utf8').once('data', resolve));
  assert.equal(answer, '{"ok":{"said":"version"}}\n');
  socket.destroy();
  assert.match(await say('x'.repeat(5000)), /at most 4096 bytes/);
});

test('more connections than the limit are closed, and the server lives on', async () => {
  const open: Socket[] = [];
  const silent = Array.from({ length: 16 }, () => {
    const s = connect(join(dir, 'control.sock'));
    s.on('error', () => {});
    return s;
  });
  await Promise.all(silent.map((s) => new Promise((resolve) => s.once('connect', resolve))));
  assert.equal(await say('{"method":"status"}\n', open).catch(() => ''), '');
  for (const s of silent) s.destroy();
  for (let i = 0; i < 50; i++) {
    if ((await say('{"method":"status"}\n').catch(() => '')) !== '') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail('the server did not answer again');
});

test('a path that no socket can have is a complaint', () => {
  assert.throws(() => controlPath(`/${'x'.repeat(120)}`), /--run-dir: expected a path of at most 94 bytes, found 121/);
});

/** The guest itself: what it promises to those who run something in it (test/guest/guest.ts). */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { quote } from './boot.ts';
import { findKernel, runInGuest } from './guest.ts';

const kernel = findKernel();
const skip = typeof kernel === 'string' ? kernel : false;
const LIMIT_MS = 60_000;
/** Folders and kernels of this process. */
const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`yoke-guest-${process.pid}-`));
const kernels = () =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`yoke-guest-${process.pid}-`);
    } catch {
      return false;
    }
  });

test('a word for sh is one word, whatever is in it', () => {
  assert.equal(quote("it's $HOME"), "'it'\\''s $HOME'");
});

test('a program in a guest: its status, its output, its arguments as they were; nothing it writes stays', {
  skip,
}, async () => {
  const secret = `${tmpdir()}/yoke-guest-test-${process.pid}`;
  const script = 'printf "%s|%s" "$1" "$X"; echo oh >&2; echo x >"$2" && exit 3';
  const word = 'a b\'c"$d\n\\e';
  const argv = ['sh', '-c', script, 'sh', word, secret];
  const pieces: string[] = [];
  const ended = await runInGuest({ argv, env: { X: 'é' }, timeoutMs: LIMIT_MS, onStdout: (text) => pieces.push(text) });
  assert.deepEqual(ended, { status: 3, stdout: `${word}|é`, stderr: 'oh\n' });
  assert.equal(pieces.join(''), ended.stdout);
  assert.ok(!existsSync(secret));
  assert.deepEqual([leftovers(), kernels()], [[], []]);
});

test('out of time: an error with what was said, and nothing is left', { skip }, async () => {
  const run = runInGuest({ argv: ['sh', '-c', 'echo said; sleep 60 & sleep 60'], timeoutMs: 8000 });
  await assert.rejects(run, /no end after 8000 ms\nsaid/);
  assert.deepEqual([leftovers(), kernels()], [[], []]);
});

test('a kernel that cannot start is an error with its console, at once', { skip }, async () => {
  await assert.rejects(
    runInGuest({ argv: ['true'], memMb: 1, timeoutMs: LIMIT_MS }),
    /kernel ended before the program/,
  );
  assert.deepEqual([leftovers(), kernels()], [[], []]);
});

test('a program that is not there is status 127', { skip }, async () => {
  const { status, stderr } = await runInGuest({ argv: [join(tmpdir(), 'no-such-program')], timeoutMs: LIMIT_MS });
  assert.equal(status, 127);
  assert.match(stderr, /no-such-program/);
});

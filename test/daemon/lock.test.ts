/** One instance per run directory; a holder that died, or whose id was given to another process, holds nothing. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { lockHolder, takeLock } from '../../src/daemon/lock.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-lock-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('the second taker is told who holds it; after the release it is free', () => {
  const run = join(dir, 'run');
  const lock = takeLock(run);
  assert.equal(statSync(run).mode & 0o777, 0o700);
  assert.equal(lockHolder(run)?.pid, process.pid);
  assert.throws(() => takeLock(run), new RegExp(`pid ${process.pid}; stop it with yoke down`));
  lock.release();
  assert.equal(lockHolder(run), undefined);
  takeLock(run).release();
  assert.ok(!existsSync(join(run, 'pid')));
});

for (const [what, content] of [
  ['of a process that is gone', '4194304 1\n'],
  ['whose id another process has now', `${process.pid} 1\n`],
  ['that is torn', '12'],
] as const) {
  test(`a lock ${what} is taken over`, () => {
    writeFileSync(join(dir, 'pid'), content);
    assert.equal(lockHolder(dir), undefined);
    const lock = takeLock(dir);
    assert.match(readFileSync(join(dir, 'pid'), 'utf8'), new RegExp(`^${process.pid} \\d+\\n$`));
    lock.release();
  });
}

test('a release does not remove the lock of another', () => {
  const lock = takeLock(dir);
  writeFileSync(join(dir, 'pid'), '1 1\n');
  lock.release();
  assert.equal(readFileSync(join(dir, 'pid'), 'utf8'), '1 1\n');
});

test('a directory that cannot be made is a complaint', () => {
  writeFileSync(join(dir, 'file'), '');
  assert.throws(() => takeLock(join(dir, 'file', 'run')), /expected a directory that yoke may write, found ENOTDIR/);
});

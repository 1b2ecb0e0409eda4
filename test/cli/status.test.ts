/** `yoke status` beside an instance of another version. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { status } from '../../src/cli/status.ts';
import { startControl } from '../../src/daemon/control.ts';

test('a status of another version is refused in words that help, and not printed half', async () => {
  const runDir = mkdtempSync(join(tmpdir(), 'yoke-status-'));
  try {
    for (const answer of [{ version: 2, bonds: 'other' }, {}, null]) {
      const control = await startControl(runDir, async () => answer);
      await assert.rejects(
        status({ config: '', runDir, stateDir: runDir }),
        /^YokeError: the running yoke: expected a status of version 1, found .*; .*restart/,
      );
      await control.stop();
    }
  } finally {
    rmSync(runDir, { recursive: true, force: true });
  }
});

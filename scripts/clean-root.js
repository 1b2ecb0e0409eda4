/**
 * A Debian of its own as a folder: the least that boots, and the packages asked for. `node scripts/clean-root.js PACKAGE…` prints the folder.
 *
 * It is made once (mmdebstrap, a minute) and kept in ~/.cache/yoke; whoever uses it lays a file system over it and leaves it as it is.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The oldest Debian whose own Node is new enough. */
const SUITE = 'trixie';
const LIMIT_MS = 240_000;

const packages = process.argv.slice(2).sort();
const name = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 12);
const folder = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'yoke', `${SUITE}-${name}`);
if (!existsSync(folder)) {
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(join(folder, '..'), { recursive: true });
  const argv = ['--quiet', '--mode=root', '--variant=minbase', '--format=directory', `--include=${packages.join(',')}`];
  const made = spawnSync('mmdebstrap', [...argv, SUITE, fresh], { stdio: ['ignore', 2, 2], timeout: LIMIT_MS });
  if (made.status !== 0) {
    rmSync(fresh, { recursive: true, force: true });
    console.error(`mmdebstrap: ${made.error?.message ?? `status ${made.status}`}`);
    process.exit(1);
  }
  // of two that make it at once, the first one's is kept
  if (existsSync(folder)) rmSync(fresh, { recursive: true, force: true });
  else renameSync(fresh, folder);
}
console.log(folder);

/**
 * One instance per run directory: `RUN_DIR/pid` names the process that holds it.
 *
 * The file holds the process id and the time the process started (in clock ticks since boot), so that a reused id is not
 * taken for the old holder. It is put in place by link(2), which fails when the name exists: two starts at once cannot both win.
 */
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { YokeError } from '../base/error.ts';

/** Attempts at replacing stale locks before somebody else's persistence wins. */
const ATTEMPTS = 5;

/** Who holds a run directory. */
export interface LockHolder {
  pid: number;
  /** Field 22 of /proc/PID/stat. */
  startTicks: string;
}

export interface Lock {
  release(): void;
}

/** The living process that holds the run directory, if any. */
export function lockHolder(runDir: string): LockHolder | undefined {
  const holder = readLock(join(runDir, 'pid'));
  return holder && startTicksOf(holder.pid) === holder.startTicks ? holder : undefined;
}

/**
 * Takes the run directory for this process; makes it (mode 0700) when it is missing.
 *
 * @throws YokeError `host` when another living process has it, or when it cannot be written.
 */
export function takeLock(runDir: string): Lock {
  const path = join(runDir, 'pid');
  const mine = `${process.pid} ${startTicksOf(process.pid)}\n`;
  const fresh = `${path}.${process.pid}`;
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o700 });
    writeFileSync(fresh, mine, { mode: 0o600 });
  } catch (error) {
    throw new YokeError('host', {
      where: runDir,
      expected: 'a directory that yoke may write',
      found: (error as NodeJS.ErrnoException).code ?? 'an error',
      todo: 'run yoke as root, or choose another --run-dir',
    });
  }
  try {
    for (let i = 0; i < ATTEMPTS; i++) {
      try {
        linkSync(fresh, path);
        return { release: () => releaseLock(path, mine) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const holder = lockHolder(runDir);
      if (holder) throw heldBy(runDir, holder);
      rmSync(path, { force: true });
    }
    throw heldBy(runDir, undefined);
  } finally {
    rmSync(fresh, { force: true });
  }
}

function heldBy(runDir: string, holder: LockHolder | undefined): YokeError {
  return new YokeError('host', {
    where: runDir,
    expected: 'no running instance',
    found: holder ? `pid ${holder.pid}` : 'others that start at this moment',
    todo: 'stop it with yoke down, or give this one its own --run-dir',
  });
}

function releaseLock(path: string, mine: string): void {
  try {
    if (readFileSync(path, 'utf8') === mine) rmSync(path);
  } catch {
    // already gone: nothing to release
  }
}

function readLock(path: string): LockHolder | undefined {
  try {
    const m = /^(\d+) (\d+)\n$/.exec(readFileSync(path, 'utf8'));
    return m ? { pid: Number(m[1]), startTicks: m[2] } : undefined;
  } catch {
    return undefined;
  }
}

function startTicksOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // the command name, in parentheses, may hold spaces and parentheses itself
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const state = fields[0];
    return state === 'Z' || state === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

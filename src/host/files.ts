/** Files that are kept: written whole or not at all, secrets with their mode from the first byte on. */
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { YokeError } from '../base/error.ts';

/** Mode of what only its owner may read. */
export const SECRET_MODE = 0o600;
/** Mode of certificates and lists, which are no secret. */
export const PUBLIC_MODE = 0o644;
const FOLDER_MODE = 0o700;

/** What can be done about it. */
const REMEDIES: Record<string, string> = {
  ENOSPC: 'make room on that disk (df -h)',
  EDQUOT: 'make room on that disk (quota)',
  EROFS: 'make that disk writable (mount -o remount,rw)',
  EACCES: 'run this as the owner of the folder',
  EPERM: 'run this as the owner of the folder',
  EISDIR: 'a folder has the name of the file: move it away',
  ENOTDIR: 'a file has the name of the folder: move it away',
};

/** Replaces a file durably; makes its folder (0700) when there is none. @throws YokeError `host`. */
export function writeWhole(path: string, text: string, mode: number): void {
  const fresh = `${path}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE });
    rmSync(fresh, { force: true });
    // exclusively: what a link of another's points to is never written
    const fd = openSync(fresh, 'wx', mode);
    try {
      // whatever the mask is
      fchmodSync(fd, mode);
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(fresh, path);
  } catch (error) {
    throw refused(path, 'a file that can be written', error);
  }
}

/** Moves a file out of the way; makes the folder; nothing when it is not there. @throws YokeError `host`. */
export function moveAway(from: string, to: string): void {
  try {
    mkdirSync(dirname(to), { recursive: true, mode: FOLDER_MODE });
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw refused(from, 'a file that can be moved', error);
  }
}

/** The text of a file; undefined when there is none. @throws YokeError `host` when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw refused(path, 'a file that can be read', error);
  }
}

function refused(where: string, expected: string, error: unknown): YokeError {
  const found = (error as NodeJS.ErrnoException).code ?? String(error);
  return new YokeError('host', { where, expected, found, todo: REMEDIES[found] ?? 'see to that file and its folder' });
}

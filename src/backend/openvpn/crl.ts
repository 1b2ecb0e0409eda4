/**
 * Lists of revoked certificates that OpenVPN was told of, watched for a change.
 *
 * A point-to-point OpenVPN has read the list for its next connection when the present one begins (seen with 2.6.14), so a list that is put
 * in place counts from the connection after that. Whoever sees the change here has OpenVPN begin anew.
 */
import { statSync } from 'node:fs';

/** Some files. Cost: a system call a file and look. */
export class FileWatch {
  readonly #files: { path: string; seen: string; told: string }[];

  constructor(paths: readonly string[]) {
    this.#files = paths.map((path) => ({ path, seen: pictureOf(path), told: pictureOf(path) }));
  }

  /** The files that are others than before and were the same at two looks, so that none is half written. Each change is told once. */
  look(): string[] {
    const changed: string[] = [];
    for (const file of this.#files) {
      const now = pictureOf(file.path);
      // one that is gone leaves OpenVPN with the list that it has
      if (now !== GONE && now === file.seen && now !== file.told) {
        file.told = now;
        changed.push(file.path);
      }
      file.seen = now;
    }
    return changed;
  }
}

const GONE = '';

function pictureOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? GONE : `${stat.ino} ${stat.size} ${stat.mtimeNs}`;
}

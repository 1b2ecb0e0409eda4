/** The bundle, made by our script in a folder of its own that has no node_modules above it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** A bundle and the folder that it and its test own. */
export interface Bundle {
  /** A folder for the test's files. */
  folder: string;
  /** The program. */
  program: string;
  remove(): void;
}

/** Makes it. @throws when the script fails. */
export function makeBundle(): Bundle {
  const folder = mkdtempSync(join(tmpdir(), `yoke-bundle-${process.pid}-`));
  const out = join(folder, 'yoke');
  const made = spawnSync(process.execPath, [join(ROOT, 'scripts/bundle.js'), '--out', out], { encoding: 'utf8' });
  const remove = () => rmSync(folder, { recursive: true, force: true });
  if (made.status !== 0) {
    remove();
    throw new Error(`scripts/bundle.js: ${made.stderr}`);
  }
  return { folder, program: join(out, 'yoke.js'), remove };
}

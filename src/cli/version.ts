/** The version: package.json's, the only place where it is written. It lies beside the bundle, and above dist/src in a checkout. */
import { readFileSync } from 'node:fs';

/** From dist/src/cli/ to the checkout's folder. */
const MOST_FOLDERS_UP = 4;

/** The version of this yoke. */
export function version(): string {
  for (let i = 0; i < MOST_FOLDERS_UP; i++) {
    const text = read(new URL(`${'../'.repeat(i)}package.json`, import.meta.url));
    if (text !== undefined) return (JSON.parse(text) as { version: string }).version;
  }
  throw new Error('no package.json beside the program');
}

function read(file: URL): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

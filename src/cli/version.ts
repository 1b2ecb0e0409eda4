/** The version: package.json's, the only place where it is written. */
import { readFileSync } from 'node:fs';

/** The version of this yoke. */
export function version(): string {
  // dist/src/cli/version.js → package.json
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** `yoke reload`: the running instance takes its file again. */
import { askControl } from '../daemon/control.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** A change of many links waits for name servers and sockets. */
export const RELOAD_LIMIT_MS = 60_000;

/** Prints what changed. */
export async function reload(options: GlobalOptions): Promise<number> {
  const { changes } = (await askControl(options.runDir, 'reload', {}, RELOAD_LIMIT_MS)) as { changes: string[] };
  process.stdout.write(printChanges(changes));
  return EXIT_DONE;
}

/** A line for each change. */
export function printChanges(changes: readonly string[]): string {
  return changes.length === 0 ? 'nothing has changed\n' : changes.map((line) => `${line}\n`).join('');
}

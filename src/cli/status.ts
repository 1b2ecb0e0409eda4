/** `yoke status`: asks the running instance and prints its answer, for eyes or for programs, once or again and again. */
import { YokeError } from '../base/error.ts';
import { askControl } from '../daemon/control.ts';
import { printStatus } from '../status/print.ts';
import type { Status } from '../status/status.ts';
import type { GlobalOptions } from './terms.ts';

/** Clears the terminal and puts the cursor in its corner. */
const CLEAR = '\x1b[2J\x1b[H';

/** Prints the status. With --watch until it is interrupted, or the instance ends. */
export async function status(options: GlobalOptions & { json?: boolean; watch?: number | true }): Promise<number> {
  const seconds = options.watch === true ? 1 : options.watch;
  let before: { status: Status; atMs: number } | undefined;
  for (;;) {
    const now = readable(await askControl(options.runDir, 'status'));
    const atMs = performance.now();
    // another process has other counters
    const comparable = before?.status.pid === now.pid ? before : undefined;
    if (options.json) process.stdout.write(`${JSON.stringify(now)}\n`);
    else {
      const text = printStatus(now, {
        nowMs: Date.now(),
        ...(comparable && { before: { status: comparable.status, elapsedS: (atMs - comparable.atMs) / 1000 } }),
      });
      process.stdout.write(`${seconds !== undefined && process.stdout.isTTY ? CLEAR : ''}${text}\n`);
    }
    if (seconds === undefined) return 0;
    before = { status: now, atMs };
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    if (!options.json && !process.stdout.isTTY) process.stdout.write('\n');
  }
}

/** The value of an instance of this version, or of one that says the same. @throws YokeError when it does not: an upgrade, and no restart yet. */
function readable(value: unknown): Status {
  const { version } = (value ?? {}) as Partial<Status>;
  if (version === 1) return value as Status;
  throw new YokeError('host', {
    where: 'the running yoke',
    expected: 'a status of version 1',
    found: `version ${version}`,
    todo: 'it is another version than this command: restart it (systemctl restart yoke)',
  });
}

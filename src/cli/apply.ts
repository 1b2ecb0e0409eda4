/** `yoke apply` and `yoke confirm`: the edited file, for good or until it is confirmed. */
import { askControl, type ControlParams } from '../daemon/control.ts';
import { lockHolder } from '../daemon/lock.ts';
import { confirmTrial } from '../daemon/trial.ts';
import { printChanges, RELOAD_LIMIT_MS } from './reload.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** Has the running instance take its file; with `confirm`, for so many seconds. */
export async function apply(options: GlobalOptions & { confirm?: number }): Promise<number> {
  const params: ControlParams = options.confirm === undefined ? {} : { seconds: options.confirm };
  const { changes, until } = (await askControl(options.runDir, 'apply', params, RELOAD_LIMIT_MS)) as {
    changes: string[];
    until?: string;
  };
  process.stdout.write(printChanges(changes));
  if (until !== undefined) {
    process.stdout.write(
      `on trial until ${until}; keep it: yoke confirm. Otherwise the configuration before comes back\n`,
    );
  }
  return EXIT_DONE;
}

/** Keeps what is on trial; also where the instance has ended meanwhile. */
export async function confirm(options: GlobalOptions): Promise<number> {
  if (lockHolder(options.runDir)) await askControl(options.runDir, 'confirm');
  else confirmTrial(options.config);
  process.stdout.write('confirmed\n');
  return EXIT_DONE;
}

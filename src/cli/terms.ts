/** What the command line and its commands agree on: the options of every command, and exit codes. */
import type { Command } from 'commander';
import { type Instance, instanceOf } from '../daemon/instance.ts';

/** What every command is given. */
export type GlobalOptions = Instance;

/** Done. */
export const EXIT_DONE = 0;
/** An operating error: somebody can act on it, and stderr says how. */
export const EXIT_ERROR = 1;
/** Wrong usage. */
export const EXIT_USAGE = 2;
/** A bug of yoke's. */
export const EXIT_BUG = 3;

/** What a command was given, with the run directory of whoever keeps the service where none was said. */
export function optionsOf<T extends object>(command: Command): GlobalOptions & T {
  const options = command.optsWithGlobals<GlobalOptions & T>();
  return { ...options, ...instanceOf(options) };
}

/** What the command line and its commands agree on: the options of every command, and exit codes. */

/** What every command is given. */
export interface GlobalOptions {
  config: string;
  runDir: string;
  stateDir: string;
}

/** Done. */
export const EXIT_DONE = 0;
/** An operating error: somebody can act on it, and stderr says how. */
export const EXIT_ERROR = 1;
/** Wrong usage. */
export const EXIT_USAGE = 2;
/** A bug of yoke's. */
export const EXIT_BUG = 3;

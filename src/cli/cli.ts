/**
 * argv → command → exit code. A command's own file is loaded when it is called, so that `yoke --help` and `yoke keygen` are there at once.
 *
 * Exit codes: 0 done; 1 an operating error, one line on stderr for each complaint; 2 wrong usage; 3 a bug of yoke's.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { YokeError } from '../base/error.ts';
import { DEFAULT_INSTANCE } from '../daemon/instance.ts';
import { describeLink } from './link-words.ts';
import { describePki } from './pki-words.ts';
import { describeSetup } from './setup-words.ts';
import { EXIT_BUG, EXIT_DONE, EXIT_ERROR, EXIT_USAGE, type GlobalOptions, optionsOf } from './terms.ts';
import { version } from './version.ts';

/** Runs the command that argv asks for and gives the exit code; writes to stdout and stderr. */
export async function runCli(argv: readonly string[]): Promise<number> {
  process.stdout.on('error', endQuietlyWhenNobodyReads);
  let code = EXIT_DONE;
  const program = describeProgram((result) => {
    code = result;
  });
  try {
    await program.parseAsync(argv);
    return code;
  } catch (error) {
    return explain(error);
  }
}

/** Says on stderr what went wrong, for the one who can act, and gives the exit code. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_DONE : EXIT_USAGE;
  if (error instanceof YokeError) {
    process.stderr.write(`${error.message}\n`);
    return EXIT_ERROR;
  }
  process.stderr.write(`this is a bug in yoke ${version()}: ${(error as Error)?.stack ?? error}\n`);
  return EXIT_BUG;
}

/** `yoke status | head`: when the reader leaves there is nothing more to say. */
function endQuietlyWhenNobodyReads(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(EXIT_DONE);
  throw error;
}

type Action = (options: GlobalOptions & Record<string, unknown>) => Promise<number>;

/** Every command with its options; `done` is told the exit code of the one that is called. Manual and completion are printed from it. */
export function describeProgram(done: (code: number) => void): Command {
  const program = new Command('yoke');
  program
    .description('Yokes two or more internet links into one fast pipe.')
    .option('--config <file>', 'configuration in UCI syntax', DEFAULT_INSTANCE.config)
    .option('--run-dir <dir>', 'where the running instance keeps lock, socket and journal', DEFAULT_INSTANCE.runDir)
    .option('--state-dir <dir>', 'where keys and invitations are kept', DEFAULT_INSTANCE.stateDir)
    .version(version(), '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .helpCommand(false)
    .showHelpAfterError('(yoke --help tells more)')
    .exitOverride()
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', FIRST_STEPS);

  const command = (name: string, description: string, load: () => Promise<Action>) =>
    program
      .command(name)
      .description(description)
      .helpOption('--help', 'print this help')
      .action(async (_options: object, self: Command) => done(await (await load())(optionsOf(self))));

  command('keygen', 'print a new private key', async () => (await import('./keys.ts')).keygen);
  command(
    'pubkey',
    'read a private key from stdin, print its public key',
    async () => (await import('./keys.ts')).pubkey,
  );
  command('genpsk', 'print a new pre-shared key', async () => (await import('./keys.ts')).genpsk);
  command(
    'check',
    'tell every error of the configuration, and what this host lacks for it',
    async () => (await import('./check.ts')).check,
  );
  command(
    'plan',
    'print every change that `run` would make to this host, with its undo; do nothing',
    async () => (await import('./plan.ts')).plan,
  ).option('--down', 'what `down` would take back now, instead');
  command(
    'run',
    'run the bond in the foreground, until SIGTERM, SIGINT or `down`',
    async () => (await import('./run.ts')).run,
  );
  command(
    'reload',
    'have the running instance take its configuration file again; what did not change is not disturbed',
    async () => (await import('./reload.ts')).reload,
  );
  command(
    'apply',
    'the same as reload; with --confirm, the configuration before comes back unless `confirm` comes in time',
    async () => (await import('./apply.ts')).apply,
  ).option('--confirm <seconds>', 'how long to wait for it, 5 to 3600', parseTrialSeconds);
  command('confirm', 'keep what `apply --confirm` took', async () => (await import('./apply.ts')).confirm);
  command(
    'status',
    'print how the running instance and its paths are',
    async () => (await import('./status.ts')).status,
  )
    .option('--json', 'one JSON value for programs')
    .option('--watch [seconds]', 'again and again, with rates', parseInterval);
  command(
    'down',
    'end the running instance; if it was killed, take back what it changed on this host',
    async () => (await import('./down.ts')).down,
  );
  command(
    'doctor',
    'tell what this machine and its links can do, what is in the way, and what speed to expect; change nothing',
    async () => (await import('./doctor.ts')).doctor,
  ).option('--json', 'one JSON value for programs');
  command(
    'test',
    "measure the speed from the bond's address, against the other end, both ways",
    async () => (await import('./test.ts')).test,
  )
    .option('--seconds <seconds>', 'how long each way takes, 30 at most', parseTestSeconds, 10)
    .option('--down', 'from the server to here alone')
    .option('--up', 'from here to the server alone')
    .option('--client <name>', 'on a server: against this client')
    .option('--iperf3 <host>', 'against this iperf3 server instead, HOST or HOST:PORT')
    .option('--url <url>', 'fetch this web address instead')
    .option('--json', 'one JSON value for programs');
  describeSetup(program, done);
  describeLink(program, done);
  describePki(program, done);
  return program;
}

function parseInterval(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= 3600)) throw new InvalidArgumentError('expected seconds from 0.1 to 3600.');
  return seconds;
}

function parseTrialSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 5 || seconds > 3600) {
    throw new InvalidArgumentError('expected whole seconds from 5 to 3600.');
  }
  return seconds;
}

function parseTestSeconds(text: string): number {
  const seconds = Number(text);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 30) {
    throw new InvalidArgumentError('expected whole seconds from 1 to 30.');
  }
  return seconds;
}

const FIRST_STEPS = `
First steps, as root:
  on the server   yoke server init          it prints an invitation
  on the router   yoke join INVITATION

Exit codes: 0 done, 1 error (one line for each on stderr), 2 wrong usage, 3 a bug.`;

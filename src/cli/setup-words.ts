/** The words of the set-up: `server init`, `invite`, `join`, `peers`, `revoke`, `rename`. What they do is loaded when one is called. */
import { type Command, InvalidArgumentError } from 'commander';
import { parseTimeUs } from '../base/units.ts';
import { optionsOf } from './terms.ts';

const LEAST_EXPIRES_S = 60;
const MOST_EXPIRES_S = 30 * 24 * 3600;

/** Adds the commands to the program; `done` is told the exit code. */
export function describeSetup(program: Command, done: (code: number) => void): void {
  // biome-ignore lint/suspicious/noExplicitAny: commander hands over arguments, options and itself, as many as the words say.
  const command = (parent: Command, words: string, description: string, act: (...given: any[]) => Promise<number>) =>
    parent
      .command(words)
      .description(description)
      .helpOption('--help', 'print this help')
      .action(async (...given: unknown[]) => {
        const self = given.pop() as Command;
        given.pop();
        done(await act(...given, optionsOf(self)));
      });

  const server = program.command('server').description('make this machine a server').helpCommand(false);
  server.helpOption('--help', 'print this help');
  command(
    server,
    'init',
    'write configuration and key, start the service, print the first invitation; keeps what is there',
    async (options) => (await import('./server-init.ts')).serverInit(options),
  )
    .option('--public-ip <address>', 'address or host name that routers find this server at; may be repeated', collect)
    .option(
      '--public-port <port>',
      'UDP port there, where a router before this machine forwards another one',
      parsePort,
    )
    .option('--port <port>', 'UDP port to listen at (default: 1194)', parsePort)
    .option('--network <prefix>', 'IPv4 network inside the bond (default: 10.121.111.0/24)')
    .option('--name <name>', 'the first router', 'home')
    .option('--no-qr', 'no QR code');

  command(program, 'invite <name>', 'print an invitation for one more router', async (name, options) =>
    (await import('./invite.ts')).invite(name, options),
  )
    .option('--expires <time>', 'how long it is good: 90m, 24h, 7d', parseExpires, 24 * 3600)
    .option('--no-qr', 'no QR code');

  command(
    program,
    'join [invitation]',
    'make this machine a router of the bond that it is invited to; without an invitation: add new links',
    async (invitation, options) => (await import('./join.ts')).join(invitation, options),
  )
    .option('--yes', 'do not ask')
    .option('--link <device>', 'use this device as a link; may be repeated (default: all that lead out)', collect)
    .option('--replace', 'leave another bond for this one')
    .option('--no-test', 'do not measure at the end');

  command(program, 'peers', 'list the routers of this server and the open invitations', async (options) =>
    (await import('./peers.ts')).peers(options),
  ).option('--json', 'one JSON value for programs');
  command(program, 'revoke <name>', 'let a router go: its session ends at once', async (name, options) =>
    (await import('./members.ts')).revoke(name, options),
  );
  command(program, 'rename <old> <new>', 'give a router another name', async (from, to, options) =>
    (await import('./members.ts')).rename(from, to, options),
  );
}

const collect = (value: string, before: string[] = []) => [...before, value];

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new InvalidArgumentError('expected a port from 1 to 65535.');
  return port;
}

function parseExpires(text: string): number {
  const seconds = (parseTimeUs(text) ?? 0) / 1e6;
  if (seconds >= LEAST_EXPIRES_S && seconds <= MOST_EXPIRES_S) return seconds;
  throw new InvalidArgumentError('expected a time from 1m to 30d, as 90m, 24h or 7d.');
}

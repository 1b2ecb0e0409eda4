/** The words of `yoke pki`: its commands and their options. What they do is loaded when one is called. */
import { type Command, InvalidArgumentError } from 'commander';
import type { PkiCommandOptions } from './pki.ts';
import { optionsOf } from './terms.ts';

/** Where an authority lives unless told. */
const DEFAULT_DIR = '/etc/yoke/pki';
/** A century: longer, and a mistyped number is likelier. */
const MOST_DAYS = 36_500;

type PkiAction = (name: string, options: PkiCommandOptions) => Promise<number>;
type PkiModule = typeof import('./pki.ts');

/** Adds `yoke pki` to the program; `done` is told the exit code. */
export function describePki(program: Command, done: (code: number) => void): void {
  const pki = program
    .command('pki')
    .description('make, renew, revoke and list the certificates of engine openvpn')
    .option('--dir <dir>', 'the folder of the authority; one of easy-rsa will do', DEFAULT_DIR)
    .option('--passphrase-file <file>', "file with the passphrase of the authority's key, where it has one")
    .helpOption('--help', 'print this help')
    .helpCommand(false);

  const command = (words: string, description: string, choose: (module: PkiModule) => PkiAction) =>
    pki
      .command(words)
      .description(description)
      .helpOption('--help', 'print this help')
      .action(async (...given: unknown[]) => {
        const self = given.at(-1) as Command;
        const name = typeof given[0] === 'string' ? given[0] : '';
        done(await choose(await import('./pki.ts'))(name, optionsOf(self)));
      });
  const days = ['--days <days>', 'how long it is good for', parseDays] as const;

  command('init', 'make the authority, the shared key and an empty revocation list', (m) => m.pkiInit)
    .option('--name <name>', 'the name of the authority', 'yoke')
    .option(...days);
  command('server <name>', 'make the key and the certificate of a server', (m) => m.pkiServer).option(...days);
  command('router <name>', 'make the key and the certificate of a router', (m) => m.pkiRouter).option(...days);
  command('renew <name>', 'put a fresh certificate in place of the old one; `ca`: of the authority', (m) => m.pkiRenew)
    .option('--new-key', 'with a new key as well')
    .option(...days);
  command('revoke <name>', 'revoke the certificates of a name', (m) => m.pkiRevoke);
  command('list', 'print every certificate: name, kind, state, end, days left, serial', (m) => m.pkiList).option(
    '--json',
    'one JSON value for programs',
  );
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > MOST_DAYS) {
    throw new InvalidArgumentError(`expected whole days from 1 to ${MOST_DAYS}.`);
  }
  return days;
}

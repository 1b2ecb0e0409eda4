/** `yoke pki …`: the certificates of the tunnels of engine openvpn, made, renewed, revoked and listed. */
import { readFileSync } from 'node:fs';
import { YokeError } from '../base/error.ts';
import { judge } from '../pki/expiry.ts';
import { type Listed, type Outcome, Pki } from '../pki/pki.ts';
import { EXIT_DONE } from './terms.ts';

/** What every command of `yoke pki` is given. */
export interface PkiCommandOptions {
  dir: string;
  passphraseFile?: string;
  days?: number;
  name?: string;
  newKey?: boolean;
  json?: boolean;
}

/** Makes authority, shared key and revocation list where they are missing. */
export async function pkiInit(_name: string, options: PkiCommandOptions): Promise<number> {
  return tell(await open(options).init(options.name ?? 'yoke', options.days));
}

/** Issues a certificate for a server. */
export async function pkiServer(name: string, options: PkiCommandOptions): Promise<number> {
  return tell(await open(options).issue(name, 'server', options.days));
}

/** Issues a certificate for a router. */
export async function pkiRouter(name: string, options: PkiCommandOptions): Promise<number> {
  return tell(await open(options).issue(name, 'router', options.days));
}

/** Puts a fresh certificate in place of an old one. */
export async function pkiRenew(name: string, options: PkiCommandOptions): Promise<number> {
  return tell(await open(options).renew(name, { days: options.days, newKey: options.newKey }));
}

/** Revokes every certificate of a name. */
export async function pkiRevoke(name: string, options: PkiCommandOptions): Promise<number> {
  const code = tell(await open(options).revoke(name));
  process.stdout.write('put it where crl_verify of the server points: a running yoke takes it within two seconds\n');
  return code;
}

/** Prints every certificate with the days it has left. */
export async function pkiList(_name: string, options: PkiCommandOptions): Promise<number> {
  const nowMs = Date.now();
  const all = open(options)
    .list()
    .map((c) => ({ ...c, ...stateOf(c, nowMs) }));
  if (options.json) {
    const day = (ms: number | undefined) => (ms ? new Date(ms).toISOString() : undefined);
    const values = all.map(({ notBeforeMs, notAfterMs, revokedMs, ...rest }) => ({
      ...rest,
      notBefore: day(notBeforeMs),
      notAfter: day(notAfterMs),
      revokedAt: day(revokedMs),
    }));
    process.stdout.write(`${JSON.stringify(values)}\n`);
    return EXIT_DONE;
  }
  for (const c of all) {
    const end = c.notAfterMs ? new Date(c.notAfterMs).toISOString().slice(0, 10) : '-';
    const left = c.state === 'revoked' ? '' : `${c.daysLeft} days`;
    const fields = [c.name, c.purpose === 'other' ? '-' : c.purpose, c.state, end, left, c.serial.toUpperCase()];
    process.stdout.write(`${fields.join('\t')}\n`);
  }
  return EXIT_DONE;
}

type State = ReturnType<typeof judge>['state'] | 'revoked';

function stateOf(c: Listed, nowMs: number): { state: State; daysLeft: number } {
  const verdict = judge(c.notBeforeMs, c.notAfterMs, nowMs);
  return c.revokedMs === undefined ? verdict : { ...verdict, state: 'revoked' };
}

function tell(outcomes: readonly Outcome[]): number {
  for (const { path, did } of outcomes) process.stdout.write(`${did} ${path}\n`);
  return EXIT_DONE;
}

function open(options: PkiCommandOptions): Pki {
  const passphrase = options.passphraseFile === undefined ? undefined : readPassphrase(options.passphraseFile);
  return new Pki({ dir: options.dir, now: new Date(), ...(passphrase !== undefined && { passphrase }) });
}

/** The first line of a file. @throws YokeError when it cannot be read. */
function readPassphrase(file: string): string {
  try {
    return readFileSync(file, 'utf8').split(/\r?\n/)[0];
  } catch (error) {
    throw new YokeError('config', {
      where: '--passphrase-file',
      expected: 'a file that can be read',
      found: `${file}: ${(error as NodeJS.ErrnoException).code}`,
      todo: 'name the file whose first line is the passphrase of the authority',
    });
  }
}

/** Runs one program: arguments as a list, never a shell; a time limit; a clear word when the program is missing. */
import { spawn } from 'node:child_process';
import { YokeError } from '../base/error.ts';

/** What a program left behind. */
export interface Ran {
  status: number;
  stdout: string;
  stderr: string;
}

/** Longest a command may take; at the limit it is killed and counts as failed. Units: milliseconds. */
export const COMMAND_LIMIT_MS = 10_000;
/** Most bytes taken of a command's output; at the limit it is killed and counts as failed. */
const OUTPUT_LIMIT_BYTES = 64 << 20;

/** The Debian packages of the programs that yoke runs. */
const PACKAGES: Record<string, string> = { ip: 'iproute2', nft: 'nftables', ubus: 'ubus (OpenWrt)' };

/**
 * Runs a program and resolves with its status, whatever that is.
 *
 * @throws YokeError when the program is not there, takes too long or is killed.
 */
export function run(argv: readonly string[], stdin?: string): Promise<Ran> {
  const [program, ...args] = argv;
  return new Promise((resolve, reject) => {
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let sizeBytes = 0;
    let why = 'it was killed';
    const stop = (reason: string) => {
      why = reason;
      child.kill('SIGKILL');
    };
    const limit = setTimeout(() => stop(`no end after ${COMMAND_LIMIT_MS / 1000} s`), COMMAND_LIMIT_MS);
    const keep = (into: Buffer[]) => (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes > OUTPUT_LIMIT_BYTES) stop('too much output');
      else into.push(chunk);
    };
    child.stdout.on('data', keep(out));
    child.stderr.on('data', keep(err));
    child.stdin.on('error', () => {}); // The program may end without reading; its status says what that means.
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(limit);
      reject(error.code === 'ENOENT' ? missingProgram(program) : failed(argv, error.message));
    });
    child.on('close', (status) => {
      clearTimeout(limit);
      if (status === null) reject(failed(argv, why));
      else
        resolve({ status, stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') });
    });
    child.stdin.end(stdin ?? '');
  });
}

/** Runs a program that has to succeed, and returns what it printed. @throws YokeError with what it said on stderr. */
export async function runWell(argv: readonly string[], stdin?: string): Promise<string> {
  const ran = await run(argv, stdin);
  if (ran.status !== 0) throw failed(argv, ran.stderr.trim() || `exit status ${ran.status}`);
  return ran.stdout;
}

/** The error of a command that did not do what it was asked. */
export function failed(argv: readonly string[], found: string): YokeError {
  return new YokeError(
    'host',
    { where: argv.join(' '), expected: 'the command to succeed', found: oneLine(found), todo: advice(found) },
    true,
  );
}

const oneLine = (text: string) => text.trim().replace(/\s*\n\s*/g, ' / ');

function advice(found: string): string {
  if (/permitted|permission/i.test(found)) return 'run yoke as root (or with CAP_NET_ADMIN)';
  return 'see that nothing else manages the same device, rule or table, then try again';
}

function missingProgram(program: string): YokeError {
  const name = PACKAGES[program] ?? program;
  return new YokeError('host', {
    where: program,
    expected: 'the program to be installed',
    found: 'no such program',
    todo: `install it: apt-get install ${name}`,
  });
}

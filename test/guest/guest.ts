/**
 * A guest kernel that has the bonding driver: User-Mode Linux, an ordinary process, in which a program of this machine runs.
 *
 * The guest sees this machine's programs and files, may write whatever it likes (it is gone with the guest), and has no network but what
 * it makes itself. It has one CPU of its own, to which it is pinned: that makes its system calls two to five times cheaper.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CONSOLE_FD, FILES, firstScript, kernelArgv, STDERR_FD, STDOUT_FD, secondScript } from './boot.ts';
import { type Claim, claim } from './claim.ts';
import { debianKernel, type GuestKernel, ownKernel } from './kernel.ts';

/** What to run in a guest. */
export interface GuestRun {
  /** The program and its arguments; or `file`, which node runs. */
  argv?: readonly string[];
  file?: string;
  /** Added to the few variables that a guest has; nothing else of this process's environment is there. */
  env?: Readonly<Record<string, string>>;
  /** Default: this process's. */
  cwd?: string;
  /** Memory of the guest; the files it writes lie in it too. Units: MiB; default 512. */
  memMb?: number;
  /** From the start of the kernel. */
  timeoutMs: number;
  /** Default: our own where it is built, or else Debian's. */
  kernel?: GuestKernel;
  /** Called with each piece of standard output as it comes. */
  onStdout?: (text: string) => void;
}

/** What a program that ended in a guest left. */
export interface GuestOutcome {
  status: number;
  stdout: string;
  stderr: string;
}

const PREFIX = 'yoke-guest-';
/** Inside a guest: the name of its kernel. */
const INSIDE = 'YKG_KERNEL';

/** Which kernel a guest gets: one of the two, or the better one that there is. */
export type Wanted = GuestKernel['name'] | 'any';

/** The kernel of the guest that this process runs in; undefined: it runs in none. */
export const insideKernel = process.env[INSIDE] as GuestKernel['name'] | undefined;

/** A kernel for a guest; or why none can be had here, in words for the one who reads why a test was skipped. */
export function findKernel(wanted: Wanted = 'any'): GuestKernel | string {
  const own = wanted === 'debian' ? undefined : ownKernel();
  const kernel = own ?? (wanted === 'own' ? undefined : debianKernel());
  if (kernel === undefined) return 'no guest kernel of our own: build it with node scripts/guest-kernel.js';
  if (Array.isArray(kernel)) return `no guest kernel: Debian package ${kernel.join(' and ')} is not installed`;
  if (spawnSync('unshare', [...isolation(), 'true']).status !== 0)
    return 'no guest kernel: no namespaces for this user';
  return kernel;
}

/**
 * Boots a guest, runs a program in it and ends it. Waits first while every CPU has a guest. Leaves no process, mount or file behind.
 *
 * @throws Error with all that was said when the guest did not get to the program's end: out of time, or its kernel failed.
 */
export async function runInGuest(run: GuestRun): Promise<GuestOutcome> {
  const argv = run.argv ?? (run.file === undefined ? undefined : [process.execPath, run.file]);
  if (argv === undefined) throw new Error('a guest needs something to run');
  const kernel = run.kernel ?? findKernel();
  if (typeof kernel === 'string') throw new Error(kernel);
  const cpu = await claimCpu();
  sweep();
  const folder = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  try {
    mkdirSync(join(folder, FILES.kernel));
    writeFileSync(join(folder, FILES.first), firstScript(folder, kernel.modules), { mode: 0o700 });
    writeFileSync(
      join(folder, FILES.second),
      secondScript(folder, argv, run.cwd ?? process.cwd(), { [INSIDE]: kernel.name, ...run.env }),
    );
    const said = await boot(kernel, folder, cpu.number, run);
    const status = statusIn(folder);
    if (status !== undefined && !said.late) return { status, stdout: said.stdout, stderr: said.stderr };
    const why = said.late ? `no end after ${run.timeoutMs} ms` : 'its kernel ended before the program';
    throw new Error(
      `guest: ${argv.join(' ')}: ${why}\n${said.stdout}\n${said.stderr}\nconsole:\n${said.console.slice(-4000)}`,
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
    cpu.claim.release();
  }
}

/** How the tests of a file run in a guest. */
export interface InGuestOptions {
  /** Default: any. */
  kernel?: Wanted;
  timeoutMs?: number;
  memMb?: number;
}

/**
 * Runs `inside` in a guest kernel; outside, declares one test that stands for the whole file and runs the file again in a guest. Skipped,
 * with the reason, where no guest can be had.
 */
export function inGuest(file: string, inside: () => void, options: InGuestOptions = {}): void {
  const { kernel: wanted = 'any', timeoutMs = 120_000, memMb } = options;
  if (insideKernel !== undefined) {
    if (wanted === 'any' || wanted === insideKernel) inside();
    return;
  }
  test(`in a guest kernel with the bonding driver${wanted === 'any' ? '' : ` (${wanted})`}`, async (t) => {
    const kernel = findKernel(wanted);
    if (typeof kernel === 'string') return t.skip(kernel);
    const { status, stdout, stderr } = await runInGuest({ file, kernel, memMb, timeoutMs });
    if (status !== 0) throw new Error(`${stdout}\n${stderr}`);
  });
}

interface Said {
  stdout: string;
  stderr: string;
  console: string;
  late: boolean;
}

/** Starts the kernel's process and waits until it is gone with all that it started. */
function boot(kernel: GuestKernel, folder: string, cpu: number, run: GuestRun): Promise<Said> {
  const argv = [...isolation(), 'taskset', '-c', String(cpu), ...kernelArgv(kernel.program, folder, run.memMb ?? 512)];
  // The guest's memory is a file that it removes at once; elsewhere than in memory it is slow.
  const env = { ...process.env, TMPDIR: existsSync('/dev/shm') ? '/dev/shm' : tmpdir() };
  const wrapper = process.getuid?.() === 0 ? ['setpriv', '--pdeathsig', 'KILL', 'unshare'] : ['unshare'];
  const child = spawn(wrapper[0], [...wrapper.slice(1), ...argv], {
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const said: Said = { stdout: '', stderr: '', console: '', late: false };
  // what the program itself says, before there is a console, goes with the console's
  for (const fd of [1, 2, CONSOLE_FD])
    listen(child, fd, (text) => {
      said.console += text;
    });
  listen(child, STDOUT_FD, (text) => {
    said.stdout += text;
    run.onStdout?.(text);
  });
  listen(child, STDERR_FD, (text) => {
    said.stderr += text;
  });
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      said.late = true;
      child.kill('SIGKILL');
    }, run.timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', () => {
      clearTimeout(timer);
      resolve(said);
    });
  });
}

function listen(child: ChildProcess, fd: number, take: (text: string) => void): void {
  const stream = child.stdio[fd] as NodeJS.ReadableStream;
  stream.setEncoding('utf8');
  stream.on('data', take);
}

/**
 * Options of `unshare`: process ids of its own, so that the many processes of a User-Mode Linux all end with the first; and that one ends
 * with `unshare`, which as root ends with this process (see `setpriv` in `boot`).
 */
function isolation(): string[] {
  return process.getuid?.() === 0 ? ['-pf', '--kill-child'] : ['-Urpf', '--kill-child'];
}

function statusIn(folder: string): number | undefined {
  try {
    const text = readFileSync(join(folder, FILES.status), 'utf8').trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}

/** Removes the folders of those that were killed before they could. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(PREFIX) ? /^\d+/.exec(name.slice(PREFIX.length))?.[0] : undefined;
    if (pid !== undefined && !existsSync(`/proc/${pid}`))
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

/** A CPU that no other guest of this machine has. */
async function claimCpu(): Promise<{ number: number; claim: Claim }> {
  for (;;) {
    for (const number of allowedCpus().reverse()) {
      const got = await claim(`yoke-guest-cpu${number}`);
      if (got) return { number, claim: got };
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** The CPUs this process may use: `0-3,8` in /proc. */
function allowedCpus(): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

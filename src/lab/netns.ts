/**
 * Network namespaces as the lab uses them: named after the process that made them, so that what a dead one left can be told
 * and removed.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { YokeError } from '../base/error.ts';

/** What a finished program left. */
export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  input?: string;
  /** The program is killed after this; its code is then −1. */
  timeoutMs?: number;
}

/** Runs a program to its end and returns what it said, whatever its exit status. @throws YokeError (host) when it cannot be started. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
    const timer = options.timeoutMs && setTimeout(() => child.kill('SIGKILL'), options.timeoutMs);
    child.on('error', (error) => {
      clearTimeout(timer || undefined);
      reject(
        new YokeError('host', { where: argv[0], expected: 'a program', found: error.message, todo: 'install it' }),
      );
    });
    child.on('close', (code) => {
      clearTimeout(timer || undefined);
      resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}

/** Runs a program that must succeed and returns its output. @throws YokeError (host) with what it said. */
export async function must(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options);
  if (code === 0) return stdout;
  throw new YokeError('host', {
    where: argv.join(' '),
    expected: 'success',
    found: `status ${code}: ${(stderr || stdout).trim()}`,
    todo: 'see its message',
  });
}

/** argv that runs a program inside a namespace. */
export function inside(namespace: string, argv: readonly string[]): string[] {
  return ['ip', 'netns', 'exec', namespace, ...argv];
}

/** Runs lines of `ip -batch` inside a namespace; the first that fails ends it. @throws YokeError (host) */
export async function ipBatch(namespace: string, lines: readonly string[]): Promise<void> {
  await must(['ip', '-n', namespace, '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** Sets kernel settings inside a namespace, `['net.ipv4.ip_forward=1']`. @throws YokeError (host) */
export async function setSysctls(namespace: string, settings: readonly string[]): Promise<void> {
  await must(inside(namespace, ['sysctl', '-q', '-w', ...settings]));
}

/** Starts a program inside a namespace, in a process group of its own: Ctrl-C is for the lab, which then ends its programs. */
export function spawnInside(namespace: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
  const full = inside(namespace, argv);
  return spawn(full[0], full.slice(1), { detached: true, ...options });
}

/** Ends a process that we started and waits for its end: SIGTERM first, SIGKILL after `graceMs`. */
export async function end(child: ChildProcess, graceMs = 3000): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await ended;
  clearTimeout(timer);
}

/** Whole names only: others may begin alike. */
const OURS = /^yk(\d+)(?:-\d+)?-(?:client|router|core|server|host|emulator)$/;

/** Ends what still runs in a namespace and removes it; its devices go with it. */
export async function removeNamespace(namespace: string): Promise<void> {
  const { stdout } = await run(['ip', 'netns', 'pids', namespace]);
  for (const pid of stdout.split('\n').filter((line) => /^\d+$/.test(line.trim()))) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It ended by itself meanwhile.
    }
  }
  await run(['ip', 'netns', 'del', namespace]);
}

/** Removes the namespaces of labs whose process is dead; returns their names. */
export async function sweepStale(): Promise<string[]> {
  const { stdout } = await run(['ip', 'netns', 'list']);
  const stale = stdout
    .split('\n')
    .map((line) => line.split(' ')[0])
    .filter((name) => {
      const pid = OURS.exec(name)?.[1];
      return pid !== undefined && !existsSync(`/proc/${pid}`);
    });
  for (const name of stale) await removeNamespace(name);
  return stale;
}

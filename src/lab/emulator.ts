/**
 * The emulator as the lab sees it: started with its links, told to change them, asked for its counters, stopped.
 *
 * The process holds both ends of every link as TUN devices; moving an end into another namespace leaves it in its hands. When
 * the process ends, the devices are gone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { YokeError } from '../base/error.ts';
import type { CarrierStats } from './carrier.ts';
import type { PlainLinkSettings } from './link.ts';

/** One link and the names of its two ends; `up` goes from near to far. */
export interface EmulatedLink {
  name: string;
  nearDevice: string;
  farDevice: string;
  up: PlainLinkSettings;
  down: PlainLinkSettings;
}

/** The first line of the process's input. */
export interface EmulatorStart {
  seed: number;
  links: EmulatedLink[];
}

export type Direction = 'up' | 'down';

/** What the process can be told; without a direction both are meant. */
export type Command =
  | { do: 'cut'; link: number; direction?: Direction }
  | { do: 'restore'; link: number; direction?: Direction }
  | { do: 'set'; link: number; direction?: Direction; change: Partial<PlainLinkSettings> }
  | { do: 'stats' };

/** The counters of all links, and the CPU time the process has used. */
export interface EmulatorStats {
  cpuSeconds: number;
  links: Record<Direction, CarrierStats>[];
}

export type Answer = { ready: true } | { done: true } | EmulatorStats;

const PROCESS_FILE = fileURLToPath(new URL('./emulator-process.js', import.meta.url));

/** A running emulator. Owns: its process, and through it the devices. */
export class Emulator {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  readonly #failures: ((error: Error) => void)[] = [];
  #stderr = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout! });
    this.#lines.on('line', (line) => {
      this.#failures.shift();
      this.#waiting.shift()?.(line);
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-4000);
    });
    child.on('error', (error) => this.#fail(error.message));
    child.on('close', (code, signal) => this.#fail(`it ended (${signal ?? code}) ${this.#stderr}`));
    child.stdin!.on('error', () => {});
  }

  /**
   * Starts the process by `prefix` (argv that runs a program in a namespace) and waits until its devices exist.
   * @throws YokeError (host) when it cannot.
   */
  static async start(prefix: readonly string[], start: EmulatorStart): Promise<Emulator> {
    const argv = [...prefix, process.execPath, PROCESS_FILE];
    const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
    const emulator = new Emulator(child);
    await emulator.#ask(start);
    return emulator;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Does one command and waits until it has taken effect. */
  async command(command: Command): Promise<void> {
    await this.#ask(command);
  }

  /** The counters now. */
  async stats(): Promise<EmulatorStats> {
    return (await this.#ask({ do: 'stats' })) as EmulatorStats;
  }

  /** Ends the process; its devices go with it. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin!.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 1000);
    await closed;
    clearTimeout(timer);
  }

  #ask(message: EmulatorStart | Command): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        reject(this.#error('it has ended'));
        return;
      }
      this.#waiting.push((line) => resolve(JSON.parse(line) as Answer));
      this.#failures.push(reject);
      this.#child.stdin!.write(`${JSON.stringify(message)}\n`);
    });
  }

  #fail(found: string): void {
    this.#waiting.length = 0;
    for (const reject of this.#failures.splice(0)) reject(this.#error(found));
  }

  #error(found: string): YokeError {
    return new YokeError('host', {
      where: 'link emulator',
      expected: 'a process that carries the links',
      found: found.trim(),
      todo: 'see the message above; /dev/net/tun and the right to make TUN devices are needed',
    });
  }
}

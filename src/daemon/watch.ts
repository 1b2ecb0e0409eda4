/** The watchdog's hands: pings through the bond with the `ping` binary, and runs what the configuration says when it is silent. */
import { execFile } from 'node:child_process';
import { type AddressBytes, printAddress } from '../base/address.ts';
import { Watchdog } from '../health/watchdog.ts';
import type { Log } from './log.ts';

/** What the watchdog is told and given. */
export interface WatchOptions {
  address: AddressBytes;
  ifname: string;
  periodUs: number;
  timeoutUs: number;
  /** `restart-links`, or program and arguments, split at white space; undefined: `restart`. */
  action?: string;
  log: Log;
  restart(): Promise<void>;
  restartLinks(): Promise<void>;
  nowUs(): number;
}

/** How long a watchdog action may run before it is ended. */
const ACTION_LIMIT_MS = 60_000;

/** A running watchdog. */
export class Watch {
  readonly #options: WatchOptions;
  readonly #dog: Watchdog;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;
  #busy = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#dog = new Watchdog(options);
  }

  /** The bond can carry packets now, or cannot: without it the silence means nothing. */
  handleLinks(ready: boolean): void {
    if (this.#stopped || this.#busy) return;
    this.#dog.handleLinks(ready, this.#options.nowUs());
    this.#arm();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const atUs = this.#dog.pollTimeout();
    if (!Number.isFinite(atUs)) return;
    this.#timer = setTimeout(() => this.#poll(), Math.max(0, (atUs - this.#options.nowUs()) / 1000));
    this.#timer.unref();
  }

  #poll(): void {
    const action = this.#dog.poll(this.#options.nowUs());
    if (action === 'ping') this.#ping();
    if (action === 'act') void this.#act();
    this.#arm();
  }

  #ping(): void {
    const { address, ifname, periodUs } = this.#options;
    const waitS = String(Math.max(1, Math.ceil(periodUs / 1e6)));
    execFile('ping', ['-n', '-q', '-c', '1', '-W', waitS, '-I', ifname, printAddress(address)], (error) => {
      if (error || this.#stopped) return;
      this.#dog.handleReply(this.#options.nowUs());
      this.#arm();
    });
  }

  async #act(): Promise<void> {
    const { action, log, restart, restartLinks, address, timeoutUs } = this.#options;
    log(
      'warn',
      `watchdog: no reply from ${printAddress(address)} for ${timeoutUs / 1e6} s: ${action ?? 'restarting the bond'}`,
    );
    this.#busy = true;
    try {
      if (action === undefined) await restart();
      else await (action === 'restart-links' ? restartLinks() : runAction(action));
    } catch (error) {
      log('error', `watchdog: ${(error as Error).message}`);
    } finally {
      this.#busy = false;
    }
  }
}

function runAction(action: string): Promise<void> {
  const [program, ...args] = action.trim().split(/\s+/);
  return new Promise((resolve, reject) => {
    execFile(program, args, { timeout: ACTION_LIMIT_MS }, (error) => {
      if (error) reject(new Error(`${program}: ${error.code ?? error.signal ?? error.message}`));
      else resolve();
    });
  });
}

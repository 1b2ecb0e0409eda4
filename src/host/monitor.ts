/** Tells when something of the host's network changed: `ip monitor` as a child, many lines answered with one call. */
import { type ChildProcess, spawn } from 'node:child_process';

/** Quiet time after the last change before the call. Units: milliseconds. */
const SETTLE_MS = 50;
/** Longest a stream of changes can put the call off. Units: milliseconds. */
const PATIENCE_MS = 500;
/** Pause before a monitor that died is started again. Units: milliseconds. */
const RESTART_MS = 1000;

/** Watches links, addresses, routes, rules and forwarding until it is stopped. */
export class Monitor {
  #onChange: () => void;
  #child: ChildProcess | undefined;
  #timer: NodeJS.Timeout | undefined;
  #firstAtMs = 0;
  #restart: NodeJS.Timeout | undefined;
  #stopped = false;

  /** `onChange` says "look again", not what changed; after a gap in the watch it is called, too. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
    this.#start();
  }

  /** Ends the child; no call comes after this. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#restart);
    this.#child?.kill('SIGKILL');
  }

  #start(): void {
    const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
    const child = spawn('ip', ['-o', 'monitor', 'link', 'address', 'route', 'rule', 'netconf'], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    this.#child = child;
    child.stdout.on('data', () => this.#changed());
    const again = () => {
      if (this.#stopped || this.#restart) return;
      this.#restart = setTimeout(() => {
        this.#restart = undefined;
        this.#start();
        this.#changed(); // Whatever happened in between was not seen.
      }, RESTART_MS);
    };
    child.on('error', again);
    child.on('close', again);
  }

  #changed(): void {
    if (this.#stopped) return;
    const nowMs = performance.now();
    if (!this.#timer) this.#firstAtMs = nowMs;
    clearTimeout(this.#timer);
    const waitMs = Math.max(0, Math.min(SETTLE_MS, this.#firstAtMs + PATIENCE_MS - nowMs));
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#stopped) this.#onChange();
    }, waitMs);
  }
}

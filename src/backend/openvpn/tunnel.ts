/**
 * One OpenVPN process, kept running.
 *
 *   listen on the management socket → write the configuration → spawn → it calls us and holds → state on, bytecount, release
 *        ▲                                                                                                     │
 *        ╰──────────────── back-off 1, 2, 4 … 30 s (1 s again once it has been up) ◀────── it ended ◀──────────╯
 *
 * Its state is what it says on the management socket, never guessed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { YokeError } from '../../base/error.ts';
import type { PathState } from '../../status/status.ts';
import type { BackendEvent } from '../backend.ts';
import { Lines, parseLog, parseManagement } from './management.ts';

/** What a tunnel is made of. */
export interface TunnelOptions {
  name: string;
  /** Number of the link, for file names. */
  id: number;
  /** Folder of mode 0700 for the configuration and the socket. */
  folder: string;
  /** The configuration's text, given the path of the management socket. */
  conf(socket: string): string;
  /** The end that is called. */
  waits: boolean;
  /** Whether packets of the peer come through it now. */
  isAlive(): boolean;
  onEvent(event: BackendEvent): void;
  /** The tunnel stands, or has fallen. */
  onState(state: PathState): void;
}

/** Longest from a start until OpenVPN has called. */
const CALL_LIMIT_MS = 10_000;
/** Longest that OpenVPN may take to end by itself. */
const END_LIMIT_MS = 3000;
/** Longest that a handshake at the end that is called may hang while nothing comes. */
const HANG_LIMIT_MS = 5000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** Seconds between two counts of bytes. */
const COUNT_EVERY_S = 1;

/** A supervised OpenVPN. Owns: the process, its configuration file, the management socket. */
export class Tunnel {
  state: PathState = 'waiting';
  /** When it was last connected, of performance.now(); undefined: it is not. */
  connectedAtMs: number | undefined;
  /** When a handshake last came to an end, a connection or a refusal, of performance.now(); 0: never. */
  answeredAtMs = 0;
  rxBytes = 0;
  txBytes = 0;
  local = '';
  remote = '';
  cipher = '';
  /** From the first datagram of a handshake to its answer; 0: not measured. Units: milliseconds. */
  rttMs = 0;
  restarts = 0;
  readonly #options: TunnelOptions;
  readonly #conf: string;
  readonly #socketPath: string;
  #server: Server | undefined;
  #socket: Socket | undefined;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #called: (() => void) | undefined;
  #refused: ((error: Error) => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hangTimer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #stopped = false;
  #helloAtMs: number | undefined;
  #lastLine = '';
  #lastError = '';
  /** Bytes of the processes before this one. */
  #before = { rxBytes: 0, txBytes: 0 };

  constructor(options: TunnelOptions) {
    this.#options = options;
    this.#conf = join(options.folder, `t${options.id}.conf`);
    this.#socketPath = join(options.folder, `t${options.id}.sock`);
  }

  /** Process id, while it runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when OpenVPN runs and has taken its configuration. @throws YokeError with what it said, and then nothing is left. */
  async start(): Promise<void> {
    await this.#listen();
    writeFileSync(this.#conf, this.#options.conf(this.#socketPath), { mode: 0o600 });
    let limit: NodeJS.Timeout | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#called = resolve;
        this.#refused = reject;
        limit = setTimeout(
          () => reject(this.#complaint(`no word from it in ${CALL_LIMIT_MS / 1000} s`)),
          CALL_LIMIT_MS,
        );
        this.#spawn();
      });
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      clearTimeout(limit);
      this.#called = undefined;
      this.#refused = undefined;
    }
  }

  /** Ends it; nothing of it is left. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#hangTimer);
    const child = this.#child;
    if (child) {
      child.kill('SIGTERM');
      const limit = setTimeout(() => child.kill('SIGKILL'), END_LIMIT_MS);
      await this.#ended;
      clearTimeout(limit);
    }
    this.#socket?.destroy();
    await new Promise<void>((resolve) => (this.#server ? this.#server.close(() => resolve()) : resolve()));
    this.#server = undefined;
    rmSync(this.#conf, { force: true });
    rmSync(this.#socketPath, { force: true });
    this.#set('closed');
  }

  /** Has OpenVPN begin anew: files that it was told of are read again. */
  renew(): void {
    this.#socket?.write('signal SIGUSR1\n');
  }

  #listen(): Promise<void> {
    rmSync(this.#socketPath, { force: true });
    const server = createServer((socket) => this.#handleCall(socket));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#socketPath, () => resolve());
    });
  }

  #spawn(): void {
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
    // In a session of its own: Ctrl-C is for yoke, which then ends it in order.
    this.#options.onEvent({ kind: 'log', level: 'info', text: `[#] openvpn --config ${this.#conf}` });
    const child = spawn('openvpn', ['--config', this.#conf], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env,
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      const lines = new Lines();
      stream?.setEncoding('utf8').on('data', (text: string) => {
        for (const line of lines.take(text)) this.#handleLog(line);
      });
    }
    this.#ended = new Promise((resolve) => {
      const over = (how: string) => {
        if (this.#child !== child) return;
        this.#child = undefined;
        resolve();
        this.#handleEnd(how);
      };
      child.once('error', (error: NodeJS.ErrnoException) => {
        over(error.code === 'ENOENT' ? 'no program openvpn (Debian: apt-get install openvpn)' : error.message);
      });
      child.once('close', (code, signal) => over(this.#lastError || `its end, ${signal ?? `status ${code}`}`));
    });
  }

  #handleEnd(how: string): void {
    this.connectedAtMs = undefined;
    clearTimeout(this.#hangTimer);
    this.#before = { rxBytes: this.rxBytes, txBytes: this.txBytes };
    if (this.#stopped) return;
    if (this.#refused) {
      this.#refused(this.#complaint(how));
      return;
    }
    this.#set('down');
    this.#say('warn', `openvpn ended (${how}); again in ${this.#pauseMs / 1000} s`);
    this.#timer = setTimeout(() => {
      this.restarts++;
      this.#lastError = '';
      this.#spawn();
    }, this.#pauseMs);
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  #handleCall(socket: Socket): void {
    this.#socket?.destroy();
    this.#socket = socket;
    const lines = new Lines();
    socket.setEncoding('utf8');
    socket.on('error', () => {}); // Its end is told by the process's.
    socket.on('data', (text: string) => {
      const nowMs = performance.now();
      for (const line of lines.take(text)) this.#handleManagement(line, nowMs);
    });
  }

  #handleManagement(line: string, nowMs: number): void {
    const event = parseManagement(line);
    switch (event.kind) {
      case 'hold':
        // Its later pauses are its own.
        this.#socket?.write(`state on\nbytecount ${COUNT_EVERY_S}\nhold off\nhold release\n`);
        this.#called?.();
        return;
      case 'bytes':
        this.rxBytes = this.#before.rxBytes + event.rxBytes;
        this.txBytes = this.#before.txBytes + event.txBytes;
        return;
      case 'state':
        this.#handleState(event, nowMs);
    }
  }

  #handleState(event: { state: string; remote: string; local: string }, nowMs: number): void {
    switch (event.state) {
      case 'WAIT':
        this.#helloAtMs = nowMs;
        break;
      case 'AUTH':
        // The router's end calls: what lies between is a way there and back. Never 0, for it was measured.
        if (this.#helloAtMs !== undefined) this.rttMs = Math.max(0.1, nowMs - this.#helloAtMs);
        this.#helloAtMs = undefined;
        if (this.#options.waits) this.#watchHandshake();
        break;
      case 'CONNECTED':
        clearTimeout(this.#hangTimer);
        this.connectedAtMs = nowMs;
        this.answeredAtMs = nowMs;
        this.#pauseMs = FIRST_PAUSE_MS;
        this.#helloAtMs = undefined;
        this.remote = event.remote;
        this.local = event.local;
        this.#set('up');
        break;
      case 'RECONNECTING':
      case 'EXITING':
        this.connectedAtMs = undefined;
        this.#set('down');
    }
  }

  /**
   * A peer that was killed and comes back from another port finds an OpenVPN that still sends to the old one: each error that this brings
   * swallows an answer to the new one, and every try of the peer puts off the end of the old session. So it is told to begin anew.
   */
  #watchHandshake(): void {
    clearTimeout(this.#hangTimer);
    this.#hangTimer = setTimeout(() => {
      if (this.#stopped || this.#options.isAlive()) return;
      this.#say('warn', `a handshake hangs for ${HANG_LIMIT_MS / 1000} s: beginning anew`);
      this.renew();
    }, HANG_LIMIT_MS);
    this.#hangTimer.unref();
  }

  #handleLog(line: string): void {
    const { level, text } = parseLog(line);
    const cipher = /Data Channel: cipher '([^']+)'/.exec(text);
    if (cipher) this.cipher = cipher[1].toLowerCase();
    if (text.includes('VERIFY ERROR')) this.answeredAtMs = performance.now();
    if (level === 'error' || /Options error|fatal/i.test(text)) this.#lastError ||= text;
    // A line that is off is told of once, not every second.
    if (text === this.#lastLine) return;
    this.#lastLine = text;
    this.#say(level, `openvpn: ${text}`);
  }

  #set(state: PathState): void {
    if (this.state === state) return;
    this.state = state;
    this.#options.onState(state);
  }

  #say(level: 'info' | 'warn' | 'error', text: string): void {
    this.#options.onEvent({ kind: 'log', level, text: `${this.#options.name}: ${text}` });
  }

  #complaint(found: string): YokeError {
    return new YokeError('host', {
      where: `link ${this.#options.name}: openvpn`,
      expected: 'a tunnel with the options of the configuration',
      found,
      todo: 'correct what it names',
    });
  }
}

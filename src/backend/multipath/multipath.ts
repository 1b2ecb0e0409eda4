/** Our own engine as a backend: this half lives in the main thread, keeps the worker that pumps, and reads its board. */
import { Worker } from 'node:worker_threads';
import { closeFd, openWake, wake } from '../../io/poll.ts';
import type { BondStatus, PathState, PathStatus } from '../../status/status.ts';
import type { JoinAnswer } from '../../wire/join.ts';
import type { Backend, BackendEvent, BackendReport, BackendSettings } from '../backend.ts';
import { Board, type PathNumbers, STATES } from './board.ts';
import { type FromPump, parseError, type ToPump } from './message.ts';

/** How long a goodbye may take before the worker is ended without one. */
const STOP_LIMIT_MS = 2_000;
const CIPHERS = ['', 'aes-256-gcm', 'chacha20-poly1305'];

export class MultipathBackend implements Backend {
  private worker: Worker | undefined;
  private wakeFd = -1;
  private started = false;
  private readonly board = new Board();
  private settings: BackendSettings | undefined;
  private roster: { number: number; peers: string[] } = { number: 0, peers: [] };
  private last: BondStatus[] = [];
  private readonly addresses = new Map<string, { local: string; remote: string }>();
  private drops: Record<string, number> = {};
  private onEvent: (event: BackendEvent) => void = () => {};
  private answer: ((message: FromPump | Error) => void) | undefined;

  /** The worker loads its code while the host is made ready. */
  prepare(): void {
    if (this.worker !== undefined) return;
    this.wakeFd = openWake();
    // Workers run from built files: the pump stands beside this one whatever it was built to.
    this.worker = new Worker(new URL('./pump.js', import.meta.url), {
      workerData: { board: this.board.buffer, wakeFd: this.wakeFd },
    });
    this.worker.on('message', (message: FromPump) => this.handle(message));
    this.worker.on('error', (error) => this.fail(error));
    this.worker.on('exit', (code) => {
      if (this.worker !== undefined) this.fail(new Error(`the pump ended with code ${code}`));
    });
  }

  async start(settings: BackendSettings, onEvent: (event: BackendEvent) => void): Promise<void> {
    this.onEvent = onEvent;
    this.settings = settings;
    this.prepare();
    try {
      await this.ask({ kind: 'start', settings });
    } catch (error) {
      await this.end();
      throw error;
    }
    this.started = true;
  }

  async set(settings: BackendSettings): Promise<void> {
    if (this.worker === undefined) return;
    this.settings = settings;
    await this.ask({ kind: 'set', settings });
  }

  async status(): Promise<BackendReport> {
    const { roster, bonds } = this.board.read();
    // Peers came or went, and only one of the two is here yet: numbers must not pass for those of somebody else.
    if (roster === this.roster.number) this.last = this.named(bonds);
    return { bonds: this.last, drops: this.drops };
  }

  private named(bonds: ReturnType<Board['read']>['bonds']): BondStatus[] {
    return bonds.map(({ bond, paths }, i) => {
      const { established, cipher, ...numbers } = bond;
      return {
        peer: this.roster.peers[i] ?? '',
        established: established === 1,
        cipher: CIPHERS[cipher] ?? '',
        ...numbers,
        paths: paths.flatMap((p, id) => (p.state === 0 ? [] : [this.pathStatus(i, id, p)])),
      };
    });
  }

  answerJoin(id: number, answer: JoinAnswer): void {
    this.worker?.postMessage({ kind: 'answer-join', id, answer } satisfies ToPump);
    if (this.worker !== undefined) wake(this.wakeFd);
  }

  async stop(): Promise<void> {
    if (this.worker === undefined) return;
    if (!this.started) {
      await this.end();
      return;
    }
    const limit = new Promise<void>((resolve) => setTimeout(resolve, STOP_LIMIT_MS).unref());
    await Promise.race([this.ask({ kind: 'stop' }).catch(() => {}), limit]);
    await this.end();
  }

  private pathStatus(bond: number, id: number, numbers: PathNumbers): PathStatus {
    const link = this.settings?.links.find((l) => l.id === id);
    const { state, standby, ...rest } = numbers;
    const at = this.addresses.get(`${bond}/${id}`);
    return {
      name: link?.name ?? `path ${id}`,
      id,
      state: STATES[state] as PathState,
      local: at?.local ?? '',
      remote: at?.remote ?? '',
      standby: standby === 1,
      ...rest,
    };
  }

  private handle(message: FromPump): void {
    switch (message.kind) {
      case 'started':
        if (!message.offload && this.settings?.offload) {
          this.onEvent({ kind: 'log', level: 'warn', text: 'the kernel refuses TUN offloads: the plain path is used' });
        }
        this.answer?.(message);
        break;
      case 'set':
      case 'stopped':
        this.answer?.(message);
        break;
      case 'refused':
        this.answer?.(parseError(message.error));
        break;
      case 'roster':
        this.roster = { number: message.number, peers: message.peers };
        this.addresses.clear();
        break;
      case 'addresses':
        this.addresses.set(`${message.bond}/${message.path}`, { local: message.local, remote: message.remote });
        break;
      case 'drops':
        this.drops = message.counts;
        break;
      case 'path': {
        const name = this.settings?.links.find((l) => l.id === message.path)?.name ?? `path ${message.path}`;
        this.onEvent({ kind: 'path', peer: message.peer, path: name, state: message.state });
        break;
      }
      default:
        this.onEvent(message);
    }
  }

  /** Sends a message and waits for the one that answers it; one at a time. */
  private ask(message: ToPump): Promise<FromPump> {
    return new Promise((resolve, reject) => {
      this.answer = (result) => {
        this.answer = undefined;
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      this.worker?.postMessage(message);
      wake(this.wakeFd);
    });
  }

  private fail(error: Error): void {
    if (this.answer !== undefined) this.answer(error);
    else this.onEvent({ kind: 'failed', error });
  }

  private async end(): Promise<void> {
    const { worker } = this;
    this.worker = undefined;
    this.started = false;
    if (worker !== undefined) await worker.terminate();
    if (this.wakeFd >= 0) closeFd(this.wakeFd);
    this.wakeFd = -1;
    // the next worker counts its rosters from the beginning
    this.board.begin(0, 0);
    this.board.end();
    this.roster = { number: 0, peers: [] };
    this.last = [];
  }
}

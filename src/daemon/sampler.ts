/** Looks at the backend's status every second: verdicts on the links, and whether anything can be carried at all. */
import type { Backend, BackendReport } from '../backend/backend.ts';
import { LinkHealth, type Verdict } from '../health/verdict.ts';
import type { Log } from './log.ts';

const PERIOD_MS = 1000;

interface Seen {
  health: LinkHealth;
  verdict: Verdict;
  txDatagrams: number;
  lostDatagrams: number;
}

export class Sampler {
  readonly #backend: Backend;
  readonly #log: Log;
  readonly #onSample: (ready: boolean, report: BackendReport) => void;
  readonly #seen = new Map<string, Seen>();
  readonly #timer: NodeJS.Timeout;
  #busy = false;

  constructor(backend: Backend, log: Log, onSample: (ready: boolean, report: BackendReport) => void) {
    this.#backend = backend;
    this.#log = log;
    this.#onSample = onSample;
    this.#timer = setInterval(() => void this.#sample(), PERIOD_MS);
  }

  /** Verdicts by `PEER/PATH`. */
  get verdicts(): ReadonlyMap<string, Verdict> {
    return new Map([...this.#seen].map(([key, { verdict }]) => [key, verdict]));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const report = await this.#backend.status();
      this.#judge(report);
      this.#onSample(
        report.bonds.some((b) => b.established && b.paths.some((p) => p.state === 'up')),
        report,
      );
    } catch {
      // a backend that is being restarted has no status: the next second has one
    } finally {
      this.#busy = false;
    }
  }

  #judge(report: BackendReport): void {
    const there = new Set<string>();
    for (const bond of report.bonds) {
      for (const path of bond.paths) {
        const key = `${bond.peer}/${path.name}`;
        there.add(key);
        let seen = this.#seen.get(key);
        if (!seen) {
          seen = { health: new LinkHealth(), verdict: 'down', txDatagrams: 0, lostDatagrams: 0 };
          this.#seen.set(key, seen);
        }
        const verdict = seen.health.handleSample({
          alive: path.state === 'up',
          // counters that began anew say nothing this time
          sentDatagrams: Math.max(0, path.txDatagrams - seen.txDatagrams),
          lostDatagrams: Math.max(0, path.lostDatagrams - seen.lostDatagrams),
        });
        if (verdict === 'degraded' && seen.verdict !== 'degraded') {
          this.#log(
            'warn',
            `${bond.peer}: ${path.name} is degraded: it loses ${(100 * seen.health.loss).toFixed(0)} %`,
          );
        }
        Object.assign(seen, { verdict, txDatagrams: path.txDatagrams, lostDatagrams: path.lostDatagrams });
      }
    }
    for (const key of this.#seen.keys()) if (!there.has(key)) this.#seen.delete(key);
  }
}

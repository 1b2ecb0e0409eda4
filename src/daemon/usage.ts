/**
 * What metered links have carried in their month: counted from the backend's counters, kept in a file over restarts, judged against the quota.
 *
 *   report (every second) ─▶ differences ─▶ usedBytes ─┬─▶ quotaState: 80 % a warning, 100 % the action
 *   STATE_DIR/usage.json ◀─ every 50 s, and at the end ─┘
 */
import { join } from 'node:path';
import type { BackendReport } from '../backend/backend.ts';
import { YokeError } from '../base/error.ts';
import type { Config, LinkConfig } from '../config/config.ts';
import { type QuotaState, quotaPeriod, quotaState } from '../health/quota.ts';
import { moveAway, readText, SECRET_MODE, writeWhole } from '../pki/files.ts';
import { printAmount, printDay } from '../status/print.ts';
import type { QuotaStatus } from '../status/status.ts';
import { LAST_TIER } from '../wire/preferences.ts';
import type { Log } from './log.ts';

/** At most so much of the count is lost when the machine dies. */
const SAVE_EVERY_MS = 50_000;
/** A clock before this is one that nobody has set: 2026-01-01. */
const CLOCK_IS_SET_MS = 1_767_225_600_000;
/** Version of the file's form. */
const FORM = 1;

/** One link's count. */
interface Count {
  usedBytes: number;
  /** The period that it belongs to. */
  sinceMs: number;
}

type Form = { version: number; links: Record<string, { usedBytes: number; since: string }> };

export class Usage {
  readonly #path: string;
  readonly #log: Log;
  readonly #onChange: () => void;
  readonly #counts = new Map<string, Count>();
  /** The backend's counters at the last look, by link. */
  readonly #seen = new Map<string, number>();
  readonly #states = new Map<string, QuotaState>();
  #links: readonly LinkConfig[] = [];
  #dirty = false;
  #savedMs: number;
  #isUnwritable = false;

  /** `onChange`: a link's quota is used up, or begins anew. Reads the file; a damaged one is put aside, for a router must start. */
  constructor(stateDir: string, config: Config, log: Log, onChange: () => void, nowMs: number) {
    this.#path = join(stateDir, 'usage.json');
    this.#log = log;
    this.#onChange = onChange;
    this.#savedMs = nowMs;
    try {
      const text = readText(this.#path);
      if (text !== undefined) this.#load(text);
    } catch (error) {
      log('error', `what the links have used counts from 0: ${(error as Error).message}`);
      try {
        moveAway(this.#path, `${this.#path}.damaged`);
      } catch {
        // a folder that cannot be written is told when it is to be
      }
    }
    this.setConfig(config, nowMs);
  }

  /** Other links are metered from now on; counts of links that are not named are kept in the file. */
  setConfig(config: Config, nowMs: number): void {
    this.#links = config.links.filter((l) => l.quota !== undefined && !l.disabled);
    this.#judge(nowMs);
  }

  /** Counts what passed since the last report. */
  handleReport(report: BackendReport, nowMs: number): void {
    for (const { name } of this.#links) {
      const path = report.bonds[0]?.paths.find((p) => p.name === name);
      if (path === undefined) continue;
      const now = path.txBytes + path.rxBytes;
      const before = this.#seen.get(name) ?? 0;
      this.#seen.set(name, now);
      // Counters that began anew count from nothing.
      const passed = now >= before ? now - before : now;
      if (passed === 0) continue;
      this.#countOf(name, nowMs).usedBytes += passed;
      this.#dirty = true;
    }
    this.#judge(nowMs);
    if (this.#dirty && nowMs - this.#savedMs >= SAVE_EVERY_MS) this.save(nowMs);
  }

  /** Writes the file, if there is anything new. What cannot be written is told once. */
  save(nowMs: number): void {
    if (!this.#dirty) return;
    this.#savedMs = nowMs;
    const links = Object.fromEntries(
      [...this.#counts].map(([name, c]) => [
        name,
        { usedBytes: c.usedBytes, since: new Date(c.sinceMs).toISOString() },
      ]),
    );
    try {
      const form: Form = { version: FORM, links };
      writeWhole(this.#path, `${JSON.stringify(form, null, 2)}\n`, SECRET_MODE);
      this.#dirty = false;
      this.#isUnwritable = false;
    } catch (error) {
      if (!this.#isUnwritable)
        this.#log('error', `what the links have used cannot be kept: ${(error as Error).message}`);
      this.#isUnwritable = true;
    }
  }

  /** How a link stands; undefined when it is not metered. */
  statusOf(name: string, nowMs: number): QuotaStatus | undefined {
    const link = this.#links.find((l) => l.name === name);
    if (link?.quota === undefined) return undefined;
    const { limitBytes, resetDay, action } = link.quota;
    const { sinceMs, usedBytes } = this.#countOf(name, nowMs);
    return {
      limitBytes,
      usedBytes,
      since: new Date(sinceMs).toISOString(),
      until: new Date(quotaPeriod(Math.max(nowMs, sinceMs), resetDay).untilMs).toISOString(),
      state: quotaState(usedBytes, limitBytes),
      action,
    };
  }

  /** The configuration with what follows for links whose quota is used up. */
  apply(config: Config): Config {
    if (![...this.#states.values()].includes('used')) return config;
    const links = config.links.map((link) => {
      if (link.quota === undefined || this.#states.get(link.name) !== 'used') return link;
      if (link.quota.action === 'off') return { ...link, held: 'its quota is used up' };
      return link.quota.action === 'backup' ? { ...link, tier: LAST_TIER } : link;
    });
    return { ...config, links };
  }

  /** A sentence for each link of whose quota 80 % or more is used. */
  warnings(nowMs: number): string[] {
    return this.#links.flatMap(({ name }) => {
      const status = this.statusOf(name, nowMs);
      return status === undefined || status.state === 'ok' ? [] : [describe(name, status)];
    });
  }

  #judge(nowMs: number): void {
    let changed = false;
    for (const { name } of this.#links) {
      const status = this.statusOf(name, nowMs)!;
      const before = this.#states.get(name) ?? 'ok';
      if (before === status.state) continue;
      this.#states.set(name, status.state);
      const text = describe(name, status);
      if (status.state !== 'ok') this.#log('warn', text);
      else this.#log('info', `link ${name}: its quota counts from 0 again`);
      if (before === 'used' || status.state === 'used') changed = true;
    }
    if (changed) this.#onChange();
  }

  /** The count of the period that is now. A clock that was set back (no battery, no network yet) begins none. */
  #countOf(name: string, nowMs: number): Count {
    const resetDay = this.#links.find((l) => l.name === name)?.quota?.resetDay ?? 1;
    const { sinceMs } = quotaPeriod(nowMs, resetDay);
    let count = this.#counts.get(name);
    // A clock that ran ahead and was put right: what was counted then counts for now.
    if (count !== undefined && count.sinceMs > nowMs && nowMs > CLOCK_IS_SET_MS) count.sinceMs = sinceMs;
    if (count === undefined || isOver(count, nowMs, resetDay)) {
      count = { usedBytes: 0, sinceMs };
      this.#counts.set(name, count);
      this.#dirty = true;
    }
    return count;
  }

  #load(text: string): void {
    let form: Partial<Form> | undefined;
    try {
      form = JSON.parse(text);
    } catch {
      // told below
    }
    const entries = Object.entries(form?.links ?? {});
    const isGood = entries.every(([, c]) => c?.usedBytes >= 0 && !Number.isNaN(Date.parse(c.since)));
    if (form?.version !== FORM || !isGood) {
      throw new YokeError('host', {
        where: this.#path,
        expected: 'what yoke wrote there, version 1',
        found: form?.version === undefined || !isGood ? 'something else' : `version ${form.version}`,
        todo: 'it is put aside as usage.json.damaged',
      });
    }
    for (const [name, { usedBytes, since }] of entries) {
      this.#counts.set(name, { usedBytes, sinceMs: Date.parse(since) });
    }
  }
}

/** Whether a count's period has ended: the reset day has come since. */
function isOver(count: Count, nowMs: number, resetDay: number): boolean {
  return nowMs >= quotaPeriod(count.sinceMs, resetDay).untilMs;
}

function describe(name: string, { usedBytes, limitBytes, state, action, until }: QuotaStatus): string {
  const used = `${printAmount(usedBytes)} of ${printAmount(limitBytes)} used, until ${printDay(until)}`;
  if (state !== 'used') return `link ${name}: ${Math.floor((100 * usedBytes) / limitBytes)} % of its quota: ${used}`;
  const then = {
    backup: 'it carries only while nothing else is up',
    off: 'it carries nothing',
    warn: 'it goes on',
  }[action];
  return `link ${name}: its quota is used up: ${used}; ${then}`;
}

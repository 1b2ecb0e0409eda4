/**
 * What metered links (router) and clients (server) have carried in their month: counted from the backend's counters, kept in a file over restarts,
 * judged against the quota.
 *
 *   report (every second) ─▶ differences ─▶ usedBytes ─┬─▶ quotaState: 80 % a warning, 100 % the action
 *   STATE_DIR/usage.json ◀─ every 50 s, and at the end ─┘
 */
import { join } from 'node:path';
import type { BackendReport } from '../backend/backend.ts';
import { YokeError } from '../base/error.ts';
import type { ClientConfig, Config, LinkConfig } from '../config/config.ts';
import { printKey } from '../config/kinds.ts';
import { type QuotaState, quotaPeriod, quotaState } from '../health/quota.ts';
import { moveAway, readText, SECRET_MODE, writeWhole } from '../host/files.ts';
import { printAmount, printDay, printRateForEyes } from '../status/print.ts';
import type { QuotaStatus } from '../status/status.ts';
import { LAST_TIER } from '../wire/preferences.ts';
import type { Log } from './log.ts';

/** At most so much of the count is lost when the machine dies. */
const SAVE_EVERY_MS = 50_000;
/** A clock before this is one that nobody has set: 2026-01-01. */
const CLOCK_IS_SET_MS = 1_767_225_600_000;
/** Version of the file's form. */
const FORM = 1;
const USED_UP = 'its quota is used up';

/** What a quota is of: a link of the router, or a client of the server over all its links. */
interface Meter {
  kind: 'link' | 'client';
  name: string;
  quota: NonNullable<LinkConfig['quota'] | ClientConfig['quota']>;
}

/** One meter's count. */
interface Count {
  usedBytes: number;
  /** The period that it belongs to. */
  sinceMs: number;
}

type Kept = Record<string, { usedBytes: number; since: string }>;
type Form = { version: number; links?: Kept; clients?: Kept };
/** The file's table of each kind. */
const TABLES = { link: 'links', client: 'clients' } as const;

export class Usage {
  readonly #path: string;
  readonly #log: Log;
  readonly #onChange: () => void;
  readonly #counts = new Map<string, Count>();
  /** The backend's counters at the last look, by peer and path: of all, so that a quota which is new counts from now. */
  #seen = new Map<string, number>();
  readonly #states = new Map<string, QuotaState>();
  #meters: readonly Meter[] = [];
  /** Names of the clients by their keys: a client that is called otherwise keeps its count. */
  #names: ReadonlyMap<string, string> = new Map();
  #dirty = false;
  #savedMs: number;
  #isUnwritable = false;

  /** `onChange`: a quota is used up, or begins anew. Reads the file; a damaged one is put aside, for the bond must start. */
  constructor(stateDir: string, config: Config, log: Log, onChange: () => void, nowMs: number) {
    this.#path = join(stateDir, 'usage.json');
    this.#log = log;
    this.#onChange = onChange;
    this.#savedMs = nowMs;
    try {
      const text = readText(this.#path);
      if (text !== undefined) this.#load(text);
    } catch (error) {
      log('error', `what has been used counts from 0: ${(error as Error).message}`);
      try {
        moveAway(this.#path, `${this.#path}.damaged`);
      } catch {
        // a folder that cannot be written is told when it is to be
      }
    }
    this.setConfig(config, nowMs);
  }

  /** Others are metered from now on; counts of what is not named are kept in the file. */
  setConfig(config: Config, nowMs: number): void {
    this.#rename(config.clients);
    const metered = (kind: Meter['kind'], of: readonly (LinkConfig | ClientConfig)[]) =>
      of.flatMap(({ name, quota, disabled }) => (quota && !disabled ? [{ kind, name, quota }] : []));
    this.#meters = config.role === 'router' ? metered('link', config.links) : metered('client', config.clients);
    this.#judge(nowMs);
  }

  /** Counts what passed since the last report. */
  handleReport(report: BackendReport, nowMs: number): void {
    const passed = this.#passed(report);
    for (const meter of this.#meters) {
      const bytes = passed.get(keyOf(meter));
      if (!bytes) continue;
      this.#countOf(meter, nowMs).usedBytes += bytes;
      this.#dirty = true;
    }
    this.#judge(nowMs);
    if (this.#dirty && nowMs - this.#savedMs >= SAVE_EVERY_MS) this.save(nowMs);
  }

  /** What each path has carried since the last report, under the keys of both meters that it may be of. */
  #passed({ bonds }: BackendReport): Map<string, number> {
    const passed = new Map<string, number>();
    const add = (key: string, bytes: number) => passed.set(key, (passed.get(key) ?? 0) + bytes);
    for (const { peer, paths } of bonds) {
      for (const { name, txBytes, rxBytes } of paths) {
        const path = `${peer}/${name}`;
        const now = txBytes + rxBytes;
        const before = this.#seen.get(path) ?? 0;
        this.#seen.set(path, now);
        // Counters that began anew count from nothing.
        const bytes = now >= before ? now - before : now;
        add(keyOf({ kind: 'link', name }), bytes);
        add(keyOf({ kind: 'client', name: peer }), bytes);
      }
    }
    return passed;
  }

  /** Writes the file, if there is anything new. What cannot be written is told once. */
  save(nowMs: number): void {
    if (!this.#dirty) return;
    this.#savedMs = nowMs;
    const tableOf = (kind: Meter['kind']): Kept =>
      Object.fromEntries(
        [...this.#counts]
          .filter(([key]) => key.startsWith(`${kind} `))
          .map(([key, c]) => [
            key.slice(kind.length + 1),
            { usedBytes: c.usedBytes, since: new Date(c.sinceMs).toISOString() },
          ]),
      );
    const [links, clients] = [tableOf('link'), tableOf('client')];
    try {
      const form: Form = { version: FORM, links, ...(Object.keys(clients).length > 0 && { clients }) };
      writeWhole(this.#path, `${JSON.stringify(form, null, 2)}\n`, SECRET_MODE);
      this.#dirty = false;
      this.#isUnwritable = false;
    } catch (error) {
      if (!this.#isUnwritable) this.#log('error', `what has been used cannot be kept: ${(error as Error).message}`);
      this.#isUnwritable = true;
    }
  }

  /** How a link stands, or a client; undefined when it is not metered. */
  statusOf(name: string, nowMs: number): QuotaStatus | undefined {
    const meter = this.#meters.find((m) => m.name === name);
    return meter && this.#statusOf(meter, nowMs);
  }

  #statusOf(meter: Meter, nowMs: number): QuotaStatus {
    const { limitBytes, resetDay, action } = meter.quota;
    const { sinceMs, usedBytes } = this.#countOf(meter, nowMs);
    return {
      limitBytes,
      usedBytes,
      since: new Date(sinceMs).toISOString(),
      until: new Date(quotaPeriod(Math.max(nowMs, sinceMs), resetDay).untilMs).toISOString(),
      state: quotaState(usedBytes, limitBytes),
      action,
      ...(action === 'slow' && 'slowBps' in meter.quota && { slowBps: meter.quota.slowBps }),
    };
  }

  /** The configuration with what follows for links and clients whose quota is used up. */
  apply(config: Config): Config {
    if (![...this.#states.values()].includes('used')) return config;
    const isUsed = (meter: Omit<Meter, 'quota'>) => this.#states.get(keyOf(meter)) === 'used';
    const links = config.links.map((link) => {
      if (link.quota === undefined || !isUsed({ kind: 'link', name: link.name })) return link;
      if (link.quota.action === 'off') return { ...link, held: USED_UP };
      return link.quota.action === 'backup' ? { ...link, tier: LAST_TIER } : link;
    });
    const clients = config.clients.map((client) => {
      if (client.quota === undefined || !isUsed({ kind: 'client', name: client.name })) return client;
      if (client.quota.action === 'off') return { ...client, held: USED_UP };
      return client.quota.action === 'slow' ? { ...client, limitBps: client.quota.slowBps } : client;
    });
    return { ...config, links, clients };
  }

  /** A sentence for each of whose quota 80 % or more is used. */
  warnings(nowMs: number): string[] {
    return this.#meters.flatMap((meter) => {
      const status = this.#statusOf(meter, nowMs);
      return status.state === 'ok' ? [] : [describe(meter, status)];
    });
  }

  #judge(nowMs: number): void {
    let changed = false;
    for (const meter of this.#meters) {
      const status = this.#statusOf(meter, nowMs);
      const before = this.#states.get(keyOf(meter)) ?? 'ok';
      if (before === status.state) continue;
      this.#states.set(keyOf(meter), status.state);
      const text = describe(meter, status);
      if (status.state !== 'ok') this.#log('warn', text);
      else this.#log('info', `${meter.kind} ${meter.name}: its quota counts from 0 again`);
      if (before === 'used' || status.state === 'used') changed = true;
    }
    if (changed) this.#onChange();
  }

  /** Counts and counters go with a client to its new name. */
  #rename(clients: readonly ClientConfig[]): void {
    const names = new Map(clients.map((c) => [printKey(c.publicKey), c.name]));
    const moves = [...this.#names].flatMap(([key, from]) => {
      const to = names.get(key);
      return to === undefined || to === from ? [] : [{ from, to }];
    });
    const taken = moves.map(({ from, to }) => {
      const [was, is] = [keyOf({ kind: 'client', name: from }), keyOf({ kind: 'client', name: to })];
      const out = { from, to, is, count: this.#counts.get(was), state: this.#states.get(was) };
      this.#counts.delete(was);
      this.#states.delete(was);
      return out;
    });
    const seen = new Map<string, number>();
    for (const [path, bytes] of this.#seen) {
      const [peer, ...rest] = path.split('/');
      const to = moves.find((m) => m.from === peer)?.to ?? peer;
      seen.set([to, ...rest].join('/'), bytes);
    }
    for (const { is, count, state } of taken) {
      if (count) this.#counts.set(is, count);
      if (state) this.#states.set(is, state);
    }
    this.#seen = seen;
    this.#dirty ||= moves.length > 0;
    this.#names = names;
  }

  /** The count of the period that is now. A clock that was set back (no battery, no network yet) begins none. */
  #countOf(meter: Meter, nowMs: number): Count {
    const { resetDay } = meter.quota;
    const { sinceMs } = quotaPeriod(nowMs, resetDay);
    let count = this.#counts.get(keyOf(meter));
    // A clock that ran ahead and was put right: what was counted then counts for now.
    if (count !== undefined && count.sinceMs > nowMs && nowMs > CLOCK_IS_SET_MS) count.sinceMs = sinceMs;
    if (count === undefined || isOver(count, nowMs, resetDay)) {
      count = { usedBytes: 0, sinceMs };
      this.#counts.set(keyOf(meter), count);
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
    const entries = (['link', 'client'] as const).flatMap((kind) =>
      Object.entries(form?.[TABLES[kind]] ?? {}).map(([name, c]) => [keyOf({ kind, name }), c] as const),
    );
    const isGood = entries.every(([, c]) => c?.usedBytes >= 0 && !Number.isNaN(Date.parse(c.since)));
    if (form?.version !== FORM || !isGood) {
      throw new YokeError('host', {
        where: this.#path,
        expected: 'what yoke wrote there, version 1',
        found: form?.version === undefined || !isGood ? 'something else' : `version ${form.version}`,
        todo: 'it is put aside as usage.json.damaged',
      });
    }
    for (const [key, { usedBytes, since }] of entries) {
      this.#counts.set(key, { usedBytes, sinceMs: Date.parse(since) });
    }
  }
}

/** Whether a count's period has ended: the reset day has come since. */
function isOver(count: Count, nowMs: number, resetDay: number): boolean {
  return nowMs >= quotaPeriod(count.sinceMs, resetDay).untilMs;
}

/** How messages name it; no two have the same. */
const keyOf = ({ kind, name }: Pick<Meter, 'kind' | 'name'>) => `${kind} ${name}`;

function describe(
  { kind, name }: Meter,
  { usedBytes, limitBytes, state, action, until, slowBps = 0 }: QuotaStatus,
): string {
  const used = `${printAmount(usedBytes)} of ${printAmount(limitBytes)}, until ${printDay(until)}`;
  if (state !== 'used')
    return `${kind} ${name}: ${Math.floor((100 * usedBytes) / limitBytes)} % of its quota is used: ${used}`;
  const then = {
    backup: 'it carries only while nothing else is up',
    off: kind === 'link' ? 'it carries nothing' : 'it is not served',
    slow: `each way has ${printRateForEyes(slowBps)}`,
    warn: 'it goes on',
  }[action];
  return `${kind} ${name}: its quota is used up: ${used}; ${then}`;
}

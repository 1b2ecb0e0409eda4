/**
 * Links by hand, while the instance runs: taken down, taken up, taken down and up again one after the other; another mode or weight (docs/links.md).
 *
 *   file ──▶ Config ──apply──▶ Config with `held`, `disabled`, `tier` and `weight` as wanted by hand ──▶ plan, settings, status
 *
 * What is wanted by hand lasts until it is taken back, its time is over, or the process ends; a reload of the file leaves it.
 */
import { YokeError } from '../base/error.ts';
import { parseTimeUs } from '../base/units.ts';
import type { Config, LinkConfig } from '../config/config.ts';
import { LINK_OPTIONS } from '../config/options.ts';
import { nearest } from '../config/suggest.ts';
import { parseUci, printUci, type UciDocument } from '../config/uci.ts';
import { deleteOption, getOption, setOption } from '../config/uci-edit.ts';
import type { PathState, Status } from '../status/status.ts';
import type { ControlParams } from './control.ts';
import type { Log } from './log.ts';

/** How long a link may take to stand again. OpenVPN needs a handshake and the bonding driver's `updelay`. */
const STAND_LIMIT_MS = 30_000;
const LOOK_EVERY_MS = 50;
/** Longest time for which a link is held. */
const LONGEST = '7d';

/** What is wanted of a link by hand. */
interface Hold {
  up: boolean;
  why: string;
  timer?: NodeJS.Timeout;
}

/** A link as `yoke link list` shows it. */
export interface LinkRow {
  name: string;
  device: string;
  /** Of its path; `disabled`: the file leaves it out. */
  state: PathState | 'disabled';
  /** Why it cannot be used now; empty: it can. */
  reason: string;
}

/** Every link of the file, as it stands. */
export function linkRows(said: Config, { links, bonds }: Status): LinkRow[] {
  return said.links.map(({ name, interface: device }) => {
    const link = links.find((l) => l.name === name);
    if (!link) return { name, device, state: 'disabled', reason: 'disabled in the file' };
    const path = bonds[0]?.paths.find((p) => p.name === name);
    return {
      name,
      device: link.device,
      state: path?.state ?? 'closed',
      reason: link.reason || (path?.standby ? 'stands by' : ''),
    };
  });
}

/** What this needs of the instance. */
export interface LinksParts {
  log: Log;
  /** The configuration as the file says it. */
  said(): Config;
  /** Makes host and backend what is wanted now. */
  follow(): Promise<void>;
  rows(): Promise<LinkRow[]>;
  readFile(file: string): string;
  writeFile(file: string, text: string): void;
}

/** Links by hand. Owns: the timers. */
export class Links {
  readonly #parts: LinksParts;
  readonly #holds = new Map<string, Hold>();
  readonly #wishes = new Map<string, { tier?: number; weight?: number }>();
  #restarting = false;
  #stopped = false;

  constructor(parts: LinksParts) {
    this.#parts = parts;
  }

  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#holds.values()) clearTimeout(timer);
  }

  /** The configuration with what is wanted by hand. */
  apply(config: Config): Config {
    if (this.#holds.size === 0 && this.#wishes.size === 0) return config;
    const links = config.links.map((said): LinkConfig => {
      const link = { ...said, ...this.#wishes.get(said.name) };
      const hold = this.#holds.get(link.name);
      if (!hold) return link;
      return hold.up ? { ...link, disabled: false } : { ...link, held: hold.why };
    });
    return { ...config, links };
  }

  /** What a command asked for. @throws YokeError when it cannot be. */
  async answer(params: ControlParams): Promise<LinkRow[]> {
    const { action, names = '' } = params;
    const wanted = String(names).split(' ').filter(Boolean);
    const config = this.#parts.said();
    if (config.role !== 'router') {
      const todo = 'run this command on the router';
      throw complain(config.file, 'the router of a bond', 'its server, which has no links of its own', todo);
    }
    for (const name of wanted) this.#check(name);
    if (action === 'restart') await this.restart(wanted);
    else if (action === 'down' || action === 'up') await this.#want(wanted[0], action, params);
    else if (action === 'mode' || action === 'weight') await this.#wish(wanted[0], action, params);
    return this.#parts.rows();
  }

  /**
   * Takes links down and up again, one after the other; without names, all that are not left out.
   *
   * @throws YokeError when a restart is under way, or a link that stood does not stand again.
   */
  async restart(names: readonly string[] = []): Promise<void> {
    if (this.#restarting) {
      throw complain('link restart', 'one restart at a time', 'one under way', 'wait until it is done', 'host');
    }
    this.#restarting = true;
    try {
      const known = this.#parts.said().links;
      const all = known.filter((l) => this.#holds.get(l.name)?.up ?? (!l.disabled && !this.#holds.has(l.name)));
      for (const name of names.length > 0 ? names : all.map((l) => l.name)) {
        if (this.#stopped) return;
        await this.#restartOne(name);
      }
    } finally {
      this.#restarting = false;
    }
  }

  async #restartOne(name: string): Promise<void> {
    const { log, follow } = this.#parts;
    const stood = (await this.#state(name)) === 'up';
    log('info', `link ${name}: taken down, to be taken up again`);
    const before = this.#holds.get(name);
    this.#holds.set(name, { up: false, why: 'being restarted' });
    try {
      await follow();
      await this.#until(name, (state) => state !== 'up');
    } finally {
      // held down before and named now: it is wanted up
      if (before?.up) this.#holds.set(name, before);
      else this.#drop(name, before);
    }
    await follow();
    if (await this.#until(name, (state) => state === 'up')) log('info', `link ${name}: stands again`);
    else if (!stood) log('warn', `link ${name}: does not stand, as before`);
    else {
      const found = `not within ${STAND_LIMIT_MS / 1000} s; the links behind it were left alone`;
      throw complain(`link ${name}`, 'it to stand again', found, 'see its log lines, and yoke link list', 'host');
    }
  }

  /** Whether its path came to such a state in time. */
  async #until(name: string, good: (state: string) => boolean): Promise<boolean> {
    const endMs = performance.now() + STAND_LIMIT_MS;
    while (!this.#stopped && performance.now() < endMs) {
      if (good(await this.#state(name))) return true;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    return false;
  }

  async #state(name: string): Promise<string> {
    return (await this.#parts.rows()).find((r) => r.name === name)?.state ?? 'closed';
  }

  async #want(name: string, action: 'up' | 'down', params: ControlParams): Promise<void> {
    if (params.keep && params.for !== undefined) {
      const todo = 'leave one of them out';
      throw complain('--keep', 'it alone: what is written lasts', 'it and --for', todo);
    }
    const forUs = params.for === undefined ? undefined : parseTimeUs(String(params.for));
    if (params.for !== undefined && (forUs === undefined || forUs < 1e6 || forUs > parseTimeUs(LONGEST)!)) {
      throw complain('--for', `a time from 1s to ${LONGEST}`, `'${params.for}'`, "write it like '10m'");
    }
    if (action === 'down' && forUs === undefined) await this.#checkOthers(name);
    if (params.keep) this.#keep(name, action === 'up' ? enabled : disabled);
    this.#drop(name, this.#holds.get(name));
    const link = this.#parts.said().links.find((l) => l.name === name)!;
    if (action === 'down' || link.disabled || forUs !== undefined) this.#hold(name, action === 'up', forUs);
    this.#parts.log('info', `link ${name}: taken ${action} by hand`);
    await this.#parts.follow();
    if (action === 'down') await this.#until(name, (state) => state !== 'up');
  }

  /** Another mode or weight, from now on. */
  async #wish(name: string, action: 'mode' | 'weight', params: ControlParams): Promise<void> {
    const config = this.#parts.said();
    if (config.engine !== 'multipath') {
      throw complain(`link ${action}`, "engine 'multipath'", `engine '${config.engine}'`, 'see docs/links.md');
    }
    const value = String(params.value ?? '');
    const { kind } = LINK_OPTIONS[action];
    const read = kind.read(value);
    if (read === undefined) {
      throw complain(
        `link ${action}`,
        kind.expected,
        `'${value}'`,
        kind.hint?.(value) ?? `write it like '${kind.example}'`,
      );
    }
    const said = config.links.find((l) => l.name === name)!;
    const before = this.#wishes.get(name);
    if (read === 'normal') this.#wishes.set(name, { ...before, tier: 0 });
    else if (read === 'backup') this.#wishes.set(name, { ...before, tier: said.tier || 1 });
    else this.#wishes.set(name, { ...before, weight: Number(read) });
    if (params.keep) this.#keep(name, (file, at) => wished(file, at, action, value));
    this.#parts.log('info', `link ${name}: ${action} ${value} by hand`);
    await this.#parts.follow();
  }

  #hold(name: string, up: boolean, forUs: number | undefined): void {
    const until =
      forUs === undefined ? '' : ` until ${new Date(Date.now() + forUs / 1000).toISOString().slice(0, 19)}Z`;
    const timer = forUs === undefined ? undefined : setTimeout(() => this.#handleTimeOver(name), forUs / 1000);
    timer?.unref();
    this.#holds.set(name, { up, why: `taken down by hand${until}`, ...(timer && { timer }) });
  }

  #handleTimeOver(name: string): void {
    this.#holds.delete(name);
    this.#parts.log('info', `link ${name}: as the file says it again`);
    this.#parts.follow().catch((error) => this.#parts.log('error', (error as Error).message));
  }

  #drop(name: string, hold: Hold | undefined): void {
    clearTimeout(hold?.timer);
    this.#holds.delete(name);
  }

  #check(name: string): void {
    const known = this.#parts.said().links.map((l) => l.name);
    if (known.includes(name)) return;
    const near = nearest(name, known);
    const todo = near === undefined ? `take one of ${known.join(', ')}` : `did you mean '${near}'?`;
    throw complain('link', 'the name of a link of this router', `'${name}'`, todo);
  }

  /** Whoever works through the bond would be cut off for good. */
  async #checkOthers(name: string): Promise<void> {
    const rows = await this.#parts.rows();
    if (rows.some((r) => r.name !== name && r.state === 'up') || !rows.some((r) => r.name === name && r.state === 'up'))
      return;
    const todo = 'add --for 10m, so that it comes back by itself; or end the bond: yoke down';
    throw complain(`link ${name}`, 'another link that stands', 'none', todo, 'host');
  }

  /** Writes it into the file, in which nothing else changes. */
  #keep(name: string, change: (document: UciDocument, section: number) => UciDocument): void {
    const { file } = this.#parts.said();
    const document = parseUci(this.#parts.readFile(file), file);
    const at = document.sections.findIndex(
      (s, i) => s.type === 'link' && (s.name ?? getOption(document, i, 'interface')) === name,
    );
    if (at < 0)
      throw complain(file, `the link '${name}' in it`, 'none', 'reload the file first: yoke reload', 'config');
    this.#parts.writeFile(file, printUci(change(document, at)));
  }
}

function enabled(document: UciDocument, section: number): UciDocument {
  return deleteOption(deleteOption(document, section, 'disabled'), section, 'enabled');
}

function disabled(document: UciDocument, section: number): UciDocument {
  return setOption(deleteOption(document, section, 'enabled'), section, 'disabled', '1');
}

/** A normal link has no tier. */
function wished(document: UciDocument, section: number, name: 'mode' | 'weight', value: string): UciDocument {
  const rest = value === 'normal' ? deleteOption(document, section, 'tier') : document;
  return setOption(rest, section, name, value);
}

function complain(
  where: string,
  expected: string,
  found: string,
  todo: string,
  kind: 'config' | 'host' = 'config',
): YokeError {
  return new YokeError(kind, { where, expected, found, todo });
}

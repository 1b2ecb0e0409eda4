/**
 * A running instance: puts configuration, host, backend and control socket together, and keeps them together while links come and go.
 *
 *   start   lock → observe (names meanwhile) → host, phase 1 → backend opens the device → host, phase 2 → socket → monitor
 *   follow  observe → host → backend.set: after a change of links, a new MTU, a name's new address, a reload
 *   stop    socket → backend → the host as it was → lock
 *
 * Follows and restarts never overlap: they stand in one line (`#inTurn`). Nothing is done to the host before its undo is in the journal.
 */

import type { Backend, BackendEvent } from '../backend/backend.ts';
import { type AddressBytes, parseAddress, printAddress } from '../base/address.ts';
import { printComplaint, YokeError } from '../base/error.ts';
import { changesOf, needsRestart } from '../config/changes.ts';
import type { Config } from '../config/config.ts';
import { readConfig } from '../config/schema.ts';
import type { Facts } from '../plan/facts.ts';
import type { Status } from '../status/status.ts';
import { Admission } from './admission.ts';
import { certificatesOf } from './certificates.ts';
import { type ControlMethod, type ControlParams, type ControlServer, startControl } from './control.ts';
import { FIRST_INNER_MTU } from './dry.ts';
import { newForwardTroubles } from './firewall.ts';
import type { Hooks } from './hooks.ts';
import { Keeper, linesOf } from './keeper.ts';
import { type Keys, readKeys } from './keys.ts';
import { Links, linkRows } from './links.ts';
import { loadWithText, readConfigText, replaceConfig } from './load.ts';
import { type Lock, takeLock } from './lock.ts';
import type { Log } from './log.ts';
import type { Machine } from './machine.ts';
import { Members } from './members.ts';
import { Names } from './names.ts';
import type { ResolveName } from './resolve.ts';
import { Sampler } from './sampler.ts';
import { activeLinks, addressesOf, assignIds, backendSettings, linkTrouble } from './settings.ts';
import { SpeedTests } from './speedtest.ts';
import { buildStatus } from './status.ts';
import { TRIAL_LIMITS_S, Trials } from './trial.ts';
import { Usage } from './usage.ts';
import { Watch } from './watch.ts';

/** What an instance is made of; tests give it a simulated machine and a backend that carries nothing. */
export interface DaemonParts {
  config: Config;
  /** What the configuration was read from; without it nothing can be put back after a trial. */
  text?: string;
  keys: Keys;
  runDir: string;
  /** Where keys and the register of invitations are. */
  stateDir: string;
  version: string;
  backend: Backend;
  machine: Machine;
  resolve: ResolveName;
  log: Log;
  offload: boolean;
  /** What the operator wants run before and after; undefined: nothing. */
  hooks?: Hooks;
}

/** How an instance ended: asked to, or because it could not go on. */
export type Ending = { kind: 'stopped' } | { kind: 'failed'; error: Error };

/** After a change of the host that failed, the next try. */
const RETRY_MS = 2000;

export class Daemon {
  readonly #parts: DaemonParts;
  readonly #keeper: Keeper;
  readonly #names: Names;
  readonly #admission: Admission;
  readonly #links: Links;
  readonly #trials: Trials;
  /** Of metered links, or clients. */
  #usage: Usage | undefined;
  readonly #startedAt = new Date();
  readonly #ended: Promise<Ending>;
  #end!: (ending: Ending) => void;
  /** As the file says it. */
  #said: Config;
  #text: string | undefined;
  /** With what is wanted by hand, and what follows from used-up quotas. */
  #config: Config;
  #keys: Keys;
  #ids: Map<string, number>;
  #facts: Facts | undefined;
  #innerMtu: number;
  #lock: Lock | undefined;
  #control: ControlServer | undefined;
  #monitor: { stop(): void } | undefined;
  #sampler: Sampler | undefined;
  #watch: Watch | undefined;
  readonly #speedTests: SpeedTests;
  #turn: Promise<void> = Promise.resolve();
  #followTimer: NodeJS.Timeout | undefined;
  #stopping = false;
  /** The hooks have been told of a start, and shall be of the end. */
  #hooked = false;
  readonly #troubles = new Map<string, string>();

  constructor(parts: DaemonParts) {
    this.#parts = parts;
    this.#said = parts.config;
    this.#text = parts.text;
    this.#config = parts.config;
    this.#keys = parts.keys;
    this.#ids = assignIds(activeLinks(parts.config), new Map());
    this.#innerMtu = parts.config.bond.mtu ?? FIRST_INNER_MTU;
    this.#keeper = new Keeper(parts.machine, parts.log);
    this.#speedTests = new SpeedTests(parts.log);
    this.#names = new Names(parts.resolve, parts.log, () => this.#followSoon(0));
    this.#admission = new Admission({
      members: new Members(parts.config.file, parts.stateDir, () => this.#said),
      backend: parts.backend,
      log: parts.log,
      amend: (edit) => this.#amend(edit),
    });
    this.#links = new Links({
      log: parts.log,
      said: () => this.#said,
      follow: () => this.#follow(),
      rows: async () => linkRows(this.#said, await this.status()),
      readFile: readConfigText,
      writeFile: replaceConfig,
    });
    this.#trials = new Trials({
      file: parts.config.file,
      log: parts.log,
      reread: () => this.reread(),
      fail: (error) => this.#end({ kind: 'failed', error }),
    });
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  /** Settles when the instance was asked to end, or cannot go on; the caller then calls `stop`. */
  get ended(): Promise<Ending> {
    return this.#ended;
  }

  /**
   * Starts; when it returns, the bond is there and followed.
   *
   * @throws YokeError, and then nothing of it is left on the host.
   */
  async start(): Promise<void> {
    const { runDir, log } = this.#parts;
    this.#lock = takeLock(runDir);
    try {
      // in turn, too: the backend speaks as soon as it runs, and what it says must wait for the rest of the start
      await this.#inTurn(() => this.#bringUp());
    } catch (error) {
      // what could not be taken back may be the very reason
      await this.stop().catch((e) => linesOf(e) !== linesOf(error) && log('error', linesOf(e)));
      throw error;
    }
    this.#trials.watch();
    log('info', `${this.#config.bond.ifname} is there, ${this.#config.role}, pid ${process.pid}`);
  }

  async #bringUp(): Promise<void> {
    const { backend, machine, runDir, log, hooks } = this.#parts;
    await machine.check(this.#config);
    backend.prepare?.();
    for (const text of certificatesOf(this.#config, Date.now()).warnings) log('warn', text);
    const { stateDir } = this.#parts;
    this.#usage = new Usage(stateDir, this.#config, log, () => this.#followSoon(0), Date.now());
    this.#config = this.#effective();
    await hooks?.('preup', this.#config, log);
    this.#hooked = true;
    this.#facts = await this.#keeper.observe(this.#config);
    const names = this.#names.ask(this.#questions());
    await this.#keeper.keep(this.#config, this.#facts);
    await names;
    await backend.start(this.#settings(), (event) => this.#handleEvent(event));
    await this.#keepLive();
    this.#control = await startControl(runDir, (method, params) => this.#answer(method, params));
    this.#monitor = machine.watch(() => this.#followSoon(0));
    this.#tellLinks();
    this.#startWatch();
    await this.#speedTests.set(this.#config);
    this.#sampler = new Sampler(backend, log, (ready, report) => {
      this.#usage?.handleReport(report, Date.now());
      this.#watch?.handleLinks(this.#config.role === 'router' ? this.#anyUsable() : ready);
      this.#names.handleReady(ready, this.#questions());
    });
    await hooks?.('up', this.#config, log);
  }

  /** Ends: the host is as it was. Idempotent. @throws YokeError with what could not be taken back. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.#turn;
    clearTimeout(this.#followTimer);
    this.#monitor?.stop();
    this.#sampler?.stop();
    this.#watch?.stop();
    this.#names.stop();
    this.#links.stop();
    this.#trials.stop();
    await this.#control?.stop();
    await this.#speedTests.stop();
    const { hooks, log } = this.#parts;
    if (this.#hooked) await hooks?.('predown', this.#config, log);
    await this.#keepUsage();
    try {
      await this.#parts.backend.stop();
    } finally {
      try {
        // a start that failed before it had the lock must not take back what another instance did
        if (this.#lock) await this.#keeper.takeBack();
      } finally {
        if (this.#hooked) await hooks?.('down', this.#config, log);
        this.#lock?.release();
        this.#end({ kind: 'stopped' });
      }
    }
  }

  /**
   * Takes another configuration while running; what did not change is not disturbed.
   *
   * @throws YokeError when it needs a restart, or the host refuses it; then the one before goes on.
   */
  async reload(config: Config, keys: Keys, text?: string): Promise<void> {
    const complaints = [...needsRestart(this.#said, config), ...newForwardTroubles(this.#said, config)];
    if (complaints.length === 0 && !isSameKey(keys.privateKey, this.#keys.privateKey)) {
      const todo = 'restart yoke to change it';
      complaints.push({
        where: `${config.file}: the private key`,
        expected: 'the one it runs with',
        found: 'another',
        todo,
      });
    }
    if (complaints.length > 0) throw new YokeError('config', complaints);
    const before = { said: this.#said, keys: this.#keys };
    try {
      await this.#take(config, keys);
      this.#text = text;
    } catch (error) {
      await this.#take(before.said, before.keys).catch(() => this.#followSoon(RETRY_MS));
      throw error;
    }
  }

  async #take(config: Config, keys: Keys): Promise<void> {
    await this.#inTurn(async () => {
      this.#said = config;
      this.#usage?.setConfig(config, Date.now());
      this.#config = this.#effective();
      this.#keys = keys;
      this.#ids = assignIds(activeLinks(this.#config), this.#ids);
      if (config.bond.mtu !== undefined) this.#innerMtu = Math.min(this.#innerMtu, config.bond.mtu);
      this.#startWatch();
      await this.#names.ask(this.#questions());
    });
    await this.#follow();
    await this.#speedTests.set(config);
  }

  /** Takes the file as it is now; says what was different. */
  async reread(): Promise<string[]> {
    const { config, text, changes } = this.#edited();
    await this.reload(config, readKeys(config), text);
    for (const line of changes) this.#parts.log('info', `reload: ${line}`);
    return changes;
  }

  /** Takes an edit that the file has already; what else it was edited to waits for its reload. */
  async #amend(edit: (text: string) => string): Promise<void> {
    const { file } = this.#said;
    const text = edit(this.#text ?? readConfigText(file));
    const config = readConfig(text, file);
    await this.reload(config, readKeys(config), text);
  }

  /** The file as it is now, and what a reload would do. */
  #edited(): { file: string; config: Config; text: string; changes: string[] } {
    const { file } = this.#said;
    const { config, text } = loadWithText(file);
    return { file, config, text, changes: changesOf(this.#said, config) };
  }

  /** The same on trial: unless it is confirmed in time, what runs now comes back. */
  async #apply(seconds: number): Promise<{ changes: string[]; until?: string }> {
    const [least, most] = TRIAL_LIMITS_S;
    if (!(seconds >= least && seconds <= most) || this.#text === undefined) {
      const expected = `seconds from ${least} to ${most}`;
      throw new YokeError('config', { where: '--confirm', expected, found: `${seconds}`, todo: 'write it like 60' });
    }
    const { config, text, changes } = this.#edited();
    if (changes.length === 0 && this.#trials.until === undefined) return { changes };
    await this.#trials.begin(this.#text, seconds, () => this.reload(config, readKeys(config), text));
    for (const line of changes) this.#parts.log('info', `apply: ${line}`);
    return { changes, until: this.#trials.until };
  }

  /** The status of this moment. */
  async status(): Promise<Status> {
    return buildStatus({
      config: this.#config,
      facts: this.#facts,
      servers: this.#names.addresses,
      startedAt: this.#startedAt,
      report: await this.#parts.backend.status(),
      verdicts: this.#sampler?.verdicts ?? new Map(),
      warnings: [...this.#names.complaints(), ...this.#trials.warnings(), ...(this.#usage?.warnings(Date.now()) ?? [])],
      quotas: (name) => this.#usage?.statusOf(name, Date.now()),
    });
  }

  async #answer(method: ControlMethod, params: ControlParams): Promise<unknown> {
    if (method === 'status') return this.status();
    if (method === 'version') return this.#parts.version;
    if (method === 'link') return this.#links.answer(params);
    if (method === 'reload') return { changes: await this.reread() };
    if (method === 'apply') {
      return params.seconds === undefined ? { changes: await this.reread() } : this.#apply(Number(params.seconds));
    }
    if (method === 'confirm') return this.#trials.confirm();
    if (method === 'changes') {
      const { file, config, changes } = this.#edited();
      return { file, changes, restart: needsRestart(this.#said, config).map(printComplaint) };
    }
    if (method !== 'stop') return this.#admission.answer(method, params);
    // the answer goes out before the end begins
    setImmediate(() => this.#end({ kind: 'stopped' }));
    return { pid: process.pid };
  }

  #handleEvent(event: BackendEvent): void {
    const { log } = this.#parts;
    switch (event.kind) {
      case 'mtu':
        if (event.innerMtu === this.#innerMtu) return;
        this.#innerMtu = event.innerMtu;
        log('info', `inner mtu ${event.innerMtu}`);
        this.#followSoon(0);
        return;
      case 'path':
        log(event.state === 'down' ? 'warn' : 'info', `${event.peer}: ${event.path} is ${event.state}`);
        return;
      case 'established':
        log('info', `${event.peer}: session established`);
        return;
      case 'log':
        log(event.level, event.text);
        return;
      case 'join':
        this.#admission.handleJoin(event);
        return;
      case 'failed':
        if (this.#stopping) return;
        log('error', `the packet path ended: ${event.error.message}`);
        this.#end({ kind: 'failed', error: event.error });
    }
  }

  #questions() {
    return activeLinks(this.#config).map((link) => ({
      link: link.name,
      name: link.server,
      localAddresses: addressesOf(this.#facts?.links.find((f) => f.name === link.name)),
    }));
  }

  #settings() {
    const { offload } = this.#parts;
    return backendSettings({
      config: this.#config,
      keys: this.#keys,
      facts: this.#facts!,
      servers: this.#names.addresses,
      ids: this.#ids,
      offload,
    });
  }

  /** Runs work after all work before it; what it throws is the caller's, and the line goes on. */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(() => (this.#stopping ? undefined : work()));
    this.#turn = done.catch(() => {});
    return done;
  }

  #followSoon(afterMs: number): void {
    if (this.#stopping || this.#followTimer) return;
    this.#followTimer = setTimeout(() => {
      this.#followTimer = undefined;
      this.#follow().catch((error) => {
        this.#parts.log('error', linesOf(error));
        this.#followSoon(RETRY_MS);
      });
    }, afterMs);
  }

  /** What the file says, with what is wanted by hand and what follows from used-up quotas. */
  #effective(): Config {
    const wanted = this.#links.apply(this.#said);
    return this.#usage?.apply(wanted) ?? wanted;
  }

  /** The last of what the links carried; a backend that does not answer any more has told all but a second's. */
  async #keepUsage(): Promise<void> {
    const report = await this.#parts.backend.status().catch(() => undefined);
    if (report) this.#usage?.handleReport(report, Date.now());
    this.#usage?.save(Date.now());
  }

  #follow(): Promise<void> {
    return this.#inTurn(async () => {
      this.#config = this.#effective();
      this.#ids = assignIds(activeLinks(this.#config), this.#ids);
      // host first: a socket that is opened before its route exists sends into nothing
      if (!(await this.#keepLive())) {
        this.#parts.log('warn', `${this.#config.bond.ifname} was removed by somebody else: it is made anew`);
        return this.#beginAnew();
      }
      await this.#names.ask(this.#questions());
      await this.#parts.backend.set(this.#settings());
      this.#tellLinks();
    });
  }

  /** Makes the host what it should be; false, and nothing is done, when the device is not there. */
  async #keepLive(): Promise<boolean> {
    this.#facts = await this.#keeper.observe(this.#config);
    if (!this.#facts.devices.includes(this.#config.bond.ifname)) return false;
    await this.#keeper.keep(this.#config, this.#facts, { innerMtu: this.#innerMtu });
    return true;
  }

  #startWatch(): void {
    this.#watch?.stop();
    this.#watch = undefined;
    const { watchdog, ifname, remoteAddresses } = this.#config.bond;
    const address = watchdog?.address ?? remoteAddresses[0];
    if (!watchdog || !address) return;
    this.#watch = new Watch({
      ...watchdog,
      address,
      ifname,
      log: this.#parts.log,
      restart: () => this.#restartBond(),
      restartLinks: () => this.#links.restart(),
      nowUs: () => performance.now() * 1000,
    });
  }

  #restartBond(): Promise<void> {
    return this.#inTurn(() => this.#beginAnew());
  }

  /** A device that was closed takes its addresses and routes with it: the host is kept again afterwards. */
  async #beginAnew(): Promise<void> {
    const { backend, log } = this.#parts;
    await backend.stop();
    await this.#names.ask(this.#questions(), { again: true });
    try {
      await backend.start(this.#settings(), (event) => this.#handleEvent(event));
    } catch (error) {
      log('error', linesOf(error));
      this.#end({ kind: 'failed', error: error as Error });
      return;
    }
    await this.#keepLive();
  }

  #trouble(link: Config['links'][number]): string {
    const found = this.#facts?.links.find((f) => f.name === link.name);
    return linkTrouble(link, found, this.#names.addresses.get(link.name));
  }

  #anyUsable(): boolean {
    return activeLinks(this.#config).some((link) => this.#trouble(link) === '');
  }

  /** One line for each link that came or went since the last look. */
  #tellLinks(): void {
    for (const link of activeLinks(this.#config)) {
      const trouble = this.#trouble(link);
      if (this.#troubles.get(link.name) === trouble) continue;
      this.#troubles.set(link.name, trouble);
      const server: AddressBytes | undefined = this.#names.addresses.get(link.name);
      if (trouble !== '') this.#parts.log('warn', `link ${link.name}: cannot be used: ${trouble}`);
      else this.#parts.log('info', `link ${link.name}: to ${printAddress(server ?? parseAddress(link.server)!)}`);
    }
  }
}

const isSameKey = (a: Uint8Array, b: Uint8Array) => Buffer.from(a).equals(b);

/**
 * OpenVPN tunnels under the kernel's bonding driver, as a backend: the article's own system.
 *
 *   start   files, names, ports → TUN or TAP → bonding device → an OpenVPN for each link
 *   run     a tunnel stands → its device becomes a slave; it falls → the device leaves; both in one line (`#inTurn`)
 *   look    every second: which slaves the driver uses (it asks them by ARP, or sees their carrier), the device's counters, whether
 *           there is a new list of revoked certificates
 *   stop    tunnels, then the device
 */
import { createSocket } from 'node:dgram';
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { printAddress } from '../../base/address.ts';
import { YokeError } from '../../base/error.ts';
import { run } from '../../host/run.ts';
import { printCommand } from '../../plan/command.ts';
import type { PathState, PathStatus } from '../../status/status.ts';
import type { Backend, BackendEvent, BackendReport, BackendSettings, LinkSettings } from '../backend.ts';
import {
  addSlave,
  changeBond,
  countersOf,
  makeBond,
  removeBond,
  removeSlave,
  slavesOf,
  takesTun,
} from './bond-device.ts';
import { innerMtu, localPortOf, tunnelConf, tunnelName } from './conf.ts';
import { FileWatch } from './crl.ts';
import { checkFiles } from './files.ts';
import { Tunnel } from './tunnel.ts';

/** How often slaves and counters are looked at. */
const LOOK_EVERY_MS = 1000;
/** Longest that a tunnel that begins anew keeps the next one waiting. Units: milliseconds. */
const RENEW_LIMIT_MS = 20_000;

/** What the driver says and counts. */
const NOTHING = { rxBytes: 0, txBytes: 0, rxPackets: 0, txPackets: 0 };

/** How a backend is made; tests leave the bonding device out where the kernel has none. */
export interface OpenvpnOptions {
  runDir: string;
  /** Tunnels only, without a bonding device. */
  withoutBond?: boolean;
}

/** The alias of devices that an instance makes. */
export const ownerOf = (runDir: string): string => `yoke ${runDir}`.slice(0, 255);

interface Entry {
  link: LinkSettings;
  tunnel: Tunnel;
  device: string;
  /** It is a slave of the bond. */
  slave: boolean;
  /** The driver uses it. */
  used: boolean;
  told: PathState;
}

/** OpenVPN under the bonding driver. Owns: the device, the tunnels, a folder in the run directory. */
export class OpenvpnBackend implements Backend {
  readonly #options: OpenvpnOptions;
  readonly #folder: string;
  readonly #echo = (argv: readonly string[]): void => {
    this.#onEvent({ kind: 'log', level: 'info', text: `[#] ${printCommand({ run: [...argv] })}` });
  };
  readonly #entries = new Map<number, Entry>();
  #settings: BackendSettings | undefined;
  #onEvent: (event: BackendEvent) => void = () => {};
  #devType: 'tun' | 'tap' = 'tap';
  #turn: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #established = false;
  #counters = NOTHING;
  #running = false;
  /** The bonding device that is ours. */
  #made: string | undefined;
  #lists = new FileWatch([]);
  /** Tunnels that shall begin anew, and since when the first of them does. */
  #stale: Entry[] = [];
  #renewingSinceMs: number | undefined;

  constructor(options: OpenvpnOptions) {
    this.#options = options;
    this.#folder = join(options.runDir, 'openvpn');
  }

  async start(settings: BackendSettings, onEvent: (event: BackendEvent) => void): Promise<void> {
    const openvpn = settings.openvpn;
    if (!openvpn) throw new Error('the settings are those of another backend');
    this.#onEvent = onEvent;
    this.#settings = settings;
    await checkStart(settings);
    for (const text of openvpn.remarks) onEvent({ kind: 'log', level: 'info', text });
    this.#devType = await this.#chooseType(openvpn.devType, openvpn.mode);
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    chmodSync(this.#folder, 0o700);
    this.#running = true;
    this.#established = false;
    this.#counters = NOTHING;
    this.#watchLists(settings);
    try {
      if (!this.#options.withoutBond) {
        await makeBond(settings, this.#devType, ownerOf(this.#options.runDir), this.#echo);
        this.#made = settings.ifname;
      }
      await this.#startAll(settings.links.filter((l) => l.usable));
    } catch (error) {
      await this.stop();
      throw error;
    }
    onEvent({ kind: 'mtu', innerMtu: innerMtu(settings) });
    this.#timer = setInterval(() => this.#inTurn(() => this.#look()), LOOK_EVERY_MS);
  }

  async set(settings: BackendSettings): Promise<void> {
    const before = this.#settings;
    if (!this.#running || !before) return;
    this.#settings = settings;
    const mtu = innerMtu(settings);
    if (mtu !== innerMtu(before)) this.#onEvent({ kind: 'mtu', innerMtu: mtu });
    if (!same(before.openvpn?.files, settings.openvpn?.files)) this.#watchLists(settings);
    if (!this.#options.withoutBond) {
      for (const text of await changeBond(before, settings, this.#devType, this.#echo))
        this.#onEvent({ kind: 'log', level: 'warn', text });
    }
    const sameLines = same(before.openvpn?.lines, settings.openvpn?.lines) && before.fwmark === settings.fwmark;
    const stay = (l: LinkSettings | undefined, old: LinkSettings) => l?.usable && sameLines && same(l, old);
    const gone = [...this.#entries.values()].filter(
      ({ link }) =>
        !stay(
          settings.links.find((l) => l.id === link.id),
          link,
        ),
    );
    await Promise.all(gone.map((entry) => this.#end(entry)));
    const fresh = settings.links.filter((l) => l.usable && !this.#entries.has(l.id));
    for (const link of fresh) {
      try {
        await this.#startAll([link]);
      } catch (error) {
        // One link that cannot be started is no reason to leave the others.
        this.#onEvent({ kind: 'log', level: 'error', text: (error as Error).message });
      }
    }
  }

  async status(): Promise<BackendReport> {
    const settings = this.#settings;
    if (!this.#running || !settings) return { bonds: [], drops: {} };
    const entries = [...this.#entries.values()];
    const up = entries.filter((e) => this.#stateOf(e) === 'up');
    const oldest = Math.min(...up.map((e) => e.tunnel.connectedAtMs ?? Number.POSITIVE_INFINITY));
    const mtu = innerMtu(settings);
    return {
      bonds: [
        {
          peer: peerOf(settings),
          established: up.length > 0,
          cipher: up[0]?.tunnel.cipher ?? '',
          handshakeAgeS: up.length > 0 ? (performance.now() - oldest) / 1000 : -1,
          innerMtu: mtu,
          ...this.#counters,
          queuedPackets: 0,
          heldPackets: 0,
          droppedByCodel: 0,
          droppedByLimit: 0,
          reordered: 0,
          duplicates: 0,
          skipped: 0,
          paths: settings.links.map((link) => this.#pathOf(link, mtu)),
        },
      ],
      drops: {},
    };
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    clearInterval(this.#timer);
    await this.#turn;
    await Promise.all([...this.#entries.values()].map((e) => e.tunnel.stop()));
    this.#entries.clear();
    if (this.#made !== undefined) {
      this.#echo(['ip', 'link', 'del', 'dev', this.#made]);
      await removeBond(this.#made);
    }
    this.#made = undefined;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #chooseType(asked: 'tun' | 'tap', mode: string): Promise<'tun' | 'tap'> {
    if (asked === 'tap') return 'tap';
    const takes = this.#options.withoutBond || (await takesTun(mode));
    const text = takes
      ? "dev_type 'tun': the driver cannot ask a TUN device by ARP, so a line that dies silently is left when OpenVPN's keepalive ends; with 'tap' within a second"
      : "dev_type 'tun': this kernel's bonding driver takes no TUN device in this mode, so TAP is used; the other end must use TAP, too";
    this.#onEvent({ kind: 'log', level: 'info', text });
    return takes ? 'tun' : 'tap';
  }

  async #startAll(links: readonly LinkSettings[]): Promise<void> {
    const entries = links.map((link) => this.#entryOf(link));
    const results = await Promise.allSettled(entries.map((e) => e.tunnel.start()));
    const failed = results.flatMap((r) => (r.status === 'rejected' ? [r.reason as Error] : []));
    entries.forEach((e, i) => {
      if (results[i].status === 'rejected') this.#entries.delete(e.link.id);
    });
    if (failed.length === 0) return;
    const complaints = failed.flatMap((e) => (e instanceof YokeError ? e.complaints : []));
    throw complaints.length > 0 ? new YokeError('host', complaints) : failed[0];
  }

  #entryOf(link: LinkSettings): Entry {
    const settings = this.#settings!;
    const tunnel: Tunnel = new Tunnel({
      name: link.name,
      id: link.id,
      folder: this.#folder,
      waits: settings.role === 'server',
      isAlive: () => entry.slave && entry.used,
      conf: (socket) => tunnelConf(settings, link, this.#devType, socket),
      onEvent: this.#onEvent,
      onState: () => this.#handleState(entry),
    });
    const entry: Entry = {
      link,
      tunnel,
      device: tunnelName(settings, link),
      slave: false,
      used: true,
      told: 'waiting',
    };
    this.#entries.set(link.id, entry);
    return entry;
  }

  async #end(entry: Entry): Promise<void> {
    await entry.tunnel.stop();
    await this.#turn;
    this.#entries.delete(entry.link.id);
  }

  /** Its device becomes a slave or leaves, after what was begun before. */
  #handleState(entry: Entry): void {
    this.#inTurn(async () => {
      const stands = entry.tunnel.state === 'up';
      if (stands && !entry.slave && !this.#options.withoutBond && this.#running) {
        await addSlave(this.#settings!, entry.device, this.#echo);
        entry.slave = true;
      } else if (!stands && entry.slave) {
        await removeSlave(entry.device);
        entry.slave = false;
      }
      entry.used = true;
      if (stands && !this.#established) {
        this.#established = true;
        this.#onEvent({ kind: 'established', peer: peerOf(this.#settings!) });
      }
      this.#tell(entry);
    });
  }

  #inTurn(work: () => Promise<void>): void {
    this.#turn = this.#turn.then(work).catch((error) => {
      if (this.#running) this.#onEvent({ kind: 'log', level: 'warn', text: (error as Error).message });
    });
  }

  async #look(): Promise<void> {
    if (!this.#running) return;
    this.#lookAtLists();
    if (this.#options.withoutBond) return;
    const { ifname } = this.#settings!;
    const [slaves, counters] = await Promise.all([slavesOf(ifname), countersOf(ifname)]);
    if (counters) this.#counters = counters;
    for (const entry of this.#entries.values()) {
      if (entry.tunnel.state !== 'up') continue;
      const found = slaves.find((s) => s.device === entry.device);
      entry.used = found?.used ?? false;
      // The driver refused it, somebody took it out, or the device came anew under its name.
      if (!found) {
        entry.slave = false;
        this.#handleState(entry);
      } else this.#tell(entry);
    }
  }

  #watchLists(settings: BackendSettings): void {
    const files = settings.openvpn!.files.filter((f) => f.option === 'crl_verify');
    this.#lists = new FileWatch(files.map((f) => f.path));
  }

  /** After a change of a list each tunnel begins anew: those that are not up at once, the others one after the other. */
  #lookAtLists(): void {
    for (const path of this.#lists.look()) {
      this.#onEvent({ kind: 'log', level: 'info', text: `${path} has changed: each tunnel begins anew, in turn` });
      const entries = [...this.#entries.values()];
      this.#stale = entries.filter((e) => e.tunnel.state === 'up');
      for (const { tunnel } of entries) if (tunnel.state !== 'up') tunnel.renew();
      this.#renewingSinceMs = undefined;
    }
    this.#stale = this.#stale.filter((e) => this.#entries.get(e.link.id) === e);
    const [first] = this.#stale;
    if (first === undefined) return;
    const nowMs = performance.now();
    const sinceMs = this.#renewingSinceMs;
    if (sinceMs === undefined) {
      this.#renewingSinceMs = nowMs;
      first.tunnel.renew();
    } else if (first.tunnel.answeredAtMs > sinceMs || nowMs - sinceMs > RENEW_LIMIT_MS) {
      this.#stale.shift();
      this.#renewingSinceMs = undefined;
    }
  }

  #stateOf(entry: Entry): PathState {
    const { state } = entry.tunnel;
    if (state !== 'up' || this.#options.withoutBond) return state;
    if (!entry.slave) return 'waiting';
    return entry.used ? 'up' : 'down';
  }

  #tell(entry: Entry): void {
    const state = this.#stateOf(entry);
    if (state === entry.told) return;
    entry.told = state;
    this.#onEvent({ kind: 'path', peer: peerOf(this.#settings!), path: entry.link.name, state });
  }

  #pathOf(link: LinkSettings, mtu: number): PathStatus {
    const entry = this.#entries.get(link.id);
    const tunnel = entry?.tunnel;
    const rtt = tunnel?.rttMs ?? 0;
    return {
      name: link.name,
      id: link.id,
      state: entry ? this.#stateOf(entry) : 'closed',
      local: tunnel?.local || (link.localAddress ? `${printAddress(link.localAddress)}:${localPortOf(link)}` : ''),
      remote: tunnel?.remote ?? '',
      srttMs: rtt,
      minRttMs: rtt,
      queueMs: 0,
      capacityBps: 0,
      pacingBps: 0,
      inFlightBytes: 0,
      mtu,
      txBytes: tunnel?.txBytes ?? 0,
      rxBytes: tunnel?.rxBytes ?? 0,
      txDatagrams: 0,
      rxDatagrams: 0,
      lostDatagrams: 0,
      resentPackets: 0,
    };
  }
}

const peerOf = ({ role }: BackendSettings) => (role === 'router' ? 'server' : 'router');
const same = (a: unknown, b: unknown) => JSON.stringify(a, asText) === JSON.stringify(b, asText);
const asText = (_key: string, value: unknown) => (value instanceof Uint8Array ? [...value].join('.') : value);

/** What a start needs beside the bonding device. @throws YokeError with everything that is missing. */
async function checkStart(settings: BackendSettings): Promise<void> {
  const complaints = checkFiles(settings.openvpn!.files);
  for (const link of settings.links) {
    const device = tunnelName(settings, link);
    if ((await run(['ip', 'link', 'show', 'dev', device])).status === 0) {
      complaints.push({
        where: `link ${link.name}: device ${device}`,
        expected: 'a device name that is free',
        found: 'a device of that name',
        todo: `choose another name (option tunnel), or remove that device (ip link del ${device})`,
      });
    }
    const found = link.usable ? await portTrouble(link) : undefined;
    if (found !== undefined) {
      complaints.push({
        where: `link ${link.name}: option local_port`,
        expected: `UDP port ${localPortOf(link)}${link.localAddress ? ` of ${printAddress(link.localAddress)}` : ''} to be free`,
        found,
        todo: `see which (ss -ulpn sport = :${localPortOf(link)}), or choose another port`,
      });
    }
  }
  if (complaints.length > 0) throw new YokeError('host', complaints);
}

function portTrouble(link: LinkSettings): Promise<string | undefined> {
  const { localAddress } = link;
  return new Promise((resolve) => {
    const six = localAddress?.length === 16;
    const socket = createSocket({ type: six ? 'udp6' : 'udp4' });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(error.code === 'EADDRINUSE' ? 'another program there' : undefined);
    });
    const address = localAddress ? printAddress(localAddress) : six ? '::' : '0.0.0.0';
    socket.bind({ port: localPortOf(link), address, exclusive: true }, () => socket.close(() => resolve(undefined)));
  });
}

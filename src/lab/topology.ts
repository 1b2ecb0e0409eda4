/**
 * A little internet in network namespaces:
 *
 *                              the lines (emulated: rate, delay, loss, queue)
 *   ┌────────┐ LAN ┌────────┐ link0 ════════════════ line0 ┌──────┐      ┌────────┐      ┌──────┐
 *   │ client ├─────┤ router │                              │ core ├──────┤ server ├──────┤ host │
 *   └────────┘     └────────┘ link1 ════════════════ line1 └──────┘      └────────┘      └──────┘
 *      192.168.77.0/24        198.51.100.0/30, .4/30, …    203.0.113.0/24       192.0.2.0/24
 *
 * The client's gateway is the router; the router has a default route by each line. The host behind the server is the
 * internet: it knows the lines' and the server's addresses, not the LAN's nor the bond's, so nothing is answered without NAT.
 * Namespaces are named `yk<pid>-router` and so on. Whatever is made is removed in reverse by `close`.
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { assert } from '../base/error.ts';
import type { CarrierStats } from './carrier.ts';
import { type Direction, Emulator, type EmulatorStats } from './emulator.ts';
import type { PlainLinkSettings } from './link.ts';
import type { LinkSpec } from './linkspec.ts';
import {
  end,
  inside,
  ipBatch,
  must,
  type Outcome,
  type RunOptions,
  removeNamespace,
  run,
  setSysctls,
  spawnInside,
  sweepStale,
} from './netns.ts';

/** The namespaces that things run in. */
export type Place = 'client' | 'router' | 'core' | 'server' | 'host';
const PLACES: readonly Place[] = ['client', 'router', 'core', 'server', 'host'];

/** Addresses of the little internet that do not depend on the number of links. */
export const ADDRESS = {
  lan: '192.168.77.0/24',
  client: '192.168.77.2',
  clientGateway: '192.168.77.1',
  client6: 'fd77:77::2',
  clientGateway6: 'fd77:77::1',
  core: '203.0.113.1',
  server: '203.0.113.2',
  core6: '2001:db8:ff::1',
  server6: '2001:db8:ff::2',
  serverInside: '192.0.2.1',
  host: '192.0.2.2',
  serverInside6: '2001:db8:fe::1',
  host6: '2001:db8:fe::2',
} as const;

/** How long the queue of each direction of a line may get: drop-tail, as cheap modems are. */
export const QUEUE_US = 60_000;

export interface LabOptions {
  /** At most 8. */
  links: readonly LinkSpec[];
  /** The same seed gives the same random loss and jitter. */
  seed?: number;
  /** Devices of the router's links; default link0, link1, … */
  names?: readonly string[];
  /** What the lines are like, each, in place of what `links` says of them. */
  settings?: readonly Record<Direction, PlainLinkSettings>[];
  /** The lines are plain veth pairs from the router straight to the server: no emulator, no shaping, what `links` says is not used. */
  unshaped?: boolean;
}

/** One emulated line, while the lab runs. */
export class LabLink {
  readonly index: number;
  readonly name: string;
  readonly spec: LinkSpec;
  /** The router's address on it and the provider's, which is the gateway. */
  readonly address: string;
  readonly gateway: string;
  readonly address6: string;
  readonly gateway6: string;
  /** The server as this line sees it. */
  readonly server: string;
  readonly #unshapedOr: Emulator | undefined;

  constructor(index: number, name: string, spec: LinkSpec, emulator: Emulator | undefined) {
    this.index = index;
    this.name = name;
    this.spec = spec;
    this.address = `198.51.100.${4 * index + 2}`;
    this.gateway = `198.51.100.${4 * index + 1}`;
    this.address6 = `2001:db8:${index + 1}::2`;
    this.gateway6 = `2001:db8:${index + 1}::1`;
    this.server = emulator ? ADDRESS.server : this.gateway;
    this.#unshapedOr = emulator;
  }

  get #emulator(): Emulator {
    assert(this.#unshapedOr !== undefined, 'an unshaped line has no emulator');
    return this.#unshapedOr;
  }

  /** Loses everything, silently: the devices stay up. */
  async cut(direction?: Direction): Promise<void> {
    await this.#emulator.command({ do: 'cut', link: this.index, direction });
  }

  /** Ends a cut. */
  async restore(direction?: Direction): Promise<void> {
    await this.#emulator.command({ do: 'restore', link: this.index, direction });
  }

  /** Changes rate, delay, loss and so on from now on; both ways unless a direction is given. */
  async set(change: Partial<PlainLinkSettings>, direction?: Direction): Promise<void> {
    await this.#emulator.command({ do: 'set', link: this.index, direction, change });
  }

  /** What it has carried. */
  async stats(): Promise<Record<Direction, CarrierStats>> {
    return (await this.#emulator.stats()).links[this.index];
  }
}

/** The running lab. Owns: namespaces, devices, the emulator and every program started through it. */
export class Lab {
  readonly prefix: string;
  readonly links: LabLink[] = [];
  readonly #undo: (() => Promise<void>)[] = [];
  readonly #children = new Set<ChildProcess>();
  #emulator: Emulator | undefined;
  #closing: Promise<void> | undefined;

  private constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** Builds the little internet; after a failure nothing is left. @throws YokeError (host) when the machine cannot do it. */
  static async open(options: LabOptions): Promise<Lab> {
    await sweepStale();
    const lab = new Lab(await freePrefix());
    try {
      await lab.#build(options);
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** The namespace's name. */
  namespace(place: Place | 'emulator'): string {
    return `${this.prefix}-${place}`;
  }

  link(index: number): LabLink {
    return this.links[index];
  }

  /** Counters of all lines. */
  stats(): Promise<EmulatorStats> {
    assert(this.#emulator !== undefined, 'unshaped lines have no emulator');
    return this.#emulator.stats();
  }

  /** Runs a program in a place to its end, whatever its exit status. */
  exec(place: Place, argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return run(inside(this.namespace(place), argv), options);
  }

  /** Runs a program that must succeed and returns its output. @throws YokeError (host) with what it said. */
  must(place: Place, argv: readonly string[], options: RunOptions = {}): Promise<string> {
    return must(inside(this.namespace(place), argv), options);
  }

  /** Starts a program in a place; `close` ends it at the latest. */
  spawn(place: Place, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const child = spawnInside(this.namespace(place), argv, options);
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    child.once('error', () => this.#children.delete(child));
    return child;
  }

  /** Ends a program that was started here. */
  async end(child: ChildProcess, graceMs?: number): Promise<void> {
    await end(child, graceMs);
  }

  /** Sets kernel settings in a place. */
  async sysctl(place: Place, ...settings: string[]): Promise<void> {
    await setSysctls(this.namespace(place), settings);
  }

  /** Has something done when the lab closes, before what was made earlier is removed. */
  onClose(undo: () => Promise<void>): void {
    this.#undo.push(undo);
  }

  /** Ends all programs and removes everything; safe to call twice and at any moment. */
  close(): Promise<void> {
    this.#closing ??= this.#takeDown();
    return this.#closing;
  }

  async #takeDown(): Promise<void> {
    await Promise.all([...this.#children].map((child) => end(child)));
    for (const undo of this.#undo.splice(0).reverse()) {
      try {
        await undo();
      } catch (error) {
        process.stderr.write(`lab: ${(error as Error).message}\n`);
      }
    }
  }

  async #build(options: LabOptions): Promise<void> {
    for (const place of [...PLACES, 'emulator'] as const) {
      const name = this.namespace(place);
      this.#undo.push(() => removeNamespace(name));
      await must(['ip', 'netns', 'add', name]);
    }
    const names = options.links.map((_, i) => options.names?.[i] ?? `link${i}`);
    if (!options.unshaped) this.#emulator = await this.#startEmulator(options, names);
    options.links.forEach((spec, i) => {
      this.links.push(new LabLink(i, names[i], spec, this.#emulator));
    });
    await this.#wire();
    await Promise.all(PLACES.map((place) => this.#configure(place)));
  }

  async #startEmulator(options: LabOptions, names: readonly string[]): Promise<Emulator> {
    const emulator = await Emulator.start(inside(this.namespace('emulator'), []), {
      seed: options.seed ?? 1,
      links: options.links.map((spec, i) => ({
        name: names[i],
        nearDevice: names[i],
        farDevice: `line${i}`,
        down: options.settings?.[i].down ?? lineSettings(spec, spec.downBps),
        up: options.settings?.[i].up ?? lineSettings(spec, spec.upBps),
      })),
    });
    this.#undo.push(() => emulator.stop());
    return emulator;
  }

  /** The veth pairs, and the emulator's devices brought to their places. */
  async #wire(): Promise<void> {
    const pair = (one: Place, device: string, other: Place, peer: string) =>
      `link add ${device} netns ${this.namespace(one)} type veth peer name ${peer} netns ${this.namespace(other)}`;
    const line = (link: LabLink) =>
      this.#emulator
        ? [
            `link set dev ${link.name} netns ${this.namespace('router')}`,
            `link set dev line${link.index} netns ${this.namespace('core')}`,
          ]
        : [pair('router', link.name, 'server', `line${link.index}`)];
    await ipBatch(this.namespace('emulator'), [
      ...this.links.flatMap(line),
      pair('client', 'eth0', 'router', 'lan'),
      pair('core', 'eth0', 'server', 'eth0'),
      pair('server', 'eth1', 'host', 'eth0'),
    ]);
  }

  async #configure(place: Place): Promise<void> {
    const routes = place === 'router' || place === 'core' || place === 'server';
    await setSysctls(this.namespace(place), [
      // What distributions set; a strict check would hide that replies take another line.
      'net.ipv4.conf.all.rp_filter=2',
      'net.ipv4.conf.default.rp_filter=2',
      'net.ipv6.conf.all.accept_dad=0',
      'net.ipv6.conf.default.accept_dad=0',
      'net.ipv6.conf.default.router_solicitations=0',
      ...(place === 'core' || routes ? [`net.ipv4.ip_forward=${place === 'core' ? 1 : 0}`] : []),
      ...(place === 'core' ? ['net.ipv6.conf.all.forwarding=1'] : []),
    ]);
    await ipBatch(this.namespace(place), ['link set dev lo up', ...this.#devicesOf(place), ...this.#routesOf(place)]);
  }

  #devicesOf(place: Place): string[] {
    const device = (name: string, ...addresses: string[]) => [
      ...addresses.map((a) => `address add ${a} dev ${name}${a.includes(':') ? ' nodad' : ''}`),
      `link set dev ${name} up`,
    ];
    const line = (name: string, ...addresses: string[]) => [
      `link set dev ${name} addrgenmode none`,
      ...device(name, ...addresses),
    ];
    switch (place) {
      case 'client':
        return device('eth0', `${ADDRESS.client}/24`, `${ADDRESS.client6}/64`);
      case 'router':
        return [
          ...device('lan', `${ADDRESS.clientGateway}/24`, `${ADDRESS.clientGateway6}/64`),
          ...this.links.flatMap((l) => line(l.name, `${l.address}/30`, `${l.address6}/64`)),
        ];
      case 'core':
        return [
          ...device('eth0', `${ADDRESS.core}/24`, `${ADDRESS.core6}/64`),
          ...(this.#emulator ? this.#farEnds(line) : []),
        ];
      case 'server':
        return [
          ...device('eth0', `${ADDRESS.server}/24`, `${ADDRESS.server6}/64`),
          ...device('eth1', `${ADDRESS.serverInside}/24`, `${ADDRESS.serverInside6}/64`),
          ...(this.#emulator ? [] : this.#farEnds(line)),
        ];
      case 'host':
        return device('eth0', `${ADDRESS.host}/24`, `${ADDRESS.host6}/64`);
    }
  }

  #farEnds(line: (name: string, ...addresses: string[]) => string[]): string[] {
    return this.links.flatMap((l) => line(`line${l.index}`, `${l.gateway}/30`, `${l.gateway6}/64`));
  }

  #routesOf(place: Place): string[] {
    const lines6 = this.links.map((l) => `2001:db8:${l.index + 1}::/64`);
    switch (place) {
      case 'client':
        return [`route add default via ${ADDRESS.clientGateway}`, `route add default via ${ADDRESS.clientGateway6}`];
      case 'router':
        return this.links.flatMap((l) => [
          `route add default via ${l.gateway} dev ${l.name} metric ${100 + l.index}`,
          `route add default via ${l.gateway6} dev ${l.name} metric ${100 + l.index}`,
        ]);
      case 'core':
        return [`route add 192.0.2.0/24 via ${ADDRESS.server}`, `route add 2001:db8:fe::/64 via ${ADDRESS.server6}`];
      case 'server':
        return [
          `route add default via ${ADDRESS.host}`,
          `route add default via ${ADDRESS.host6}`,
          `route add 198.51.100.0/24 via ${ADDRESS.core}`,
          ...lines6.map((net) => `route add ${net} via ${ADDRESS.core6}`),
        ];
      case 'host':
        return ['198.51.100.0/24', '203.0.113.0/24', '2001:db8:ff::/64', ...lines6].map(
          (net) => `route add ${net} via ${net.includes(':') ? ADDRESS.serverInside6 : ADDRESS.serverInside}`,
        );
    }
  }
}

function lineSettings(spec: LinkSpec, rateBps: number): PlainLinkSettings {
  return { rateBps, delayUs: spec.delayUs, jitterUs: spec.jitterUs, lossRate: spec.lossRate, queueUs: QUEUE_US };
}

/** `yk<pid>`, or with a letter when this process has another lab open. */
async function freePrefix(): Promise<string> {
  const { stdout } = await run(['ip', 'netns', 'list']);
  for (let n = 0; ; n++) {
    const prefix = `yk${process.pid}${n === 0 ? '' : `-${n}`}`;
    if (!stdout.includes(`${prefix}-client`)) return prefix;
  }
}

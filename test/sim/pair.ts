/**
 * Two engines and the links between them, under a simulated clock.
 *
 *   app ─▶ tun queue ─▶ Endpoint ─▶ pollTransmit ─▶ LinkModel ─▶ (time) ─▶ handleDatagram ─▶ Endpoint ─▶ app
 *          router                                    up, down                                  server
 *
 * Each end has its own memory, its own clock (another origin, and drift if wanted), and a pump as simple as can be: whenever something
 * happened or a timer is due, everything is polled until nothing is left. Sizes on the links are outer IP bytes.
 */
import { heapMemory, type Memory } from '../../src/base/memory.ts';
import { type Random, seeded } from '../../src/base/random.ts';
import { Endpoint, type EndpointEvent } from '../../src/bond/endpoint.ts';
import type { Peer } from '../../src/bond/peer.ts';
import { NONE, PACKET_AT, SLOT_BYTES } from '../../src/bond/pool.ts';
import { Transmit } from '../../src/bond/transmit.ts';
import { nodeHandshakeCrypto } from '../../src/io/crypto.ts';
import { ENDPOINT_BYTES, ENDPOINT_SOCKET, readEndpoint, writeEndpoint } from '../../src/io/endpoint.ts';
import { DROPPED, LinkModel, type LinkSettings } from '../../src/lab/link.ts';
import type { AeadProvider } from '../../src/wire/aead.ts';
import type { HandshakeCrypto } from '../../src/wire/crypto.ts';
import { openCheapAead } from './aead.ts';
import { Events } from './events.ts';

const SERVER_PORT = 4500;
const RUN_BYTES = 65_536;
const MAX_DATAGRAM = 2048;
/** As many packets wait in a TUN device before the kernel drops. */
const TUN_QUEUE = 500;
/** And as many datagrams in a socket that nobody reads: 4 MB of full ones, which the kernel counts double. */
const SOCKET_QUEUE = 1400;
/** Between the loss of an address and the next. */
const READDRESS_US = 50_000;
/** The pump stops reading its TUN below this many free slots. */
const RESERVED_SLOTS = 256;

/** Both directions of a link. */
export interface SimLink {
  down: LinkSettings;
  up: LinkSettings;
}

/** An application's handler of packets. Shape: the packet lies at `at` of the view, `length` bytes long, until it returns. */
export type PacketHandler = (view: DataView, at: number, length: number) => void;

export interface PairOptions {
  links: SimLink[];
  seed?: number;
  poolSlots?: number;
  /** Makes the cipher for an end's memory; the cheap one unless told. */
  aead?: (memory: Memory) => AeadProvider;
  /** The server's clock runs so much faster. */
  drift?: number;
  /** Timers fire so late (a pump that is not alone on its processor). */
  timerSlackUs?: number;
  /** The pre-shared keys of router and server. */
  psk?: [Uint8Array | undefined, Uint8Array | undefined];
  /** Whether router and server have AES instructions; both unless told. */
  hasAes?: [boolean, boolean];
  /** The server does not know this router. */
  stranger?: boolean;
  /** Limits of the router's links, said by hand. */
  upBps?: (number | undefined)[];
  /** Whether the inner packets allow congestion marks. */
  ecn?: boolean;
}

/** One end: an engine with its memory, a TUN device's queue, and the applications behind it. */
export class End {
  readonly memory: Memory;
  readonly endpoint: Endpoint;
  peer!: Peer;
  readonly events: EndpointEvent[] = [];
  readonly handlers = new Map<number, PacketHandler>();
  /** Called when a wake-up's packets have been written to the TUN device. */
  readonly afterBatch: (() => void)[] = [];
  /** Packets that the TUN device dropped because its queue was full. */
  tunDrops = 0;
  transmitted = 0;
  dirty = true;
  /** Its process stands still: nothing is done, its sockets and its TUN device fill. */
  asleep = false;
  readonly unread: { link: number; bytes: Uint8Array }[] = [];
  /** Local time = simulated time × rate + origin. */
  readonly originUs: number;
  readonly drift: number;

  readonly runAt: number;
  readonly inAt: number;
  readonly fromAt: number;
  readonly out = new Transmit();
  private readonly tun: { length: number; bucket: number; bytes: Uint8Array }[] = [];
  private allocated = 0;
  private lastMtu = 1500;

  constructor(
    role: 'router' | 'server',
    options: PairOptions,
    privateKey: Uint8Array,
    crypto: HandshakeCrypto,
    originUs: number,
    drift: number,
  ) {
    const poolSlots = options.poolSlots ?? 8192;
    this.originUs = originUs;
    this.drift = drift;
    this.memory = heapMemory(poolSlots * SLOT_BYTES + RUN_BYTES + 256 * 1024);
    this.runAt = this.allocate(RUN_BYTES);
    this.inAt = this.allocate(MAX_DATAGRAM);
    this.fromAt = this.allocate(ENDPOINT_BYTES);
    this.endpoint = new Endpoint({
      memory: this.memory,
      allocate: (bytes) => this.allocate(bytes),
      aead: (options.aead ?? ((memory) => openCheapAead(memory)))(this.memory),
      crypto,
      privateKey,
      role,
      poolSlots,
      hasAes: (options.hasAes ?? [true, true])[role === 'router' ? 0 : 1],
      wallOffsetUs: 1.7e15 - originUs,
      markCe: () => options.ecn ?? false,
    });
  }

  allocate(bytes: number): number {
    const at = this.allocated;
    this.allocated += (bytes + 63) & ~63;
    return at;
  }

  localUs(simUs: number): number {
    return this.originUs + simUs * (1 + this.drift);
  }

  /** The simulated time at which this end's clock shows `localUs`. */
  simUs(localUs: number): number {
    return (localUs - this.originUs) / (1 + this.drift);
  }

  /** Into the TUN device. The packet: 20 bytes of header, flow (2), and what `write` puts behind. */
  send(flow: number, bucket: number, length: number, write: (view: DataView, at: number) => void): boolean {
    if (this.tun.length >= TUN_QUEUE) {
      this.tunDrops++;
      return false;
    }
    const bytes = new Uint8Array(length);
    bytes[0] = 0x45;
    const view = new DataView(bytes.buffer);
    view.setUint16(20, flow);
    write(view, 22);
    this.tun.push({ length, bucket, bytes });
    this.dirty = true;
    return true;
  }

  /** The TUN device's, as the daemon sets it; it keeps the last one while there is none. */
  get mtu(): number {
    this.lastMtu = this.peer.bond.innerMtu || this.lastMtu;
    return this.lastMtu;
  }

  readTun(nowUs: number): void {
    const { pool } = this.endpoint;
    while (this.tun.length > 0 && pool.free > RESERVED_SLOTS) {
      const packet = this.tun.shift();
      const slot = pool.take();
      if (packet === undefined || slot === NONE) return;
      this.memory.bytes.set(packet.bytes, pool.at(slot) + PACKET_AT);
      pool.length[slot] = packet.length;
      pool.bucket[slot] = packet.bucket;
      this.endpoint.handlePacket(this.peer, slot, nowUs);
    }
  }

  writeTun(): void {
    const { pool } = this.endpoint;
    let slot = this.endpoint.pollDelivered();
    if (slot === NONE) return;
    for (; slot !== NONE; slot = this.endpoint.pollDelivered()) {
      const at = pool.packetAt(slot);
      const flow = this.memory.view.getUint16(at + 20);
      const handler = this.handlers.get(flow);
      if (handler === undefined) throw new Error(`a packet of a flow that nobody knows: ${flow}`);
      handler(this.memory.view, at + 22, pool.length[slot] - 22);
      pool.give(slot);
    }
    for (const handler of this.afterBatch) handler();
  }

  get waitingInTun(): number {
    return this.tun.length;
  }
}

/** When an end's timer is due, in simulated time. */
function timerUs(end: End): number {
  return end.asleep ? Number.POSITIVE_INFINITY : end.simUs(end.endpoint.pollTimeout());
}

/** A new process takes over the applications of the old one. */
function inPlaceOf(old: End, end: End): End {
  for (const [flow, handler] of old.handlers) end.handlers.set(flow, handler);
  end.afterBatch.push(...old.afterBatch);
  return end;
}

/** What a datagram on its way may be turned into by a test: itself, others, or nothing. */
export type Tamper = (link: number, isUp: boolean, bytes: Uint8Array) => Uint8Array[];

/** A router and a server with links between them. */
export class Pair {
  readonly events = new Events();
  readonly random: Random;
  router: End;
  server: End;
  readonly up: LinkModel[];
  readonly down: LinkModel[];
  tamper: Tamper | undefined;
  /** The router's address on each link as the server sees it (a NAT's): last byte and port. */
  readonly publicAddress: { host: number; port: number }[];

  private readonly options: PairOptions;
  readonly serverKeys = nodeHandshakeCrypto.generateKeyPair();
  private readonly routerKeys = nodeHandshakeCrypto.generateKeyPair();
  private readonly crypto: HandshakeCrypto;

  constructor(options: PairOptions) {
    this.options = options;
    this.random = seeded(options.seed ?? 1);
    // Chance from the seed, so that a world can be seen again. (Keys are not: nothing depends on their values.)
    this.crypto = {
      ...nodeHandshakeCrypto,
      random: (n) => Uint8Array.from({ length: n }, () => Math.floor(this.random() * 256)),
    };
    this.up = options.links.map((l) => new LinkModel(l.up, this.random));
    this.down = options.links.map((l) => new LinkModel(l.down, this.random));
    this.publicAddress = options.links.map((_, i) => ({ host: 10 + i, port: 30_000 + i }));
    this.router = this.makeRouter();
    this.server = this.makeServer();
  }

  get nowUs(): number {
    return this.events.nowUs;
  }

  private makeRouter(): End {
    const end = new End('router', this.options, this.routerKeys.privateKey, this.crypto, 5e6, 0);
    end.peer = end.endpoint.addPeer('server', this.serverKeys.publicKey, this.options.psk?.[0]);
    for (let i = 0; i < this.options.links.length; i++) this.usePath(i, end);
    return end;
  }

  private makeServer(): End {
    // The low 32 bits of this clock wrap within the first seconds: what compares times must not mind.
    const end = new End(
      'server',
      this.options,
      this.serverKeys.privateKey,
      this.crypto,
      2 ** 32 - 4e6,
      this.options.drift ?? 0,
    );
    const { stranger, psk } = this.options;
    const routerKey = stranger ? nodeHandshakeCrypto.generateKeyPair().publicKey : this.routerKeys.publicKey;
    end.peer = end.endpoint.addPeer('router', routerKey, psk?.[1]);
    return end;
  }

  /** The router may use link `i`. */
  usePath(i: number, end = this.router): void {
    writeEndpoint(end.memory.view, end.fromAt, { address: Uint8Array.of(192, 0, 2, 1), port: SERVER_PORT, socket: i });
    const { upBps } = this.options;
    end.peer.bond.setPath(i, true, end.fromAt, 1500, upBps?.[i], end.localUs(this.nowUs));
    end.dirty = true;
  }

  /** The router's link `i` is gone, and it knows. */
  dropPath(i: number): void {
    this.router.peer.bond.setPath(i, false, 0, 1500, undefined, this.router.localUs(this.nowUs));
    this.router.dirty = true;
  }

  /** A new process: nothing but keys is left. Handlers go on. */
  restartServer(): void {
    this.server = inPlaceOf(this.server, this.makeServer());
  }

  restartRouter(): void {
    this.router = inPlaceOf(this.router, this.makeRouter());
  }

  /** The process of an end is stopped and continued. */
  sleep(end: End, forUs: number): void {
    end.asleep = true;
    this.events.after(forUs, () => {
      end.asleep = false;
      for (const { link, bytes } of end.unread.splice(0)) this.arrive(link, end === this.server, bytes);
      end.dirty = true;
    });
  }

  /** The NAT of link `i` forgets: what the router sends comes from another port, and nothing gets back by the old one. */
  rebind(i: number): void {
    const { host, port } = this.publicAddress[i];
    this.publicAddress[i] = { host, port: port + 100 };
  }

  /** The router loses its address on link `i` and gets another a little later, and knows. */
  readdress(i: number): void {
    const { host, port } = this.publicAddress[i];
    this.publicAddress[i] = { host: host + 100, port };
    this.dropPath(i);
    this.events.after(READDRESS_US, () => this.usePath(i));
  }

  cut(i: number): void {
    this.up[i].cut();
    this.down[i].cut();
  }

  restore(i: number): void {
    this.up[i].restore();
    this.down[i].restore();
  }

  /** Nothing is left to wait for: all slots are free but the one that each engine keeps at hand. */
  get isQuiet(): boolean {
    return [this.router, this.server].every(({ endpoint }) => endpoint.pool.free === endpoint.pool.count - 1);
  }

  /** Both ends know of each other, and all paths are up at both. */
  get isUp(): boolean {
    return [this.router, this.server].every(
      ({ peer }) => peer.bond.isUp && this.options.links.every((_, i) => peer.bond.paths[i]?.isUp),
    );
  }

  /** Until this simulated time. */
  run(untilUs: number): void {
    const { events } = this;
    for (;;) {
      this.pump(this.router);
      this.pump(this.server);
      if (this.router.dirty || this.server.dirty) continue;
      const slack = this.options.timerSlackUs ?? 0;
      const next = Math.min(events.nextUs(), timerUs(this.router) + slack, timerUs(this.server) + slack);
      if (next > untilUs) break;
      // A timer that wants the past is one that has been set this instant; time must move on or the loop would not end.
      if (next <= events.nowUs && events.nextUs() > events.nowUs) this.noteIdle();
      else this.idle = 0;
      events.nowUs = Math.max(events.nowUs, next);
      events.runDue();
    }
    events.nowUs = untilUs;
  }

  private idle = 0;

  private noteIdle(): void {
    if (++this.idle > 1000) {
      throw new Error(
        `time stands still at ${this.nowUs}: timeouts ${this.router.simUs(this.router.endpoint.pollTimeout())}, ${this.server.simUs(this.server.endpoint.pollTimeout())}`,
      );
    }
  }

  /** Runs until the condition holds; returns the time, or fails at the limit. */
  runUntil(condition: () => boolean, limitUs: number): number {
    const end = this.nowUs + limitUs;
    while (!condition()) {
      if (this.nowUs >= end) throw new Error(`not within ${limitUs} µs: ${condition}`);
      this.run(Math.min(end, this.nowUs + 1_000));
    }
    return this.nowUs;
  }

  private pump(end: End): void {
    const now = end.localUs(this.nowUs) + 1e-3;
    end.dirty = false;
    if (end.asleep) return;
    const { endpoint } = end;
    if (endpoint.pollTimeout() <= now) endpoint.handleTimeout(now);
    end.readTun(now);
    end.writeTun();
    while (endpoint.pollTransmit(end.out, end.runAt, now)) this.transmit(end);
    while (endpoint.events.length > 0) end.events.push(endpoint.events.shift() as EndpointEvent);
    if (end.waitingInTun > 0 && endpoint.pool.free > RESERVED_SLOTS) end.dirty = true;
  }

  private transmit(end: End): void {
    const { out, memory } = end;
    const isUp = end === this.router;
    const { endpointAt, totalBytes, segmentBytes } = out;
    let link: number;
    if (isUp) link = memory.bytes[endpointAt + ENDPOINT_SOCKET];
    else {
      const to = readEndpoint(memory.view, endpointAt);
      link = this.publicAddress.findIndex((p) => p.host === to.address[3] && p.port === to.port);
    }
    for (let off = 0; off < totalBytes; off += segmentBytes) {
      end.transmitted++;
      const size = Math.min(segmentBytes, totalBytes - off);
      // An address that nobody has any more.
      if (link < 0) continue;
      const bytes = memory.bytes.slice(out.at + off, out.at + off + size);
      const all = this.tamper === undefined ? [bytes] : this.tamper(link, isUp, bytes);
      for (const each of all) this.carry(link, isUp, each);
    }
  }

  /** Puts a datagram on a link, as the sender of that side would. */
  carry(link: number, isUp: boolean, bytes: Uint8Array): void {
    const model = isUp ? this.up[link] : this.down[link];
    const deliveryUs = model.offer(bytes.length + 28, this.nowUs);
    if (deliveryUs === DROPPED) return;
    const { generation } = model;
    this.events.at(deliveryUs, () => {
      if (model.generation === generation) this.arrive(link, isUp, bytes);
    });
  }

  private arrive(link: number, isUp: boolean, bytes: Uint8Array): void {
    const end = isUp ? this.server : this.router;
    if (end.asleep) {
      if (end.unread.length < SOCKET_QUEUE) end.unread.push({ link, bytes });
      return;
    }
    const { view } = end.memory;
    if (isUp) {
      const { host, port } = this.publicAddress[link];
      writeEndpoint(view, end.fromAt, { address: Uint8Array.of(198, 51, 100, host), port, socket: 0 });
    } else {
      writeEndpoint(view, end.fromAt, { address: Uint8Array.of(192, 0, 2, 1), port: SERVER_PORT, socket: link });
    }
    end.memory.bytes.set(bytes, end.inAt);
    end.endpoint.handleDatagram(end.inAt, bytes.length, end.fromAt, end.localUs(this.nowUs) + 1e-3);
    end.dirty = true;
  }
}

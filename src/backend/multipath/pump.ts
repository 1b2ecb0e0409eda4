/**
 * The pump: the worker that moves packets between the TUN device and the UDP sockets, in one synchronous loop on system calls.
 * It never returns to Node's event loop; messages are taken from their port when the eventfd says that there are some.
 *
 *   TUN ──read──▶ Segmenter ──slots──▶ Endpoint ──pollTransmit──▶ run ──sendmsg (UDP_SEGMENT)──▶ socket of the link
 *   TUN ◀─writev─ Coalescer ◀─pollDelivered── Endpoint ◀──datagrams── recvmmsg (UDP_GRO) ◀────── socket of the link
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { type AddressBytes, printAddress } from '../../base/address.ts';
import { assert } from '../../base/error.ts';
import { Endpoint, type Peer } from '../../bond/endpoint.ts';
import { FLAG_CHECKSUM_PARTIAL, NONE, SLOT_BYTES } from '../../bond/pool.ts';
import { BUCKETS } from '../../bond/queue.ts';
import { Transmit } from '../../bond/sender.ts';
import { hasAes, openAead } from '../../io/aead.ts';
import { type Arena, openArena } from '../../io/arena.ts';
import { nodeHandshakeCrypto } from '../../io/crypto.ts';
import { ENDPOINT_BYTES, readEndpoint, writeEndpoint } from '../../io/endpoint.ts';
import { EAGAIN, EMSGSIZE, ENOBUFS } from '../../io/libc.ts';
import { drainWake, POLLIN, POLLOUT, Poller, sharpenTimers } from '../../io/poll.ts';
import { closeSocket, type UdpSocket } from '../../io/socket.ts';
import { openTun, TUN_READ_BYTES, type Tun } from '../../io/tun.ts';
import { UdpIo } from '../../io/udp.ts';
import { ACCEPTED, COALESCE_SCRATCH_BYTES, Coalescer, NO_RUN } from '../../packet/coalesce.ts';
import { setCe } from '../../packet/inner.ts';
import { Segmenter } from '../../packet/offload.ts';
import type { BackendSettings, LinkSettings } from '../backend.ts';
import { Board, STATES } from './board.ts';
import { type FromPump, type PumpData, printError, type ToPump } from './message.ts';
import { NO_PEER, Routes } from './routes.ts';

const POOL_SLOTS = 16_384;
const ARENA_BYTES = POOL_SLOTS * SLOT_BYTES + (16 << 20);
/** Slots kept for what arrives and for what is in flight already: below, the TUN is not read. */
const RESERVE_SLOTS = 4096;
const READS_A_TURN = 8;
const RECEIVES_A_TURN = 4;
const RUNS_A_TURN = 256;
/** Slots written to the TUN in one go. */
const WRITE_BATCH = 1024;
const RUN_BYTES = 65_536 + 4096;
const LONGEST_WAIT_US = 50_000;
/** How often counters are published. */
const TICK_US = 100_000;
const DROPS_EVERY_US = 1_000_000;
/** A stranger's handshakes are worth a log line so often. */
const STRANGER_LOG_US = 10_000_000;
const SEND_RETRIES = 4;
const CLOSE_LINGER_US = 50_000;

const { board: boardBuffer, wakeFd } = workerData as PumpData;
assert(parentPort !== null, 'the pump is a worker');
const port: MessagePort = parentPort as unknown as MessagePort;
const say = (message: FromPump): void => port.postMessage(message);
const nowUs = (): number => performance.now() * 1000;

class Pump {
  private readonly arena: Arena = openArena(ARENA_BYTES);
  private readonly board = new Board(boardBuffer);
  private readonly tun: Tun;
  private readonly udp: UdpIo;
  private readonly endpoint: Endpoint;
  private readonly segmenter: Segmenter;
  private readonly coalescer: Coalescer;
  private readonly poller: Poller;
  private readonly sendPoller: Poller;
  private readonly out = new Transmit();
  private readonly giant: number;
  private readonly run: number;
  private readonly record: number;
  private readonly scratch: number;
  private readonly hashSeed: number;
  private readonly toGive = new Int32Array(WRITE_BATCH);

  private settings: BackendSettings;
  private sockets: UdpSocket[] = [];
  private readonly socketByNumber: (UdpSocket | undefined)[] = new Array(256).fill(undefined);
  private pollIndex: number[] = [];
  private tunIndex = 0;
  private wakeIndex = 0;
  private routes = new Routes();
  private readonly linkOfSocket = new Map<number, LinkSettings>();
  private innerMtu = 0;
  private strangerUs = Number.NEGATIVE_INFINITY;
  private dropsUs = 0;
  private lastDrops = '';
  private readonly lastAddresses = new Map<string, string>();
  private stopping = false;
  private readonly counts: Record<string, number> = {};

  constructor(settings: BackendSettings) {
    const { arena } = this;
    this.settings = settings;
    this.tun = openTun(arena, { name: settings.ifname, offload: settings.offload });
    this.udp = new UdpIo(arena, settings.offload ? {} : { messages: 64, messageBytes: 16_384 });
    this.endpoint = new Endpoint({
      memory: arena,
      allocate: (bytes) => arena.take('engine', bytes, 4096),
      aead: openAead(arena),
      crypto: nodeHandshakeCrypto,
      privateKey: settings.privateKey,
      role: settings.role,
      poolSlots: POOL_SLOTS,
      hasAes: hasAes(),
      wallOffsetUs: Date.now() * 1000 - nowUs(),
      markCe: (at) => setCe(arena, at),
    });
    this.segmenter = new Segmenter(arena, this.tun.vnetHeaderBytes);
    this.coalescer = new Coalescer(arena, arena.take('coalesce', COALESCE_SCRATCH_BYTES), this.tun.offload);
    this.poller = new Poller(arena, 300);
    this.sendPoller = new Poller(arena, 1);
    this.giant = arena.take('giant', TUN_READ_BYTES, 4096);
    this.run = arena.take('run', RUN_BYTES, 4096);
    this.record = arena.take('record', ENDPOINT_BYTES);
    this.scratch = arena.take('scratch', 64);
    this.hashSeed = Buffer.from(nodeHandshakeCrypto.random(4)).readInt32LE();
  }

  /** Whether packets pass the TUN device in giants. */
  get offload(): boolean {
    return this.tun.offload;
  }

  /** Opens the sockets and adds the peers. @throws YokeError when a port is taken. */
  open(): void {
    const now = nowUs();
    if (this.settings.role === 'server') this.listen();
    this.setPeers(this.settings, now);
    for (const link of this.settings.links) {
      if (link.usable) this.openLink(link, now);
    }
    this.watch();
    sharpenTimers();
  }

  loop(): void {
    let nextTickUs = 0;
    let more = false;
    let stopUs = Number.POSITIVE_INFINITY;
    for (;;) {
      const before = nowUs();
      const until = more ? before : Math.min(this.endpoint.pollTimeout(), nextTickUs, before + LONGEST_WAIT_US);
      this.poller.wait(Math.max(0, until - before) * 1000);
      for (let i = 0; i < this.sockets.length; i++) {
        if (this.poller.ready(this.pollIndex[i]) !== 0) this.receive(this.sockets[i]);
      }
      this.writeDelivered();
      const now = nowUs();
      if (this.poller.ready(this.tunIndex) !== 0) this.readTun(now);
      this.endpoint.handleTimeout(now);
      more = this.transmit();
      this.writeDelivered();
      if (this.poller.ready(this.wakeIndex) !== 0) {
        this.handleMessages(now);
        if (this.stopping && stopUs === Number.POSITIVE_INFINITY) stopUs = now + CLOSE_LINGER_US;
      }
      if (now >= nextTickUs) {
        this.tick(now);
        nextTickUs = now + TICK_US;
      }
      if (now >= stopUs) return;
    }
  }

  close(): void {
    for (const socket of this.sockets) closeSocket(socket);
    this.tun.close();
  }

  private receive(socket: UdpSocket): void {
    const { udp, endpoint } = this;
    for (let turn = 0; turn < RECEIVES_A_TURN; turn++) {
      const n = udp.receive(socket);
      // Read after the batch is here: an arrival time before the arrival would pass for a shorter path than there is.
      const now = nowUs();
      for (let m = 0; m < n; m++) {
        const start = udp.offset[m];
        const end = start + udp.length[m];
        const step = udp.segment[m];
        const from = udp.endpoint[m];
        for (let at = start; at < end; at += step) endpoint.handleDatagram(at, Math.min(step, end - at), from, now);
      }
      if (n < udp.offset.length) return;
      this.writeDelivered();
    }
  }

  private readTun(now: number): void {
    const { endpoint, segmenter, tun } = this;
    const { pool } = endpoint;
    for (let r = 0; r < READS_A_TURN && pool.free > RESERVE_SLOTS; r++) {
      const n = tun.read(this.giant, TUN_READ_BYTES);
      if (n < 0) return;
      const count = segmenter.begin(this.giant, n);
      if (count === 0) {
        this.count('tun-bad-packet');
        continue;
      }
      const peer = this.peerOf();
      if (peer === undefined) {
        this.count('tun-no-peer');
        continue;
      }
      const bucket = segmenter.packet.flowHash(this.arena, this.hashSeed) & (BUCKETS - 1);
      const flags = segmenter.partial ? FLAG_CHECKSUM_PARTIAL : 0;
      for (let i = 0; i < count; i++) {
        if (segmenter.segmentLength(i) > 1984) {
          this.count('tun-too-long');
          break;
        }
        const slot = pool.take();
        if (slot === NONE) break;
        pool.length[slot] = segmenter.writeSegment(i, pool.packetAt(slot));
        pool.bucket[slot] = bucket;
        pool.flags[slot] = flags;
        endpoint.handlePacket(peer, slot, now);
      }
    }
  }

  /** Whom the packet in front of the segmenter is for. */
  private peerOf(): Peer | undefined {
    const { packet } = this.segmenter;
    const first = this.arena.bytes[packet.destinationOffset];
    if (packet.version === 6 ? first === 0xff : first >= 224) return undefined;
    if (this.settings.role === 'router') return this.endpoint.peers[0];
    const number = this.routes.find(this.arena, packet.destinationOffset, packet.version);
    return number === NO_PEER ? undefined : this.endpoint.peers[number];
  }

  private transmit(): boolean {
    const { endpoint, out, udp } = this;
    for (let n = 0; n < RUNS_A_TURN; n++) {
      const now = nowUs();
      if (!endpoint.pollTransmit(out, this.run, now)) return false;
      const socket = this.socketByNumber[this.arena.bytes[out.endpointAt + 45]];
      if (socket === undefined) continue;
      let done = 0;
      for (let tries = 0; done < out.totalBytes && tries < SEND_RETRIES; tries++) {
        const sent = udp.send(socket, out.endpointAt, out.at + done, out.totalBytes - done, out.segmentBytes);
        if (sent > 0) {
          done += sent;
          continue;
        }
        if (sent !== -EAGAIN && sent !== -ENOBUFS) {
          this.count('send-refused');
          endpoint.transmitting?.handleSendFailure(out, sent === -EMSGSIZE, now);
          break;
        }
        this.sendPoller.clear();
        this.sendPoller.add(socket.fd, POLLOUT);
        this.sendPoller.wait(500_000);
      }
    }
    return true;
  }

  private writeDelivered(): void {
    const { coalescer, endpoint, toGive } = this;
    const { pool } = endpoint;
    for (;;) {
      let n = 0;
      while (n < WRITE_BATCH) {
        const slot = endpoint.pollDelivered();
        if (slot === NONE) break;
        toGive[n++] = slot;
        const partial = (pool.flags[slot] & FLAG_CHECKSUM_PARTIAL) !== 0;
        for (;;) {
          const full = coalescer.offer(pool.packetAt(slot), pool.length[slot], partial);
          if (full === ACCEPTED) break;
          this.writeRun(full);
        }
      }
      if (n === 0) return;
      for (let run = coalescer.next(); run !== NO_RUN; run = coalescer.next()) this.writeRun(run);
      for (let i = 0; i < n; i++) pool.give(toGive[i]);
    }
  }

  private writeRun(number: number): void {
    const { coalescer, tun } = this;
    const fragments = coalescer.gather(number);
    for (let i = 0; i < fragments; i++) tun.add(coalescer.fragmentOffset[i], coalescer.fragmentLength[i]);
    if (tun.flush() < 0) this.count('tun-write-refused');
  }

  private handleMessages(now: number): void {
    drainWake(this.arena, wakeFd, this.scratch);
    for (let m = receiveMessageOnPort(port); m !== undefined; m = receiveMessageOnPort(port)) {
      const message = m.message as ToPump;
      if (message.kind === 'stop') {
        for (const peer of this.endpoint.peers) peer.bond.setClosing();
        this.stopping = true;
      } else if (message.kind === 'set') {
        this.apply(message.settings, now);
        say({ kind: 'set' });
      }
    }
  }

  private apply(settings: BackendSettings, now: number): void {
    this.setPeers(settings, now);
    const before = new Map(this.settings.links.map((l) => [l.id, l]));
    this.settings = settings;
    for (const link of settings.links) {
      const old = before.get(link.id);
      before.delete(link.id);
      if (old !== undefined && sameLink(old, link)) continue;
      if (old?.usable)
        this.closeLink(old, now, link.usable && old.device === link.device && old.localPort === link.localPort);
      if (!link.usable) continue;
      try {
        this.openLink(link, now);
      } catch (error) {
        // The others go on; the operator reads why this one does not, and the next change tries again.
        say({ kind: 'log', level: 'error', text: printError(error).text });
      }
    }
    for (const gone of before.values()) if (gone.usable) this.closeLink(gone, now, false);
    this.watch();
  }

  private setPeers(settings: BackendSettings, now: number): void {
    const { endpoint } = this;
    const key = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('base64');
    const wanted = new Map(settings.peers.map((p) => [`${key(p.publicKey)} ${key(p.presharedKey)} ${p.name}`, p]));
    for (const peer of [...endpoint.peers]) {
      const id = `${key(peer.publicKey)} ${key(peer.presharedKey)} ${peer.name}`;
      if (!wanted.delete(id)) endpoint.removePeer(peer, now);
    }
    for (const p of wanted.values()) endpoint.addPeer(p.name, p.publicKey, p.presharedKey);
    this.routes = new Routes();
    endpoint.peers.forEach((peer, number) => {
      const { allowed } = settings.peers.find((p) => p.name === peer.name) ?? { allowed: [] };
      for (const prefix of allowed) this.routes.add(prefix, number);
      if (settings.role === 'server') peer.bond.allows = (at, length) => this.isAllowed(number, at, length);
    });
    this.lastAddresses.clear();
    say({ kind: 'roster', peers: endpoint.peers.map((p) => p.name) });
  }

  /** A client may send only from its own addresses (cryptokey routing). */
  private isAllowed(peer: number, at: number, length: number): boolean {
    const version = this.arena.bytes[at] >> 4;
    if (version === 4 ? length < 20 : version !== 6 || length < 40) return false;
    return this.routes.find(this.arena, at + (version === 4 ? 12 : 8), version) === peer;
  }

  private listen(): void {
    this.settings.listen.forEach(({ address, port }, number) => {
      const family = address === undefined || address.length === 4 ? 4 : 6;
      this.addSocket(this.udp.open({ number, family, port, address, mark: this.settings.fwmark, ...this.offloads() }));
    });
  }

  private openLink(link: LinkSettings, now: number): void {
    const family = link.serverAddress.length === 4 ? 4 : 6;
    if (this.socketByNumber[link.id] === undefined) {
      const { device, localPort, id } = link;
      const mark = this.settings.fwmark;
      this.addSocket(this.udp.open({ number: id, family, port: localPort, device, mark, ...this.offloads() }));
    }
    this.linkOfSocket.set(link.id, link);
    writeEndpoint(this.arena.view, this.record, {
      address: link.serverAddress,
      port: link.serverPort,
      local: sameFamily(link.localAddress, link.serverAddress),
      socket: link.id,
    });
    const peer = this.endpoint.peers[0];
    peer.bond.setPath(link.id, true, this.record, link.mtu, link.upBps, now);
    if (!peer.bond.isUp) this.endpoint.setHandshakeDue(peer, now);
  }

  private closeLink(link: LinkSettings, now: number, keepSocket: boolean): void {
    const socket = this.socketByNumber[link.id];
    if (!keepSocket) {
      this.endpoint.peers[0].bond.setPath(link.id, false, 0, link.mtu, undefined, now);
      if (socket !== undefined) {
        closeSocket(socket);
        this.socketByNumber[link.id] = undefined;
        this.sockets = this.sockets.filter((s) => s !== socket);
      }
    }
  }

  private offloads(): { segmentation: boolean; gro: boolean } {
    return { segmentation: this.settings.offload, gro: this.settings.offload };
  }

  private addSocket(socket: UdpSocket): void {
    this.socketByNumber[socket.number] = socket;
    this.sockets.push(socket);
  }

  private watch(): void {
    this.poller.clear();
    this.wakeIndex = this.poller.add(wakeFd, POLLIN);
    this.tunIndex = this.poller.add(this.tun.fd, POLLIN);
    this.pollIndex = this.sockets.map((s) => this.poller.add(s.fd, POLLIN));
  }

  private tick(now: number): void {
    const { endpoint } = this;
    for (const event of endpoint.events.splice(0)) {
      if (event.kind === 'path') say({ kind: 'path', peer: event.peer, path: event.path, state: event.state });
      else if (event.kind === 'established') {
        if (!event.again) say({ kind: 'established', peer: event.peer });
      } else if (event.kind === 'closed') say({ kind: 'log', level: 'info', text: `${event.peer} has said goodbye` });
      else if (now - this.strangerUs > STRANGER_LOG_US) {
        this.strangerUs = now;
        const key = Buffer.from(event.publicKey).toString('base64');
        const text = `handshake: expected the public key of a client, found ${key}; add a client section with it or correct the router's private key`;
        say({ kind: 'log', level: 'warn', text });
      }
    }
    let mtu = 0;
    for (const { bond } of endpoint.peers) {
      const own = bond.innerMtu;
      if (own !== 0 && (mtu === 0 || own < mtu)) mtu = own;
    }
    if (this.settings.mtu !== undefined && mtu !== 0) mtu = Math.min(mtu, this.settings.mtu);
    if (mtu !== 0 && mtu !== this.innerMtu) {
      this.innerMtu = mtu;
      say({ kind: 'mtu', innerMtu: mtu });
    }
    this.publish(now);
    if (now - this.dropsUs > DROPS_EVERY_US) {
      this.dropsUs = now;
      const counts = { ...endpoint.drops, ...this.counts };
      const text = JSON.stringify(counts);
      if (text !== this.lastDrops) say({ kind: 'drops', counts });
      this.lastDrops = text;
    }
  }

  private publish(now: number): void {
    const { board, endpoint } = this;
    board.begin(endpoint.peers.length);
    endpoint.peers.forEach((peer, i) => {
      const { bond, current } = peer;
      board.put(bond.isUp ? 1 : 0);
      board.put(current === undefined ? 0 : current.cipher === 'aes-256-gcm' ? 1 : 2);
      board.put(current === undefined ? -1 : (now - current.createdUs) / 1e6);
      board.put(bond.innerMtu);
      board.put(bond.counters.txBytes);
      board.put(bond.counters.rxBytes);
      board.put(bond.counters.txPackets);
      board.put(bond.counters.rxPackets);
      board.put(bond.queue.packets);
      board.put(bond.reorder.held);
      board.put(bond.queue.droppedByCodel);
      board.put(bond.queue.droppedByLimit);
      board.put(bond.reorder.reordered);
      board.put(bond.reorder.duplicates);
      board.put(bond.reorder.skipped);
      bond.paths.forEach((p, id) => {
        if (p === undefined) {
          board.skipPath();
          return;
        }
        board.put(STATES.indexOf(p.state));
        board.put(p.srttUs / 1000);
        board.put(Number.isFinite(p.minRttUs) ? p.minRttUs / 1000 : 0);
        board.put(p.rate.queueUs / 1000);
        board.put(p.rate.capacity * 8e6);
        board.put(p.rate.pacing * 8e6);
        board.put(p.inFlightBytes);
        board.put(p.mtu.bytes);
        board.put(p.txBytes);
        board.put(p.rxBytes);
        board.put(p.txDatagrams);
        board.put(p.rxDatagrams);
        board.put(p.lostDatagrams);
        board.put(p.resentPackets);
        this.sayAddresses(i, id, p.endpointAt, p.hasEndpoint);
      });
    });
    board.end();
  }

  private sayAddresses(bond: number, path: number, at: number, known: boolean): void {
    const e = known ? readEndpoint(this.arena.view, at) : undefined;
    const remote = e ? `${printHost(e.address)}:${e.port}` : '';
    const local = e?.local ? printAddress(e.local) : '';
    const text = `${local} ${remote}`;
    const key = `${bond}/${path}`;
    if (this.lastAddresses.get(key) === text) return;
    this.lastAddresses.set(key, text);
    say({ kind: 'addresses', bond, path, local, remote });
  }

  private count(reason: string): void {
    this.counts[reason] = (this.counts[reason] ?? 0) + 1;
  }
}

function printHost(address: AddressBytes): string {
  return address.length === 4 ? printAddress(address) : `[${printAddress(address)}]`;
}

function sameFamily(a: AddressBytes | undefined, b: AddressBytes): AddressBytes | undefined {
  return a !== undefined && a.length === b.length ? a : undefined;
}

function sameLink(a: LinkSettings, b: LinkSettings): boolean {
  return JSON.stringify(plain(a)) === JSON.stringify(plain(b));
}

function plain(l: LinkSettings): unknown {
  return { ...l, localAddress: l.localAddress && [...l.localAddress], serverAddress: [...l.serverAddress] };
}

/** Runs until the stop message; the loop takes the later messages from the port itself. */
function run(settings: BackendSettings): void {
  let pump: Pump | undefined;
  try {
    pump = new Pump(settings);
    pump.open();
    say({ kind: 'started', offload: pump.offload });
  } catch (error) {
    pump?.close();
    say({ kind: 'refused', error: printError(error) });
    return;
  }
  pump.loop();
  pump.close();
  say({ kind: 'stopped' });
}

port.once('message', (message: ToPump) => {
  if (message.kind === 'start') run(message.settings);
  port.close();
});

/**
 * The pump: the worker that moves packets between the TUN device and the UDP sockets, in one synchronous loop on system calls.
 * It never returns to Node's event loop; messages are taken from their port when the eventfd says that there are some.
 *
 *   TUN ──read──▶ Segmenter ──slots──▶ Endpoint ──pollTransmit──▶ run ──sendmsg (UDP_SEGMENT)──▶ socket of the link
 *   TUN ◀─writev─ Coalescer ◀─pollDelivered── Endpoint ◀──datagrams── recvmmsg (UDP_GRO) ◀────── socket of the link
 *
 * Its rooms: doors.ts (sockets), roster.ts (peers, and whose a packet is), report.ts (what the main thread is told).
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../../base/error.ts';
import { Endpoint } from '../../bond/endpoint.ts';
import { FLAG_CHECKSUM_PARTIAL, NONE, SLOT_BYTES } from '../../bond/pool.ts';
import { Transmit } from '../../bond/transmit.ts';
import { hasAes, openAead } from '../../io/aead.ts';
import { type Arena, openArena } from '../../io/arena.ts';
import { nodeHandshakeCrypto } from '../../io/crypto.ts';
import { EAGAIN, EMSGSIZE, ENOBUFS } from '../../io/libc.ts';
import { drainWake, POLLIN, POLLOUT, Poller, sharpenTimers } from '../../io/poll.ts';
import type { UdpSocket } from '../../io/socket.ts';
import { openTun, TUN_READ_BYTES, type Tun } from '../../io/tun.ts';
import { UdpIo } from '../../io/udp.ts';
import { ACCEPTED, COALESCE_SCRATCH_BYTES, Coalescer, NO_RUN } from '../../packet/coalesce.ts';
import { setCe } from '../../packet/inner.ts';
import { Segmenter } from '../../packet/offload.ts';
import type { BackendSettings } from '../backend.ts';
import { Board } from './board.ts';
import { Doors } from './doors.ts';
import { type FromPump, type PumpData, printError, type ToPump } from './message.ts';
import { applyPreferences } from './preferences.ts';
import { Report } from './report.ts';
import { Roster } from './roster.ts';

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
const SEND_RETRIES = 4;
const CLOSE_LINGER_US = 50_000;

const { board: boardBuffer, wakeFd } = workerData as PumpData;
assert(parentPort !== null, 'the pump is a worker');
const port: MessagePort = parentPort as unknown as MessagePort;
const say = (message: FromPump): void => port.postMessage(message);
const nowUs = (): number => performance.now() * 1000;

class Pump {
  private readonly arena: Arena = openArena(ARENA_BYTES);
  private readonly tun: Tun;
  private readonly udp: UdpIo;
  private readonly endpoint: Endpoint;
  private readonly doors: Doors;
  private readonly roster: Roster;
  private readonly report: Report;
  private readonly segmenter: Segmenter;
  private readonly coalescer: Coalescer;
  private readonly poller: Poller;
  private readonly sendPoller: Poller;
  private readonly out = new Transmit();
  private readonly giant: number;
  private readonly run: number;
  private readonly scratch: number;
  private readonly hashSeed: number;
  private readonly toGive = new Int32Array(WRITE_BATCH);

  private settings: BackendSettings;
  private pollIndex: number[] = [];
  private tunIndex = 0;
  private wakeIndex = 0;
  private stopping = false;

  constructor(settings: BackendSettings) {
    const { arena } = this;
    this.settings = settings;
    this.tun = openTun(arena, { name: settings.ifname, offload: settings.offload });
    this.udp = new UdpIo(arena, settings.offload ? {} : { messages: 64, messageBytes: 16_384 });
    this.hashSeed = Buffer.from(nodeHandshakeCrypto.random(4)).readInt32LE();
    this.endpoint = new Endpoint({
      memory: arena,
      allocate: (bytes) => arena.take('engine', bytes, 4096),
      aead: openAead(arena),
      crypto: nodeHandshakeCrypto,
      privateKey: settings.privateKey,
      role: settings.role,
      poolSlots: POOL_SLOTS,
      hasAes: hasAes(),
      flowSeed: this.hashSeed,
      wallOffsetUs: Date.now() * 1000 - nowUs(),
      markCe: (at) => setCe(arena, at),
    });
    this.doors = new Doors(arena, this.udp, this.endpoint, settings, (error) =>
      say({ kind: 'log', level: 'error', text: printError(error).text }),
    );
    this.roster = new Roster(arena, this.endpoint);
    this.report = new Report(arena, this.endpoint, new Board(boardBuffer), say);
    this.segmenter = new Segmenter(arena, this.tun.vnetHeaderBytes);
    this.coalescer = new Coalescer(arena, arena.take('coalesce', COALESCE_SCRATCH_BYTES), this.tun.offload);
    this.poller = new Poller(arena, 300);
    this.sendPoller = new Poller(arena, 1);
    this.giant = arena.take('giant', TUN_READ_BYTES, 4096);
    this.run = arena.take('run', RUN_BYTES, 4096);
    this.scratch = arena.take('scratch', 64);
  }

  /** Whether packets pass the TUN device in giants. */
  get offload(): boolean {
    return this.tun.offload;
  }

  /** Opens the sockets and adds the peers. @throws YokeError when a port is taken. */
  open(): void {
    const now = nowUs();
    this.roster.apply(this.settings, now);
    this.report.tellRoster(this.roster.names);
    this.doors.open(now);
    this.tellPreferences(now);
    this.watch();
    // Whoever asks for the status as soon as we have started is to see the peers.
    this.report.tick(this.settings, now);
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
      for (let i = 0; i < this.doors.all.length; i++) {
        if (this.poller.ready(this.pollIndex[i]) !== 0) this.receive(this.doors.all[i]);
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
        this.roster.tick();
        this.report.tick(this.settings, now);
        nextTickUs = now + TICK_US;
      }
      if (now >= stopUs) return;
    }
  }

  close(): void {
    this.doors.close();
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
        this.report.count('tun-bad-packet');
        continue;
      }
      const peer = this.roster.find(segmenter.packet);
      if (peer === undefined) {
        this.report.count('tun-no-peer');
        continue;
      }
      const hash = segmenter.packet.flowHash(this.arena, this.hashSeed);
      const bucket = peer.bond.bucketOf(segmenter.packet, hash, now);
      const flags = segmenter.partial ? FLAG_CHECKSUM_PARTIAL : 0;
      for (let i = 0; i < count; i++) {
        if (segmenter.segmentLength(i) > 1984) {
          this.report.count('tun-too-long');
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

  private transmit(): boolean {
    const { endpoint, out, udp } = this;
    for (let n = 0; n < RUNS_A_TURN; n++) {
      const now = nowUs();
      if (!endpoint.pollTransmit(out, this.run, now)) return false;
      const socket = this.doors.byNumber[this.arena.bytes[out.endpointAt + 45]];
      if (socket === undefined) continue;
      let done = 0;
      for (let tries = 0; done < out.totalBytes && tries < SEND_RETRIES; tries++) {
        const sent = udp.send(socket, out.endpointAt, out.at + done, out.totalBytes - done, out.segmentBytes);
        if (sent > 0) {
          done += sent;
          continue;
        }
        if (sent !== -EAGAIN && sent !== -ENOBUFS) {
          this.report.count('send-refused');
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
    if (tun.flush() < 0) this.report.count('tun-write-refused');
  }

  private handleMessages(now: number): void {
    drainWake(this.arena, wakeFd, this.scratch);
    for (let m = receiveMessageOnPort(port); m !== undefined; m = receiveMessageOnPort(port)) {
      const message = m.message as ToPump;
      if (message.kind === 'stop') {
        for (const peer of this.endpoint.peers) peer.bond.setClosing();
        this.stopping = true;
      } else if (message.kind === 'set') {
        this.settings = message.settings;
        for (const peer of this.roster.gone(message.settings)) peer.bond.setClosing();
        this.transmit();
        this.roster.apply(message.settings, now);
        this.report.tellRoster(this.roster.names);
        this.doors.apply(message.settings, now);
        this.tellPreferences(now);
        this.watch();
        this.report.tick(this.settings, now);
        say({ kind: 'set' });
      } else if (message.kind === 'answer-join') this.endpoint.answerJoin(message.id, message.answer, now);
    }
  }

  /** Router: the server learns them from its bond. */
  private tellPreferences(now: number): void {
    if (this.settings.role === 'router') applyPreferences(this.endpoint.peers[0].bond, this.settings, now);
  }

  private watch(): void {
    this.poller.clear();
    this.wakeIndex = this.poller.add(wakeFd, POLLIN);
    this.tunIndex = this.poller.add(this.tun.fd, POLLIN);
    this.pollIndex = this.doors.all.map((s) => this.poller.add(s.fd, POLLIN));
  }
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

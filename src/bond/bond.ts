/**
 * One bond: N paths to one peer, seen as one. The engine without I/O and without a clock (house: getters, handle…, set…, poll…).
 *
 *   inner packet ─▶ handlePacket ─▶ FlowQueue ─┐                      ┌─▶ pollTransmit: a run of sealed datagrams for one path
 *                                  resends ────┴─▶ choice of path ────┘
 *   datagram ─▶ (Endpoint finds the session) ─▶ handleDatagram ─▶ open ─┬─ data ─▶ ReorderBuffer ─▶ deliver
 *                                                                       └─ control ─▶ ACK, PING, …
 */
import type { Memory } from '../base/memory.ts';
import {
  asksForAck,
  FRAME_ACK,
  FRAME_CLOSE,
  FRAME_MTU,
  FRAME_PATH,
  FRAME_PING,
  FRAME_SKIP,
  FrameReader,
  PATH_CLOSED,
  wrapDiffUs,
  writeAck,
  writeClose,
  writeMtu,
  writePadding,
  writePath,
  writePing,
  writeSkip,
} from '../wire/frames.ts';
import {
  bucketOf,
  CONTROL_OVERHEAD_BYTES,
  DATA_HEADER_BYTES,
  DATA_OVERHEAD_BYTES,
  flagsOf,
  HEADER_BYTES,
  MAX_PATHS,
  OUTER_IPV4_BYTES,
  OUTER_IPV6_BYTES,
  packDataHeader,
  readDataHeader,
  readPacketNumberLow,
  readPath,
  sequenceOf,
  TAG_BYTES,
  TYPE_CONTROL,
  TYPE_DATA,
  FLAG_CHECKSUM_PARTIAL as WIRE_CHECKSUM_PARTIAL,
  writeDataHeader,
  writeHeader,
} from '../wire/header.ts';
import { completePacketNumber } from '../wire/replay.ts';
import { Grouper } from './grouper.ts';
import {
  ELICITING,
  ENDPOINT_BYTES,
  MAX_ACK_DELAY_US,
  Path,
  type PathOwner,
  type PathState,
  PROBE_MTU,
} from './path.ts';
import {
  DATA_HEADER_AT,
  FLAG_CANCELLED,
  FLAG_CHECKSUM_PARTIAL,
  FLAG_NUMBERED,
  FLAG_RESENDING,
  MAX_PACKET_BYTES,
  NONE,
  type PacketPool,
} from './pool.ts';
import { FlowQueue } from './queue.ts';
import { ReorderBuffer } from './reorder.ts';
import { type Choice, choosePath } from './scheduler.ts';
import type { Session } from './session.ts';

/** Packets that may wait in front of the paths. */
const QUEUE_LIMIT = 4096;
/** A packet is sent at most so often, and not after so long. Source: docs/protocol.md §5. */
const MAX_TRIES = 4;
const RESEND_WITHIN_US = 400_000;
/** Abandoned packets whose SKIP has not gone out yet; at the limit the peer's hold time does the same, later. */
const SKIPS = 32;
const KEEPALIVE_US = 1_000_000;
const IDLE_KEEPALIVE_US = 15_000_000;
const IDLE_AFTER_US = 10_000_000;
/** A run may be paced this far ahead: what a wake-up costs is shared by the datagrams of 0.5 ms. */
const AHEAD_US = 500;
/** Datagrams of one run; UDP_SEGMENT takes 64, and 65,000 bytes. */
const MAX_RUN = 44;
const CONTROL_BYTES = 1400;
/** Wait in the queue that a bulk flow needs to keep the paths busy through its own back-offs, µs. */
const CODEL_BASE_US = 15_000;
/** What may wait in all, as time at the rate of all paths, and the least that may. */
const QUEUE_LIMIT_US = 200_000;
const QUEUE_LIMIT_LEAST_BYTES = 30_000;
/** A bulk flow is delivered in so many groups a round trip of the fastest path at least, and none waits longer. */
const GROUPS_A_ROUND = 6;
const GROUP_MOST_US = 2_500;
/** IPv6 needs a link of 1,280 bytes (RFC 8200 §5): the inner MTU never falls below. */
const MIN_INNER_MTU = 1280;

/** What a bond counts, besides what its paths do. */
export interface BondCounters {
  txPackets: number;
  txBytes: number;
  rxPackets: number;
  rxBytes: number;
}

/** A run of datagrams ready to be sent: equal sizes but for the last, one after the other in memory. */
export class Transmit {
  /** Where the endpoint record lies. */
  endpointAt = 0;
  at = 0;
  totalBytes = 0;
  segmentBytes = 0;
  /** For `Bond.handleSendFailure`. */
  pathId = 0;
  isMtuProbe = false;
}

/** Whom the bond tells. */
export interface BondOwner {
  /** An inner packet, in order; the owner of the bond owns the slot now. */
  deliver(bond: Bond, slot: number): void;
  handlePathState(bond: Bond, path: Path, state: PathState, nowUs: number): void;
  handleClose(bond: Bond, nowUs: number): void;
}

/** Why a datagram that found its session was dropped. */
export type DatagramDrop =
  | 'ok'
  | 'repeated'
  | 'not-authentic'
  | 'malformed'
  | 'no-slot'
  | 'unknown-path'
  | 'not-allowed';

export class Bond implements PathOwner {
  readonly name: string;
  readonly paths: (Path | undefined)[] = new Array(MAX_PATHS).fill(undefined);
  readonly queue: FlowQueue;
  readonly reorder: ReorderBuffer;
  readonly grouper: Grouper;
  /** Whether a bulk flow's packets are delivered in groups (protocol.md §5). */
  groups = true;
  readonly counters: BondCounters = { txPackets: 0, txBytes: 0, rxPackets: 0, rxBytes: 0 };
  /** Seals; undefined while there is no session. */
  session: Session | undefined;
  /** Whether an inner packet (at an offset, of a length) may come from this peer. */
  allows: (at: number, length: number) => boolean = () => true;
  /** Largest inner packet that the peer says it can send. */
  peerMtu = 0;
  /** Times at which resends happened etc. are in the paths; the bond's own: */
  resent = 0;
  abandoned = 0;
  /** Inner packets that no path can carry any more. */
  tooLarge = 0;

  private readonly memory: Memory;
  private readonly pool: PacketPool;
  private readonly owner: BondOwner;
  private readonly opensPaths: boolean;
  private readonly endpointsAt: number;
  private resendHead = NONE;
  private resendTail = NONE;
  private resends = 0;
  private readonly skipBucket = new Uint16Array(SKIPS);
  private readonly skipSequence = new Int32Array(SKIPS);
  private skips = 0;
  private readonly reader = new FrameReader();
  private readonly ranges = new Float64Array(64);
  private peerClockUs = Number.NaN;
  private lastDataUs = 0;
  private announcedMtu = 0;
  /** Paths that the peer has not been told of yet: they are closed here. */
  private closedMask = 0;
  private closing = false;
  private dead = false;
  private wakeUs = Number.POSITIVE_INFINITY;
  private nowUs = 0;
  private readonly choice: Choice = { path: undefined, depthBytes: 0, wakeUs: Number.POSITIVE_INFINITY };

  /**
   * `endpointsAt`: MAX_PATHS endpoint records in the memory, the bond's for its life. `opensPaths`: a path comes into being with the first
   * datagram that names it (the server); otherwise only by `setPath`.
   */
  constructor(options: {
    name: string;
    memory: Memory;
    pool: PacketPool;
    owner: BondOwner;
    endpointsAt: number;
    opensPaths: boolean;
    markCe: (offset: number, length: number) => boolean;
  }) {
    this.name = options.name;
    this.memory = options.memory;
    this.pool = options.pool;
    this.owner = options.owner;
    this.endpointsAt = options.endpointsAt;
    this.opensPaths = options.opensPaths;
    this.queue = new FlowQueue(options.pool, QUEUE_LIMIT, options.markCe);
    this.grouper = new Grouper(options.pool, (slot) => this.deliver(slot));
    this.reorder = new ReorderBuffer(options.pool, (slot) => this.grouper.handle(slot, this.nowUs));
  }

  /** Whether a path can carry data. */
  get isUp(): boolean {
    return this.session !== undefined && this.paths.some((p) => p?.isUp);
  }

  /** The largest inner packet that every path in use can carry both ways; 0 while that is not known. */
  get innerMtu(): number {
    let least = 0;
    for (const p of this.paths) {
      if (p === undefined || p.state === 'closed' || p.state === 'waiting' || !p.mtu.found) continue;
      const mtu = p.mtu.bytes - p.outerBytes - DATA_OVERHEAD_BYTES;
      if (least === 0 || mtu < least) least = mtu;
    }
    if (least === 0) return 0;
    if (this.peerMtu !== 0) least = Math.min(least, this.peerMtu);
    return Math.max(MIN_INNER_MTU, Math.min(least, MAX_PACKET_BYTES));
  }

  /** The router's half: a link can be used from now on, under this endpoint record (copied), or cannot (`endpointAt` 0 and `usable` false). */
  setPath(
    id: number,
    usable: boolean,
    endpointAt: number,
    ceilingMtu: number,
    capBps: number | undefined,
    nowUs: number,
  ): void {
    let path = this.paths[id];
    if (!usable) {
      if (path !== undefined && path.state !== 'closed') this.closedMask |= 1 << id;
      path?.close(nowUs);
      return;
    }
    this.closedMask &= ~(1 << id);
    path ??= this.newPath(id);
    this.setEndpoint(path, endpointAt);
    if (capBps !== undefined) path.rate.cap = capBps / 8e6;
    if (path.state === 'closed') path.open(ceilingMtu, nowUs);
    else {
      path.pingDue = true;
      path.mtu.restart(ceilingMtu, nowUs);
    }
  }

  /** The peer was restarted, or we were: everything of the association begins anew. Queued packets stay. */
  reset(nowUs: number): void {
    for (let slot = this.resendHead; slot !== NONE; ) {
      const next = this.pool.next[slot];
      this.pool.give(slot);
      slot = next;
    }
    this.resendHead = NONE;
    this.resendTail = NONE;
    this.resends = 0;
    this.skips = 0;
    for (const p of this.paths) p?.reset(nowUs);
    this.reorder.reset();
    this.grouper.flushAll();
    this.queue.restart();
    this.peerClockUs = Number.NaN;
    this.peerMtu = 0;
    this.announcedMtu = 0;
    this.closedMask = 0;
  }

  /** Frees every slot; the bond must not be used afterwards. */
  free(nowUs: number): void {
    this.dead = true;
    this.reset(nowUs);
    for (const p of this.paths) p?.close(nowUs);
    this.queue.clear();
  }

  /** Says goodbye with the next transmit. */
  setClosing(): void {
    this.closing = true;
  }

  /** An inner packet for the peer, in a slot whose bucket, length and flags are set. Takes ownership. */
  handlePacket(slot: number, nowUs: number): void {
    this.lastDataUs = nowUs;
    this.queue.offer(slot, nowUs);
  }

  /**
   * A datagram of a session of this bond: `length` bytes at `at`, from the endpoint record at `fromAt`. `slot` is a free slot, owned by the
   * bond if the answer is 'ok' and the datagram was data; `kept` says so.
   */
  handleDatagram(
    session: Session,
    at: number,
    length: number,
    fromAt: number,
    slot: number,
    nowUs: number,
  ): DatagramDrop {
    this.nowUs = nowUs;
    const { view } = this.memory;
    const id = readPath(view, at);
    const known = this.paths[id];
    if (!this.opensPaths && (known === undefined || known.state === 'closed')) return 'unknown-path';
    const low = readPacketNumberLow(view, at);
    const before = known === undefined ? -1 : known.replay.largest;
    const pn = completePacketNumber(low, before);
    if (known !== undefined && !known.replay.mayAccept(pn)) return 'repeated';
    const isData = view.getUint8(at) >>> 4 === TYPE_DATA;
    const plainAt = this.pool.at(slot) + DATA_HEADER_AT;
    const plainBytes = length - HEADER_BYTES - TAG_BYTES;
    if (plainBytes > MAX_PACKET_BYTES + DATA_HEADER_BYTES) return 'malformed';
    if (!session.openKey.open(id, pn, at, HEADER_BYTES, at + HEADER_BYTES, plainBytes, plainAt)) return 'not-authentic';
    const path = known ?? this.newPath(id);
    path.replay.accept(pn);
    session.opened++;
    if (this.opensPaths && pn > before) this.noteSource(path, fromAt, nowUs);
    const gap = before >= 0 && pn !== before + 1;
    const bytes = length + path.outerBytes;
    if (isData) {
      path.noteArrival(pn, bytes, true, nowUs);
      if (gap) path.ackDue = true;
      return this.handleData(path, slot, plainAt, plainBytes, nowUs);
    }
    const asks = this.handleFrames(path, plainAt, plainBytes, nowUs);
    path.noteArrival(pn, bytes, asks, nowUs);
    if (asks) path.ackDue = true;
    this.kept = false;
    return 'ok';
  }

  /** Whether the last `handleDatagram` kept its slot. */
  kept = false;

  /** When `handleTimeout` wants to be called. */
  pollTimeout(): number {
    if (this.dead) return Number.POSITIVE_INFINITY;
    let t = Math.min(this.reorder.pollTimeout(), this.grouper.pollTimeout(), this.wakeUs);
    for (const p of this.paths) {
      if (p === undefined) continue;
      t = Math.min(t, p.pollTimeout());
      if (p.state === 'up') t = Math.min(t, p.lastSentUs + this.keepaliveUs());
    }
    return t;
  }

  handleTimeout(nowUs: number): void {
    for (const p of this.paths) {
      if (p === undefined) continue;
      p.handleTimeout(nowUs);
      if (p.state === 'up' && nowUs - p.lastSentUs >= this.keepaliveUs()) p.pingDue = true;
    }
    this.nowUs = nowUs;
    this.reorder.handleTimeout(nowUs);
    this.grouper.handleTimeout(nowUs);
  }

  /** The next run to send, sealed at `bufferAt` (64 KB of the caller's memory); false when there is none. */
  pollTransmit(out: Transmit, bufferAt: number, nowUs: number): boolean {
    const { session } = this;
    this.wakeUs = Number.POSITIVE_INFINITY;
    if (session === undefined || this.dead) return false;
    for (let id = 0; id < MAX_PATHS; id++) {
      const path = this.paths[id];
      if (path === undefined || path.state === 'closed' || !path.hasEndpoint) continue;
      if (path.ackDue || path.pingDue || (path.isUp && (this.closing || this.closedMask !== 0))) {
        const via = path.ackDue && !path.isUp && !path.pingDue ? (this.bestUp() ?? path) : path;
        this.writeControl(out, bufferAt, via, path, session, nowUs);
        return true;
      }
      if (path.isUp) {
        const probe = path.mtu.pollProbe(nowUs);
        if (probe !== 0) {
          this.writeMtuProbe(out, bufferAt, path, probe, session, nowUs);
          return true;
        }
      }
    }
    if (this.closing) {
      this.dead = true;
      return false;
    }
    return this.pollData(out, bufferAt, session, nowUs);
  }

  /** The kernel refused to send what `pollTransmit` had made: `tooLarge` is EMSGSIZE; anything else is left to the probe time-out. */
  handleSendFailure(out: Transmit, tooLarge: boolean, nowUs: number): void {
    if (!tooLarge || !out.isMtuProbe) return;
    const path = this.paths[out.pathId];
    path?.mtu.handleProbeRefused(out.totalBytes + path.outerBytes, nowUs);
  }

  handleLostSlot(slot: number, path: Path, packetNumber: number, nowUs: number): void {
    const { pool } = this;
    if (this.dead || pool.tries[slot] >= MAX_TRIES || nowUs - pool.queuedUs[slot] > RESEND_WITHIN_US) {
      this.abandon(slot);
      return;
    }
    pool.flags[slot] |= FLAG_RESENDING;
    pool.originPath[slot] = path.id;
    pool.originNumber[slot] = packetNumber;
    pool.next[slot] = NONE;
    if (this.resendHead === NONE) this.resendHead = slot;
    else pool.next[this.resendTail] = slot;
    this.resendTail = slot;
    this.resends++;
  }

  handlePathState(path: Path, state: PathState, nowUs: number): void {
    let mask = 0;
    for (const p of this.paths) if (p?.state === 'up' || p?.state === 'suspect') mask |= 1 << p.id;
    this.reorder.upMask = mask;
    this.retune();
    this.owner.handlePathState(this, path, state, nowUs);
  }

  /** Packets waiting to be sent again. */
  get resending(): number {
    return this.resends;
  }

  private deliver(slot: number): void {
    this.counters.rxPackets++;
    this.counters.rxBytes += this.pool.length[slot];
    this.owner.deliver(this, slot);
  }

  private handleData(path: Path, slot: number, plainAt: number, plainBytes: number, nowUs: number): DatagramDrop {
    const { pool } = this;
    const header = readDataHeader(this.memory.view, plainAt);
    const length = plainBytes - DATA_HEADER_BYTES;
    if (!this.allows(plainAt + DATA_HEADER_BYTES, length)) return 'not-allowed';
    this.lastDataUs = nowUs;
    pool.length[slot] = length;
    pool.bucket[slot] = bucketOf(header);
    pool.sequence[slot] = sequenceOf(header);
    pool.flags[slot] = (flagsOf(header) & WIRE_CHECKSUM_PARTIAL) !== 0 ? FLAG_CHECKSUM_PARTIAL : 0;
    this.kept = true;
    this.reorder.handle(slot, path.id, nowUs);
    return 'ok';
  }

  /** Returns whether a frame asks for an acknowledgement. */
  private handleFrames(path: Path, at: number, length: number, nowUs: number): boolean {
    const { reader } = this;
    reader.begin(this.memory.view, at, length);
    let asks = false;
    for (let type = reader.next(); type >= 0; type = reader.next()) {
      if (asksForAck(type)) asks = true;
      switch (type) {
        case FRAME_ACK:
          this.handleAck(nowUs);
          break;
        case FRAME_SKIP:
          this.reorder.handleSkip(reader.bucket, reader.sequence, reader.count, nowUs);
          break;
        case FRAME_MTU:
          this.peerMtu = reader.mtu;
          break;
        case FRAME_PATH:
          if (reader.state === PATH_CLOSED && reader.path !== path.id) this.paths[reader.path]?.close(nowUs);
          break;
        case FRAME_CLOSE:
          this.owner.handleClose(this, nowUs);
          break;
        case FRAME_PING:
          break;
      }
    }
    return asks;
  }

  private handleAck(nowUs: number): void {
    const { reader, ranges } = this;
    const path = this.paths[reader.path];
    if (path === undefined) return;
    const largest = completePacketNumber(reader.largestLow, path.nextPacketNumber - 1);
    const count = reader.readRanges(largest, ranges);
    if (count < 0) return;
    // One unwrapped clock for all paths, or their one-way delays could not be compared.
    if (Number.isNaN(this.peerClockUs)) this.peerClockUs = reader.arrivalUs;
    else this.peerClockUs += wrapDiffUs(reader.arrivalUs, this.peerClockUs % 0x100000000);
    path.handleAck(ranges, count, reader.delayUs, this.peerClockUs, nowUs);
    this.retune();
  }

  /** What the queue and the reorder buffer should allow for, from the paths as they are now. */
  private retune(): void {
    let least = Number.POSITIVE_INFINITY;
    let most = Number.NEGATIVE_INFINITY;
    let rtt = 0;
    let pto = 0;
    let fastest = Number.POSITIVE_INFINITY;
    let capacity = 0;
    let settled = true;
    for (const p of this.paths) {
      if (p === undefined || (p.state !== 'up' && p.state !== 'suspect')) continue;
      // A suspect path's packets, or what is sent again for them, are still to come.
      rtt = Math.max(rtt, p.srttUs + 2 * p.rttvarUs);
      pto = Math.max(pto, p.srttUs + 4 * p.rttvarUs + MAX_ACK_DELAY_US);
      if (!p.isUp) continue;
      least = Math.min(least, p.rate.delayUs);
      most = Math.max(most, p.rate.delayUs);
      fastest = Math.min(fastest, p.minRttUs);
      capacity += p.rate.capacity;
      if (!p.rate.settled) settled = false;
    }
    if (capacity === 0) return;
    const spread = Math.min(most - least, 400_000);
    // A CUBIC flow that backs off to 0.7 keeps all paths busy only if 0.43 of a round trip was queued (1 / 0.7 − 1), and the slower
    // paths only if the queue is then still as long as the spread. Other flows do not wait in this one's queue.
    this.queue.targetUs = CODEL_BASE_US + spread + 0.43 * Math.min(400_000, fastest + spread);
    this.queue.limitBytes = settled
      ? Math.max(QUEUE_LIMIT_LEAST_BYTES, capacity * Math.max(QUEUE_LIMIT_US + spread, 2 * this.queue.targetUs))
      : Number.POSITIVE_INFINITY;
    this.grouper.windowUs = this.groups ? Math.min(GROUP_MOST_US, fastest / GROUPS_A_ROUND) : 0;
    this.reorder.spreadUs = Math.min(250_000, spread + pto + 30_000);
    this.reorder.resendUs = Math.min(250_000, 1.25 * rtt + 25_000);
  }

  private pollData(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    const { pool, choice } = this;
    let slot: number;
    let isResend: boolean;
    let urgent: boolean;
    for (;;) {
      slot = this.peekResend(nowUs);
      isResend = slot !== NONE;
      if (!isResend) slot = this.queue.peek(nowUs);
      if (slot === NONE) return false;
      urgent = isResend || this.queue.sparse;
      choosePath(this.paths, pool.length[slot] + DATA_OVERHEAD_BYTES, urgent, this.queue.bytes, nowUs, choice);
      if (choice.path !== undefined) break;
      if (!this.isTooLarge(pool.length[slot])) {
        this.wakeUs = choice.wakeUs;
        return false;
      }
      // The MTU has shrunk while it waited. Nobody could take it, and everything behind it would wait for ever.
      this.tooLarge++;
      if (isResend) this.takeResend();
      else this.queue.discard();
      this.abandon(slot);
    }
    const { path } = choice;
    // Not the head, but a packet that is due when the slower path has brought it.
    const isEarly = choice.depthBytes > 0;
    if (isEarly) {
      slot = this.peekEarly(path);
      if (slot === NONE) {
        this.wakeUs = choice.wakeUs;
        return false;
      }
    }
    const segment = pool.length[slot] + DATA_OVERHEAD_BYTES;
    out.endpointAt = path.endpointAt;
    out.at = bufferAt;
    out.segmentBytes = segment;
    out.pathId = path.id;
    out.isMtuProbe = false;
    let at = bufferAt;
    for (let n = 1; ; n++) {
      if (isResend) this.takeResend();
      else if (isEarly) this.queue.takeEarly(path.id);
      else this.queue.take();
      const size = pool.length[slot] + DATA_OVERHEAD_BYTES;
      this.sealData(path, slot, at, session, nowUs);
      at += size;
      if (n >= MAX_RUN || size < segment || path.nextSendUs > nowUs + AHEAD_US || !path.hasRoom()) break;
      slot = isResend ? this.peekResend(nowUs) : this.queue.peek(nowUs);
      if (slot === NONE || (!isResend && this.queue.sparse !== urgent)) break;
      if (isEarly) slot = this.peekEarly(path);
      if (slot === NONE || pool.length[slot] + DATA_OVERHEAD_BYTES > segment) break;
    }
    out.totalBytes = at - bufferAt;
    return true;
  }

  /** The packet that would be at the head when the slower path has brought it: its bucket's part of the depth. */
  private peekEarly(path: Path): number {
    const { queue } = this;
    const slot = queue.peekEarly(path.id, (this.choice.depthBytes * queue.currentBytes) / queue.bytes);
    if (slot === NONE) return NONE;
    return this.pool.length[slot] + DATA_OVERHEAD_BYTES + path.outerBytes <= path.mtu.bytes ? slot : NONE;
  }

  /** Whether no path that is up, or whose size is still being searched, carries an inner packet of this length. */
  private isTooLarge(length: number): boolean {
    let isUp = false;
    for (const p of this.paths) {
      if (p === undefined || !p.isUp) continue;
      if (!p.mtu.found || length + DATA_OVERHEAD_BYTES + p.outerBytes <= p.mtu.bytes) return false;
      isUp = true;
    }
    return isUp;
  }

  private sealData(path: Path, slot: number, at: number, session: Session, nowUs: number): void {
    const { pool } = this;
    const { view } = this.memory;
    const b = pool.bucket[slot];
    if (pool.tries[slot] === 0) {
      this.counters.txPackets++;
      this.counters.txBytes += pool.length[slot];
    } else {
      path.resentPackets++;
      this.resent++;
    }
    pool.tries[slot]++;
    const plainAt = pool.at(slot) + DATA_HEADER_AT;
    const flags = (pool.flags[slot] & FLAG_CHECKSUM_PARTIAL) !== 0 ? WIRE_CHECKSUM_PARTIAL : 0;
    writeDataHeader(view, plainAt, packDataHeader(b, flags, pool.sequence[slot]));
    const plainBytes = pool.length[slot] + DATA_HEADER_BYTES;
    const pn = path.nextPacketNumber;
    writeHeader(view, at, TYPE_DATA, path.id, session.peerIndex, pn);
    session.sealKey.seal(path.id, pn, at, HEADER_BYTES, plainAt, plainBytes, at + HEADER_BYTES);
    session.sealed++;
    const size = plainBytes + HEADER_BYTES + TAG_BYTES + path.outerBytes;
    path.pace(size, pool.queuedUs[slot], nowUs);
    path.noteSent(size, slot, ELICITING, nowUs);
  }

  /** A control datagram on `via`: the ACK of `path`, and what else is due there. */
  private writeControl(out: Transmit, bufferAt: number, via: Path, path: Path, session: Session, nowUs: number): void {
    const { view } = this.memory;
    const start = bufferAt + HEADER_BYTES;
    const limit = start + CONTROL_BYTES;
    let at = start;
    let kind = 0;
    if (path.ackDue) {
      const count = path.readArrivals(this.ranges);
      if (count > 0) {
        const delayUs = nowUs - path.largestArrivalUs;
        at = writeAck(view, at, limit, path.id, delayUs, path.largestArrivalUs, this.ranges, count);
      }
      path.noteAckSent();
    }
    if (via.pingDue) {
      via.pingDue = false;
      at = writePing(view, at, limit);
      kind = ELICITING;
    }
    const mtu = this.ownMtu();
    if (mtu !== this.announcedMtu || (kind !== 0 && mtu !== 0)) {
      this.announcedMtu = mtu;
      at = writeMtu(view, at, limit, mtu);
      kind = ELICITING;
    }
    for (let id = 0; this.closedMask !== 0; id++) {
      if ((this.closedMask & (1 << id)) === 0) continue;
      this.closedMask &= ~(1 << id);
      at = writePath(view, at, limit, id, PATH_CLOSED);
      kind = ELICITING;
    }
    while (this.skips > 0) {
      this.skips--;
      at = writeSkip(view, at, limit, this.skipBucket[this.skips], this.skipSequence[this.skips], 1);
      kind = ELICITING;
    }
    if (this.closing) {
      at = writeClose(view, at, limit);
      // Each path says it once; then the bond falls silent.
      via.hasEndpoint = false;
    }
    if (at === start) at = writePadding(view, at, limit, 1);
    this.sealControl(out, bufferAt, at - start, via, kind, session, nowUs);
  }

  private writeMtuProbe(
    out: Transmit,
    bufferAt: number,
    path: Path,
    sizeBytes: number,
    session: Session,
    nowUs: number,
  ): void {
    const { view } = this.memory;
    const start = bufferAt + HEADER_BYTES;
    const plainBytes = sizeBytes - path.outerBytes - CONTROL_OVERHEAD_BYTES;
    const at = writePing(view, start, start + plainBytes);
    writePadding(view, at, start + plainBytes, plainBytes);
    this.sealControl(out, bufferAt, plainBytes, path, ELICITING | PROBE_MTU, session, nowUs);
  }

  private sealControl(
    out: Transmit,
    bufferAt: number,
    plainBytes: number,
    path: Path,
    kind: number,
    session: Session,
    nowUs: number,
  ): void {
    const start = bufferAt + HEADER_BYTES;
    const pn = path.nextPacketNumber;
    writeHeader(this.memory.view, bufferAt, TYPE_CONTROL, path.id, session.peerIndex, pn);
    session.sealKey.seal(path.id, pn, bufferAt, HEADER_BYTES, start, plainBytes, start);
    session.sealed++;
    const bytes = plainBytes + CONTROL_OVERHEAD_BYTES;
    if (path.isUp) path.pace(bytes + path.outerBytes, nowUs, nowUs);
    path.noteSent(bytes + path.outerBytes, NONE, kind, nowUs);
    out.endpointAt = path.endpointAt;
    out.at = bufferAt;
    out.totalBytes = bytes;
    out.segmentBytes = bytes;
    out.pathId = path.id;
    out.isMtuProbe = (kind & PROBE_MTU) !== 0;
  }

  private ownMtu(): number {
    const peer = this.peerMtu;
    this.peerMtu = 0;
    const own = this.innerMtu;
    this.peerMtu = peer;
    return own;
  }

  /** The head of the resend queue, after what need not be sent again has been taken out. */
  private peekResend(nowUs: number): number {
    const { pool } = this;
    while (this.resendHead !== NONE) {
      const slot = this.resendHead;
      const cancelled = (pool.flags[slot] & FLAG_CANCELLED) !== 0;
      if (!cancelled && nowUs - pool.queuedUs[slot] <= RESEND_WITHIN_US) return slot;
      this.takeResend();
      if (cancelled) pool.give(slot);
      else this.abandon(slot);
    }
    return NONE;
  }

  private takeResend(): void {
    const { pool } = this;
    const slot = this.resendHead;
    this.resendHead = pool.next[slot];
    if (this.resendHead === NONE) this.resendTail = NONE;
    pool.next[slot] = NONE;
    pool.flags[slot] &= ~(FLAG_RESENDING | FLAG_CANCELLED);
    this.resends--;
  }

  private abandon(slot: number): void {
    this.abandoned++;
    if ((this.pool.flags[slot] & FLAG_NUMBERED) !== 0 && this.skips < SKIPS) {
      this.skipBucket[this.skips] = this.pool.bucket[slot];
      this.skipSequence[this.skips] = this.pool.sequence[slot];
      this.skips++;
    }
    this.pool.give(slot);
  }

  private newPath(id: number): Path {
    const path = new Path(id, this.pool, this, this.endpointsAt + id * ENDPOINT_BYTES);
    this.paths[id] = path;
    return path;
  }

  /** Only what has authenticated and is the newest of its path moves the path's address (RFC 9000 §9.3). */
  private noteSource(path: Path, fromAt: number, nowUs: number): void {
    if (!path.hasEndpoint || !this.sameEndpoint(path.endpointAt, fromAt)) this.setEndpoint(path, fromAt);
    if (path.state === 'closed') path.open(1500, nowUs);
  }

  private setEndpoint(path: Path, fromAt: number): void {
    const { bytes } = this.memory;
    bytes.copyWithin(path.endpointAt, fromAt, fromAt + ENDPOINT_BYTES);
    path.hasEndpoint = true;
    path.outerBytes = bytes[fromAt + 44] === 6 ? OUTER_IPV6_BYTES : OUTER_IPV4_BYTES;
  }

  private sameEndpoint(a: number, b: number): boolean {
    const { view } = this.memory;
    for (let i = 0; i < ENDPOINT_BYTES; i += 4) if (view.getUint32(a + i) !== view.getUint32(b + i)) return false;
    return true;
  }

  private bestUp(): Path | undefined {
    let best: Path | undefined;
    for (const p of this.paths) {
      if (p?.isUp && (best === undefined || p.srttUs < best.srttUs)) best = p;
    }
    return best;
  }

  private keepaliveUs(): number {
    return this.wasIdle ? IDLE_KEEPALIVE_US : KEEPALIVE_US;
  }

  private get wasIdle(): boolean {
    let newest = 0;
    for (const p of this.paths) if (p !== undefined && p.lastSentUs > newest) newest = p.lastSentUs;
    return newest - this.lastDataUs > IDLE_AFTER_US;
  }
}

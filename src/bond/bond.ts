/**
 * One bond: N paths to one peer, seen as one. The engine without I/O and without a clock (house: getters, handle…, set…, poll…).
 *
 *   inner packet ─▶ handlePacket ─▶ Lanes ─▶ Sender ─▶ pollTransmit: a run of sealed datagrams for one path
 *   datagram ─▶ (Endpoint finds the session) ─▶ handleDatagram ─▶ open ─┬─ data ─▶ ReorderBuffer ─▶ deliver
 *                                                                       └─ control ─▶ ACK, PING, …
 */
import type { Memory } from '../base/memory.ts';
import type { InnerPacket } from '../packet/inner.ts';
import type { Rules } from '../packet/rules.ts';
import {
  asksForAck,
  FRAME_ACK,
  FRAME_CLOSE,
  FRAME_CONFIG,
  FRAME_CONFIG_SEEN,
  FRAME_MTU,
  FRAME_PATH,
  FRAME_PING,
  FRAME_SKIP,
  FrameReader,
  PATH_CLOSED,
  wrapDiffUs,
} from '../wire/frames.ts';
import {
  bucketOf,
  DATA_HEADER_BYTES,
  flagsOf,
  HEADER_BYTES,
  MAX_PATHS,
  OUTER_IPV4_BYTES,
  OUTER_IPV6_BYTES,
  readDataHeader,
  readPacketNumberLow,
  readPath,
  sequenceOf,
  TAG_BYTES,
  TYPE_DATA,
  FLAG_CHECKSUM_PARTIAL as WIRE_CHECKSUM_PARTIAL,
} from '../wire/header.ts';
import { LAST_TIER, Preferences } from '../wire/preferences.ts';
import { completePacketNumber } from '../wire/replay.ts';
import { MAX_ACK_DELAY_US } from './arrivals.ts';
import { Grouper } from './grouper.ts';
import { Lanes } from './lanes.ts';
import { Mirror } from './mirror.ts';
import { ENDPOINT_BYTES, Path, type PathOwner, type PathState } from './path.ts';
import { DATA_HEADER_AT, FLAG_CHECKSUM_PARTIAL, MAX_PACKET_BYTES, type PacketPool } from './pool.ts';
import { ReorderBuffer } from './reorder.ts';
import { Sender } from './sender.ts';
import type { Session } from './session.ts';
import { BRINGS_US, isPathSilent, isSilent } from './silence.ts';
import { Steering } from './steering.ts';
import type { BondCounters, Transmit } from './transmit.ts';
import { innerMtuOf, retune } from './tuning.ts';

/** Packets that may wait in front of the paths. */
const QUEUE_LIMIT = 4096;
const KEEPALIVE_US = 1_000_000;
const IDLE_KEEPALIVE_US = 15_000_000;
const IDLE_AFTER_US = 10_000_000;
/** Of a path that stands by. Source: docs/protocol.md §11.3. */
const STANDBY_KEEPALIVE_US = 5_000_000;

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
  readonly steering: Steering;
  /** What waits in front of the paths, by class of traffic. */
  readonly lanes: Lanes;
  readonly sender: Sender;
  readonly reorder: ReorderBuffer;
  readonly grouper: Grouper;
  /** Whether a bulk flow's packets are delivered in groups (protocol.md §5). */
  groups = true;
  readonly counters: BondCounters = { txPackets: 0, txBytes: 0, rxPackets: 0, rxBytes: 0 };
  /** Seals; undefined while there is no session. */
  session: Session | undefined;
  /** Whether an inner packet (at an offset, of a length) may come from this peer. */
  allows: (at: number, length: number) => boolean = () => true;
  /** Whether so much more may be delivered now; what may not is dropped. */
  admits: (sizeBytes: number, nowUs: number) => boolean = () => true;
  /** Largest inner packet that the peer says it can send. */
  peerMtu = 0;

  private readonly flowSeed: number;
  /** Router: the operator's policies. */
  private rules: Rules | undefined;
  /** Server: the classes that the peer's flows have. */
  private mirror: Mirror | undefined;
  private readonly memory: Memory;
  private readonly pool: PacketPool;
  private readonly owner: BondOwner;
  private readonly opensPaths: boolean;
  /** Its endpoint records, for its life. */
  readonly endpointsAt: number;
  private readonly reader = new FrameReader();
  private readonly ranges = new Float64Array(64);
  private peerClockUs = Number.NaN;
  private lastDataUs = 0;
  private dead = false;
  private nowUs = 0;

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
    /** Of the flow hashes that `bucketOf` is asked with. */
    flowSeed: number;
    markCe: (offset: number, length: number) => boolean;
  }) {
    this.name = options.name;
    this.memory = options.memory;
    this.pool = options.pool;
    this.owner = options.owner;
    this.endpointsAt = options.endpointsAt;
    this.opensPaths = options.opensPaths;
    this.flowSeed = options.flowSeed;
    this.steering = new Steering(this.paths);
    this.lanes = new Lanes(options.pool, this.steering.said, QUEUE_LIMIT, options.markCe);
    this.sender = new Sender(options.memory, options.pool, this.paths, this.lanes, this.steering, this.counters);
    this.grouper = new Grouper(options.pool, (slot) => this.deliver(slot));
    this.reorder = new ReorderBuffer(options.pool, (slot) => this.grouper.handle(slot, this.nowUs));
  }

  /** Whether a path can carry data. */
  get isUp(): boolean {
    return this.session !== undefined && this.paths.some((p) => p?.isUp);
  }

  /** The largest inner packet that every path in use can carry both ways; 0 while that is not known. */
  get innerMtu(): number {
    return innerMtuOf(this.paths, this.peerMtu, this.sender.leastInnerMtu);
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
      if (path !== undefined && path.state !== 'closed') this.sender.noteClosed(id, true);
      path?.close(nowUs);
      return;
    }
    this.sender.noteClosed(id, false);
    path ??= this.newPath(id);
    this.setEndpoint(path, endpointAt);
    path.rate.setCap(capBps);
    if (path.state === 'closed') path.open(ceilingMtu, nowUs);
    else {
      path.pingDue = true;
      path.mtu.restart(ceilingMtu, nowUs);
    }
  }

  /** The upper limit of what this end sends over a path. Units: bit/s; undefined: none. */
  setLimit(id: number, limitBps: number | undefined): void {
    this.paths[id]?.rate.setCap(limitBps);
  }

  /** The peer was restarted, or we were: everything of the association begins anew. Queued packets stay. */
  reset(nowUs: number): void {
    this.steering.reset(!this.opensPaths, nowUs);
    this.sender.reset();
    for (const p of this.paths) p?.reset(nowUs);
    this.reorder.reset();
    this.grouper.flushAll();
    this.lanes.restart();
    this.peerClockUs = Number.NaN;
    this.peerMtu = 0;
  }

  /** Frees every slot; the bond must not be used afterwards. */
  free(nowUs: number): void {
    this.dead = true;
    this.reset(nowUs);
    for (const p of this.paths) p?.close(nowUs);
    this.lanes.clear();
  }

  /** The bucket of a packet for the peer. `hash`: its flow's. */
  bucketOf(packet: InnerPacket, hash: number, nowUs: number): number {
    const { said } = this.steering;
    if (said.classes === 1) return said.bucketOf(hash, 0);
    const klass = this.rules?.classOf(this.memory, packet, hash) ?? this.mirror?.classOf(hash, nowUs) ?? 0;
    return said.bucketOf(hash, klass);
  }

  /** Router: what the operator wants of paths and classes of traffic, and which packets are of which class. */
  setPreferences(said: Preferences, rules: Rules | undefined, nowUs: number): void {
    this.rules = rules;
    if (!this.steering.setPreferences(said, nowUs)) return;
    this.lanes.setClasses(said.classes);
    this.retune(nowUs);
  }

  /** Says goodbye with the next transmit. */
  setClosing(): void {
    this.sender.closing = true;
  }

  /** An inner packet for the peer, in a slot whose bucket, length and flags are set. Takes ownership. */
  handlePacket(slot: number, nowUs: number): void {
    this.lastDataUs = nowUs;
    this.lanes.offer(slot, nowUs);
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
    const before = known === undefined ? -1 : known.arrivals.replay.largest;
    const pn = completePacketNumber(low, before);
    if (known !== undefined && !known.arrivals.replay.mayAccept(pn)) return 'repeated';
    const isData = view.getUint8(at) >>> 4 === TYPE_DATA;
    const plainAt = this.pool.at(slot) + DATA_HEADER_AT;
    const plainBytes = length - HEADER_BYTES - TAG_BYTES;
    if (plainBytes > MAX_PACKET_BYTES + DATA_HEADER_BYTES) return 'malformed';
    if (!session.openKey.open(id, pn, at, HEADER_BYTES, at + HEADER_BYTES, plainBytes, plainAt)) return 'not-authentic';
    const path = known ?? this.newPath(id);
    path.arrivals.replay.accept(pn);
    session.opened++;
    if (this.opensPaths && pn > before) this.noteSource(path, fromAt, nowUs);
    const gap = before >= 0 && pn !== before + 1;
    const bytes = length + path.outerBytes;
    if (isData) {
      path.noteArrival(pn, bytes, true, nowUs);
      if (gap) path.arrivals.isDue = true;
      return this.handleData(path, slot, plainAt, plainBytes, nowUs);
    }
    const asks = this.handleFrames(path, plainAt, plainBytes, nowUs);
    path.noteArrival(pn, bytes, asks, nowUs);
    if (asks) path.arrivals.isDue = true;
    this.kept = false;
    return 'ok';
  }

  /** Whether the last `handleDatagram` kept its slot. */
  kept = false;

  /** When `handleTimeout` wants to be called. */
  pollTimeout(): number {
    if (this.isDead) return Number.POSITIVE_INFINITY;
    let t = Math.min(this.reorder.pollTimeout(), this.grouper.pollTimeout(), this.sender.wakeUs);
    if (this.steering.isConfigSaid && this.isUp) t = Math.min(t, this.steering.configDueUs);
    for (const p of this.paths) {
      if (p === undefined) continue;
      t = Math.min(t, p.pollTimeout());
      if (p.state === 'up') t = Math.min(t, p.lastSentUs + this.keepaliveUs(p));
    }
    return t;
  }

  handleTimeout(nowUs: number): void {
    for (const p of this.paths) {
      if (p === undefined) continue;
      p.handleTimeout(nowUs);
      if (p.state === 'up' && nowUs - p.lastSentUs >= this.keepaliveUs(p)) p.pingDue = true;
    }
    this.nowUs = nowUs;
    if (nowUs >= this.reorder.pollTimeout()) {
      this.reorder.isPatient = isPathSilent(this.paths, nowUs);
      this.reorder.handleTimeout(nowUs);
    }
    this.grouper.handleTimeout(nowUs);
  }

  /** The kernel refused to send what `pollTransmit` had made: `tooLarge` is EMSGSIZE; anything else is left to the probe time-out. */
  handleSendFailure(out: Transmit, tooLarge: boolean, nowUs: number): void {
    if (!tooLarge || !out.isMtuProbe) return;
    const path = this.paths[out.pathId];
    path?.mtu.handleProbeRefused(out.totalBytes + path.outerBytes, nowUs);
  }

  /** The next run to send, sealed at `bufferAt` (64 KB of the caller's memory); false when there is none. */
  pollTransmit(out: Transmit, bufferAt: number, nowUs: number): boolean {
    if (this.session === undefined || this.isDead) return false;
    return this.sender.pollTransmit(out, bufferAt, this.session, nowUs);
  }

  handleLostSlot(slot: number, path: Path, packetNumber: number, nowUs: number): void {
    if (this.isDead) this.sender.resends.abandon(slot);
    else this.sender.resends.offer(slot, path.id, packetNumber, nowUs);
  }

  handlePathState(path: Path, state: PathState, nowUs: number): void {
    let up = false;
    for (const p of this.paths) if (p?.state === 'up') up = true;
    for (const p of this.paths) if (p !== undefined) p.isLastResort = !up;
    if (state === 'up') this.lanes.noteUp();
    else if (state !== 'waiting' && state !== 'down') this.lanes.noteGone(state === 'suspect', nowUs);
    if (!this.steering.isPlain) this.steering.refresh();
    this.retune(nowUs);
    this.owner.handlePathState(this, path, state, nowUs);
  }

  private deliver(slot: number): void {
    const length = this.pool.length[slot];
    if (!this.admits(length, this.nowUs)) {
      this.pool.give(slot);
      return;
    }
    this.counters.rxPackets++;
    this.counters.rxBytes += length;
    this.owner.deliver(this, slot);
  }

  private handleData(path: Path, slot: number, plainAt: number, plainBytes: number, nowUs: number): DatagramDrop {
    const { pool } = this;
    const header = readDataHeader(this.memory.view, plainAt);
    const length = plainBytes - DATA_HEADER_BYTES;
    if (!this.allows(plainAt + DATA_HEADER_BYTES, length)) return 'not-allowed';
    this.lastDataUs = nowUs;
    if (isSilent(nowUs - path.lastDataUs)) this.reorder.backUs = nowUs;
    path.lastDataUs = nowUs;
    if (this.mirror !== undefined) {
      const klass = this.steering.said.classOf(bucketOf(header));
      if (klass !== 0) this.mirror.learn(plainAt + DATA_HEADER_BYTES, length, klass, nowUs);
    }
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
          this.handleAck(path, nowUs);
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
        case FRAME_CONFIG:
          if (this.opensPaths) this.handleConfig(nowUs);
          break;
        case FRAME_CONFIG_SEEN:
          if (!this.opensPaths) this.steering.handleConfigSeen(reader.generation);
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

  private handleAck(via: Path, nowUs: number): void {
    const { reader, ranges } = this;
    const path = this.paths[reader.path];
    if (path === undefined) return;
    const largest = completePacketNumber(reader.largestLow, path.nextPacketNumber - 1);
    const count = reader.readRanges(largest, ranges);
    if (count < 0) return;
    // One unwrapped clock for all paths, or their one-way delays could not be compared.
    if (Number.isNaN(this.peerClockUs)) this.peerClockUs = reader.arrivalUs;
    else this.peerClockUs += wrapDiffUs(reader.arrivalUs, this.peerClockUs % 0x100000000);
    const isOld = via !== path && reader.delayUs > MAX_ACK_DELAY_US;
    path.handleAck(ranges, count, reader.delayUs, this.peerClockUs, isOld, nowUs);
    for (const p of this.paths) if (p !== undefined && p !== path) p.othersProgressUs = nowUs;
    this.retune(nowUs);
  }

  /** Server: what the operator said at the router. */
  private handleConfig(nowUs: number): void {
    const said = new Preferences();
    this.reader.readConfig(said);
    if (!this.steering.handleConfig(said, this.reader.generation)) return;
    this.lanes.setClasses(said.classes);
    if (said.classes > 1) this.mirror ??= new Mirror(this.memory, this.flowSeed);
    this.mirror?.clear();
    for (const p of this.paths) p?.rate.setCap(said.downBps(p.id));
    this.retune(nowUs);
  }

  /** What follows from the paths as they are now. */
  private retune(nowUs: number): void {
    let mask = 0;
    for (const p of this.paths) {
      if (p?.state !== 'up' && p?.state !== 'suspect' && p?.state !== 'lossy') continue;
      // With tiers and costs a path may be up and bring nothing; one that is lossy this way may be good the other way.
      const isSure = this.steering.isPlain && p.state !== 'lossy';
      if (isSure || nowUs - p.lastDataUs < BRINGS_US) mask |= 1 << p.id;
    }
    this.reorder.upMask = mask;
    retune(this.paths, this.steering, this.lanes, this.reorder, this.grouper, this.groups);
  }

  private newPath(id: number): Path {
    const path = new Path(id, this.pool, this, this.endpointsAt + id * ENDPOINT_BYTES);
    this.paths[id] = path;
    if (this.opensPaths) path.rate.setCap(this.steering.said.downBps(id));
    this.steering.refresh();
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

  private keepaliveUs(path: Path): number {
    if (this.steering.said.tier[path.id] >= LAST_TIER) return IDLE_KEEPALIVE_US;
    if (path.standby && !this.wasIdle) return STANDBY_KEEPALIVE_US;
    return this.wasIdle ? IDLE_KEEPALIVE_US : KEEPALIVE_US;
  }

  /** Said goodbye, or freed. */
  private get isDead(): boolean {
    return this.dead || this.sender.isDone;
  }

  private get wasIdle(): boolean {
    let newest = 0;
    for (const p of this.paths) if (p !== undefined && p.lastSentUs > newest) newest = p.lastSentUs;
    return newest - this.lastDataUs > IDLE_AFTER_US;
  }
}

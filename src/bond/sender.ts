/**
 * What leaves a bond: control datagrams first, then packets that a path lost, then the flow queue, each on the path that the scheduler
 * names; sealed into runs of equal datagrams.
 *
 *   due ACKs, PINGs, PATHs, SKIPs, CLOSE ─▶ control datagram ─┐
 *   Resends, FlowQueue ─▶ choosePath ─▶ run of data datagrams ┴─▶ Transmit
 */
import type { Memory } from '../base/memory.ts';
import {
  PATH_CLOSED,
  writeAck,
  writeClose,
  writeMtu,
  writePadding,
  writePath,
  writePing,
  writeSkip,
} from '../wire/frames.ts';
import {
  CONTROL_OVERHEAD_BYTES,
  DATA_HEADER_BYTES,
  DATA_OVERHEAD_BYTES,
  HEADER_BYTES,
  MAX_PATHS,
  packDataHeader,
  TAG_BYTES,
  TYPE_CONTROL,
  TYPE_DATA,
  FLAG_CHECKSUM_PARTIAL as WIRE_CHECKSUM_PARTIAL,
  writeDataHeader,
  writeHeader,
} from '../wire/header.ts';
import { ELICITING, type Path, PROBE_MTU } from './path.ts';
import { DATA_HEADER_AT, FLAG_CHECKSUM_PARTIAL, NONE, type PacketPool } from './pool.ts';
import type { FlowQueue } from './queue.ts';
import { Resends } from './resends.ts';
import { type Choice, choosePath } from './scheduler.ts';
import type { Session } from './session.ts';
import { bestUp, innerMtuOf, isTooLarge, type Paths } from './tuning.ts';

/** A run may be paced this far ahead: what a wake-up costs is shared by the datagrams of 0.5 ms. */
const AHEAD_US = 500;
/** Datagrams of one run; UDP_SEGMENT takes 64, and 65,000 bytes. */
const MAX_RUN = 44;
const CONTROL_BYTES = 1400;

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

export class Sender {
  readonly resends: Resends;
  /** Inner packets sent again. */
  resent = 0;
  /** Inner packets that no path can carry any more. */
  tooLarge = 0;
  /** When a path has room again for what waits; infinite if nothing waits, or nobody will have. */
  wakeUs = Number.POSITIVE_INFINITY;
  /** Says goodbye with the next control datagrams, each path once; then `isDone`. */
  closing = false;
  isDone = false;

  private readonly memory: Memory;
  private readonly pool: PacketPool;
  private readonly paths: Paths;
  private readonly queue: FlowQueue;
  private readonly counters: BondCounters;
  private readonly ranges = new Float64Array(64);
  private announcedMtu = 0;
  /** Paths that the peer has not been told of yet: they are closed here. */
  private closedMask = 0;
  private readonly choice: Choice = { path: undefined, depthBytes: 0, wakeUs: Number.POSITIVE_INFINITY };

  /** `paths`: the bond's own array, which it goes on filling. */
  constructor(memory: Memory, pool: PacketPool, paths: Paths, queue: FlowQueue, counters: BondCounters) {
    this.memory = memory;
    this.pool = pool;
    this.paths = paths;
    this.queue = queue;
    this.counters = counters;
    this.resends = new Resends(pool);
  }

  /** The association begins anew: what was to be said to the peer is void. */
  reset(): void {
    this.resends.clear();
    this.announcedMtu = 0;
    this.closedMask = 0;
  }

  /** The peer shall be told that this path is not used from now on, or need not be told. */
  noteClosed(id: number, isClosed: boolean): void {
    if (isClosed) this.closedMask |= 1 << id;
    else this.closedMask &= ~(1 << id);
  }

  /** The next run to send, sealed at `bufferAt` (64 KB of the caller's memory); false when there is none. */
  pollTransmit(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    this.wakeUs = Number.POSITIVE_INFINITY;
    for (let id = 0; id < MAX_PATHS; id++) {
      const path = this.paths[id];
      if (path === undefined || path.state === 'closed' || !path.hasEndpoint) continue;
      if (path.ackDue || path.pingDue || (path.isUp && (this.closing || this.closedMask !== 0))) {
        const via = path.ackDue && !path.isUp && !path.pingDue ? (bestUp(this.paths) ?? path) : path;
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
      this.isDone = true;
      return false;
    }
    return this.pollData(out, bufferAt, session, nowUs);
  }

  private pollData(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    const { pool, choice, resends } = this;
    let slot: number;
    let isResend: boolean;
    let urgent: boolean;
    for (;;) {
      slot = resends.peek(nowUs);
      isResend = slot !== NONE;
      if (!isResend) slot = this.queue.peek(nowUs);
      if (slot === NONE) return false;
      urgent = isResend || this.queue.sparse;
      choosePath(this.paths, pool.length[slot] + DATA_OVERHEAD_BYTES, urgent, this.queue.bytes, nowUs, choice);
      if (choice.path !== undefined) break;
      if (!isTooLarge(this.paths, pool.length[slot])) {
        this.wakeUs = choice.wakeUs;
        return false;
      }
      // The MTU has shrunk while it waited. Nobody could take it, and everything behind it would wait for ever.
      this.tooLarge++;
      if (isResend) resends.take();
      else this.queue.discard();
      resends.abandon(slot);
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
      if (isResend) resends.take();
      else if (isEarly) this.queue.takeEarly(path.id);
      else this.queue.take();
      const size = pool.length[slot] + DATA_OVERHEAD_BYTES;
      this.sealData(path, slot, at, session, nowUs);
      at += size;
      if (n >= MAX_RUN || size < segment || path.nextSendUs > nowUs + AHEAD_US || !path.hasRoom()) break;
      slot = isResend ? resends.peek(nowUs) : this.queue.peek(nowUs);
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
    const mtu = innerMtuOf(this.paths, 0);
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
    while (this.resends.takeSkip()) {
      at = writeSkip(view, at, limit, this.resends.skippedBucket, this.resends.skippedSequence, 1);
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
}

/**
 * What leaves a bond: control datagrams first, then packets that a path lost, then the flow queue, each on the path that the scheduler
 * names; sealed into runs of equal datagrams.
 *
 *   due ACKs, PINGs, PATHs, SKIPs, CONFIG, CLOSE ─▶ control datagram ─┐
 *   Copies, Resends, Lanes ─▶ Steering ─▶ run of data datagrams ──────┴─▶ Transmit
 */
import type { Memory } from '../base/memory.ts';
import {
  PATH_CLOSED,
  writeAck,
  writeClose,
  writeConfig,
  writeConfigSeen,
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
import { Copies } from './copies.ts';
import type { Lane, Lanes } from './lanes.ts';
import { ELICITING, type Path, PROBE_MTU, TRAIN } from './path.ts';
import { DATA_HEADER_AT, FLAG_CHECKSUM_PARTIAL, FLAG_OVERFLOWN, FLAG_SPARSE, NONE, type PacketPool } from './pool.ts';
import { Resends } from './resends.ts';
import type { Choice, Paths } from './scheduler.ts';
import type { Session } from './session.ts';
import type { Steering } from './steering.ts';
import type { BondCounters, Transmit } from './transmit.ts';
import { bestUp, innerMtuOf, isTooLarge, LEAST_INNER_IPV6 } from './tuning.ts';

/** A run may be paced this far ahead: what a wake-up costs is shared by the datagrams of 0.5 ms. */
const AHEAD_US = 500;
/** Datagrams of one run; UDP_SEGMENT takes 64, and 65,000 bytes. */
const MAX_RUN = 44;
const CONTROL_BYTES = 1400;
/** A path that is used without pacing is late by so much at the most for those who pace. */
const MOST_DEBT_US = 20_000;

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
  /** Below it the inner MTU never falls; by what is carried (tuning.ts). */
  leastInnerMtu = LEAST_INNER_IPV6;

  private readonly memory: Memory;
  private readonly pool: PacketPool;
  private readonly paths: Paths;
  private readonly lanes: Lanes;
  private readonly steering: Steering;
  private readonly copies: Copies;
  private readonly counters: BondCounters;
  private readonly ranges = new Float64Array(64);
  private announcedMtu = 0;
  /** Paths that the peer has not been told of yet: they are closed here. */
  private closedMask = 0;
  private readonly choice: Choice = {
    lostBy: NONE,
    path: undefined,
    depthBytes: 0,
    wakeUs: Number.POSITIVE_INFINITY,
  };

  /** `paths`: the bond's own array, which it goes on filling. */
  constructor(
    memory: Memory,
    pool: PacketPool,
    paths: Paths,
    lanes: Lanes,
    steering: Steering,
    counters: BondCounters,
  ) {
    this.memory = memory;
    this.pool = pool;
    this.paths = paths;
    this.lanes = lanes;
    this.steering = steering;
    this.counters = counters;
    this.resends = new Resends(pool);
    this.copies = new Copies(pool, MAX_RUN);
  }

  /** The association begins anew: what was to be said to the peer is void. */
  reset(): void {
    this.copies.clear((slot) => this.pool.give(slot));
    this.resends.clear();
    this.lanes.spread.reset();
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
      const isTold = this.closing || this.closedMask !== 0 || this.steering.configDueUs <= nowUs;
      const check = path.pingDue ? path.mtu.pollCheck(path.nextPacketNumber) : 0;
      if (check !== 0) {
        this.writePadded(out, bufferAt, path, check, 0, session, nowUs);
        return true;
      }
      if (path.arrivals.isDue || path.pingDue || (path.isUp && isTold)) {
        const isElsewhere = path.arrivals.isSilent || (path.arrivals.isDue && !path.isUp && !path.pingDue);
        const via = isElsewhere ? (bestUp(this.paths, path) ?? path) : path;
        this.writeControl(out, bufferAt, via, path, session, nowUs);
        return true;
      }
      if (!path.isUp) continue;
      const isTrain = path.train.poll(path.nextPacketNumber);
      const probe = isTrain ? path.mtu.bytes : path.mtu.pollProbe(nowUs);
      if (probe !== 0) {
        this.writePadded(out, bufferAt, path, probe, isTrain ? TRAIN : 0, session, nowUs);
        return true;
      }
    }
    if (this.closing) {
      this.isDone = true;
      return false;
    }
    return this.pollData(out, bufferAt, session, nowUs);
  }

  private pollData(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    const { pool, resends, lanes, copies } = this;
    const { spread } = lanes;
    if (this.steering.isPlain) spread.look(this.paths, this.steering.carriers[0], nowUs);
    else spread.stop();
    const kept = spread.release(nowUs);
    if (kept !== NONE) resends.offer(kept, 0, -1, nowUs);
    this.wakeUs = spread.wakeUs;
    if (copies.path !== undefined && this.pollCopies(out, bufferAt, session, nowUs)) return true;
    for (let slot = resends.peek(nowUs); slot !== NONE; slot = resends.peek(nowUs)) {
      const isSparse = (pool.flags[slot] & FLAG_SPARSE) !== 0;
      // A call does not wait until all that a dead path carried has been sent again.
      if (!isSparse && this.pollSparse(out, bufferAt, session, nowUs)) return true;
      const lane = lanes.of(pool.bucket[slot]);
      if (this.isPathFound(lane, slot, true, isSparse, nowUs)) {
        // Each goes where it is sent from now on; none is before another.
        this.choice.depthBytes = 0;
        this.sendRun(out, bufferAt, lane, slot, true, false, session, nowUs);
        return true;
      }
      if (!isTooLarge(this.paths, this.steering.carriers[lane.klass], pool.length[slot])) {
        // A class whose paths are full holds up no other.
        if (lanes.all.length === 1) return false;
        break;
      }
      this.tooLarge++;
      resends.take();
      resends.abandon(slot);
    }
    if (lanes.all.length === 1) return this.pollLane(out, bufferAt, lanes.all[0], session, nowUs);
    for (let lane = lanes.first(); lane !== undefined; lane = lanes.following()) {
      if (this.pollLane(out, bufferAt, lane, session, nowUs)) return true;
    }
    return false;
  }

  /** A packet of a flow that keeps no backlog, if one waits and the path that brings it first may take it now. */
  private pollSparse(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    for (const lane of this.lanes.all) {
      if (this.copies.path !== undefined && this.steering.isRedundant(lane)) continue;
      const slot = lane.queue.peekBrief(nowUs);
      if (slot === NONE || !this.isPathFound(lane, slot, false, true, nowUs)) continue;
      this.choice.depthBytes = 0;
      this.sendRun(out, bufferAt, lane, slot, false, false, session, nowUs);
      return true;
    }
    return false;
  }

  /** A run of what waits in a lane, if a path may take it now. */
  private pollLane(out: Transmit, bufferAt: number, lane: Lane, session: Session, nowUs: number): boolean {
    const { lanes } = this;
    const { queue } = lane;
    // One run's copies at a time: the slower path bounds what the class can carry.
    if (this.copies.path !== undefined && this.steering.isRedundant(lane)) return false;
    let slot = lanes.peek(lane, false, nowUs);
    while (slot !== NONE && !this.isPathFound(lane, slot, false, queue.sparse, nowUs)) {
      const isTooLong = isTooLarge(this.paths, this.steering.carriers[lane.klass], this.pool.length[slot]);
      if (!isTooLong && !queue.sparse) return false;
      if (isTooLong) {
        // The MTU has shrunk while it waited. Nobody could take it, and everything behind it would wait for ever.
        this.tooLarge++;
        queue.discard();
        this.resends.abandon(slot);
      }
      // A sparse flow's packet waits for the path that brings it first. The others do not stand idle meanwhile.
      slot = lanes.peek(lane, !isTooLong, nowUs);
    }
    this.wakeUs = Math.min(this.wakeUs, lanes.spread.wakeUs);
    if (slot === NONE) return false;
    // Not the head, but a packet that is due when the slower path has brought it; another flow's when this one has none.
    let isLone = false;
    if (this.choice.depthBytes > 0 && this.choice.path !== undefined) {
      slot = this.peekEarly(lane, this.choice.path);
      if (slot === NONE) {
        slot = this.peekLater(lane, this.choice.path, nowUs);
        this.choice.depthBytes = 0;
        isLone = true;
      }
      if (slot === NONE) {
        this.wakeUs = Math.min(this.wakeUs, this.choice.wakeUs);
        return false;
      }
    }
    this.sendRun(out, bufferAt, lane, slot, false, isLone, session, nowUs);
    return true;
  }

  /** Fills `choice`, and notes when to ask again if no path may take the packet now. */
  private isPathFound(lane: Lane, slot: number, isResend: boolean, urgent: boolean, nowUs: number): boolean {
    const { choice, steering, paths, pool } = this;
    const { spread } = this.lanes;
    const bytes = pool.length[slot] + DATA_OVERHEAD_BYTES;
    if (!isResend && spread.takes(pool.bucket[slot])) {
      spread.choose(paths, steering.carriers[lane.klass], bytes, nowUs, choice);
      if (choice.path !== undefined) return true;
    }
    const waitingBytes = isResend ? this.resends.bytes : lane.queue.bytes;
    choice.lostBy = isResend ? this.doubtful(slot) : NONE;
    steering.choose(lane, bytes, urgent, waitingBytes, nowUs, choice);
    if (choice.path !== undefined) return true;
    if (choice.wakeUs < this.wakeUs) this.wakeUs = choice.wakeUs;
    return false;
  }

  /** The path that has lost this packet, when it is likely to lose it again: it sent too much while it searched for its rate, or has lost it twice. */
  private doubtful(slot: number): number {
    const { flags, originPath, tries } = this.pool;
    return tries[slot] > 1 || (flags[slot] & FLAG_OVERFLOWN) !== 0 ? originPath[slot] : NONE;
  }

  /** Seals a run for the path chosen, beginning with `slot`; `isAlone`: of that alone. */
  private sendRun(
    out: Transmit,
    bufferAt: number,
    lane: Lane,
    slot: number,
    isResend: boolean,
    isAlone: boolean,
    session: Session,
    nowUs: number,
  ): void {
    const { pool, resends, choice, copies } = this;
    const path = choice.path as Path;
    const isEarly = choice.depthBytes > 0;
    const isSparse = isResend ? (pool.flags[slot] & FLAG_SPARSE) !== 0 : lane.queue.sparse;
    const segment = pool.length[slot] + DATA_OVERHEAD_BYTES;
    const isWeighted = this.steering.isWeighted(lane);
    const isSpread = !isResend && this.lanes.spread.takes(pool.bucket[slot]);
    const isLone = isAlone || isWeighted || (isSpread && !path.rate.settled);
    if (copies.path === undefined) copies.begin(this.steering.second(lane, path, segment, nowUs), nowUs);
    const isBrief = isSparse && this.lanes.briefs.has(pool.bucket[slot], 0, nowUs);
    if (isBrief && this.steering.isPlain) copies.beginBrief(this.paths, path, segment, nowUs);
    const isTwice = copies.path !== undefined && copies.count === 0;
    this.begin(out, bufferAt, path, segment);
    let at = bufferAt;
    for (let n = 1; ; n++) {
      if (isResend) resends.take();
      else if (isEarly) lane.queue.takeEarly(path.id);
      else lane.queue.take();
      const size = pool.length[slot] + DATA_OVERHEAD_BYTES;
      if (isSparse && !isResend) pool.flags[slot] |= FLAG_SPARSE;
      if (isTwice) copies.add(slot);
      this.noteData(path, slot);
      this.sealData(path, slot, at, session, nowUs);
      at += size;
      if (isLone || n >= MAX_RUN || size < segment || path.nextSendUs > nowUs + AHEAD_US || !path.hasRoom()) break;
      slot = isResend ? resends.peek(nowUs) : lane.queue.peek(nowUs, !isSparse);
      if (slot === NONE || (isResend ? this.lanes.of(pool.bucket[slot]) !== lane : lane.queue.sparse !== isSparse))
        break;
      if (isResend && ((pool.flags[slot] & FLAG_SPARSE) !== 0) !== isSparse) break;
      if (!isResend && this.lanes.spread.takes(pool.bucket[slot]) !== isSpread) break;
      if (isEarly) slot = this.peekEarly(lane, path);
      if (slot === NONE || pool.length[slot] + DATA_OVERHEAD_BYTES > segment) break;
    }
    if (isWeighted) path.nextSendUs = Math.min(path.nextSendUs, nowUs + MOST_DEBT_US);
    out.totalBytes = at - bufferAt;
    this.lanes.noteSent(lane, out.totalBytes);
  }

  /** The copies of the last run, when their path may send them; they are let go when it cannot in time. */
  private pollCopies(out: Transmit, bufferAt: number, session: Session, nowUs: number): boolean {
    const { copies, pool } = this;
    const path = copies.path;
    let slot = copies.peek();
    if (slot === NONE || path === undefined) return false;
    if (copies.isVain(nowUs)) {
      copies.clear((lost) => this.resends.offer(lost, path.id, -1, nowUs));
      return false;
    }
    if (path.nextSendUs > nowUs + copies.aheadUs || !path.hasRoom()) {
      this.wakeUs = Math.min(copies.untilUs, path.nextSendUs > nowUs ? path.nextSendUs : copies.untilUs);
      return false;
    }
    const segment = pool.length[slot] + DATA_OVERHEAD_BYTES;
    this.begin(out, bufferAt, path, segment);
    let at = bufferAt;
    while (slot !== NONE && pool.length[slot] + DATA_OVERHEAD_BYTES <= segment) {
      const size = pool.length[slot] + DATA_OVERHEAD_BYTES;
      copies.sent++;
      this.sealData(path, slot, at, session, nowUs);
      at += size;
      if (size < segment) break;
      slot = copies.peek();
    }
    copies.noteSent(path, at - bufferAt);
    out.totalBytes = at - bufferAt;
    return true;
  }

  private begin(out: Transmit, bufferAt: number, path: Path, segment: number): void {
    out.endpointAt = path.endpointAt;
    out.at = bufferAt;
    out.segmentBytes = segment;
    out.pathId = path.id;
    out.isMtuProbe = false;
  }

  /** The packet that would be at the head when the slower path has brought it: its bucket's part of the depth. */
  private peekEarly({ queue }: Lane, path: Path): number {
    const slot = queue.peekEarly(path.id, (this.choice.depthBytes * queue.currentBytes) / queue.bytes);
    if (slot === NONE) return NONE;
    return this.fits(slot, path) ? slot : NONE;
  }

  /** The head of a flow whose turn comes when the slower path has brought it. */
  private peekLater({ queue }: Lane, path: Path, nowUs: number): number {
    const slot = queue.peekLater(this.choice.depthBytes, nowUs);
    return slot !== NONE && this.fits(slot, path) ? slot : NONE;
  }

  private fits(slot: number, path: Path): boolean {
    return path.fits(this.pool.length[slot] + DATA_OVERHEAD_BYTES);
  }

  /** Counts a packet that leaves, or leaves again. */
  private noteData(path: Path, slot: number): void {
    const { pool } = this;
    if (pool.tries[slot] === 0) {
      this.counters.txPackets++;
      this.counters.txBytes += pool.length[slot];
    } else {
      path.resentPackets++;
      this.resent++;
    }
    pool.tries[slot]++;
  }

  private sealData(path: Path, slot: number, at: number, session: Session, nowUs: number): void {
    const { pool } = this;
    const { view } = this.memory;
    const plainAt = pool.at(slot) + DATA_HEADER_AT;
    const flags = (pool.flags[slot] & FLAG_CHECKSUM_PARTIAL) !== 0 ? WIRE_CHECKSUM_PARTIAL : 0;
    writeDataHeader(view, plainAt, packDataHeader(pool.bucket[slot], flags, pool.sequence[slot]));
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
    if (path.arrivals.isDue) {
      const count = path.arrivals.read(this.ranges);
      if (count > 0) {
        const delayUs = nowUs - path.arrivals.largestUs;
        at = writeAck(view, at, limit, path.id, delayUs, path.arrivals.largestUs, this.ranges, count);
      }
      path.arrivals.noteSent();
    }
    if (via.pingDue) {
      via.pingDue = false;
      at = writePing(view, at, limit);
      kind = ELICITING;
    }
    const mtu = innerMtuOf(this.paths, 0, this.leastInnerMtu);
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
      const { skippedBucket, skippedSequence, skippedCount } = this.resends;
      at = writeSkip(view, at, limit, skippedBucket, skippedSequence, skippedCount);
      kind = ELICITING;
    }
    if (this.steering.seenDue) {
      this.steering.seenDue = false;
      at = writeConfigSeen(view, at, limit, this.steering.generation);
      kind = ELICITING;
    }
    if (this.steering.isConfigSaid && (via.isUp || kind !== 0)) {
      at = writeConfig(view, at, limit, this.steering.generation, this.steering.said);
      this.steering.noteConfigSent(nowUs);
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

  /** A padded PING: whether it passes tells of the path's MTU; of a train, when it arrives of its rate. */
  private writePadded(
    out: Transmit,
    bufferAt: number,
    path: Path,
    sizeBytes: number,
    kind: number,
    session: Session,
    nowUs: number,
  ): void {
    const { view } = this.memory;
    const start = bufferAt + HEADER_BYTES;
    const plainBytes = sizeBytes - path.outerBytes - CONTROL_OVERHEAD_BYTES;
    const at = writePing(view, start, start + plainBytes);
    writePadding(view, at, start + plainBytes, plainBytes);
    this.sealControl(out, bufferAt, plainBytes, path, ELICITING | PROBE_MTU | kind, session, nowUs);
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

/**
 * The one queue in front of all paths: FQ-CoDel (RFC 8290). Packets of a flow share a bucket; buckets take turns by deficit
 * round robin, and one that has just become active (a sparse flow: a ping, a DNS query, a voice stream) goes before those that
 * keep a backlog; so does one that was empty and has not used up its turn. CoDel (RFC 8289) bounds the time a packet waits in its bucket.
 *
 *   offer ─▶ bucket 0..1023 ─▶ [new buckets] ─┐
 *                                             ├─▶ peek / take, or peekEarly / takeEarly
 *                              [old buckets] ─┘
 *
 * A packet gets its data sequence when it leaves. One may leave early, from the middle of its bucket, to travel by a slower path and arrive
 * where it belongs; those before it have their numbers then, too, and are not dropped any more, so that no number is missing.
 *
 *   head ─ numbered … cursor of path 1 … cursor of path 2 = mark │ not numbered … tail
 *                           └─▶ leaves next by path 1      └─▶ leaves next by path 2
 */
import { MAX_PATHS, seqAdd } from '../wire/header.ts';
import { Briefs } from './brief.ts';
import { Codel, INTERVAL_US } from './codel.ts';
import { FLAG_NUMBERED, NONE, type PacketPool } from './pool.ts';
import { Row } from './row.ts';

/** Number of buckets: what 10 bits of the data header can name (docs/protocol.md §4.1). */
export const BUCKETS = 1024;
/** Bytes a bucket may send in a turn: one full packet. Source: RFC 8290 §4.1.1. */
const QUANTUM_BYTES = 1514;
/** A packet that waited so long, because no path was up, is of no use to anybody any more. */
const MAX_WAIT_US = 1_000_000;
/** A bucket with less than this waiting is not judged by CoDel: it cannot be standing. */
const MIN_BACKLOG_BYTES = 3028;

/** A cursor that is deeper than asked for by so much begins again at the head; by less it stays, for too deep is only too early. */
const DEEPER_BYTES = 20_000;

/** FQ-CoDel over slots of a pool. Owns the slots it holds. Cost: O(1) a packet; O(buckets) for an overflow. */
export class FlowQueue {
  /** Packets and bytes that wait. */
  packets = 0;
  bytes = 0;
  droppedByCodel = 0;
  droppedByLimit = 0;
  droppedByAge = 0;
  markedByCodel = 0;
  /** How long a packet may wait without being judged too late, µs; set by the bond from its paths. */
  targetUs = 15_000;
  /** In less time than this, a round trip, no flow answers a drop, µs; set by the bond from its paths. */
  intervalUs = INTERVAL_US;
  /** Bytes that may wait in all; set by the bond from its paths. */
  limitBytes = Number.POSITIVE_INFINITY;
  /** Until then CoDel does not judge, and bytes have no limit an interval longer: a path has just fallen silent, and most are back soon. */
  graceUntilUs = Number.NEGATIVE_INFINITY;
  /** And until then, unless it is back, a flow that has waited too long loses all that has (`thin`). */
  thinUntilUs = 0;
  /** Whether the packet that `peek` returned belongs to a sparse flow. */
  sparse = false;
  readonly briefs: Briefs;

  private readonly pool: PacketPool;
  private readonly limitPackets: number;
  private readonly markCe: (offset: number, length: number) => boolean;
  private readonly head = new Int32Array(BUCKETS).fill(NONE);
  private readonly tail = new Int32Array(BUCKETS).fill(NONE);
  private readonly backlog = new Int32Array(BUCKETS);
  private readonly deficit = new Int32Array(BUCKETS);
  private readonly codel = new Codel(BUCKETS);
  private readonly sequences: Int32Array;
  /** The last packet of each bucket that has its number already, or NONE; and the bytes up to and with it. */
  private readonly mark = new Int32Array(BUCKETS).fill(NONE);
  private readonly markBytes = new Int32Array(BUCKETS);
  /** Where each path has got to: its bucket, the packet before the next one to leave early, and the bytes up to and with that. */
  private readonly cursorBucket = new Int32Array(MAX_PATHS).fill(NONE);
  private readonly cursor = new Int32Array(MAX_PATHS).fill(NONE);
  private readonly cursorBytes = new Int32Array(MAX_PATHS);
  private cursors = 0;
  /** Buckets that have just become active, and those that keep a backlog, or did. */
  private readonly fresh = new Row(BUCKETS);
  private readonly old = new Row(BUCKETS);
  /** Old buckets that were empty, have something again, and have not used up their turn: they use the rest of it at once. */
  private readonly again = new Row(BUCKETS);
  private current = NONE;

  /**
   * `markCe` sets the packet's ECN field to CE and says whether the packet allowed it. `sequences`: the next data sequence of each bucket; they and
   * `briefs` are shared by the queues of a bond.
   */
  constructor(
    pool: PacketPool,
    limitPackets: number,
    markCe: (offset: number, length: number) => boolean,
    sequences = new Int32Array(BUCKETS),
    briefs = new Briefs(BUCKETS),
  ) {
    this.sequences = sequences;
    this.briefs = briefs;
    this.pool = pool;
    this.limitPackets = limitPackets;
    this.markCe = markCe;
  }

  /** Takes ownership of a slot whose bucket and length are set. At a limit the fattest bucket loses its newest packets. */
  offer(slot: number, nowUs: number): void {
    const { pool } = this;
    const b = pool.bucket[slot];
    pool.queuedUs[slot] = nowUs;
    pool.next[slot] = NONE;
    if (this.head[b] === NONE) this.head[b] = slot;
    else pool.next[this.tail[b]] = slot;
    this.tail[b] = slot;
    this.backlog[b] += pool.length[slot];
    this.packets++;
    this.bytes += pool.length[slot];
    this.briefs.note(b, pool.length[slot], nowUs);
    if (this.old.has(b)) {
      if (this.backlog[b] === pool.length[slot] && this.deficit[b] > 0) this.again.append(b);
    } else if (!this.fresh.has(b)) {
      this.deficit[b] = QUANTUM_BYTES;
      this.fresh.append(b);
    }
    const isLimited = nowUs >= this.graceUntilUs + this.intervalUs;
    if (this.packets > this.limitPackets || (this.bytes > this.limitBytes && isLimited)) this.shed();
  }

  /** The slot that is next, after CoDel has had its say, or NONE; it stays, asking again is harmless. `isBulkOnly`: sparse flows that wait for a path are passed over. */
  peek(nowUs: number, isBulkOnly = false): number {
    let passed = NONE;
    for (;;) {
      const again = isBulkOnly ? NONE : this.peekAgain(nowUs);
      if (again !== NONE) return again;
      const isFresh = this.fresh.head !== NONE && !isBulkOnly;
      const row = isFresh ? this.fresh : this.old;
      const b = row.head;
      if (b === NONE || b === passed) return NONE;
      if (isBulkOnly && this.again.has(b) && this.backlog[b] <= QUANTUM_BYTES) {
        if (passed === NONE) passed = b;
        // Its turn has come, and it has something from it: without a new one it would wait for all others soon.
        this.deficit[b] = QUANTUM_BYTES;
        row.shift();
        this.old.append(b);
        continue;
      }
      if (this.deficit[b] <= 0) {
        passed = NONE;
        this.deficit[b] += QUANTUM_BYTES;
        row.shift();
        this.old.append(b);
        continue;
      }
      this.expire(b, nowUs);
      this.judge(b, nowUs);
      if (this.head[b] === NONE) {
        row.shift();
        // An emptied new bucket passes through the old list once, or a flow of single packets would starve the rest (RFC 8290 §4.2).
        if (isFresh && this.old.head !== NONE) this.old.append(b);
        continue;
      }
      this.current = b;
      this.sparse = isFresh;
      return this.head[b];
    }
  }

  /** The head of a bucket that uses the rest of its turn, or NONE. It keeps its place among the old ones, and gets no more until that comes. */
  private peekAgain(nowUs: number): number {
    for (let b = this.again.head; b !== NONE; b = this.again.head) {
      if (this.deficit[b] > 0) {
        this.expire(b, nowUs);
        this.judge(b, nowUs);
        if (this.head[b] !== NONE) {
          this.current = b;
          this.sparse = true;
          return this.head[b];
        }
      }
      this.again.shift();
    }
    return NONE;
  }

  /** Like `peek`, but only of a flow that has no more waiting than it may send in a turn; NONE if there is none. Cost: a step for each flow that waits. */
  peekBrief(nowUs: number): number {
    const slot = this.peek(nowUs);
    if (slot === NONE || this.sparse) return slot;
    for (let b = this.old.head; b !== NONE; b = this.old.next[b]) {
      if (this.head[b] === NONE || this.backlog[b] > QUANTUM_BYTES) continue;
      this.current = b;
      this.sparse = true;
      return this.head[b];
    }
    return NONE;
  }

  /** Takes the slot that `peek` has just returned out of the queue; the caller owns it. */
  take(): number {
    const slot = this.pop(this.current);
    this.deficit[this.current] -= this.pool.length[slot];
    if ((this.pool.flags[slot] & FLAG_NUMBERED) === 0) this.number(slot);
    return slot;
  }

  /** Like `take`, for a packet that will not be sent: it gets no number, if it has none yet. */
  discard(): number {
    return this.pop(this.current);
  }

  /** Bytes that wait in the bucket of the slot that `peek` has just returned. */
  get currentBytes(): number {
    return this.backlog[this.current];
  }

  /**
   * The slot of the current bucket that has at least `depthBytes` before it, for a path to take early, or NONE. It stays in the queue.
   * Cost: a step a packet since the path's last one.
   */
  peekEarly(path: number, depthBytes: number): number {
    const { pool } = this;
    const b = this.current;
    if (this.backlog[b] <= depthBytes) return NONE;
    let before = this.cursor[path];
    let bytes = this.cursorBytes[path];
    const isFar = bytes > depthBytes && (bytes > depthBytes + DEEPER_BYTES || before === this.tail[b]);
    if (this.cursorBucket[path] !== b || isFar) {
      before = NONE;
      bytes = 0;
    }
    if (this.markBytes[b] > bytes && this.markBytes[b] <= depthBytes) {
      before = this.mark[b];
      bytes = this.markBytes[b];
    }
    let slot = before === NONE ? this.head[b] : pool.next[before];
    while (slot !== NONE && bytes < depthBytes) {
      bytes += pool.length[slot];
      if ((pool.flags[slot] & FLAG_NUMBERED) === 0) {
        this.number(slot);
        this.mark[b] = slot;
        this.markBytes[b] = bytes;
      }
      before = slot;
      slot = pool.next[slot];
    }
    this.cursorBucket[path] = before === NONE ? NONE : b;
    this.cursor[path] = before;
    this.cursorBytes[path] = bytes;
    if (path >= this.cursors) this.cursors = path + 1;
    return slot;
  }

  /**
   * The head of another flow whose turn comes only when those before it have sent `depthBytes`, or NONE: where no flow has so much waiting as `peekEarly`
   * wants, since there are many. Cost: a step for each flow that waits.
   */
  peekLater(depthBytes: number, nowUs: number): number {
    let bytes = Math.min(QUANTUM_BYTES, this.currentBytes);
    for (let b = this.old.head; b !== NONE; b = this.old.next[b]) {
      if (this.head[b] === NONE || b === this.current || this.briefs.has(b, this.backlog[b], nowUs)) continue;
      if (bytes >= depthBytes) {
        this.expire(b, nowUs);
        this.judge(b, nowUs);
        if (this.head[b] === NONE) continue;
        this.current = b;
        return this.head[b];
      }
      bytes += Math.min(QUANTUM_BYTES, this.backlog[b]);
    }
    return NONE;
  }

  /** Takes the slot that `peekEarly` has just returned for this path out of the queue; the caller owns it. */
  takeEarly(path: number): number {
    const { pool } = this;
    const b = this.current;
    const before = this.cursorBucket[path] === b ? this.cursor[path] : NONE;
    if (before === NONE) return this.take();
    const slot = pool.next[before];
    const length = pool.length[slot];
    const beforeBytes = this.cursorBytes[path];
    pool.next[before] = pool.next[slot];
    if (this.tail[b] === slot) this.tail[b] = before;
    if ((pool.flags[slot] & FLAG_NUMBERED) === 0) this.number(slot);
    else {
      this.markBytes[b] -= length;
      if (this.mark[b] === slot) this.mark[b] = before;
    }
    for (let i = 0; i < this.cursors; i++) {
      if (this.cursorBucket[i] !== b || this.cursorBytes[i] <= beforeBytes) continue;
      this.cursorBytes[i] -= length;
      if (this.cursor[i] === slot) this.cursor[i] = before;
    }
    this.forget(b, slot);
    this.deficit[b] -= length;
    return slot;
  }

  /** The peer knows of no number any more: they begin at 0 again, also for what waits. */
  restart(): void {
    const { pool } = this;
    this.sequences.fill(0);
    this.cursorBucket.fill(NONE);
    for (let b = 0; b < BUCKETS; b++) {
      if (this.mark[b] === NONE) continue;
      for (let slot = this.head[b]; slot !== NONE; slot = pool.next[slot]) pool.flags[slot] &= ~FLAG_NUMBERED;
      this.mark[b] = NONE;
      this.markBytes[b] = 0;
    }
  }

  /** Frees everything. */
  clear(): void {
    for (let b = 0; b < BUCKETS; b++) {
      while (this.head[b] !== NONE) this.pool.give(this.pop(b));
    }
  }

  private expire(b: number, nowUs: number): void {
    const { pool } = this;
    while (this.head[b] !== NONE && this.mark[b] === NONE && nowUs - pool.queuedUs[this.head[b]] > MAX_WAIT_US) {
      pool.give(this.pop(b));
      this.droppedByAge++;
    }
  }

  /** CoDel's dequeue, run on the head of a bucket until a packet stands there that may go (RFC 8289 §5.5). */
  private judge(b: number, nowUs: number): void {
    const { codel, intervalUs } = this;
    let late = this.isLate(b, nowUs);
    if (!codel.isDropping(b)) {
      if (!late) return;
      codel.begin(b, intervalUs, nowUs);
      if (nowUs < this.thinUntilUs) this.thin(b, nowUs);
      else this.punish(b);
    } else if (!late) codel.end(b);
    while (codel.isDue(b, nowUs)) {
      const dropped = this.punish(b);
      if (dropped) late = this.isLate(b, nowUs);
      codel.goOn(b, late, intervalUs);
      if (!dropped) return;
    }
  }

  private isLate(b: number, nowUs: number): boolean {
    const isJudged = this.backlog[b] > MIN_BACKLOG_BYTES && nowUs >= this.graceUntilUs;
    const isAbove = isJudged && nowUs - this.pool.queuedUs[this.head[b]] >= this.targetUs;
    return this.codel.isLate(b, isAbove, this.intervalUs, nowUs);
  }

  /**
   * A path is gone, and the flow's window is too large by what that carried: not the head alone goes, but all that has waited longer than the target. To
   * the flow it is one loss, and what it sends again finds a queue of that length in place of the old one.
   */
  private thin(b: number, nowUs: number): void {
    const { pool } = this;
    const waitedUs = nowUs - pool.queuedUs[this.head[b]];
    while (this.punish(b) && this.backlog[b] - this.markBytes[b] > MIN_BACKLOG_BYTES) {
      const first = this.mark[b] === NONE ? this.head[b] : pool.next[this.mark[b]];
      if (nowUs - pool.queuedUs[first] >= this.targetUs) continue;
      // It takes as long again until the flow has sent that again.
      this.codel.rest(b, nowUs + waitedUs + this.intervalUs);
      return;
    }
  }

  /** Marks the head when its flow speaks ECN, else drops it, or the first without a number. Returns whether one was dropped. */
  private punish(b: number): boolean {
    const slot = this.head[b];
    if (this.markCe(this.pool.packetAt(slot), this.pool.length[slot])) {
      this.markedByCodel++;
      return false;
    }
    if (this.mark[b] === this.tail[b] && this.mark[b] !== NONE) return false;
    this.pool.give(this.popAfterMark(b));
    this.droppedByCodel++;
    return true;
  }

  /**
   * Takes the fattest bucket's newest packets away until what waits is a sixteenth below the limits. The oldest stay: they are delivered
   * in order meanwhile, and what the flow sends again for the newest meets a queue that has become shorter.
   */
  private shed(): void {
    const { pool } = this;
    const packets = this.limitPackets - (this.limitPackets >> 4);
    const bytes = this.limitBytes * (15 / 16);
    while (this.packets > packets || this.bytes > bytes) {
      let fattest = 0;
      for (let b = 1; b < BUCKETS; b++) {
        if (this.backlog[b] - this.markBytes[b] > this.backlog[fattest] - this.markBytes[fattest]) fattest = b;
      }
      // What has a number stays: it is about to leave.
      let last = this.mark[fattest];
      let slot = last === NONE ? this.head[fattest] : pool.next[last];
      let count = 0;
      for (let s = slot; s !== NONE; s = pool.next[s]) count++;
      if (count === 0) return;
      // Half of a bucket at most, then the fattest is looked for again: equals lose equally.
      const mean = (this.backlog[fattest] - this.markBytes[fattest]) / count;
      const tooMuch = Math.ceil(Math.max(0, this.bytes - bytes) / mean);
      const cut = Math.min((count + 1) >> 1, Math.max(1, this.packets - packets, tooMuch));
      for (let i = 0; i < count - cut; i++) {
        last = slot;
        slot = pool.next[slot];
      }
      if (last === NONE) this.head[fattest] = NONE;
      else pool.next[last] = NONE;
      this.tail[fattest] = last;
      while (slot !== NONE) {
        const next = pool.next[slot];
        this.backlog[fattest] -= pool.length[slot];
        this.bytes -= pool.length[slot];
        this.packets--;
        this.droppedByLimit++;
        pool.give(slot);
        slot = next;
      }
    }
  }

  private number(slot: number): void {
    const { pool } = this;
    const b = pool.bucket[slot];
    pool.sequence[slot] = this.sequences[b];
    this.sequences[b] = seqAdd(this.sequences[b], 1);
    pool.flags[slot] |= FLAG_NUMBERED;
  }

  private pop(b: number): number {
    const { pool } = this;
    const slot = this.head[b];
    this.head[b] = pool.next[slot];
    if (this.head[b] === NONE) this.tail[b] = NONE;
    if (this.mark[b] === slot) {
      this.mark[b] = NONE;
      this.markBytes[b] = 0;
    } else if (this.mark[b] !== NONE) this.markBytes[b] -= pool.length[slot];
    for (let i = 0; i < this.cursors; i++) {
      if (this.cursorBucket[i] !== b) continue;
      if (this.cursor[i] === slot) this.cursorBucket[i] = NONE;
      else this.cursorBytes[i] -= pool.length[slot];
    }
    this.forget(b, slot);
    return slot;
  }

  /** The first packet without a number leaves. */
  private popAfterMark(b: number): number {
    const { pool } = this;
    const mark = this.mark[b];
    if (mark === NONE) return this.pop(b);
    const slot = pool.next[mark];
    pool.next[mark] = pool.next[slot];
    if (this.tail[b] === slot) this.tail[b] = mark;
    this.forget(b, slot);
    return slot;
  }

  private forget(b: number, slot: number): void {
    this.pool.next[slot] = NONE;
    this.backlog[b] -= this.pool.length[slot];
    this.packets--;
    this.bytes -= this.pool.length[slot];
  }
}

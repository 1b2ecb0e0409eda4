/**
 * The one queue in front of all paths: FQ-CoDel (RFC 8290). Packets of a flow share a bucket; buckets take turns by deficit
 * round robin, and one that has just become active (a sparse flow: a ping, a DNS query, a voice stream) goes before those that
 * keep a backlog. CoDel (RFC 8289) bounds the time a packet waits in its bucket.
 *
 *   offer ─▶ bucket 0..1023 ─▶ [new buckets] ─┐
 *                                             ├─▶ peek / take
 *                              [old buckets] ─┘
 */
import { NONE, type PacketPool } from './pool.ts';

/** Number of buckets: what 10 bits of the data header can name (docs/protocol.md §4.1). */
export const BUCKETS = 1024;
/** CoDel's interval. Source: RFC 8289 §4.3. */
const INTERVAL_US = 100_000;
/** Bytes a bucket may send in a turn: one full packet. Source: RFC 8290 §4.1.1. */
const QUANTUM_BYTES = 1514;
/** A bucket with less than this waiting is not judged by CoDel: it cannot be standing. */
const MIN_BACKLOG_BYTES = 3028;

const IDLE = 0;
const NEW = 1;
const OLD = 2;

/** FQ-CoDel over slots of a pool. Owns the slots it holds. Cost: O(1) a packet; O(buckets) for an overflow. */
export class FlowQueue {
  /** Packets and bytes that wait. */
  packets = 0;
  bytes = 0;
  droppedByCodel = 0;
  droppedByLimit = 0;
  markedByCodel = 0;
  /** How long a packet may wait without being judged too late, µs; set by the bond from its paths. */
  targetUs = 15_000;
  /** Bytes that may wait in all; set by the bond from its paths. */
  limitBytes = Number.POSITIVE_INFINITY;
  /** Whether the packet that `peek` returned belongs to a sparse flow. */
  sparse = false;

  private readonly pool: PacketPool;
  private readonly limitPackets: number;
  private readonly markCe: (offset: number, length: number) => boolean;
  private readonly head = new Int32Array(BUCKETS).fill(NONE);
  private readonly tail = new Int32Array(BUCKETS).fill(NONE);
  private readonly backlog = new Int32Array(BUCKETS);
  private readonly deficit = new Int32Array(BUCKETS);
  private readonly list = new Uint8Array(BUCKETS);
  private readonly nextBucket = new Int32Array(BUCKETS).fill(NONE);
  private readonly firstAboveUs = new Float64Array(BUCKETS);
  private readonly dropNextUs = new Float64Array(BUCKETS);
  private readonly dropCount = new Int32Array(BUCKETS);
  private readonly lastCount = new Int32Array(BUCKETS);
  private readonly dropping = new Uint8Array(BUCKETS);
  private newHead = NONE;
  private newTail = NONE;
  private oldHead = NONE;
  private oldTail = NONE;
  private current = NONE;

  /** `markCe` sets the packet's ECN field to CE and says whether the packet allowed it. */
  constructor(pool: PacketPool, limitPackets: number, markCe: (offset: number, length: number) => boolean) {
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
    if (this.list[b] === IDLE) {
      this.deficit[b] = QUANTUM_BYTES;
      this.append(NEW, b);
    }
    if (this.packets > this.limitPackets || this.bytes > this.limitBytes) this.shed();
  }

  /** The slot that is next, after CoDel has had its say, or NONE. It stays in the queue; calling again is harmless. */
  peek(nowUs: number): number {
    for (;;) {
      const fromNew = this.newHead !== NONE;
      const b = fromNew ? this.newHead : this.oldHead;
      if (b === NONE) return NONE;
      if (this.deficit[b] <= 0) {
        this.deficit[b] += QUANTUM_BYTES;
        this.removeHead(fromNew);
        this.append(OLD, b);
        continue;
      }
      this.judge(b, nowUs);
      if (this.head[b] === NONE) {
        this.removeHead(fromNew);
        // An emptied new bucket passes through the old list once, or a flow of single packets would starve the rest (RFC 8290 §4.2).
        if (fromNew && this.oldHead !== NONE) this.append(OLD, b);
        else this.list[b] = IDLE;
        continue;
      }
      this.current = b;
      this.sparse = fromNew;
      return this.head[b];
    }
  }

  /** Takes the slot that `peek` has just returned out of the queue; the caller owns it. */
  take(): number {
    const slot = this.pop(this.current);
    this.deficit[this.current] -= this.pool.length[slot];
    return slot;
  }

  /** Frees everything. */
  clear(): void {
    for (let b = 0; b < BUCKETS; b++) {
      while (this.head[b] !== NONE) this.pool.give(this.pop(b));
    }
  }

  /** CoDel's dequeue, run on the head of a bucket until a packet stands there that may go (RFC 8289 §5.5). */
  private judge(b: number, nowUs: number): void {
    let late = this.isLate(b, nowUs);
    if (this.dropping[b] === 1) {
      if (!late) {
        this.dropping[b] = 0;
        return;
      }
      while (nowUs >= this.dropNextUs[b] && this.dropping[b] === 1) {
        this.dropCount[b]++;
        const dropped = this.punish(b);
        late = dropped ? this.isLate(b, nowUs) : late;
        if (!late) this.dropping[b] = 0;
        else this.dropNextUs[b] += INTERVAL_US / Math.sqrt(this.dropCount[b]);
        if (!dropped) return;
      }
    } else if (late) {
      this.punish(b);
      const recent = this.dropCount[b] - this.lastCount[b];
      this.dropCount[b] = recent > 1 && nowUs - this.dropNextUs[b] < 16 * INTERVAL_US ? recent : 1;
      this.lastCount[b] = this.dropCount[b];
      this.dropping[b] = 1;
      this.dropNextUs[b] = nowUs + INTERVAL_US / Math.sqrt(this.dropCount[b]);
    }
  }

  private isLate(b: number, nowUs: number): boolean {
    const slot = this.head[b];
    if (slot === NONE || this.backlog[b] <= MIN_BACKLOG_BYTES || nowUs - this.pool.queuedUs[slot] < this.targetUs) {
      this.firstAboveUs[b] = 0;
      return false;
    }
    if (this.firstAboveUs[b] === 0) {
      this.firstAboveUs[b] = nowUs + INTERVAL_US;
      return false;
    }
    return nowUs >= this.firstAboveUs[b];
  }

  /** Marks the head when its flow speaks ECN, else drops it. Returns whether it was dropped. */
  private punish(b: number): boolean {
    const slot = this.head[b];
    if (this.markCe(this.pool.packetAt(slot), this.pool.length[slot])) {
      this.markedByCodel++;
      return false;
    }
    this.pool.give(this.pop(b));
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
      for (let b = 1; b < BUCKETS; b++) if (this.backlog[b] > this.backlog[fattest]) fattest = b;
      let count = 0;
      for (let slot = this.head[fattest]; slot !== NONE; slot = pool.next[slot]) count++;
      // Half of a bucket at most, then the fattest is looked for again: equals lose equally.
      const tooMuch = Math.ceil((Math.max(0, this.bytes - bytes) * count) / this.backlog[fattest]);
      const cut = Math.min((count + 1) >> 1, Math.max(1, this.packets - packets, tooMuch));
      let last = NONE;
      let slot = this.head[fattest];
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

  private pop(b: number): number {
    const { pool } = this;
    const slot = this.head[b];
    this.head[b] = pool.next[slot];
    if (this.head[b] === NONE) this.tail[b] = NONE;
    pool.next[slot] = NONE;
    this.backlog[b] -= pool.length[slot];
    this.packets--;
    this.bytes -= pool.length[slot];
    return slot;
  }

  private append(list: number, b: number): void {
    this.list[b] = list;
    this.nextBucket[b] = NONE;
    if (list === NEW) {
      if (this.newHead === NONE) this.newHead = b;
      else this.nextBucket[this.newTail] = b;
      this.newTail = b;
    } else {
      if (this.oldHead === NONE) this.oldHead = b;
      else this.nextBucket[this.oldTail] = b;
      this.oldTail = b;
    }
  }

  private removeHead(fromNew: boolean): void {
    if (fromNew) {
      this.newHead = this.nextBucket[this.newHead];
      if (this.newHead === NONE) this.newTail = NONE;
    } else {
      this.oldHead = this.nextBucket[this.oldHead];
      if (this.oldHead === NONE) this.oldTail = NONE;
    }
  }
}

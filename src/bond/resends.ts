/**
 * Packets that a path lost and that wait to be sent again: those of sparse flows, then the others, oldest first; and those given up, of which the peer is told (SKIP).
 *
 *   Path ─ lost ─▶ offer ─▶ peek, take ─▶ sent again        cancelled (an acknowledgement came late after all) ─▶ slot free
 *                    └ too old, tried too often ─▶ abandon ─▶ takeSkip ─▶ SKIP frame
 */
import { seqAdd } from '../wire/header.ts';
import {
  FLAG_CANCELLED,
  FLAG_NUMBERED,
  FLAG_OVERFLOWN,
  FLAG_RESENDING,
  FLAG_SPARSE,
  NONE,
  type PacketPool,
} from './pool.ts';

/** A packet is sent at most so often, and not after so long. Source: docs/protocol.md §5. */
const MAX_TRIES = 4;
const RESEND_WITHIN_US = 700_000;
/** Runs of abandoned packets whose SKIP has not gone out yet; at the limit the peer's hold time does the same, later. */
const SKIPS = 32;

export class Resends {
  /** Packets waiting to be sent again. */
  length = 0;
  /** And their bytes. */
  bytes = 0;
  /** Packets given up since the start. */
  abandoned = 0;
  /** Runs of packets given up that the peer has not been told of. */
  skips = 0;
  /** What `takeSkip` took. */
  skippedBucket = 0;
  skippedSequence = 0;
  skippedCount = 0;

  private readonly pool: PacketPool;
  private head = NONE;
  private tail = NONE;
  private lastSparse = NONE;
  private readonly bucket = new Uint16Array(SKIPS);
  private readonly sequence = new Int32Array(SKIPS);
  private readonly count = new Uint16Array(SKIPS);

  constructor(pool: PacketPool) {
    this.pool = pool;
  }

  /** A packet that a path lost. Takes ownership of the slot. */
  offer(slot: number, pathId: number, packetNumber: number, nowUs: number): void {
    const { pool } = this;
    if (pool.tries[slot] >= MAX_TRIES || nowUs - pool.queuedUs[slot] > RESEND_WITHIN_US) {
      this.abandon(slot);
      return;
    }
    pool.flags[slot] |= FLAG_RESENDING;
    pool.originPath[slot] = pathId;
    pool.originNumber[slot] = packetNumber;
    const isSparse = (pool.flags[slot] & FLAG_SPARSE) !== 0;
    const before = isSparse ? this.lastSparse : this.tail;
    if (before === NONE) {
      pool.next[slot] = this.head;
      this.head = slot;
    } else {
      pool.next[slot] = pool.next[before];
      pool.next[before] = slot;
    }
    if (before === this.tail) this.tail = slot;
    if (isSparse) this.lastSparse = slot;
    this.length++;
    this.bytes += pool.length[slot];
  }

  /** The next to send, after what need not be sent again has been taken out; NONE if there is none. The slot stays the queue's. */
  peek(nowUs: number): number {
    const { pool } = this;
    while (this.head !== NONE) {
      const slot = this.head;
      const cancelled = (pool.flags[slot] & FLAG_CANCELLED) !== 0;
      if (!cancelled && nowUs - pool.queuedUs[slot] <= RESEND_WITHIN_US) return slot;
      this.take();
      if (cancelled) pool.give(slot);
      else this.abandon(slot);
    }
    return NONE;
  }

  /** Takes out what `peek` answered: the caller owns it. */
  take(): void {
    const { pool } = this;
    const slot = this.head;
    this.head = pool.next[slot];
    if (this.head === NONE) this.tail = NONE;
    if (this.lastSparse === slot) this.lastSparse = NONE;
    pool.next[slot] = NONE;
    pool.flags[slot] &= ~(FLAG_RESENDING | FLAG_CANCELLED | FLAG_OVERFLOWN);
    this.length--;
    this.bytes -= pool.length[slot];
  }

  /** Gives a packet up: its slot is freed, and its number, if it has one, is to be skipped. */
  abandon(slot: number): void {
    this.abandoned++;
    if ((this.pool.flags[slot] & FLAG_NUMBERED) !== 0) this.noteSkip(this.pool.bucket[slot], this.pool.sequence[slot]);
    this.pool.give(slot);
  }

  /** Numbers that the peer shall not wait for, into `skippedBucket`, `skippedSequence` and `skippedCount`; false if there are none. */
  takeSkip(): boolean {
    if (this.skips === 0) return false;
    this.skips--;
    this.skippedBucket = this.bucket[this.skips];
    this.skippedSequence = this.sequence[this.skips];
    this.skippedCount = this.count[this.skips];
    return true;
  }

  private noteSkip(bucket: number, sequence: number): void {
    const last = this.skips - 1;
    if (last >= 0 && this.bucket[last] === bucket && seqAdd(this.sequence[last], this.count[last]) === sequence) {
      this.count[last]++;
    } else if (this.skips < SKIPS) {
      this.bucket[this.skips] = bucket;
      this.sequence[this.skips] = sequence;
      this.count[this.skips] = 1;
      this.skips++;
    }
  }

  /** Frees every slot; nothing is to be skipped any more. */
  clear(): void {
    for (let slot = this.head; slot !== NONE; ) {
      const next = this.pool.next[slot];
      this.pool.give(slot);
      slot = next;
    }
    this.head = NONE;
    this.tail = NONE;
    this.lastSparse = NONE;
    this.length = 0;
    this.bytes = 0;
    this.skips = 0;
  }
}

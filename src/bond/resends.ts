/**
 * Packets that a path lost and that wait to be sent again, oldest first; and those given up, of which the peer is told (SKIP).
 *
 *   Path ─ lost ─▶ offer ─▶ peek, take ─▶ sent again        cancelled (an acknowledgement came late after all) ─▶ slot free
 *                    └ too old, tried too often ─▶ abandon ─▶ takeSkip ─▶ SKIP frame
 */
import { FLAG_CANCELLED, FLAG_NUMBERED, FLAG_RESENDING, NONE, type PacketPool } from './pool.ts';

/** A packet is sent at most so often, and not after so long. Source: docs/protocol.md §5. */
const MAX_TRIES = 4;
const RESEND_WITHIN_US = 400_000;
/** Abandoned packets whose SKIP has not gone out yet; at the limit the peer's hold time does the same, later. */
const SKIPS = 32;

export class Resends {
  /** Packets waiting to be sent again. */
  length = 0;
  /** And their bytes. */
  bytes = 0;
  /** Packets given up since the start. */
  abandoned = 0;
  /** Packets given up that the peer has not been told of. */
  skips = 0;
  /** What `takeSkip` took. */
  skippedBucket = 0;
  skippedSequence = 0;

  private readonly pool: PacketPool;
  private head = NONE;
  private tail = NONE;
  private readonly bucket = new Uint16Array(SKIPS);
  private readonly sequence = new Int32Array(SKIPS);

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
    pool.next[slot] = NONE;
    if (this.head === NONE) this.head = slot;
    else pool.next[this.tail] = slot;
    this.tail = slot;
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
    pool.next[slot] = NONE;
    pool.flags[slot] &= ~(FLAG_RESENDING | FLAG_CANCELLED);
    this.length--;
    this.bytes -= pool.length[slot];
  }

  /** Gives a packet up: its slot is freed, and its number, if it has one, is to be skipped. */
  abandon(slot: number): void {
    this.abandoned++;
    if ((this.pool.flags[slot] & FLAG_NUMBERED) !== 0 && this.skips < SKIPS) {
      this.bucket[this.skips] = this.pool.bucket[slot];
      this.sequence[this.skips] = this.pool.sequence[slot];
      this.skips++;
    }
    this.pool.give(slot);
  }

  /** One number that the peer shall not wait for, into `skippedBucket` and `skippedSequence`; false if there is none. */
  takeSkip(): boolean {
    if (this.skips === 0) return false;
    this.skips--;
    this.skippedBucket = this.bucket[this.skips];
    this.skippedSequence = this.sequence[this.skips];
    return true;
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
    this.length = 0;
    this.bytes = 0;
    this.skips = 0;
  }
}

/**
 * The reorder buffer: puts the packets of each bucket back into the order of their data sequence. Order is per flow: a gap in one
 * bucket holds nothing else. A held packet waits only while the missing one may still come (docs/protocol.md §5):
 *
 *   first later packet came ──▶ every up path has brought a later one ──▶ a resend would have come
 *           deadline: spread of the paths + resend time              deadline: resend time from here
 *
 * While a path that brought packets just now is silent, what it carried is being sent again over the others, or it comes back: 0.7 s is waited; and as
 * long as a resend takes when it has come back.
 */
import { seqDiff } from '../wire/header.ts';
import { NONE, type PacketPool } from './pool.ts';
import { BUCKETS } from './queue.ts';

/**
 * Most packets held for one peer, and never more than the pool has free, so that what some peers hold leaves slots for all, however many they are; at the
 * limit the bucket that has waited longest gives up its gap. Source: docs/protocol.md §9; Choudhury and Hahne, Dynamic Queue Length Thresholds.
 */
export const HELD_LIMIT = 4096;
/** What is waited for a silent path, from the gap's beginning. */
const PATIENCE_US = 700_000;
/** How many sequence numbers behind the expected one are remembered as skipped, so that a late packet is told from a repetition. */
const MEMORY = 128;
const SEQUENCE_MASK = 0xfffff;

/** Per-bucket reordering for one peer. Owns the slots it holds; `deliver` receives them in order. */
export class ReorderBuffer {
  held = 0;
  /** Packets that arrived after a later one of their bucket. */
  reordered = 0;
  duplicates = 0;
  /** Sequence numbers given up. */
  skipped = 0;
  /** Packets that came after they had been given up; delivered all the same. */
  late = 0;
  /** Extra time for the slowest path to bring what it carries, µs. */
  spreadUs = 20_000;
  /** Time a resend needs to be asked for and to arrive, µs. */
  resendUs = 50_000;
  /** Whether a path that brought packets just now is silent. */
  isPatient = false;
  /** When a path last brought a packet after it had been silent. */
  backUs = Number.NEGATIVE_INFINITY;
  /** Bit mask of the paths that are up. */
  upMask = 0;

  private readonly pool: PacketPool;
  private readonly deliver: (slot: number) => void;
  private readonly expected = new Int32Array(BUCKETS);
  private readonly head = new Int32Array(BUCKETS).fill(NONE);
  private readonly tail = new Int32Array(BUCKETS).fill(NONE);
  private readonly deadlineUs = new Float64Array(BUCKETS);
  private readonly openedUs = new Float64Array(BUCKETS);
  private readonly laterMask = new Uint8Array(BUCKETS);
  private readonly missing = new Uint32Array((BUCKETS * MEMORY) / 32);
  /** Buckets with a gap, in no order, and where each stands in that list. */
  private readonly gaps = new Int32Array(BUCKETS);
  private readonly gapIndex = new Int32Array(BUCKETS).fill(NONE);
  private gapCount = 0;
  private earliestUs = Number.POSITIVE_INFINITY;

  constructor(pool: PacketPool, deliver: (slot: number) => void) {
    this.pool = pool;
    this.deliver = deliver;
  }

  /** Takes ownership of a slot that came over `path` with its bucket and sequence set. */
  handle(slot: number, path: number, nowUs: number): void {
    const { pool } = this;
    const b = pool.bucket[slot];
    const ahead = seqDiff(pool.sequence[slot], this.expected[b]);
    if (ahead === 0) {
      this.pass(b, slot);
      if (this.head[b] !== NONE) {
        this.reordered++;
        this.drain(b, nowUs);
      }
      return;
    }
    if (ahead < 0) {
      this.handleLate(b, slot, ahead);
      return;
    }
    pool.queuedUs[slot] = nowUs;
    if (!this.insert(b, slot)) {
      this.duplicates++;
      pool.give(slot);
      return;
    }
    this.held++;
    if (this.gapIndex[b] === NONE) this.openGap(b, nowUs);
    this.laterMask[b] |= 1 << path;
    if ((this.upMask & ~this.laterMask[b]) === 0) this.hasten(b, nowUs + this.resendUs);
    if (this.held > HELD_LIMIT || this.held > pool.free) this.giveUpOldest(nowUs);
  }

  /** The peer says that `count` sequences from `first` on will not be sent again. */
  handleSkip(b: number, first: number, count: number, nowUs: number): void {
    // Only a gap at the head can be acted on; one further on is found again, and timed, when the head reaches it.
    if (b >= BUCKETS || this.gapIndex[b] === NONE) return;
    const ahead = seqDiff(first, this.expected[b]);
    const gap = seqDiff(this.pool.sequence[this.head[b]], this.expected[b]);
    if (ahead <= 0 && ahead + count >= gap) this.giveUp(b, nowUs);
  }

  /** When `handleTimeout` wants to be called; Infinity when nothing is held. */
  pollTimeout(): number {
    return this.earliestUs;
  }

  /** Gives up the gaps whose time is over. */
  handleTimeout(nowUs: number): void {
    if (nowUs < this.earliestUs) return;
    const isPatient = this.isPatient || nowUs - this.backUs < this.resendUs;
    for (let i = this.gapCount - 1; i >= 0; i--) {
      const b = this.gaps[i];
      const patientUs = this.openedUs[b] + PATIENCE_US;
      if (isPatient && this.deadlineUs[b] <= nowUs && nowUs < patientUs) {
        this.deadlineUs[b] = Math.min(patientUs, nowUs + this.resendUs);
      }
      while (this.gapIndex[b] !== NONE && this.deadlineUs[b] <= nowUs) this.giveUp(b, nowUs);
    }
    this.findEarliest();
  }

  /** Begins anew: the peer has a new association. Frees what is held. */
  reset(): void {
    for (let i = this.gapCount - 1; i >= 0; i--) {
      const b = this.gaps[i];
      for (let slot = this.head[b]; slot !== NONE; ) {
        const next = this.pool.next[slot];
        this.pool.give(slot);
        slot = next;
      }
      this.head[b] = NONE;
      this.tail[b] = NONE;
      this.gapIndex[b] = NONE;
    }
    this.gapCount = 0;
    this.held = 0;
    this.earliestUs = Number.POSITIVE_INFINITY;
    this.expected.fill(0);
    this.missing.fill(0);
  }

  private pass(b: number, slot: number): void {
    const seq = this.expected[b];
    this.missing[(b * MEMORY + (seq % MEMORY)) >> 5] &= ~(1 << (seq & 31));
    this.expected[b] = (seq + 1) & SEQUENCE_MASK;
    this.deliver(slot);
  }

  private handleLate(b: number, slot: number, ahead: number): void {
    const seq = this.pool.sequence[slot];
    const word = (b * MEMORY + (seq % MEMORY)) >> 5;
    const bit = 1 << (seq & 31);
    if (ahead >= -MEMORY && (this.missing[word] & bit) !== 0) {
      this.missing[word] &= ~bit;
      this.late++;
      this.deliver(slot);
    } else {
      this.duplicates++;
      this.pool.give(slot);
    }
  }

  /** Into the bucket's list by sequence. Returns false for a repetition. */
  private insert(b: number, slot: number): boolean {
    const { pool } = this;
    const seq = pool.sequence[slot];
    const tail = this.tail[b];
    pool.next[slot] = NONE;
    if (tail === NONE) {
      this.head[b] = slot;
      this.tail[b] = slot;
      return true;
    }
    if (seqDiff(seq, pool.sequence[tail]) > 0) {
      pool.next[tail] = slot;
      this.tail[b] = slot;
      return true;
    }
    let before = NONE;
    let at = this.head[b];
    while (at !== NONE) {
      const d = seqDiff(seq, pool.sequence[at]);
      if (d === 0) return false;
      if (d < 0) break;
      before = at;
      at = pool.next[at];
    }
    pool.next[slot] = at;
    if (before === NONE) this.head[b] = slot;
    else pool.next[before] = slot;
    return true;
  }

  /** Delivers from the head while it is the expected one; then closes the gap or times the next. */
  private drain(b: number, nowUs: number): void {
    const { pool } = this;
    let slot = this.head[b];
    while (slot !== NONE && pool.sequence[slot] === this.expected[b]) {
      this.head[b] = pool.next[slot];
      this.held--;
      this.pass(b, slot);
      slot = this.head[b];
    }
    this.laterMask[b] = 0;
    if (slot === NONE) {
      this.tail[b] = NONE;
      this.closeGap(b);
    } else {
      const sinceUs = Math.min(nowUs, pool.queuedUs[slot]);
      this.openedUs[b] = sinceUs;
      this.deadlineUs[b] = sinceUs + this.spreadUs + this.resendUs;
      this.hasten(b, this.deadlineUs[b]);
    }
  }

  private giveUp(b: number, nowUs: number): void {
    const to = this.pool.sequence[this.head[b]];
    const gap = seqDiff(to, this.expected[b]);
    this.skipped += gap;
    for (let i = Math.min(gap, MEMORY); i >= 1; i--) {
      const seq = (to - i) & SEQUENCE_MASK;
      this.missing[(b * MEMORY + (seq % MEMORY)) >> 5] |= 1 << (seq & 31);
    }
    this.expected[b] = to;
    this.drain(b, nowUs);
  }

  private giveUpOldest(nowUs: number): void {
    let oldest = this.gaps[0];
    for (let i = 1; i < this.gapCount; i++) {
      if (this.deadlineUs[this.gaps[i]] < this.deadlineUs[oldest]) oldest = this.gaps[i];
    }
    this.giveUp(oldest, nowUs);
  }

  private openGap(b: number, nowUs: number): void {
    const deadlineUs = nowUs + this.spreadUs + this.resendUs;
    this.openedUs[b] = nowUs;
    this.gapIndex[b] = this.gapCount;
    this.gaps[this.gapCount++] = b;
    this.laterMask[b] = 0;
    this.deadlineUs[b] = deadlineUs;
    if (deadlineUs < this.earliestUs) this.earliestUs = deadlineUs;
  }

  private hasten(b: number, deadlineUs: number): void {
    if (deadlineUs < this.deadlineUs[b]) this.deadlineUs[b] = deadlineUs;
    if (this.deadlineUs[b] < this.earliestUs) this.earliestUs = this.deadlineUs[b];
  }

  private closeGap(b: number): void {
    const i = this.gapIndex[b];
    if (i === NONE) return;
    const last = this.gaps[--this.gapCount];
    this.gaps[i] = last;
    this.gapIndex[last] = i;
    this.gapIndex[b] = NONE;
    if (this.gapCount === 0) this.earliestUs = Number.POSITIVE_INFINITY;
  }

  private findEarliest(): void {
    this.earliestUs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.gapCount; i++) this.earliestUs = Math.min(this.earliestUs, this.deadlineUs[this.gaps[i]]);
  }
}

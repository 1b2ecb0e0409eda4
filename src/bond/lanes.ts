/**
 * Lanes: a flow queue for each class of traffic, so that a class whose paths are full holds up no other. They take turns by the bytes that
 * they have sent (start-time fair queueing); a lane that was empty begins where the others are.
 *
 *   offer ─▶ class of the bucket ─▶ Lane (FlowQueue) ─▶ first, following: by bytes sent
 */
import { MAX_CLASSES, type Preferences } from '../wire/preferences.ts';
import { Briefs } from './brief.ts';
import { NONE, type PacketPool } from './pool.ts';
import { BUCKETS, FlowQueue } from './queue.ts';
import { Spread } from './spread.ts';

/** A lane whose own paths are full falls behind the others by so much at the most: on a path that it shares it would go before them for as long. */
const MOST_CREDIT_BYTES = 3028;
/** So long a path may be silent before what waits is judged without it; and so long afterwards a flow's first drop tells it of the rate that is gone. */
const GRACE_US = 500_000;
const THIN_US = 3_000_000;

/** One class's queue. */
export class Lane {
  readonly klass: number;
  readonly queue: FlowQueue;
  /** Outer bytes of data that left. */
  sentBytes = 0;
  /** Its turn: bytes sent, counted from where the others were. */
  served = 0;

  constructor(klass: number, queue: FlowQueue) {
    this.klass = klass;
    this.queue = queue;
  }
}

export class Lanes {
  /** By class; grows when a class is used for the first time. */
  readonly all: Lane[] = [];
  readonly spread: Spread;

  private readonly pool: PacketPool;
  private readonly said: Preferences;
  private readonly limitPackets: number;
  private readonly markCe: (offset: number, length: number) => boolean;
  /** A bucket has one order, whichever lane it waits in. */
  private readonly sequences = new Int32Array(BUCKETS);
  readonly briefs = new Briefs(BUCKETS);
  private now = 0;
  private tried = 0;

  constructor(
    pool: PacketPool,
    said: Preferences,
    limitPackets: number,
    markCe: (offset: number, length: number) => boolean,
  ) {
    this.pool = pool;
    this.spread = new Spread(pool);
    this.said = said;
    this.limitPackets = limitPackets;
    this.markCe = markCe;
    this.setClasses(1);
  }

  /** There are so many classes from now on. Lanes of classes that are gone stay until they are empty, and are never many. */
  setClasses(count: number): void {
    while (this.all.length < Math.min(count, MAX_CLASSES)) {
      const queue = new FlowQueue(this.pool, this.limitPackets, this.markCe, this.sequences, this.briefs);
      this.all.push(new Lane(this.all.length, queue));
    }
  }

  /** The lane of a packet by its bucket. */
  of(bucket: number): Lane {
    return this.all.length === 1 ? this.all[0] : this.all[this.said.classOf(bucket)];
  }

  /** Takes ownership of a slot whose bucket and length are set. */
  offer(slot: number, nowUs: number): void {
    this.spread.noteOffered(this.pool.bucket[slot], this.pool.length[slot], nowUs);
    if (this.all.length === 1) {
      this.all[0].queue.offer(slot, nowUs);
      return;
    }
    const lane = this.of(this.pool.bucket[slot]);
    if (lane.queue.packets === 0 && lane.served < this.now) lane.served = this.now;
    lane.queue.offer(slot, nowUs);
  }

  /** The lane whose turn it is among those that have something; undefined when there is none. */
  first(): Lane | undefined {
    this.tried = 0;
    return this.following();
  }

  /** The next one after those that were asked since `first`. */
  following(): Lane | undefined {
    let best: Lane | undefined;
    for (const lane of this.all) {
      if ((this.tried & (1 << lane.klass)) !== 0 || lane.queue.packets === 0) continue;
      if (best === undefined || lane.served < best.served) best = lane;
    }
    if (best !== undefined) this.tried |= 1 << best.klass;
    return best;
  }

  /** The packet of a lane that is next, as its queue says it, once one that is to be kept back for a while has been; or NONE. */
  peek({ queue }: Lane, isBulkOnly: boolean, nowUs: number): number {
    const slot = queue.peek(nowUs, isBulkOnly);
    if (slot === NONE || !this.spread.isHoldDue(this.pool.bucket[slot], nowUs)) return slot;
    this.spread.hold(queue.take(), queue.currentBytes, nowUs);
    return queue.peek(nowUs, isBulkOnly);
  }

  /** A lane has sent so much. */
  noteSent(lane: Lane, sizeBytes: number): void {
    if (lane.served > this.now) this.now = lane.served;
    lane.sentBytes += sizeBytes;
    lane.served = Math.max(lane.served, this.now - MOST_CREDIT_BYTES) + sizeBytes;
  }

  get packets(): number {
    return this.sum((queue) => queue.packets);
  }

  get bytes(): number {
    return this.sum((queue) => queue.bytes);
  }

  get droppedByCodel(): number {
    return this.sum((queue) => queue.droppedByCodel);
  }

  get droppedByLimit(): number {
    return this.sum((queue) => queue.droppedByLimit);
  }

  /** A path carries nothing any more. `isSilent`: most such are back soon, so that nothing is dropped for waiting too long for a while. */
  noteGone(isSilent: boolean, nowUs: number): void {
    for (const { queue } of this.all) {
      if (isSilent) queue.graceUntilUs = nowUs + GRACE_US;
      queue.thinUntilUs = nowUs + GRACE_US + THIN_US;
    }
  }

  /** One is up. */
  noteUp(): void {
    for (const { queue } of this.all) queue.thinUntilUs = 0;
  }

  /** The peer knows of no number any more. */
  restart(): void {
    for (const { queue } of this.all) queue.restart();
  }

  /** Frees everything. */
  clear(): void {
    for (const { queue } of this.all) queue.clear();
  }

  private sum(of: (queue: FlowQueue) => number): number {
    let n = 0;
    for (const { queue } of this.all) n += of(queue);
    return n;
  }
}

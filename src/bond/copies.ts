/**
 * Second copies of packets of mode redundant that wait for their path (docs/protocol.md §11.3). A packet in two hands has FLAG_TWICE: the one that
 * is done with it first takes the flag away, the other one owns the slot. FLAG_ARRIVED: an acknowledgement came for the other copy.
 */
import type { Path } from './path.ts';
import { FLAG_ARRIVED, FLAG_TWICE, type PacketPool } from './pool.ts';
import { mayBeLate } from './scheduler.ts';

/** Longest wait for the second path. Source: docs/protocol.md §11.3. */
const WAIT_US = 20_000;

/** Copies of one run at the most. Owns its half of each slot. */
export class Copies {
  /** Where they go; undefined: nothing waits. */
  path: Path | undefined;
  /** Copies that were not sent, because their path had no room for them in time. */
  dropped = 0;
  readonly slots: Int32Array;
  count = 0;
  /** Those before it have been sent. */
  sent = 0;

  private readonly pool: PacketPool;
  private sinceUs = 0;

  constructor(pool: PacketPool, limit: number) {
    this.pool = pool;
    this.slots = new Int32Array(limit);
  }

  /** The copies of the run that is about to be made go by this path. */
  begin(path: Path | undefined, nowUs: number): void {
    this.path = path;
    this.count = 0;
    this.sent = 0;
    this.sinceUs = nowUs;
  }

  /** Takes a share in a slot. */
  add(slot: number): void {
    this.pool.flags[slot] |= FLAG_TWICE;
    this.slots[this.count++] = slot;
  }

  /** The next copy that is still of use, or −1: those that have arrived meanwhile are let go. */
  peek(): number {
    while (this.sent < this.count) {
      const slot = this.slots[this.sent];
      if ((this.pool.flags[slot] & FLAG_ARRIVED) === 0) return slot;
      this.sent++;
      this.pool.give(slot);
    }
    this.path = undefined;
    return -1;
  }

  /** Whether the path can take them no more, or has not for too long: then they are let go. */
  isVain(nowUs: number): boolean {
    const { path } = this;
    return path === undefined || !(path.isUp || mayBeLate(path)) || nowUs - this.sinceUs > WAIT_US;
  }

  /** When they are let go at the latest. */
  get untilUs(): number {
    return this.sinceUs + WAIT_US + 1;
  }

  /** Lets go of what is left. Returns through `lost` the slots that nobody else holds any more and that have not arrived. */
  clear(lost: (slot: number) => void): void {
    const { pool } = this;
    for (; this.sent < this.count; this.sent++) {
      const slot = this.slots[this.sent];
      this.dropped++;
      if (!pool.letGoShared(slot)) lost(slot);
    }
    this.path = undefined;
  }
}

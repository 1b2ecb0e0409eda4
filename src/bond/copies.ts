/**
 * Second copies of packets that wait for their path: all of mode redundant (docs/protocol.md §11.3), and those of brief flows while the first path is unsure (§7).
 * A packet in two hands has FLAG_TWICE: the one that is done with it first takes the flag away, the other one owns the slot. FLAG_ARRIVED: an acknowledgement
 * came for the other copy.
 */
import { MAX_PATHS } from '../wire/header.ts';
import { ALL_PATHS } from '../wire/preferences.ts';
import type { Path } from './path.ts';
import { FLAG_ARRIVED, FLAG_TWICE, type PacketPool } from './pool.ts';
import { mayBeLate, type Paths, SMALL_AHEAD_US, SMALL_BYTES, secondPath } from './scheduler.ts';

/** Longest wait for the second path. Source: docs/protocol.md §11.3. */
const WAIT_US = 20_000;
/** Copies of brief flows take no more of a path than this, and nothing of one below 2 Mbit/s: a call alone would take more. */
const BRIEF_SHARE = 0.05;
const MOST_CREDIT_BYTES = 3_000;
const LEAST_CAPACITY = 0.25;

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
  /** How far ahead of pacing they may go. */
  aheadUs = 0;

  private readonly pool: PacketPool;
  private sinceUs = 0;
  /** What each path may still carry of copies of brief flows. Units: bytes. */
  private readonly credit = new Float64Array(MAX_PATHS);
  private readonly creditUs = new Float64Array(MAX_PATHS);

  constructor(pool: PacketPool, limit: number) {
    this.pool = pool;
    this.slots = new Int32Array(limit);
  }

  /** The copies of the run that is about to be made go by this path. */
  begin(path: Path | undefined, nowUs: number): void {
    this.path = path;
    this.aheadUs = 0;
    this.count = 0;
    this.sent = 0;
    this.sinceUs = nowUs;
  }

  /** Packets of a brief flow are about to leave by `first`, where they may be late: copies go by another path, if there are none yet and it has something left for them. */
  beginBrief(paths: Paths, first: Path, sizeBytes: number, nowUs: number): void {
    if (this.path !== undefined || sizeBytes >= SMALL_BYTES || !first.rate.isUnsure(nowUs)) return;
    const path = secondPath(paths, 0, ALL_PATHS, first, sizeBytes, nowUs);
    if (!path?.hasRoom() || path.rate.capacity < LEAST_CAPACITY) return;
    const { id, rate } = path;
    const grown = (nowUs - this.creditUs[id]) * BRIEF_SHARE * rate.capacity;
    this.credit[id] = Math.min(MOST_CREDIT_BYTES, this.credit[id] + grown);
    this.creditUs[id] = nowUs;
    if (this.credit[id] <= 0) return;
    this.begin(path, nowUs);
    this.aheadUs = SMALL_AHEAD_US;
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

  /** So many bytes of copies have left by this path; when it was the last, nothing waits. */
  noteSent(path: Path, sizeBytes: number): void {
    this.credit[path.id] -= sizeBytes;
    if (this.sent === this.count) this.path = undefined;
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

/**
 * Dear paths carry only what the cheap ones cannot (docs/protocol.md §11.3): which costs are open to a class of traffic.
 *
 *   cheapest ──▶ a queue stands for 100 ms ──▶ the next cost joins ──▶ … ──▶ for 2 s less was sent than the cheaper carry ──▶ it leaves
 */
import { MAX_PATHS } from '../wire/header.ts';
import type { Paths } from './scheduler.ts';

/** So much waiting, as time at the rate of the paths that are open, is a queue; standing for so long it is too much for them. */
const CROWDED_QUEUE_US = 10_000;
const CROWDED_FOR_US = 100_000;
/** A path whose capacity is still being sought is given so long before others join. */
const SEEK_US = 1_000_000;
/** A dear path takes nothing while less than this waits. */
const LEAST_QUEUE_US = 5_000;
/** The dearest leave when in a window of this length less than this share of the others' capacity was sent. */
const WINDOW_US = 2_000_000;
const ENOUGH = 0.9;

export class Spill {
  /** Costs among the paths that carry; 1: there is nothing to decide. */
  levels = 1;
  /** The highest level in use, 0 the cheapest. */
  open = 0;
  /** Bit masks of the paths, each level's with the cheaper ones. */
  readonly masks = new Uint8Array(MAX_PATHS);

  private readonly costs = new Uint8Array(MAX_PATHS);
  private crowdedSinceUs = Number.NaN;
  private windowUs = 0;
  private windowBytes = 0;

  /** The paths that carry, and what each costs. Levels that stay keep their state. */
  set(carriers: number, cost: Uint8Array): void {
    let levels = 0;
    let mask = 0;
    for (let last = -1; mask !== carriers; levels++) {
      let next = 256;
      for (let i = 0; i < MAX_PATHS; i++) {
        if ((carriers & (1 << i)) !== 0 && cost[i] > last && cost[i] < next) next = cost[i];
      }
      for (let i = 0; i < MAX_PATHS; i++) if ((carriers & (1 << i)) !== 0 && cost[i] === next) mask |= 1 << i;
      this.masks[levels] = mask;
      this.costs[levels] = next;
      last = next;
    }
    this.levels = Math.max(1, levels);
    if (levels === 0) this.masks[0] = 0;
    if (this.open >= this.levels) this.open = this.levels - 1;
  }

  /** The paths that may be used at all now. */
  get openMask(): number {
    return this.masks[this.open];
  }

  /** The highest level that may take what waits; opens and closes levels. `sentBytes`: all that the class has sent so far. True in `changed` when they did. */
  level(paths: Paths, queuedBytes: number, sentBytes: number, nowUs: number): number {
    this.review(paths, queuedBytes, sentBytes, nowUs);
    if (this.open === 0 || queuedBytes < LEAST_QUEUE_US * capacityOf(paths, this.masks[this.open - 1])) return 0;
    return this.open;
  }

  private review(paths: Paths, queuedBytes: number, sentBytes: number, nowUs: number): void {
    if (nowUs - this.windowUs >= WINDOW_US) {
      const rate = (sentBytes - this.windowBytes) / (nowUs - this.windowUs);
      if (this.open > 0 && rate < ENOUGH * capacityOf(paths, this.masks[this.open - 1])) this.open--;
      this.windowUs = nowUs;
      this.windowBytes = sentBytes;
    }
    if (this.open === this.levels - 1 || queuedBytes < CROWDED_QUEUE_US * capacityOf(paths, this.openMask)) {
      this.crowdedSinceUs = Number.NaN;
      return;
    }
    if (Number.isNaN(this.crowdedSinceUs)) this.crowdedSinceUs = nowUs;
    const forUs = isSeeking(paths, this.openMask) ? SEEK_US : CROWDED_FOR_US;
    if (nowUs - this.crowdedSinceUs < forUs) return;
    this.open++;
    this.crowdedSinceUs = Number.NaN;
    this.windowUs = nowUs;
    this.windowBytes = sentBytes;
  }
}

/** What these paths carry together. Units: bytes/µs. */
function capacityOf(paths: Paths, mask: number): number {
  let sum = 0;
  for (let i = 0; i < MAX_PATHS; i++) {
    const p = paths[i];
    if (p !== undefined && (mask & (1 << i)) !== 0) sum += p.rate.capacity;
  }
  return sum;
}

function isSeeking(paths: Paths, mask: number): boolean {
  for (let i = 0; i < MAX_PATHS; i++) {
    const p = paths[i];
    if (p !== undefined && (mask & (1 << i)) !== 0 && !p.rate.settled) return true;
  }
  return false;
}

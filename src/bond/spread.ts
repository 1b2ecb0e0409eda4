/**
 * A bulk flow that makes no queue (BBR), spread over paths of unequal delay (docs/protocol.md §7).
 *
 * Such a flow keeps under way what its own idea of the round trip asks for: the near path's, so that earliest arrival never comes to a far
 * one. But its window opens when acknowledgements come in bursts. So now and then one packet of it is kept back for a moment: what is
 * behind it waits at the other end and is delivered at once. A flow whose window grows by that goes over several paths, the farthest first;
 * one whose window does not (CUBIC's, or the receiver's) is left alone for a while.
 *
 *   watch ─ near paths full, a farther one idle ─▶ knock: keep packets back ─ window long enough for the farther one ─▶ spread
 *     ▲◀─────────── window did not grow ──────────────┘                                                                  │
 *     └◀─────────── the flow pauses, the paths are gone, or less is carried than before ────────────────────────────────┘
 */
import { MAX_PATHS } from '../wire/header.ts';
import type { Path } from './path.ts';
import { NONE, type PacketPool } from './pool.ts';
import { type Choice, mayCarry, type Paths } from './scheduler.ts';
import { LEAST_GUESS } from './train.ts';

const LOOK_US = 200_000;
/** So many looks in a row must find a farther path idle. */
const IDLE_LOOKS = 4;
/** And so many all paths in use full, before another one is taken in. */
const FULL_LOOKS = 2;
/** Of what the host sends: a flow with less than this share is not the one that matters. */
const MAIN_SHARE = 0.7;
/** Of its rate: what a full path carries at least, and an idle one at most. */
const FULL_SHARE = 0.85;
const IDLE_SHARE = 0.5;
/** Delays that differ by less than this part of the near round trip need no larger window: two round trips' worth are enough. */
const LEAST_SPREAD_ROUNDS = 0.6;
/** How long a packet is kept back: by no more than this, as time at its rate, do bursts open BBR's window. Source: bbr_extra_acked_max_us of Linux. */
const MOST_HOLD_US = 100_000;
/** A window that falls short of the far path by this, or is shorter than the hold by no more than `JUST_US`, is taken for enough or not. */
const MARGIN_US = 25_000;
const JUST_US = 3_000;
/** What a burst has opened stays open for five rounds at least. Source: bbr_extra_acked_win_rtts of Linux. */
const HOLD_ROUNDS = 5;
const KNOCK_APART_US = 60_000;
const MOST_KNOCKS = 10;
/** After so many the window must have grown by this, and be longer than the round trip by that: else it is another kind of flow. */
const JUDGED_KNOCKS = 2;
const GROWN = 1.2;
const LONGER = 1.3;
/** One that was open before shows by this. */
const FAR_LONGER = 2;
/**
 * BBR looks for the shortest round trip every 10 s, with next to nothing under way for 0.2 s and a round trip: after a look with less than this share of
 * its rate it knows the farthest path's. While it then sends so much of what the paths carry, its window needs no help; that would only hide from it
 * that no more passes (while a packet is kept back, all seems to arrive at once).
 */
const DIP_SHARE = 0.4;
const LEARNT_SHARE = 0.7;
/** A flow that sends nothing for so long has paused. */
const PAUSE_US = 500_000;
/** It is given this time to fill the paths; then it must carry this share of what it did before. */
const GRACE_US = 2_000_000;
const KEPT_SHARE = 0.8;
const BACKOFF_US = 10_000_000;
const MOST_BACKOFF_US = 160_000_000;
/** A path that is known to add less than this to what the others carry is not worth the longer round trip, nor the pauses while a packet is kept back. */
const WORTH_SHARE = 1 / 5;
/** Paths that are known to carry no more than this beside what the flow had before are not, either; a tenth of it is headers of our own. */
const VAIN_SHARE = 1.15;
/** A part of what the other end holds at most (`HELD_LIMIT` packets). */
const MOST_HELD_BYTES = 2_500_000;
/**
 * A path whose rate is not known yet gets this much more than what it is known to carry, if the others have room for the rest: what the flow sends
 * more to find out what there is would end in that path's queue.
 */
const SEARCH_GAIN = 1.25;
const SEARCH_BURST_US = 2_000;
/** So long a path takes for its own packets counts as its delay: two full ones. */
const SERIAL_BYTES = 3_000;

export class Spread {
  state: 'watch' | 'knock' | 'spread' = 'watch';
  /** The flow that sends most, or NONE. */
  bucket = NONE;
  /** When the packet that is kept back leaves; infinite when there is none. */
  wakeUs = Number.POSITIVE_INFINITY;

  private readonly pool: PacketPool;
  private parked = NONE;
  private waitedUs = 0;
  private lookedUs = 0;
  /** Of the host, since the last look: bytes in all, of the flow, and for the next one to be watched (Boyer and Moore's vote). */
  private offeredAll = 0;
  private offered = 0;
  private candidate = NONE;
  private votes = 0;
  private lastOfferedUs = 0;
  /** Bytes of the flow ever, and when the packet that is kept back came from the host. */
  private total = 0;
  private totalThen = 0;
  /** By path: bytes sent until the last look, its share of its rate since, and when one that is being searched may be given more. */
  private readonly txBytes = new Float64Array(MAX_PATHS);
  private readonly share = new Float64Array(MAX_PATHS);
  private readonly creditUs = new Float64Array(MAX_PATHS);
  /** The paths in use: a bit mask, how much later the farthest is than the nearest, that one's round trip, and the longest. */
  private mask = 0;
  private spreadUs = 0;
  private nearUs = 0;
  private farUs = 0;
  private looks = 0;
  /** Bytes per µs of the flow: before it was touched, and as a mean since. */
  private rateBefore = 0;
  private rate = 0;
  private sinceUs = 0;
  private nextHoldUs = 0;
  /** It has looked for the shortest round trip, and its window needs no more help. */
  private hasDipped = false;
  private isLearnt = false;
  private knocks = 0;
  private firstWindowUs = 0;
  private bestWindowUs = 0;
  private quietUntilUs = 0;
  private backoffUs = BACKOFF_US;

  constructor(pool: PacketPool) {
    this.pool = pool;
  }

  /** A packet of the host for the peer. */
  noteOffered(bucket: number, bytes: number, nowUs: number): void {
    this.offeredAll += bytes;
    if (bucket === this.bucket) {
      this.offered += bytes;
      this.total += bytes;
      this.lastOfferedUs = nowUs;
    } else if (bucket === this.candidate) this.votes += bytes;
    else if (this.votes >= bytes) this.votes -= bytes;
    else {
      this.candidate = bucket;
      this.votes = bytes;
    }
  }

  /** Five times a second: looks at what went over the paths of `carriers`, and decides. */
  look(paths: Paths, carriers: number, nowUs: number): void {
    const elapsedUs = nowUs - this.lookedUs;
    if (elapsedUs < LOOK_US) return;
    this.lookedUs = nowUs;
    const rate = this.offered / elapsedUs;
    const isMain = this.offered > MAIN_SHARE * this.offeredAll;
    const near = this.survey(paths, carriers, elapsedUs);
    // Nobody asked for a while: nothing was sent.
    const isStale = elapsedUs > 2 * LOOK_US;
    if (this.state === 'watch') {
      const isWorth = !isStale && isMain && nowUs >= this.quietUntilUs && this.isFarIdle(paths, carriers, near);
      if (!isWorth) this.looks = 0;
      else {
        this.rateBefore = this.looks === 0 ? rate : (this.rateBefore + rate) / 2;
        if (++this.looks >= IDLE_LOOKS) this.knock(nowUs);
      }
      if (!isMain && this.votes > 0 && this.parked === NONE) {
        this.bucket = this.candidate;
        this.backoffUs = BACKOFF_US;
      }
    } else {
      this.rate += (rate - this.rate) / 8;
      const isAlone = this.isAlone;
      const isOver = isAlone && !(this.state === 'spread' && this.isFarLeft(near));
      if (isStale || isOver || nowUs - this.lastOfferedUs > PAUSE_US) this.stop();
      else if (this.state === 'spread') {
        const isLess = nowUs - this.sinceUs > GRACE_US && this.rate < KEPT_SHARE * this.rateBefore;
        if (!isAlone && (isLess || this.isVain(paths))) this.giveUp(nowUs);
        else if (!isAlone && near !== undefined) this.widen(paths, carriers, near);
        this.hasDipped ||= rate < DIP_SHARE * this.rate;
        this.isLearnt = this.hasDipped && Math.max(rate, this.rate) > LEARNT_SHARE * this.capacityOf(paths);
        if (isAlone) this.beginAlone(rate, near, nowUs);
      }
    }
    this.offered = 0;
    this.offeredAll = 0;
    this.votes = 0;
  }

  /** The flow is one as any other from now on. What is kept back leaves in its time. */
  stop(): void {
    this.state = 'watch';
    this.looks = 0;
  }

  /** The association begins anew: frees what is kept back. */
  reset(): void {
    if (this.parked !== NONE) this.pool.give(this.parked);
    this.parked = NONE;
    this.wakeUs = Number.POSITIVE_INFINITY;
    this.stop();
  }

  /** Whether the packet of this flow that is about to leave is to be kept back. */
  isHoldDue(bucket: number, nowUs: number): boolean {
    return (
      this.state !== 'watch' &&
      bucket === this.bucket &&
      nowUs >= this.nextHoldUs &&
      !this.isLearnt &&
      this.parked === NONE
    );
  }

  /** Keeps back a packet that has its number; `behindBytes` of its flow wait behind it. Takes ownership of the slot. */
  hold(slot: number, behindBytes: number, nowUs: number): void {
    this.parked = slot;
    this.waitedUs = nowUs - this.pool.queuedUs[slot];
    this.totalThen = this.total - behindBytes;
    // Over several paths nothing arrives sooner than the farthest brings it, anyway.
    this.wakeUs = nowUs + this.holdUs + (this.state === 'spread' && !this.isAlone ? this.spreadUs : 0);
  }

  /** The packet that was kept back and leaves now, the caller's from here on, or NONE. */
  release(nowUs: number): number {
    if (nowUs < this.wakeUs) return NONE;
    const slot = this.parked;
    this.parked = NONE;
    this.wakeUs = Number.POSITIVE_INFINITY;
    this.pool.queuedUs[slot] = nowUs;
    if (this.state !== 'watch') this.judge(nowUs);
    return slot;
  }

  /** Whether `choose` names the path for the packets of this flow. */
  takes(bucket: number): boolean {
    return this.state === 'spread' && bucket === this.bucket;
  }

  /**
   * The farthest path that may send now: a packet that goes by a nearer one waits for it at the other end in any case. Also a few packets go that
   * way, or the flow would see the near one's round trip when it looks for the shortest.
   */
  choose(paths: Paths, carriers: number, sizeBytes: number, nowUs: number, out: Choice): void {
    out.path = undefined;
    out.depthBytes = 0;
    out.wakeUs = Number.POSITIVE_INFINITY;
    let searched: Path | undefined;
    for (let i = 0; i < paths.length; i++) {
      const p = paths[i];
      if (p === undefined || (this.mask & carriers & (1 << i)) === 0 || !mayCarry(p, sizeBytes)) continue;
      if (p.nextSendUs > nowUs) out.wakeUs = Math.min(out.wakeUs, p.nextSendUs);
      else if (!p.rate.settled && this.creditUs[i] > nowUs) searched = p;
      else if (out.path === undefined || p.rate.leastUs > out.path.rate.leastUs) out.path = p;
    }
    out.path ??= searched;
    if (out.path === undefined || out.path.rate.settled) return;
    const { id, rate } = out.path;
    this.creditUs[id] =
      Math.max(this.creditUs[id], nowUs - SEARCH_BURST_US) + sizeBytes / (SEARCH_GAIN * rate.capacity);
  }

  /** The last of the rounds in which a window stays open begins a hold that opens it again. */
  private get periodUs(): number {
    return HOLD_ROUNDS * (this.nearUs + this.spreadUs);
  }

  /** As long as it takes to open the window; the other end gives a gap up after a round trip of the farthest path. */
  private get holdUs(): number {
    return Math.min(MOST_HOLD_US, this.farUs);
  }

  /** Notes the paths' shares. Returns the nearest that carries. */
  private survey(paths: Paths, carriers: number, elapsedUs: number): Path | undefined {
    let near: Path | undefined;
    for (const p of paths) {
      if (p === undefined) continue;
      // One that is still searched for its rate is not full, whatever it carries.
      this.share[p.id] = (p.txBytes - this.txBytes[p.id]) / (Math.max(p.rate.capacity, p.rate.pacing) * elapsedUs);
      this.txBytes[p.id] = p.txBytes;
      if (!p.isUp || (carriers & (1 << p.id)) === 0) this.mask &= ~(1 << p.id);
      else if (near === undefined || p.rate.leastUs < near.rate.leastUs) near = p;
    }
    return near;
  }

  /** Whether the nearest path is full and a farther one idle; then what is nearer than that one, and that one, are the paths to be used. */
  private isFarIdle(paths: Paths, carriers: number, near: Path | undefined): boolean {
    if (near === undefined || !this.isFull(near)) return false;
    this.nearUs = near.minRttUs;
    this.mask = 1 << near.id;
    this.spreadUs = 0;
    this.farUs = near.srttUs;
    for (;;) {
      const next = this.nextPath(paths, carriers, near);
      if (next === undefined) return false;
      this.takeIn(next, near);
      if (this.spreadUs > LEAST_SPREAD_ROUNDS * this.nearUs && this.share[next.id] < IDLE_SHARE) return true;
    }
  }

  /** What the flow carried says nothing any more; it is helped where it does not fill the path that is left. */
  private beginAlone(rate: number, near: Path | undefined, nowUs: number): void {
    this.rate = rate;
    this.sinceUs = nowUs;
    this.hasDipped = false;
    this.isLearnt = near === undefined || this.isFull(near);
  }

  private get isAlone(): boolean {
    return (this.mask & (this.mask - 1)) === 0;
  }

  /**
   * Whether the nearer paths are gone, and the one that is left is so far that the flow does not fill it by itself: it knows their round trip for 10 s more.
   * When a nearer one is back, the flow fills that sooner without help.
   */
  private isFarLeft(near: Path | undefined): boolean {
    return near !== undefined && this.mask === 1 << near.id && near.minRttUs > 2 * this.nearUs;
  }

  /** A farther path is taken in when those that are used are full. */
  private widen(paths: Paths, carriers: number, near: Path): void {
    for (const p of paths) {
      if (p !== undefined && (this.mask & (1 << p.id)) !== 0 && !this.isFull(p)) {
        this.looks = 0;
        return;
      }
    }
    if (++this.looks < FULL_LOOKS) return;
    this.looks = 0;
    const next = this.nextPath(paths, carriers, near);
    if (next !== undefined) this.takeIn(next, near);
  }

  private isFull(path: Path): boolean {
    return path.rate.settled && this.share[path.id] > FULL_SHARE;
  }

  /** Whether the paths in use are known by now to carry hardly more than the flow did before. */
  private isVain(paths: Paths): boolean {
    for (const p of paths) if (p !== undefined && (this.mask & (1 << p.id)) !== 0 && !p.rate.settled) return false;
    return this.capacityOf(paths) < VAIN_SHARE * this.rateBefore;
  }

  /** Of the paths in use. */
  private capacityOf(paths: Paths): number {
    let capacity = 0;
    for (const p of paths) if (p !== undefined && (this.mask & (1 << p.id)) !== 0) capacity += p.rate.capacity;
    return capacity;
  }

  private takeIn(path: Path, near: Path): void {
    this.mask |= 1 << path.id;
    this.spreadUs = Math.max(this.spreadUs, laterUs(path, near));
    this.farUs = Math.max(this.farUs, path.srttUs);
  }

  /** The nearest path that is not used yet, if a window can be opened so far and the other end can hold as much. */
  private nextPath(paths: Paths, carriers: number, near: Path): Path | undefined {
    const capacity = this.capacityOf(paths);
    let best: Path | undefined;
    let bestUs = this.nearUs + MOST_HOLD_US - MARGIN_US;
    for (const p of paths) {
      if (p === undefined || !p.isUp || (carriers & ~this.mask & (1 << p.id)) === 0) continue;
      const isKnown = p.rate.settled || p.rate.capacity < LEAST_GUESS;
      if (isKnown && p.rate.capacity < WORTH_SHARE * capacity) continue;
      const later = laterUs(p, near);
      if (later > bestUs) continue;
      best = p;
      bestUs = later;
    }
    if (best === undefined || (capacity + best.rate.capacity) * bestUs > MOST_HELD_BYTES) return undefined;
    return best;
  }

  private knock(nowUs: number): void {
    this.state = 'knock';
    this.knocks = 0;
    this.bestWindowUs = 0;
    this.rate = this.rateBefore;
    this.nextHoldUs = nowUs;
  }

  private giveUp(nowUs: number): void {
    this.quietUntilUs = nowUs + this.backoffUs;
    this.backoffUs = Math.min(2 * this.backoffUs, MOST_BACKOFF_US);
    this.stop();
  }

  /** The flow's window: what it sent behind the packet that was kept back, at its rate. */
  private judge(nowUs: number): void {
    if (this.state === 'knock') this.judgeKnock((this.total - this.totalThen) / this.rateBefore, nowUs);
    else this.nextHoldUs = nowUs + this.periodUs;
  }

  private judgeKnock(windowUs: number, nowUs: number): void {
    if (this.knocks++ === 0) this.firstWindowUs = windowUs;
    this.bestWindowUs = Math.max(this.bestWindowUs, windowUs);
    const isEnough = windowUs >= Math.min(this.nearUs + this.spreadUs, this.holdUs - JUST_US);
    // A flow that fills what it is given has its round trip's worth under way, and no more; it comes to the far path by its queue.
    const hasGrown = this.bestWindowUs >= GROWN * this.firstWindowUs;
    if (isEnough && windowUs > (hasGrown ? LONGER : FAR_LONGER) * (this.nearUs + this.waitedUs)) {
      this.state = 'spread';
      this.sinceUs = nowUs;
      this.looks = 0;
      this.hasDipped = false;
      this.isLearnt = false;
      this.nextHoldUs = nowUs + this.periodUs;
      return;
    }
    if (this.knocks >= MOST_KNOCKS || (this.knocks >= JUDGED_KNOCKS && !hasGrown)) this.giveUp(nowUs);
    else this.nextHoldUs = nowUs + KNOCK_APART_US;
  }
}

/** By how much a full packet is later over one path than over another. */
function laterUs(path: Path, near: Path): number {
  const { rate } = path;
  const byAcks = Math.max(rate.leastUs - near.rate.leastUs, rate.delayUs - near.rate.delayUs);
  return Math.max(byAcks, (path.srttUs - near.srttUs) / 2) + SERIAL_BYTES / rate.capacity;
}

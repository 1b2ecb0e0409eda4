/**
 * One direction of an emulated link, as a calculation: a packet is offered, its time of delivery is the answer.
 *
 *     offer ─▶ cut? too large? ─▶ queue with a limit ─▶ rate or trace ─▶ random loss ─▶ delay, jitter ─▶ delivery time
 *
 * No I/O, no clock, no chance of its own: the simulation drives it with a simulated clock, the emulator with the real one.
 * The caller keeps the packet and hands it over at the time it was told. Live changes hold for packets offered from then
 * on; what was accepted keeps its time, so a new rate is felt after at most one queue's length. A cut is different: what
 * is under way is lost too, which the caller sees by `generation` having changed since the offer.
 */
import type { Random } from '../base/random.ts';

/** What one direction of a link is like. */
export interface LinkSettings {
  /** Counted in IP bytes; Infinity: no limit. Not used while there is a trace. Units: bit/s. */
  rateBps: number;
  /** One way. */
  delayUs: number;
  /** The delay wanders within ± this much (never below 0). */
  jitterUs?: number;
  /** Whether jitter may let a packet overtake an earlier one; real links do not. */
  reorder?: boolean;
  /** Share of packets lost at random after the queue, 0 to 1. */
  lossRate?: number;
  /** Loss that comes in bursts. */
  bursts?: Bursts;
  /** Drop-tail: a packet that would leave the queue later than this is dropped. Default 60 ms (no limit when `queueBytes` is given). */
  queueUs?: number;
  /** Drop-tail limit in bytes; the packet being sent counts. */
  queueBytes?: number;
  /** Delivery opportunities in place of the rate. */
  trace?: Trace;
  /** Packets larger than this vanish without a word (a path MTU black hole). */
  blackholeOverBytes?: number;
}

/** Two states of a link between which chance moves it, packet by packet; in the bad one it loses more. Source: Gilbert 1960, Elliott 1963. */
export interface Bursts {
  /** Chance of a packet to begin a burst, and of one in a burst to be its last. */
  enterRate: number;
  leaveRate: number;
  /** Share lost in a burst. */
  lossRate: number;
}

/** LinkSettings as JSON carries them: a rate of null is no limit, a trace is a plain array of µs. */
export type PlainLinkSettings = Omit<LinkSettings, 'rateBps' | 'trace'> & {
  rateBps: number | null;
  trace?: number[];
};

/** What plain settings, or a change of them, mean. */
export function settingsOf<T extends Partial<PlainLinkSettings>>(
  plain: T,
): T extends PlainLinkSettings ? LinkSettings : Partial<LinkSettings> {
  const { trace, rateBps, ...settings } = plain;
  const out: Partial<LinkSettings> = settings;
  if (rateBps !== undefined) out.rateBps = rateBps ?? Number.POSITIVE_INFINITY;
  if (trace) out.trace = { opportunitiesUs: Float64Array.from(trace) };
  return out as ReturnType<typeof settingsOf<T>>;
}

/** A recorded link: instants at which 1,500 bytes may leave, repeated for ever. Source: the mahimahi trace format. */
export interface Trace {
  /** Ascending; the last one, above 0, is also the length of a round. */
  readonly opportunitiesUs: Float64Array;
}

/** Why packets did not arrive, counted. */
export interface LinkCounters {
  offeredPackets: number;
  offeredBytes: number;
  /** Given a delivery time (a cut may still take them: `cutPackets` counts only what was offered during a cut). */
  acceptedPackets: number;
  acceptedBytes: number;
  queueDrops: number;
  lossDrops: number;
  cutDrops: number;
  sizeDrops: number;
}

/** The answer of `offer` for a packet that will not arrive. */
export const DROPPED = -1;

const DEFAULT_QUEUE_US = 60_000;
const OPPORTUNITY_BYTES = 1500;
/** The delay wanders from one random value to the next over this time: slower than packets follow each other, as on real links. */
const JITTER_GRAIN_US = 20_000;
const FIRST_RING_SLOTS = 256;

/** One direction of a link. Times handed in must not go backwards. Units: µs, bytes. Cost: constant per offer, no allocation but the ring's growth. */
export class LinkModel {
  readonly counters: LinkCounters = {
    offeredPackets: 0,
    offeredBytes: 0,
    acceptedPackets: 0,
    acceptedBytes: 0,
    queueDrops: 0,
    lossDrops: 0,
    cutDrops: 0,
    sizeDrops: 0,
  };
  /** Goes up with every cut: a packet offered under another generation is lost. */
  generation = 0;

  readonly #settings: LinkSettings;
  readonly #random: Random;
  #isCut = false;
  #inBurst = false;
  /** When the sender of this direction has sent all it was given. */
  #busyUntilUs = 0;
  #lastDeliveryUs = 0;
  /** Next opportunity of the trace (counted over all rounds) and what is left of it. */
  #opportunity = 0;
  #opportunityLeft = OPPORTUNITY_BYTES;
  /** Jitter goes from one knot to the next, both in −1 to 1. */
  #jitterGrain = -1;
  #jitterFrom = 0;
  #jitterTo = 0;
  /** Ring of what has not left the queue: departure times and sizes. */
  #departures = new Float64Array(FIRST_RING_SLOTS);
  #sizes = new Float64Array(FIRST_RING_SLOTS);
  #head = 0;
  #tail = 0;
  #queuedBytes = 0;

  constructor(settings: LinkSettings, random: Random) {
    this.#settings = { ...settings };
    this.#random = random;
  }

  /** The settings as they are now. */
  get settings(): Readonly<LinkSettings> {
    return this.#settings;
  }

  /** Whether the link is cut. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** Hands a packet to the link. Returns the time at which it arrives, or DROPPED. */
  offer(sizeBytes: number, nowUs: number): number {
    const counters = this.counters;
    const settings = this.#settings;
    counters.offeredPackets++;
    counters.offeredBytes += sizeBytes;
    if (this.#isCut) {
      counters.cutDrops++;
      return DROPPED;
    }
    if (sizeBytes > (settings.blackholeOverBytes ?? Number.POSITIVE_INFINITY)) {
      counters.sizeDrops++;
      return DROPPED;
    }
    this.#forgetDeparted(nowUs);
    const departureUs = this.#sendTime(sizeBytes, nowUs);
    if (departureUs < 0) {
      counters.queueDrops++;
      return DROPPED;
    }
    this.#remember(departureUs, sizeBytes);
    if ((settings.lossRate && this.#random() < settings.lossRate) || this.#isLostInBurst()) {
      counters.lossDrops++;
      return DROPPED;
    }
    counters.acceptedPackets++;
    counters.acceptedBytes += sizeBytes;
    return this.#arrival(departureUs);
  }

  /** What waits for its turn or is being sent. Units: bytes. */
  queuedBytes(nowUs: number): number {
    this.#forgetDeparted(nowUs);
    return this.#queuedBytes;
  }

  /** How long a packet offered now would wait before it is sent. */
  queueUs(nowUs: number): number {
    return Math.max(0, this.#busyUntilUs - nowUs);
  }

  /** Loses everything under way and everything offered until `restore`, silently. */
  cut(): void {
    this.#isCut = true;
    this.generation++;
    this.#head = this.#tail;
    this.#queuedBytes = 0;
    this.#busyUntilUs = 0;
    this.#lastDeliveryUs = 0;
  }

  /** Ends a cut. */
  restore(): void {
    this.#isCut = false;
  }

  /** Changes some settings for what is offered from now on. */
  set(change: Partial<LinkSettings>): void {
    Object.assign(this.#settings, change);
    if (change.trace) {
      this.#opportunity = 0;
      this.#opportunityLeft = OPPORTUNITY_BYTES;
    }
  }

  /** The instant at which the packet's last byte leaves the queue, or −1 when the queue is full. */
  #sendTime(sizeBytes: number, nowUs: number): number {
    const { trace, rateBps, queueBytes } = this.#settings;
    const limitUs = this.#settings.queueUs ?? (queueBytes === undefined ? DEFAULT_QUEUE_US : Number.POSITIVE_INFINITY);
    // An idle link takes any packet: the limits are about waiting.
    const isIdle = this.#head === this.#tail;
    if (!isIdle && queueBytes !== undefined && this.#queuedBytes + sizeBytes > queueBytes) return -1;
    if (trace) return this.#sendOnTrace(trace, sizeBytes, nowUs, isIdle ? Number.POSITIVE_INFINITY : limitUs);
    const startUs = Math.max(nowUs, this.#busyUntilUs);
    const endUs = startUs + (sizeBytes * 8e6) / rateBps;
    if (!isIdle && endUs - nowUs > limitUs) return -1;
    this.#busyUntilUs = endUs;
    return endUs;
  }

  #sendOnTrace(trace: Trace, sizeBytes: number, nowUs: number, limitUs: number): number {
    let k = this.#opportunity;
    let left = this.#opportunityLeft;
    if (timeOfOpportunity(trace, k) < nowUs) {
      k = firstOpportunityAt(trace, nowUs);
      left = OPPORTUNITY_BYTES;
    }
    let missing = sizeBytes;
    let endUs = nowUs;
    while (missing > 0) {
      if (left === 0) {
        k++;
        left = OPPORTUNITY_BYTES;
      }
      const taken = Math.min(missing, left);
      missing -= taken;
      left -= taken;
      endUs = timeOfOpportunity(trace, k);
    }
    if (endUs - nowUs > limitUs) return -1;
    this.#opportunity = k;
    this.#opportunityLeft = left;
    this.#busyUntilUs = endUs;
    return endUs;
  }

  #isLostInBurst(): boolean {
    const { bursts } = this.#settings;
    if (!bursts) return false;
    this.#inBurst = this.#random() < (this.#inBurst ? 1 - bursts.leaveRate : bursts.enterRate);
    return this.#inBurst && this.#random() < bursts.lossRate;
  }

  #arrival(departureUs: number): number {
    const { delayUs, jitterUs, reorder } = this.#settings;
    if (!jitterUs) return this.#inOrder(departureUs + delayUs);
    if (reorder) return departureUs + Math.max(0, delayUs + (2 * this.#random() - 1) * jitterUs);
    return this.#inOrder(departureUs + Math.max(0, delayUs + this.#wander(departureUs) * jitterUs));
  }

  /** A delay that shrank meanwhile must not let packets overtake. */
  #inOrder(deliveryUs: number): number {
    if (this.#settings.reorder) return deliveryUs;
    this.#lastDeliveryUs = Math.max(this.#lastDeliveryUs, deliveryUs);
    return this.#lastDeliveryUs;
  }

  #wander(atUs: number): number {
    const grain = Math.floor(atUs / JITTER_GRAIN_US);
    if (grain !== this.#jitterGrain) {
      this.#jitterFrom = grain === this.#jitterGrain + 1 ? this.#jitterTo : 2 * this.#random() - 1;
      this.#jitterTo = 2 * this.#random() - 1;
      this.#jitterGrain = grain;
    }
    const part = atUs / JITTER_GRAIN_US - grain;
    return this.#jitterFrom + (this.#jitterTo - this.#jitterFrom) * part;
  }

  #remember(departureUs: number, sizeBytes: number): void {
    if (this.#tail - this.#head === this.#departures.length) this.#growRing();
    const slot = this.#tail % this.#departures.length;
    this.#departures[slot] = departureUs;
    this.#sizes[slot] = sizeBytes;
    this.#tail++;
    this.#queuedBytes += sizeBytes;
  }

  #forgetDeparted(nowUs: number): void {
    const slots = this.#departures.length;
    while (this.#head < this.#tail && this.#departures[this.#head % slots] <= nowUs) {
      this.#queuedBytes -= this.#sizes[this.#head % slots];
      this.#head++;
    }
  }

  #growRing(): void {
    const old = this.#departures.length;
    const departures = new Float64Array(2 * old);
    const sizes = new Float64Array(2 * old);
    for (let i = 0; i < old; i++) {
      departures[i] = this.#departures[(this.#head + i) % old];
      sizes[i] = this.#sizes[(this.#head + i) % old];
    }
    this.#departures = departures;
    this.#sizes = sizes;
    this.#head = 0;
    this.#tail = old;
  }
}

/** Reads a mahimahi trace: a line per delivery opportunity, in ms. Returns undefined when it is not one. */
export function parseTrace(text: string): Trace | undefined {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (lines.length === 0 || !lines.every((line) => /^\d+$/.test(line))) return undefined;
  const opportunitiesUs = Float64Array.from(lines, (line) => Number(line) * 1000);
  for (let i = 1; i < opportunitiesUs.length; i++) if (opportunitiesUs[i] < opportunitiesUs[i - 1]) return undefined;
  return opportunitiesUs[opportunitiesUs.length - 1] > 0 ? { opportunitiesUs } : undefined;
}

function timeOfOpportunity(trace: Trace, k: number): number {
  const all = trace.opportunitiesUs;
  const round = Math.floor(k / all.length);
  return round * all[all.length - 1] + all[k - round * all.length];
}

/** The first opportunity not before `nowUs`. */
function firstOpportunityAt(trace: Trace, nowUs: number): number {
  const all = trace.opportunitiesUs;
  const roundUs = all[all.length - 1];
  const round = Math.max(0, Math.ceil(nowUs / roundUs) - 1);
  const offsetUs = nowUs - round * roundUs;
  let low = 0;
  let high = all.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (all[middle] < offsetUs) low = middle + 1;
    else high = middle;
  }
  return round * all.length + low;
}

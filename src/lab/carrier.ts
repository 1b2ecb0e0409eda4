/**
 * One direction of an emulated link with real packets: read from one TUN, held until the model's delivery time, written to the other.
 *
 *     router's TUN ─ read ─▶ slot of the arena ─ model says when ─▶ ring in order of delivery ─ write ─▶ far TUN
 *
 * A packet is read into the slot it stays in until it is written. Nothing is allocated per packet; a direction that holds
 * SLOTS packets drops the next one, counted.
 */
import type { Arena } from '../io/arena.ts';
import type { Tun } from '../io/tun.ts';
import { DROPPED, type LinkModel } from './link.ts';

/** Packets one direction can hold: 50 Mbit/s of full packets for 2 s. */
const SLOTS = 8192;
const SLOT_BYTES = 2048;
/** Reads in a row before the other directions get their turn. */
const READ_BATCH = 64;

/** Arena bytes a carrier takes. Units: bytes. */
export const CARRIER_BYTES = (SLOTS + 1) * SLOT_BYTES + 4096;

/** What one direction has done. */
export interface CarrierStats {
  /** Read from the sender's end. */
  offeredPackets: number;
  offeredBytes: number;
  /** Handed over at the far end. */
  deliveredPackets: number;
  deliveredBytes: number;
  /** By reason: full queue, random loss, cut link, too large; no slot or refused by the far end. */
  queueDrops: number;
  lossDrops: number;
  cutDrops: number;
  sizeDrops: number;
  carrierDrops: number;
  queuedBytes: number;
  queueUs: number;
}

/** Carries one direction. Owns: its slots. */
export class Carrier {
  readonly #from: Tun;
  readonly #to: Tun;
  readonly model: LinkModel;
  readonly #slots: number;
  readonly #freeSlots = Int32Array.from({ length: SLOTS }, (_, i) => i);
  #freeCount = SLOTS;
  /** Ring ordered by delivery time. */
  readonly #dueUs = new Float64Array(SLOTS);
  readonly #slotOf = new Int32Array(SLOTS);
  readonly #lengthOf = new Int32Array(SLOTS);
  #head = 0;
  #count = 0;
  #deliveredPackets = 0;
  #deliveredBytes = 0;
  #carrierDrops = 0;
  #cutLosses = 0;

  constructor(arena: Arena, name: string, from: Tun, to: Tun, model: LinkModel) {
    this.#from = from;
    this.#to = to;
    this.model = model;
    this.#slots = arena.take(`slots of ${name}`, (SLOTS + 1) * SLOT_BYTES, 4096);
  }

  /** Reads what the sender's end has, up to a batch; returns how many packets were read. */
  take(nowUs: number): number {
    for (let n = 0; n < READ_BATCH; n++) {
      // The one slot beyond the ring takes what must be dropped for want of a slot.
      const slot = this.#freeCount > 0 ? this.#freeSlots[this.#freeCount - 1] : SLOTS;
      const length = this.#from.read(this.#slots + slot * SLOT_BYTES, SLOT_BYTES);
      if (length <= 0) return n;
      if (slot === SLOTS) {
        this.#carrierDrops++;
        continue;
      }
      const dueUs = this.model.offer(length, nowUs);
      if (dueUs === DROPPED) continue;
      this.#freeCount--;
      this.#hold(dueUs, slot, length);
    }
    return READ_BATCH;
  }

  /** Writes what is due; returns how many packets were written. */
  deliver(nowUs: number): number {
    let n = 0;
    while (this.#count > 0 && this.#dueUs[this.#head] <= nowUs) {
      const slot = this.#slotOf[this.#head];
      const length = this.#lengthOf[this.#head];
      this.#head = (this.#head + 1) % SLOTS;
      this.#count--;
      this.#freeSlots[this.#freeCount++] = slot;
      if (this.#to.write(this.#slots + slot * SLOT_BYTES, length) < 0) this.#carrierDrops++;
      else {
        this.#deliveredPackets++;
        this.#deliveredBytes += length;
      }
      n++;
    }
    return n;
  }

  /** When the next packet is due; Infinity when there is none. */
  get nextUs(): number {
    return this.#count > 0 ? this.#dueUs[this.#head] : Number.POSITIVE_INFINITY;
  }

  /** Cuts this direction, and what it holds is lost. */
  cut(): void {
    this.model.cut();
    this.#cutLosses += this.#count;
    while (this.#count > 0) {
      this.#freeSlots[this.#freeCount++] = this.#slotOf[this.#head];
      this.#head = (this.#head + 1) % SLOTS;
      this.#count--;
    }
  }

  /** The counters as they are now. */
  stats(nowUs: number): CarrierStats {
    const c = this.model.counters;
    return {
      offeredPackets: c.offeredPackets,
      offeredBytes: c.offeredBytes,
      deliveredPackets: this.#deliveredPackets,
      deliveredBytes: this.#deliveredBytes,
      queueDrops: c.queueDrops,
      lossDrops: c.lossDrops,
      cutDrops: c.cutDrops + this.#cutLosses,
      sizeDrops: c.sizeDrops,
      carrierDrops: this.#carrierDrops,
      queuedBytes: this.model.queuedBytes(nowUs),
      queueUs: this.model.queueUs(nowUs),
    };
  }

  /** Inserts from the tail: without reordering that is an append. */
  #hold(dueUs: number, slot: number, length: number): void {
    let at = (this.#head + this.#count) % SLOTS;
    for (let left = this.#count; left > 0; left--) {
      const before = (at + SLOTS - 1) % SLOTS;
      if (this.#dueUs[before] <= dueUs) break;
      this.#dueUs[at] = this.#dueUs[before];
      this.#slotOf[at] = this.#slotOf[before];
      this.#lengthOf[at] = this.#lengthOf[before];
      at = before;
    }
    this.#dueUs[at] = dueUs;
    this.#slotOf[at] = slot;
    this.#lengthOf[at] = length;
    this.#count++;
  }
}

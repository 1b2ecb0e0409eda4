/**
 * The pool of packet slots: every inner packet that the engine holds lies in one of them, from the TUN read until its
 * acknowledgement, or from the datagram's opening until the TUN write. A slot has one owner at a time; `next` threads it into
 * that owner's list.
 *
 *   slot:  | 12 spare | 4 data header | inner packet …            | spare for the tag |
 *          0          12              16                        ≤ 2,016            2,048
 */
import { assert } from '../base/error.ts';
import type { Memory } from '../base/memory.ts';

export const SLOT_BYTES = 2048;
/** Where the inner packet begins in its slot. */
export const PACKET_AT = 16;
/** Where the data header begins: directly before the packet, so that both are sealed as one. */
export const DATA_HEADER_AT = 12;
/** The largest inner packet that fits. */
export const MAX_PACKET_BYTES = SLOT_BYTES - PACKET_AT - 32;

export const NONE = -1;

/** `flags` of a slot. */
export const FLAG_CHECKSUM_PARTIAL = 1;
/** In the resend queue, but acknowledged meanwhile: to be freed when its turn comes. */
export const FLAG_CANCELLED = 2;
/** Waiting in the resend queue. */
export const FLAG_RESENDING = 4;
/** Has its data sequence. */
export const FLAG_NUMBERED = 8;
/** In two hands: both paths of mode redundant, or one and the copies that wait. */
export const FLAG_TWICE = 16;
/** The peer has it by the other path; whoever still holds it lets it go. */
export const FLAG_ARRIVED = 32;
/** Of a sparse flow: goes before others when it is sent again. */
export const FLAG_SPARSE = 64;
/** Waiting in the resend queue, lost by a path that searched for its rate and sent too much. */
export const FLAG_OVERFLOWN = 128;

/** Fixed number of slots in caller's memory, with the numbers that go with each packet. Cost: take and give are O(1). */
export class PacketPool {
  readonly memory: Memory;
  readonly count: number;
  readonly length: Uint16Array;
  readonly flags: Uint8Array;
  readonly bucket: Uint16Array;
  /** Data sequence, once assigned. */
  readonly sequence: Int32Array;
  /** When it was queued (sender) or arrived (receiver), µs. */
  readonly queuedUs: Float64Array;
  /** How often it was sent. */
  readonly tries: Uint8Array;
  /** Who sent it last: path and packet number under which a late acknowledgement may still come. */
  readonly originPath: Uint8Array;
  readonly originNumber: Float64Array;
  readonly next: Int32Array;
  private readonly base: number;
  private freeHead = 0;
  private freeCount: number;

  constructor(memory: Memory, baseOffset: number, count: number) {
    assert(baseOffset + count * SLOT_BYTES <= memory.bytes.length, 'the pool fits its memory');
    this.memory = memory;
    this.base = baseOffset;
    this.count = count;
    this.length = new Uint16Array(count);
    this.flags = new Uint8Array(count);
    this.bucket = new Uint16Array(count);
    this.sequence = new Int32Array(count);
    this.queuedUs = new Float64Array(count);
    this.tries = new Uint8Array(count);
    this.originPath = new Uint8Array(count);
    this.originNumber = new Float64Array(count);
    this.next = new Int32Array(count);
    this.freeCount = count;
    for (let i = 0; i < count; i++) this.next[i] = i + 1 < count ? i + 1 : NONE;
  }

  /** How many slots nobody owns. */
  get free(): number {
    return this.freeCount;
  }

  /** A slot for the caller to own, or NONE when all are in use. */
  take(): number {
    const slot = this.freeHead;
    if (slot === NONE) return NONE;
    this.freeHead = this.next[slot];
    this.freeCount--;
    this.next[slot] = NONE;
    this.flags[slot] = 0;
    this.tries[slot] = 0;
    return slot;
  }

  /** Returns a slot. The caller must own it and have taken it out of every list. */
  give(slot: number): void {
    this.next[slot] = this.freeHead;
    this.freeHead = slot;
    this.freeCount++;
  }

  /** One of its holders is done with a slot: it is free, or with FLAG_TWICE left to the other one, who shall know `arrived`. */
  letGo(slot: number, arrived: number): void {
    const flags = this.flags[slot];
    if ((flags & FLAG_TWICE) === 0) this.give(slot);
    else this.flags[slot] = (flags & ~FLAG_TWICE) | arrived;
  }

  /** Lets go of a slot that another holder has, or of which the peer has the packet; false, and nothing done, when the caller alone has it. */
  letGoShared(slot: number): boolean {
    if ((this.flags[slot] & (FLAG_TWICE | FLAG_ARRIVED)) === 0) return false;
    this.letGo(slot, 0);
    return true;
  }

  /** Offset of the slot's first byte in the memory. */
  at(slot: number): number {
    return this.base + slot * SLOT_BYTES;
  }

  /** Offset of the slot's inner packet. */
  packetAt(slot: number): number {
    return this.base + slot * SLOT_BYTES + PACKET_AT;
  }
}

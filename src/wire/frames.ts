/**
 * Frames of control datagrams ↔ bytes.
 *
 * Writers put one frame at `off` and return the offset after it; a frame that does not fit before `limit` is not written and `off`
 * comes back unchanged. The reader is a cursor whose properties hold the fields of the frame it stands on. Neither allocates; the
 * reader never throws and never looks outside what it was given, whatever the bytes are. Source: docs/protocol.md §4.2.
 *
 *   ACK ranges, downwards:   largest ─ first length ─┤ gap ├─ length ─┤ gap ├─ length ─ …
 */
import { BUCKET_COUNT, MAX_PATHS, SEQUENCE_MODULUS } from './header.ts';
import { type Preferences, readPreferences, writePreferences } from './preferences.ts';

/** Frame types. Source: docs/protocol.md §4.2. */
export const FRAME_PADDING = 0;
export const FRAME_PING = 1;
export const FRAME_ACK = 2;
export const FRAME_PATH = 3;
export const FRAME_CLOSE = 4;
export const FRAME_SKIP = 5;
export const FRAME_MTU = 6;
export const FRAME_CONFIG = 8;
export const FRAME_CONFIG_SEEN = 9;

/** What `FrameReader.next` returns after the last frame, and at a frame of a type that version 1 has not. */
export const FRAMES_END = -1;
/** What `FrameReader.next` returns at a frame that is cut off or holds a value that cannot be. */
export const FRAMES_MALFORMED = -2;

/** States in a PATH frame. */
export const PATH_USABLE = 0;
export const PATH_STANDBY = 1;
export const PATH_CLOSED = 2;

/** Ranges of one ACK at the most, the first included. Source: docs/protocol.md §9. */
export const MAX_ACK_RANGES = 32;
/** An ACK with its first range only; every further range takes ACK_RANGE_BYTES. Units: bytes. */
export const ACK_BASE_BYTES = 15;
export const ACK_RANGE_BYTES = 4;
/** The largest ACK. Units: bytes. */
export const ACK_MAX_BYTES = ACK_BASE_BYTES + (MAX_ACK_RANGES - 1) * ACK_RANGE_BYTES;
/** Whole sizes of the frames of fixed size, type included. Units: bytes. */
export const PING_BYTES = 1;
export const PATH_BYTES = 3;
export const CLOSE_BYTES = 1;
export const SKIP_BYTES = 9;
export const MTU_BYTES = 3;
export const CONFIG_SEEN_BYTES = 2;

/** One unit of an ACK's delay field. Units: microseconds. */
const DELAY_UNIT_US = 16;
const MAX_U16 = 0xffff;

/** Whether a frame of this type asks for an acknowledgement: all but PADDING, ACK and CLOSE. */
export function asksForAck(type: number): boolean {
  return type !== FRAME_PADDING && type !== FRAME_ACK && type !== FRAME_CLOSE;
}

/** How far time `a` is after `b`, both microseconds modulo 2^32: right while they are less than 35 minutes apart. */
export function wrapDiffUs(a: number, b: number): number {
  return (a - b) | 0;
}

/** Writes `count` bytes of PADDING, or as many as fit. */
export function writePadding(view: DataView, off: number, limit: number, count: number): number {
  const end = Math.min(limit, off + count);
  while (off < end) view.setUint8(off++, FRAME_PADDING);
  return off;
}

/** Writes a PING. */
export function writePing(view: DataView, off: number, limit: number): number {
  if (off + PING_BYTES > limit) return off;
  view.setUint8(off, FRAME_PING);
  return off + PING_BYTES;
}

/**
 * Writes an ACK with as many ranges as fit: in `limit`, in MAX_ACK_RANGES, and in the fields' 65,536 numbers a gap or a length (a
 * longer first range is cut to its upper part, and what is below it left out: it was acknowledged long ago).
 *
 * Shape: `ranges` holds `count` ≥ 1 pairs of whole packet numbers [smallest, largest], the newest first, with at least one missing number
 * between pairs. `delayUs` is rounded down to 16 µs and ends at 1,048,560; of `arrivalUs` the low 32 bits go out.
 */
export function writeAck(
  view: DataView,
  off: number,
  limit: number,
  path: number,
  delayUs: number,
  arrivalUs: number,
  ranges: Float64Array,
  count: number,
): number {
  if (off + ACK_BASE_BYTES > limit) return off;
  const firstLength = ranges[1] - ranges[0] + 1;
  view.setUint8(off, FRAME_ACK);
  view.setUint8(off + 1, path);
  view.setUint16(off + 2, Math.min(MAX_U16, Math.max(0, Math.floor(delayUs / DELAY_UNIT_US))));
  view.setUint32(off + 4, ranges[1]);
  view.setUint32(off + 8, arrivalUs);
  view.setUint16(off + 13, Math.min(firstLength - 1, MAX_U16));
  let at = off + ACK_BASE_BYTES;
  let further = 0;
  if (firstLength - 1 <= MAX_U16) {
    while (further + 1 < count && further + 1 < MAX_ACK_RANGES && at + ACK_RANGE_BYTES <= limit) {
      const i = 2 * (further + 1);
      const gap = ranges[i - 2] - ranges[i + 1] - 1;
      const length = ranges[i + 1] - ranges[i] + 1;
      if (gap - 1 > MAX_U16 || length - 1 > MAX_U16) break;
      view.setUint16(at, gap - 1);
      view.setUint16(at + 2, length - 1);
      at += ACK_RANGE_BYTES;
      further++;
    }
  }
  view.setUint8(off + 12, further);
  return at;
}

/** Writes a PATH frame. */
export function writePath(view: DataView, off: number, limit: number, path: number, state: number): number {
  if (off + PATH_BYTES > limit) return off;
  view.setUint8(off, FRAME_PATH);
  view.setUint8(off + 1, path);
  view.setUint8(off + 2, state);
  return off + PATH_BYTES;
}

/** Writes a CLOSE. */
export function writeClose(view: DataView, off: number, limit: number): number {
  if (off + CLOSE_BYTES > limit) return off;
  view.setUint8(off, FRAME_CLOSE);
  return off + CLOSE_BYTES;
}

/** Writes a SKIP: `count` data sequences of the bucket from `sequence` on will not be sent again. */
export function writeSkip(
  view: DataView,
  off: number,
  limit: number,
  bucket: number,
  sequence: number,
  count: number,
): number {
  if (off + SKIP_BYTES > limit) return off;
  view.setUint8(off, FRAME_SKIP);
  view.setUint16(off + 1, bucket);
  view.setUint32(off + 3, sequence);
  view.setUint16(off + 7, count);
  return off + SKIP_BYTES;
}

/** Writes an MTU frame. Units: bytes of inner packet. */
export function writeMtu(view: DataView, off: number, limit: number, mtu: number): number {
  if (off + MTU_BYTES > limit) return off;
  view.setUint8(off, FRAME_MTU);
  view.setUint16(off + 1, mtu);
  return off + MTU_BYTES;
}

/** Writes a CONFIG, if the largest one would fit. */
export function writeConfig(view: DataView, off: number, limit: number, generation: number, said: Preferences): number {
  const end = writePreferences(view, off + 1, limit, generation, said);
  if (end === off + 1) return off;
  view.setUint8(off, FRAME_CONFIG);
  return end;
}

/** Writes a CONFIG SEEN. */
export function writeConfigSeen(view: DataView, off: number, limit: number, generation: number): number {
  if (off + CONFIG_SEEN_BYTES > limit) return off;
  view.setUint8(off, FRAME_CONFIG_SEEN);
  view.setUint8(off + 1, generation);
  return off + CONFIG_SEEN_BYTES;
}

const NOTHING: DataView = new DataView(new ArrayBuffer(0));

/**
 * Walks over the frames of one control datagram: `begin`, then `next` until it is negative; properties hold the fields of the frame
 * that `next` returned last, those of other types are stale.
 *
 * Owns: nothing; the bytes must stay as they are until the walk is over. One reader serves any number of datagrams.
 */
export class FrameReader {
  /** ACK, PATH: the path spoken of, 0 to 7. */
  path = 0;
  /** ACK: how long the acknowledgement waited. Units: microseconds, in steps of 16. */
  delayUs = 0;
  /** ACK: low 32 bits of the largest packet number. */
  largestLow = 0;
  /** ACK: arrival of the largest. Units: microseconds of the other end's clock, modulo 2^32. */
  arrivalUs = 0;
  /** ACK: ranges in it, the first included; `readRanges` brings them. */
  rangeCount = 0;
  /** PATH: PATH_USABLE, PATH_STANDBY or PATH_CLOSED. */
  state = 0;
  /** SKIP: the bucket. */
  bucket = 0;
  /** SKIP: the first data sequence. */
  sequence = 0;
  /** SKIP: how many. */
  count = 0;
  /** MTU. Units: bytes of inner packet. */
  mtu = 0;
  /** CONFIG, CONFIG SEEN; `readConfig` brings what a CONFIG says. */
  generation = 0;

  #view: DataView = NOTHING;
  #at = 0;
  #limit = 0;
  #ranges = 0;
  #config = 0;

  /** Stands before the first frame of `length` bytes at `off`. */
  begin(view: DataView, off: number, length: number): void {
    this.#view = view;
    this.#at = off;
    this.#limit = Math.min(off + length, view.byteLength);
    this.rangeCount = 0;
  }

  /** The type of the next frame other than PADDING, FRAMES_END or FRAMES_MALFORMED; the two last stay. */
  next(): number {
    const view = this.#view;
    const limit = this.#limit;
    let at = this.#at;
    while (at < limit && view.getUint8(at) === FRAME_PADDING) at++;
    if (at >= limit) return this.#stop(FRAMES_END);
    const type = view.getUint8(at);
    switch (type) {
      case FRAME_PING:
      case FRAME_CLOSE:
        this.#at = at + 1;
        return type;
      case FRAME_ACK: {
        if (at + ACK_BASE_BYTES > limit) return this.#stop(FRAMES_MALFORMED);
        const further = view.getUint8(at + 12);
        const end = at + ACK_BASE_BYTES + further * ACK_RANGE_BYTES;
        this.path = view.getUint8(at + 1);
        if (end > limit || further >= MAX_ACK_RANGES || this.path >= MAX_PATHS) return this.#stop(FRAMES_MALFORMED);
        this.delayUs = view.getUint16(at + 2) * DELAY_UNIT_US;
        this.largestLow = view.getUint32(at + 4);
        this.arrivalUs = view.getUint32(at + 8);
        this.rangeCount = further + 1;
        this.#ranges = at + 13;
        this.#at = end;
        return type;
      }
      case FRAME_PATH:
        if (at + PATH_BYTES > limit) return this.#stop(FRAMES_MALFORMED);
        this.path = view.getUint8(at + 1);
        this.state = view.getUint8(at + 2);
        if (this.path >= MAX_PATHS || this.state > PATH_CLOSED) return this.#stop(FRAMES_MALFORMED);
        this.#at = at + PATH_BYTES;
        return type;
      case FRAME_SKIP:
        if (at + SKIP_BYTES > limit) return this.#stop(FRAMES_MALFORMED);
        this.bucket = view.getUint16(at + 1);
        this.sequence = view.getUint32(at + 3);
        this.count = view.getUint16(at + 7);
        if (this.bucket >= BUCKET_COUNT || this.sequence >= SEQUENCE_MODULUS) return this.#stop(FRAMES_MALFORMED);
        this.#at = at + SKIP_BYTES;
        return type;
      case FRAME_MTU:
        if (at + MTU_BYTES > limit) return this.#stop(FRAMES_MALFORMED);
        this.mtu = view.getUint16(at + 1);
        this.#at = at + MTU_BYTES;
        return type;
      case FRAME_CONFIG: {
        const end = readPreferences(view, at + 1, limit);
        if (end < 0) return this.#stop(FRAMES_MALFORMED);
        this.generation = view.getUint8(at + 1);
        this.#config = at + 1;
        this.#at = end;
        return type;
      }
      case FRAME_CONFIG_SEEN:
        if (at + CONFIG_SEEN_BYTES > limit) return this.#stop(FRAMES_MALFORMED);
        this.generation = view.getUint8(at + 1);
        this.#at = at + CONFIG_SEEN_BYTES;
        return type;
      default:
        return this.#stop(FRAMES_END);
    }
  }

  /**
   * The ranges of the ACK that the reader stands on, as pairs of whole packet numbers [smallest, largest], the newest first, counted
   * down from `largest` (the caller completes `largestLow`). Returns how many pairs were written, or −1 when one would end below 0.
   *
   * Shape: `out` has room for 2 × MAX_ACK_RANGES numbers. Call it before the next `next`.
   */
  readRanges(largest: number, out: Float64Array): number {
    const view = this.#view;
    let at = this.#ranges;
    let top = largest;
    for (let i = 0; i < this.rangeCount; i++) {
      if (i > 0) {
        top = out[2 * i - 2] - view.getUint16(at) - 2;
        at += 2;
      }
      const bottom = top - view.getUint16(at);
      at += 2;
      if (bottom < 0) return -1;
      out[2 * i] = bottom;
      out[2 * i + 1] = top;
    }
    return this.rangeCount;
  }

  /** What the CONFIG says that the reader stands on. Call it before the next `next`. */
  readConfig(out: Preferences): void {
    readPreferences(this.#view, this.#config, this.#limit, out);
  }

  #stop(why: number): number {
    this.rangeCount = 0;
    // A malformed rest stays malformed when asked again: the cursor goes to the end only when the end is what was found.
    if (why === FRAMES_END) this.#at = this.#limit;
    return why;
  }
}

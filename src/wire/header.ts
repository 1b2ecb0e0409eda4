/**
 * The bytes in front: what kind of datagram it is, whose session and packet number, and the data header inside the seal.
 *
 * Functions over a DataView and an offset, in the order of a datagram's life: classify, transport header, nonce, data header,
 * sequence arithmetic. Nothing here allocates, throws on what a peer sent, or looks outside `off … off + length`; the callers have
 * room and length checked. Numbers are big endian. Source of every layout: docs/protocol.md §1, §4.
 */
import { TAG_BYTES } from './aead.ts';

export { TAG_BYTES };

/** The protocol's version, in the low bits of the first byte of handshake datagrams. */
export const VERSION = 1;

/** Datagram types, the high four bits of the first byte. Source: docs/protocol.md §1. */
export const TYPE_INITIATION = 1;
export const TYPE_RESPONSE = 2;
export const TYPE_COOKIE_REPLY = 3;
export const TYPE_DATA = 4;
export const TYPE_CONTROL = 5;
export const TYPE_JOIN_REQUEST = 6;
export const TYPE_JOIN_ANSWER = 7;
/** What `datagramType` says of anything that is none of ours or too short. */
export const TYPE_NONE = 0;

/** Exact sizes of the handshake datagrams. Units: bytes. */
export const INITIATION_BYTES = 156;
export const RESPONSE_BYTES = 101;
export const COOKIE_REPLY_BYTES = 64;
/** Exact sizes of the datagrams of joining. Units: bytes. Source: docs/protocol.md §10. */
export const JOIN_REQUEST_BYTES = 228;
export const JOIN_ANSWER_BYTES = 216;

/** The transport header, which is also the additional data of the AEAD. Units: bytes. */
export const HEADER_BYTES = 8;
/** The data header inside the seal. Units: bytes. */
export const DATA_HEADER_BYTES = 4;
/** The AEAD's nonce. Units: bytes. */
export const NONCE_BYTES = 12;
/** What stands around an inner packet inside the UDP payload: header, data header, tag. Units: bytes. */
export const DATA_OVERHEAD_BYTES = HEADER_BYTES + DATA_HEADER_BYTES + TAG_BYTES;
/** What stands around the frames of a control datagram. Units: bytes. */
export const CONTROL_OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES;
/** UDP and IP headers in front of a datagram. Units: bytes. */
export const OUTER_IPV4_BYTES = 28;
export const OUTER_IPV6_BYTES = 48;

/** Paths an association may have: ids 0 to 7. Source: docs/protocol.md §9. */
export const MAX_PATHS = 8;
/** Buckets of flows, 10 bits. */
export const BUCKET_COUNT = 1024;
/** Data sequences run modulo this, 20 bits. */
export const SEQUENCE_MODULUS = 1 << 20;
/** Receiver indices run below this, 24 bits. */
export const INDEX_MODULUS = 1 << 24;

/** Flag of a data header: the TCP or UDP checksum field holds the pseudo-header sum only. */
export const FLAG_CHECKSUM_PARTIAL = 2;
/** Flag of a data header: deliver at once, the sequence serves only to recognise repetitions. */
export const FLAG_UNORDERED = 1;

/**
 * The type of a datagram, or TYPE_NONE when version, length or path id cannot be ours: the first and cheapest of the checks.
 *
 * Source: docs/protocol.md §1.
 */
export function datagramType(view: DataView, off: number, length: number): number {
  if (length < CONTROL_OVERHEAD_BYTES) return TYPE_NONE;
  const first = view.getUint8(off);
  switch (first >>> 4) {
    case TYPE_DATA:
      return length > DATA_OVERHEAD_BYTES && (first & 15) < MAX_PATHS ? TYPE_DATA : TYPE_NONE;
    case TYPE_CONTROL:
      return length > CONTROL_OVERHEAD_BYTES && (first & 15) < MAX_PATHS ? TYPE_CONTROL : TYPE_NONE;
    case TYPE_INITIATION:
      return length === INITIATION_BYTES && (first & 15) === VERSION ? TYPE_INITIATION : TYPE_NONE;
    case TYPE_RESPONSE:
      return length === RESPONSE_BYTES && (first & 15) === VERSION ? TYPE_RESPONSE : TYPE_NONE;
    case TYPE_COOKIE_REPLY:
      return length === COOKIE_REPLY_BYTES && (first & 15) === VERSION ? TYPE_COOKIE_REPLY : TYPE_NONE;
    case TYPE_JOIN_REQUEST:
      return length === JOIN_REQUEST_BYTES && (first & 15) === VERSION ? TYPE_JOIN_REQUEST : TYPE_NONE;
    case TYPE_JOIN_ANSWER:
      return length === JOIN_ANSWER_BYTES && (first & 15) === VERSION ? TYPE_JOIN_ANSWER : TYPE_NONE;
    default:
      return TYPE_NONE;
  }
}

/** Writes the 8 bytes in front of a data or control datagram; of the packet number only the low 32 bits go out. */
export function writeHeader(
  view: DataView,
  off: number,
  type: number,
  path: number,
  receiverIndex: number,
  packetNumber: number,
): void {
  view.setUint32(off, (type << 28) | (path << 24) | receiverIndex);
  view.setUint32(off + 4, packetNumber);
}

/** The path id of a data or control datagram. */
export function readPath(view: DataView, off: number): number {
  return view.getUint8(off) & 15;
}

/** The receiver index of a data or control datagram, and the sender index of a handshake datagram: the three bytes after the first. */
export function readIndex(view: DataView, off: number): number {
  return view.getUint32(off) & 0xffffff;
}

/** The low 32 bits of the packet number; `completePacketNumber` makes it whole. */
export function readPacketNumberLow(view: DataView, off: number): number {
  return view.getUint32(off + 4);
}

/** Writes the AEAD's nonce: path id (32 bits), then the whole packet number (64 bits). Source: docs/protocol.md §4. */
export function writeNonce(view: DataView, off: number, path: number, packetNumber: number): void {
  view.setUint32(off, path);
  view.setUint32(off + 4, Math.floor(packetNumber / 0x100000000));
  view.setUint32(off + 8, packetNumber);
}

/** A data header as one number: bucket (10 bits), flags (2), data sequence (20). Shape: a signed 32-bit integer, which V8 keeps unboxed. */
export function packDataHeader(bucket: number, flags: number, sequence: number): number {
  return (bucket << 22) | (flags << 20) | sequence;
}

/** Writes what `packDataHeader` made. */
export function writeDataHeader(view: DataView, off: number, packed: number): void {
  view.setInt32(off, packed);
}

/** Reads a data header as one number, for `bucketOf`, `flagsOf` and `sequenceOf`. */
export function readDataHeader(view: DataView, off: number): number {
  return view.getInt32(off);
}

/** The flow's bucket in a packed data header. */
export function bucketOf(packed: number): number {
  return packed >>> 22;
}

/** The flags in a packed data header. */
export function flagsOf(packed: number): number {
  return (packed >>> 20) & 3;
}

/** The data sequence in a packed data header. */
export function sequenceOf(packed: number): number {
  return packed & (SEQUENCE_MODULUS - 1);
}

/** `sequence + n` modulo 2^20; `n` may be negative. */
export function seqAdd(sequence: number, n: number): number {
  return (sequence + n) & (SEQUENCE_MODULUS - 1);
}

/** How far `a` is after `b` on the circle of 2^20: from −2^19 to 2^19 − 1, negative when `a` is before `b`. */
export function seqDiff(a: number, b: number): number {
  return ((a - b) << 12) >> 12;
}

/**
 * The internet checksum: sums, pseudo headers, and checksums that the kernel left for the device to finish ("partial": the field
 * holds the folded pseudo-header sum, not inverted, as virtio's NEEDS_CSUM wants it).
 *
 * Source: RFC 1071, RFC 8200 §8.1, virtio 1.2 §5.1.6.2.
 */
import type { Memory } from '../base/memory.ts';
import { type InnerPacket, PROTO_TCP, PROTO_UDP } from './inner.ts';

/** Where the checksum lies in the two transport headers. */
export const TCP_CHECKSUM_OFFSET = 16;
export const UDP_CHECKSUM_OFFSET = 6;

/** Folds a sum below 2^32 to 16 bits. */
export function foldSum(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

/** One's complement sum of at most 65,535 bytes, folded to 16 bits and not inverted. Cost: 0.3 ns a byte. */
export function sumBytes(memory: Memory, off: number, length: number): number {
  const view = memory.view;
  let high = 0;
  let low = 0;
  const end = off + length;
  let at = off;
  // Two sums of 16-bit halves stay below 2^31 for the longest packet.
  for (; at + 4 <= end; at += 4) {
    const word = view.getInt32(at);
    high += word >>> 16;
    low += word & 0xffff;
  }
  if (at + 2 <= end) {
    high += view.getUint16(at);
    at += 2;
  }
  if (at < end) high += view.getUint8(at) << 8;
  return foldSum(foldSum(high) + foldSum(low));
}

/** Sum of the pseudo header, folded and not inverted, for `transportBytes` of `packet`'s protocol. */
export function pseudoSum(memory: Memory, packet: InnerPacket, transportBytes: number): number {
  const v4 = packet.version === 4;
  const addresses = sumBytes(memory, packet.offset + (v4 ? 12 : 8), v4 ? 8 : 32);
  return foldSum(addresses + packet.protocol + transportBytes);
}

/** Writes the checksum of an IPv4 header of `headerBytes` at `off`. */
export function setIpv4Checksum(memory: Memory, off: number, headerBytes: number): void {
  memory.view.setUint16(off + 10, 0);
  memory.view.setUint16(off + 10, ~sumBytes(memory, off, headerBytes) & 0xffff);
}

/**
 * Finishes a checksum: sums from `start` (whose field at `start + fieldOffset` holds the pseudo sum) to `end` and stores the result.
 * A result of 0 is stored as 0xffff, which means the same in TCP and is demanded by UDP.
 */
export function finishChecksum(memory: Memory, start: number, fieldOffset: number, end: number): void {
  const sum = ~sumBytes(memory, start, end - start) & 0xffff;
  memory.view.setUint16(start + fieldOffset, sum === 0 ? 0xffff : sum);
}

/** Offset of the checksum in the transport header of a packet whose checksum can be partial; 0 for all others. */
export function checksumFieldOf(packet: InnerPacket): number {
  if (packet.fragment) return 0;
  const rest = packet.totalBytes - packet.headerBytes;
  if (packet.protocol === PROTO_TCP && packet.tcpHeaderBytes > 0) return TCP_CHECKSUM_OFFSET;
  if (packet.protocol === PROTO_UDP && rest >= 8) return UDP_CHECKSUM_OFFSET;
  return 0;
}

/** Finishes the partial checksum of a parsed TCP or UDP packet in place; false when it is neither. */
export function completeChecksum(memory: Memory, packet: InnerPacket): boolean {
  const field = checksumFieldOf(packet);
  if (field === 0) return false;
  finishChecksum(memory, packet.offset + packet.headerBytes, field, packet.offset + packet.totalBytes);
  return true;
}

/** The inverse: puts the pseudo sum into the field of a parsed packet whose checksum is known to be right. */
export function makePartial(memory: Memory, packet: InnerPacket): boolean {
  const field = checksumFieldOf(packet);
  if (field === 0) return false;
  const sum = pseudoSum(memory, packet, packet.totalBytes - packet.headerBytes);
  memory.view.setUint16(packet.offset + packet.headerBytes + field, sum);
  return true;
}

/** Whether the full checksum of a parsed TCP or UDP packet is right (also when an IPv4 UDP packet has none). */
export function verifyChecksum(memory: Memory, packet: InnerPacket): boolean {
  const field = checksumFieldOf(packet);
  if (field === 0) return false;
  const at = packet.offset + packet.headerBytes;
  const rest = packet.totalBytes - packet.headerBytes;
  if (packet.protocol === PROTO_UDP && packet.version === 4 && memory.view.getUint16(at + field) === 0) return true;
  return foldSum(pseudoSum(memory, packet, rest) + sumBytes(memory, at, rest)) === 0xffff;
}

/** The MSS that a parsed TCP packet offers in its options; 0 when it offers none. */
export function mssOption(memory: Memory, packet: InnerPacket): number {
  const view = memory.view;
  const start = packet.offset + packet.headerBytes;
  const end = start + packet.tcpHeaderBytes;
  for (let at = start + 20; at < end; ) {
    const kind = view.getUint8(at);
    if (kind === 0) return 0;
    if (kind === 1) {
      at++;
      continue;
    }
    if (at + 2 > end) return 0;
    const size = view.getUint8(at + 1);
    if (size < 2 || at + size > end) return 0;
    if (kind === 2 && size === 4) return view.getUint16(at + 2);
    at += size;
  }
  return 0;
}

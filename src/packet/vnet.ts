/**
 * The virtio header in front of packets of a TUN device with offload.
 *
 *   0 flags │ 1 gso type │ 2 header length │ 4 gso size │ 6 checksum start │ 8 checksum offset │ 10
 *
 * Numbers are in the machine's byte order, which is little endian on every machine yoke runs on. Source: virtio 1.2 §5.1.6.
 */
import type { Memory } from '../base/memory.ts';

/** Bytes of the header. */
export const VNET_BYTES = 10;
/** The checksum at start + offset is partial. */
export const VNET_NEEDS_CSUM = 1;
/** The kernel has verified the checksum. */
export const VNET_DATA_VALID = 2;
/** Kinds of giants. */
export const VNET_GSO_NONE = 0;
export const VNET_GSO_TCPV4 = 1;
export const VNET_GSO_TCPV6 = 4;
/** Added to the kind when the first segment carries CWR. */
export const VNET_GSO_ECN = 0x80;

/** Writes a header at `off`. */
export function writeVnet(
  memory: Memory,
  off: number,
  flags: number,
  gsoType: number,
  headerBytes: number,
  gsoSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  const view = memory.view;
  view.setUint8(off, flags);
  view.setUint8(off + 1, gsoType);
  view.setUint16(off + 2, headerBytes, true);
  view.setUint16(off + 4, gsoSize, true);
  view.setUint16(off + 6, checksumStart, true);
  view.setUint16(off + 8, checksumOffset, true);
}

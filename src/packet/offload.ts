/**
 * From a TUN read to packets of the path: a virtio header and up to 64 KB of TCP become segments of at most the inner MTU.
 *
 *   begin(off, length)      [virtio header][IP][TCP][............ payload ............]
 *   writeSegment(i, dst)    [IP][TCP][ i-th gso size of payload ]   lengths, id, sequence number, flags and sums set right
 *
 * Segments keep their checksum partial (`partial` is true): the AEAD guards the bytes between the ends and the far kernel is told.
 * Ordinary packets pass as one "segment". Source: virtio 1.2 §5.1.6.2, RFC 9293, RFC 6864 (identification), RFC 3168 §6.1.2 (CWR).
 */
import type { Memory } from '../base/memory.ts';
import {
  checksumFieldOf,
  finishChecksum,
  foldSum,
  makePartial,
  setIpv4Checksum,
  sumBytes,
  TCP_CHECKSUM_OFFSET,
} from './checksum.ts';
import { InnerPacket, PROTO_TCP, TCP_CWR, TCP_FIN, TCP_PSH } from './inner.ts';
import {
  VNET_DATA_VALID,
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_NEEDS_CSUM,
} from './vnet.ts';

/** Takes one TUN read apart; made once, used for every read. Owns nothing: the giant must stay until its segments are written. */
export class Segmenter {
  /** The packet in front of us, as parsed: protocol, ports, flow hash are the same for all its segments. */
  readonly packet = new InnerPacket();
  /** Packets that come out of this read. */
  segmentCount = 0;
  /** Whether they leave with a partial checksum (the flag of docs/protocol.md §4.1). */
  partial = false;
  readonly #memory: Memory;
  readonly #vnetBytes: number;
  #headerBytes = 0;
  #payloadBytes = 0;
  #segmentBytes = 0;
  #sequence = 0;
  #flags = 0;
  #identification = 0;
  #pseudo = 0;

  /** `vnetHeaderBytes` is the TUN device's: VNET_BYTES, or 0 for a device without offload. */
  constructor(memory: Memory, vnetHeaderBytes: number) {
    this.#memory = memory;
    this.#vnetBytes = vnetHeaderBytes;
  }

  /** Looks at a read of `length` bytes at `off`; how many packets it holds, 0 for what is no packet (to be dropped and counted). */
  begin(off: number, length: number): number {
    this.segmentCount = 0;
    this.partial = false;
    this.#segmentBytes = 0;
    const { view } = this.#memory;
    const packet = this.packet;
    if (length < this.#vnetBytes || !packet.parse(this.#memory, off + this.#vnetBytes, length - this.#vnetBytes))
      return 0;
    if (this.#vnetBytes === 0) {
      this.segmentCount = 1;
      return 1;
    }
    const flags = view.getUint8(off);
    const gsoType = view.getUint8(off + 1) & ~VNET_GSO_ECN;
    if (gsoType !== VNET_GSO_NONE) return this.#beginGiant(gsoType, view.getUint16(off + 4, true));

    if (flags & VNET_NEEDS_CSUM) {
      const start = view.getUint16(off + 6, true);
      const offset = view.getUint16(off + 8, true);
      const field = checksumFieldOf(packet);
      if (field !== 0 && start === packet.headerBytes && offset === field) this.partial = true;
      // The inner checksum of a tunnel inside ours: the far end could not find it again.
      else if (start + offset + 2 <= packet.totalBytes)
        finishChecksum(this.#memory, packet.offset + start, offset, packet.offset + packet.totalBytes);
      else return 0;
    } else if (flags & VNET_DATA_VALID && packet.protocol === PROTO_TCP) {
      // Verified already: made partial, so that the far end may gather it with its neighbours.
      this.partial = makePartial(this.#memory, packet);
    }
    this.segmentCount = 1;
    return 1;
  }

  #beginGiant(gsoType: number, gsoSize: number): number {
    const packet = this.packet;
    const { view } = this.#memory;
    const version = gsoType === VNET_GSO_TCPV4 ? 4 : gsoType === VNET_GSO_TCPV6 ? 6 : 0;
    if (packet.version !== version || packet.tcpHeaderBytes === 0 || packet.fragment || gsoSize === 0) return 0;
    const tcp = packet.offset + packet.headerBytes;
    this.#headerBytes = packet.headerBytes + packet.tcpHeaderBytes;
    this.#payloadBytes = packet.totalBytes - this.#headerBytes;
    this.#segmentBytes = gsoSize;
    this.#sequence = view.getUint32(tcp + 4);
    this.#flags = view.getUint8(tcp + 13);
    this.#identification = version === 4 ? view.getUint16(packet.offset + 4) : 0;
    const addresses = packet.offset + (version === 4 ? 12 : 8);
    this.#pseudo = sumBytes(this.#memory, addresses, version === 4 ? 8 : 32) + PROTO_TCP;
    this.partial = true;
    this.segmentCount = Math.max(1, Math.ceil(this.#payloadBytes / gsoSize));
    return this.segmentCount;
  }

  /** Length that segment `i` will have. Units: bytes of inner packet. */
  segmentLength(i: number): number {
    if (this.#segmentBytes === 0) return this.packet.totalBytes;
    return this.#headerBytes + Math.min(this.#segmentBytes, this.#payloadBytes - i * this.#segmentBytes);
  }

  /**
   * Writes packet `i` of the read to `dst` and returns its length; with `complete`, its checksum is finished (0.4 µs for 1,400 bytes).
   * Invariant: the segments of a giant are, but for the IP identification, what the kernel's own segmentation makes of it.
   */
  writeSegment(i: number, dst: number, complete = false): number {
    const memory = this.#memory;
    const { bytes, view } = memory;
    const packet = this.packet;
    const length = this.segmentLength(i);
    if (this.#segmentBytes === 0) {
      bytes.copyWithin(dst, packet.offset, packet.offset + length);
      if (complete && this.partial)
        finishChecksum(memory, dst + packet.headerBytes, checksumFieldOf(packet), dst + length);
      return length;
    }
    const headerBytes = this.#headerBytes;
    const from = packet.offset + headerBytes + i * this.#segmentBytes;
    bytes.copyWithin(dst, packet.offset, packet.offset + headerBytes);
    bytes.copyWithin(dst + headerBytes, from, from + length - headerBytes);
    if (packet.version === 4) {
      view.setUint16(dst + 2, length);
      view.setUint16(dst + 4, this.#identification + i);
      setIpv4Checksum(memory, dst, packet.headerBytes);
    } else view.setUint16(dst + 4, length - 40);
    const tcp = dst + packet.headerBytes;
    view.setUint32(tcp + 4, this.#sequence + i * this.#segmentBytes);
    let flags = this.#flags;
    if (i > 0) flags &= ~TCP_CWR;
    if (i < this.segmentCount - 1) flags &= ~(TCP_FIN | TCP_PSH);
    view.setUint8(tcp + 13, flags);
    view.setUint16(tcp + TCP_CHECKSUM_OFFSET, foldSum(this.#pseudo + length - packet.headerBytes));
    if (complete) finishChecksum(memory, tcp, TCP_CHECKSUM_OFFSET, dst + length);
    return length;
  }
}

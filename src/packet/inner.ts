/**
 * Inner IP packets as they lie in memory: validation, the fields that the bond steers by, the flow hash, and the congestion mark.
 *
 * Everything here takes any bytes: garbage is refused with `false` or 0, never with an exception, and nothing is read behind the given
 * length. Source: RFC 791, RFC 8200, RFC 9293, RFC 3168.
 */
import type { Memory } from '../base/memory.ts';

/** Protocol numbers of IP. */
export const PROTO_ICMP = 1;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;
export const PROTO_ICMPV6 = 58;

/** TCP flags (byte 13 of the header). */
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_CWR = 0x80;

/** ECN field values. Source: RFC 3168 §5. */
export const ECN_NOT_ECT = 0;
export const ECN_CE = 3;

const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const TCP_HEADER_BYTES = 20;
const MAX_EXTENSION_HEADERS = 8;
const PROTO_HOP_BY_HOP = 0;
const PROTO_ROUTING = 43;
const PROTO_FRAGMENT = 44;
const PROTO_AH = 51;
const PROTO_DESTINATION = 60;
const PROTO_MOBILITY = 135;
const PROTOS_WITH_PORTS = new Uint8Array(256);
for (const p of [PROTO_TCP, PROTO_UDP, 33, 132, 136]) PROTOS_WITH_PORTS[p] = 1;

/** What `parse` found in one packet; one object is made once and filled again and again. */
export class InnerPacket {
  /** 4 or 6. */
  version = 0;
  /** Where the packet starts. */
  offset = 0;
  /** Length by its own header, at most what was given. */
  totalBytes = 0;
  /** IP header with extension headers: where the transport header starts, counted from `offset`. */
  headerBytes = 0;
  /** Transport protocol; for IPv6 the one behind the extension headers. */
  protocol = 0;
  /** Any fragment, the first one included. */
  fragment = false;
  /** TCP header with options; 0 when there is no whole TCP header. */
  tcpHeaderBytes = 0;
  /** Whether source and destination ports are there to be read. */
  hasPorts = false;

  /** Fills the fields from `length` bytes at `off`; false (and the fields worth nothing) when that is no IP packet. */
  parse(memory: Memory, off: number, length: number): boolean {
    const view = memory.view;
    this.offset = off;
    this.fragment = false;
    this.tcpHeaderBytes = 0;
    this.hasPorts = false;
    if (length < IPV4_HEADER_BYTES) return false;
    const first = view.getUint8(off);
    this.version = first >> 4;
    let later = false;
    if (this.version === 4) {
      this.headerBytes = (first & 0x0f) * 4;
      this.totalBytes = view.getUint16(off + 2);
      if (this.headerBytes < IPV4_HEADER_BYTES || this.totalBytes < this.headerBytes || this.totalBytes > length)
        return false;
      this.protocol = view.getUint8(off + 9);
      const fragmentWord = view.getUint16(off + 6) & 0x3fff;
      this.fragment = fragmentWord !== 0;
      later = (fragmentWord & 0x1fff) !== 0;
    } else if (this.version === 6) {
      if (length < IPV6_HEADER_BYTES) return false;
      this.totalBytes = IPV6_HEADER_BYTES + view.getUint16(off + 4);
      if (this.totalBytes > length) return false;
      this.protocol = view.getUint8(off + 6);
      this.headerBytes = IPV6_HEADER_BYTES;
      if (isExtension(this.protocol)) later = this.#skipExtensions(view);
    } else return false;

    const rest = this.totalBytes - this.headerBytes;
    if (later) return true;
    if (rest >= 4 && PROTOS_WITH_PORTS[this.protocol] === 1) this.hasPorts = true;
    if (this.protocol === PROTO_TCP && rest >= TCP_HEADER_BYTES) {
      const bytes = (view.getUint8(off + this.headerBytes + 12) >> 4) * 4;
      if (bytes >= TCP_HEADER_BYTES && bytes <= rest) this.tcpHeaderBytes = bytes;
    }
    return true;
  }

  /** Moves `headerBytes` and `protocol` behind the extension headers; true for a fragment that is not the first. */
  #skipExtensions(view: DataView): boolean {
    for (let n = 0; n < MAX_EXTENSION_HEADERS && isExtension(this.protocol); n++) {
      const at = this.offset + this.headerBytes;
      if (this.headerBytes + 8 > this.totalBytes) return false;
      const units = view.getUint8(at + 1);
      const isFragment = this.protocol === PROTO_FRAGMENT;
      const bytes = isFragment ? 8 : this.protocol === PROTO_AH ? (units + 2) * 4 : (units + 1) * 8;
      if (this.headerBytes + bytes > this.totalBytes) return false;
      let later = false;
      if (isFragment) {
        const word = view.getUint16(at + 2);
        // A fragment header with offset 0 and no more to come is an atomic fragment (RFC 6946): a whole packet.
        if ((word & 0xfff9) !== 0) this.fragment = true;
        later = (word & 0xfff8) !== 0;
      }
      this.protocol = view.getUint8(at);
      this.headerBytes += bytes;
      if (later) return true;
    }
    return false;
  }

  /** Payload behind the TCP header. Units: bytes; 0 when it is no TCP. */
  get tcpPayloadBytes(): number {
    return this.tcpHeaderBytes === 0 ? 0 : this.totalBytes - this.headerBytes - this.tcpHeaderBytes;
  }

  /** The flags of the TCP header, 0 when it is no TCP. */
  tcpFlags(memory: Memory): number {
    return this.tcpHeaderBytes === 0 ? 0 : memory.view.getUint8(this.offset + this.headerBytes + 13);
  }

  /** Source and destination port as one 32-bit word, 0 when there are none. */
  ports(memory: Memory): number {
    return this.hasPorts ? memory.view.getUint32(this.offset + this.headerBytes) : 0;
  }

  /** Whether this is a TCP acknowledgement without data and without any other meaning. */
  isPureAck(memory: Memory): boolean {
    return (
      this.tcpHeaderBytes !== 0 &&
      this.tcpPayloadBytes === 0 &&
      (this.tcpFlags(memory) & (TCP_ACK | TCP_SYN | TCP_FIN | TCP_RST)) === TCP_ACK
    );
  }

  /** Whether this opens a TCP connection. */
  isSyn(memory: Memory): boolean {
    return (this.tcpFlags(memory) & TCP_SYN) !== 0;
  }

  /**
   * Hash of the flow: addresses, protocol and ports; for fragments (which have no ports) without them. The seed keeps
   * strangers from choosing collisions. Shape: uint32, all bits mixed (murmur3's finish).
   */
  flowHash(memory: Memory, seed: number): number {
    const view = memory.view;
    const from = this.offset + (this.version === 4 ? 12 : 8);
    const to = this.offset + (this.version === 4 ? 20 : 40);
    let h = mix(seed | 0, this.protocol);
    for (let at = from; at < to; at += 4) h = mix(h, view.getUint32(at));
    if (this.hasPorts && !this.fragment) h = mix(h, view.getUint32(this.offset + this.headerBytes));
    return finish(h);
  }

  /** The `flowHash` of the packets that answer this one: addresses and ports the other way round. */
  answerHash(memory: Memory, seed: number): number {
    const view = memory.view;
    const bytes = this.version === 4 ? 4 : 16;
    let h = mix(seed | 0, this.protocol);
    for (let k = 0; k < bytes; k += 4) h = mix(h, view.getUint32(this.destinationOffset + k));
    for (let k = 0; k < bytes; k += 4) h = mix(h, view.getUint32(this.sourceOffset + k));
    const ports = this.ports(memory);
    if (this.hasPorts && !this.fragment) h = mix(h, ((ports << 16) | (ports >>> 16)) >>> 0);
    return finish(h);
  }

  /** The code point of the IP header. Source: RFC 2474. */
  dscp(memory: Memory): number {
    return this.version === 4
      ? memory.view.getUint8(this.offset + 1) >> 2
      : (memory.view.getUint16(this.offset) >> 6) & 0x3f;
  }

  /** Where the source address lies. Shape: arena offset; 4 bytes for version 4, 16 for version 6. */
  get sourceOffset(): number {
    return this.offset + (this.version === 4 ? 12 : 8);
  }

  /** Where the destination address lies. */
  get destinationOffset(): number {
    return this.offset + (this.version === 4 ? 16 : 24);
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === PROTO_HOP_BY_HOP ||
    protocol === PROTO_ROUTING ||
    protocol === PROTO_FRAGMENT ||
    protocol === PROTO_AH ||
    protocol === PROTO_DESTINATION ||
    protocol === PROTO_MOBILITY
  );
}

/** All bits mixed: murmur3's finish. */
function finish(h: number): number {
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function mix(h: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  h ^= Math.imul(k, 0x1b873593);
  h = (h << 13) | (h >>> 19);
  return (Math.imul(h, 5) + 0xe6546b64) | 0;
}

/** The two ECN bits of a packet that `parse` accepted. */
export function ecnOf(memory: Memory, off: number): number {
  const second = memory.view.getUint8(off + 1);
  return memory.view.getUint8(off) >> 4 === 4 ? second & 3 : (second >> 4) & 3;
}

/** Marks congestion experienced on a packet that `parse` accepted; false (and untouched) when its sender does not speak ECN. */
export function setCe(memory: Memory, off: number): boolean {
  const view = memory.view;
  const ecn = ecnOf(memory, off);
  if (ecn === ECN_NOT_ECT) return false;
  if (ecn === ECN_CE) return true;
  if (view.getUint8(off) >> 4 === 6) {
    view.setUint8(off + 1, view.getUint8(off + 1) | 0x30);
    return true;
  }
  const before = view.getUint16(off);
  const after = before | ECN_CE;
  view.setUint16(off, after);
  // RFC 1624, equation 3.
  let sum = (~view.getUint16(off + 10) & 0xffff) + (~before & 0xffff) + after;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(off + 10, ~sum & 0xffff);
  return true;
}

/**
 * Datagrams in batches: `receive` fills 16 messages at once (`recvmmsg`), each of them a run of datagrams that the kernel gathered
 * (UDP_GRO); `send` hands a run of equal-sized datagrams to the kernel in one call (UDP_SEGMENT), or one by one where that is refused.
 *
 *   message i:   offset[i] ┌─segment[i]─┬────────────┬────────────┬──────┐ length[i] in all; the last may be shorter
 *                          └────────────┴────────────┴────────────┴──────┘ endpoint[i]: its 48-byte record
 *
 * One `UdpIo` serves all sockets of a thread: a batch is read out before the next `receive`, a run is copied by the kernel before
 * `send` returns. Source: Linux udp(7), recvmmsg(2).
 */
import type { Arena } from './arena.ts';
import {
  ENDPOINT_BYTES,
  ENDPOINT_FAMILY,
  ENDPOINT_LOCAL,
  ENDPOINT_SOCKET,
  SOCKADDR_IN_BYTES,
  SOCKADDR_IN6_BYTES,
} from './endpoint.ts';
import { EINVAL, EIO, EMSGSIZE, ENOPROTOOPT, EOPNOTSUPP, lastErrno, libc } from './libc.ts';
import { openSocket, SOCKET_SCRATCH_BYTES, type SocketOptions, type UdpSocket } from './socket.ts';

/** Datagrams of one run. Source: UDP_MAX_SEGMENTS of kernels before 6.11. */
export const MAX_RUN_DATAGRAMS = 64;
/** Bytes of one run, headers of the outer packet not counted: below 65,535 with any header. */
export const MAX_RUN_BYTES = 65_000;
/** Runs that a socket sends plainly after a refusal before it tries UDP_SEGMENT again: the route may have moved to another device. */
const PLAIN_RUNS_AFTER_REFUSAL = 4096;

const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const MMSGHDR_BYTES = 64;
const MSG_NAME = 0;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
const MSG_LEN = 56;
const IOVEC_BYTES = 16;
const CMSG_HEADER_BYTES = 16;
const RX_CONTROL_BYTES = 128;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const IPPROTO_IPV6 = 41;
const IPV6_PKTINFO = 50;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const PKTINFO4_SPACE = 32;
const PKTINFO6_SPACE = 40;
const SEGMENT_SPACE = 24;

/** Sizes of the receive batch. */
export interface UdpIoOptions {
  /** Messages of one `receive`. */
  readonly messages?: number;
  /** Bytes of each; 65,536 where UDP_GRO is on. */
  readonly messageBytes?: number;
}

/** The batches of one thread. Owns: its buffers in the arena. */
export class UdpIo {
  /** What the last `receive` brought, per message. Shape: arena offsets and bytes; `segment[i]` = `length[i]` for a lone datagram. */
  readonly offset: Int32Array;
  readonly length: Int32Array;
  readonly segment: Int32Array;
  readonly endpoint: Int32Array;
  /** Messages that did not fit in their buffer and were dropped (their length is 0). */
  truncated = 0;
  readonly #arena: Arena;
  readonly #view: DataView;
  readonly #messages: number;
  readonly #messageBytes: number;
  readonly #rxHeaders: number;
  readonly #rxControls: number;
  /** Headers that the kernel has written into since they were set up. */
  #dirty: number;
  readonly #txHeaders: number;
  readonly #txIov: number;
  readonly #tx4: number;
  readonly #tx6: number;
  readonly #scratch: number;

  constructor(arena: Arena, options: UdpIoOptions = {}) {
    this.#arena = arena;
    this.#view = arena.view;
    this.#messages = options.messages ?? 16;
    this.#messageBytes = options.messageBytes ?? 65_536;
    const n = this.#messages;
    this.#scratch = arena.take('socket options', SOCKET_SCRATCH_BYTES);
    this.#rxHeaders = arena.take('udp rx headers', n * MMSGHDR_BYTES);
    const rxIov = arena.take('udp rx iovecs', n * IOVEC_BYTES);
    this.#rxControls = arena.take('udp rx controls', n * RX_CONTROL_BYTES);
    const endpoints = arena.take('udp rx endpoints', n * ENDPOINT_BYTES);
    const buffers = arena.take('udp rx buffers', n * this.#messageBytes, 4096);
    this.offset = new Int32Array(n).map((_, i) => buffers + i * this.#messageBytes);
    this.endpoint = new Int32Array(n).map((_, i) => endpoints + i * ENDPOINT_BYTES);
    this.length = new Int32Array(n);
    this.segment = new Int32Array(n);
    for (let i = 0; i < n; i++) {
      const h = this.#rxHeaders + i * MMSGHDR_BYTES;
      const v = rxIov + i * IOVEC_BYTES;
      arena.setWord(h + MSG_NAME, arena.base + this.endpoint[i]);
      arena.setWord(h + MSG_IOV, arena.base + v);
      arena.setWord(h + MSG_IOVLEN, 1);
      arena.setWord(h + MSG_CONTROL, arena.base + this.#rxControls + i * RX_CONTROL_BYTES);
      arena.setWord(v, arena.base + this.offset[i]);
      arena.setWord(v + 8, this.#messageBytes);
    }
    this.#dirty = n;

    this.#txHeaders = arena.take('udp tx headers', MAX_RUN_DATAGRAMS * MMSGHDR_BYTES);
    this.#txIov = arena.take('udp tx iovecs', MAX_RUN_DATAGRAMS * IOVEC_BYTES);
    this.#tx4 = arena.take('udp tx control 4', PKTINFO4_SPACE + SEGMENT_SPACE);
    this.#tx6 = arena.take('udp tx control 6', PKTINFO6_SPACE + SEGMENT_SPACE);
    for (let i = 0; i < MAX_RUN_DATAGRAMS; i++) {
      const h = this.#txHeaders + i * MMSGHDR_BYTES;
      arena.setWord(h + MSG_IOV, arena.base + this.#txIov + i * IOVEC_BYTES);
      arena.setWord(h + MSG_IOVLEN, 1);
    }
    setCmsg(arena, this.#tx4, 12, IPPROTO_IP, IP_PKTINFO);
    setCmsg(arena, this.#tx4 + PKTINFO4_SPACE, 2, SOL_UDP, UDP_SEGMENT);
    setCmsg(arena, this.#tx6, 20, IPPROTO_IPV6, IPV6_PKTINFO);
    setCmsg(arena, this.#tx6 + PKTINFO6_SPACE, 2, SOL_UDP, UDP_SEGMENT);
  }

  /**
   * Opens a socket for use with this batch.
   * @throws YokeError (host) as `openSocket` does.
   */
  open(options: SocketOptions): UdpSocket {
    return openSocket(this.#arena, this.#scratch, options);
  }

  /** Takes what has arrived on a socket: how many messages `offset`, `length`, `segment`, `endpoint` now describe, or -errno. */
  receive(socket: UdpSocket): number {
    const view = this.#view;
    for (let i = 0, h = this.#rxHeaders; i < this.#dirty; i++, h += MMSGHDR_BYTES) {
      view.setUint32(h + MSG_NAMELEN, SOCKADDR_IN6_BYTES, true);
      view.setUint32(h + MSG_CONTROLLEN, RX_CONTROL_BYTES, true);
      view.setUint32(h + MSG_FLAGS, 0, true);
    }
    this.#dirty = 0;
    const n = libc.recvmmsg(socket.fd, this.#arena.base + this.#rxHeaders, this.#messages, MSG_DONTWAIT, 0) as number;
    if (n < 0) return -lastErrno();
    this.#dirty = n;
    for (let i = 0; i < n; i++) this.#readMessage(i, socket);
    return n;
  }

  #readMessage(i: number, socket: UdpSocket): void {
    const view = this.#view;
    const h = this.#rxHeaders + i * MMSGHDR_BYTES;
    let length = view.getUint32(h + MSG_LEN, true);
    if (view.getUint32(h + MSG_FLAGS, true) & MSG_TRUNC) {
      this.truncated++;
      length = 0;
    }
    let segment = length;
    const e = this.endpoint[i];
    if (socket.family === 4)
      // The record may still hold the tail of an IPv6 address.
      for (let at = SOCKADDR_IN_BYTES; at < ENDPOINT_FAMILY; at += 4) view.setUint32(e + at, 0);
    const end = this.#rxControls + i * RX_CONTROL_BYTES + view.getUint32(h + MSG_CONTROLLEN, true);
    let c = this.#rxControls + i * RX_CONTROL_BYTES;
    while (c + CMSG_HEADER_BYTES <= end) {
      const size = view.getUint32(c, true);
      if (size < CMSG_HEADER_BYTES) break;
      const level = view.getInt32(c + 8, true);
      const type = view.getInt32(c + 12, true);
      const data = c + CMSG_HEADER_BYTES;
      if (level === SOL_UDP && type === UDP_GRO) segment = view.getUint16(data, true);
      else if (level === IPPROTO_IP && type === IP_PKTINFO)
        view.setUint32(e + ENDPOINT_LOCAL, view.getUint32(data + 4, true), true);
      else if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO)
        for (let k = 0; k < 16; k += 4) view.setUint32(e + ENDPOINT_LOCAL + k, view.getUint32(data + k, true), true);
      c += (size + 7) & ~7;
    }
    view.setUint32(e + ENDPOINT_FAMILY, 0);
    view.setUint8(e + ENDPOINT_FAMILY, socket.family);
    view.setUint8(e + ENDPOINT_SOCKET, socket.number);
    this.length[i] = length;
    this.segment[i] = segment === 0 ? length : segment;
  }

  /**
   * Sends the `length` bytes at `offset` as datagrams of `segmentBytes` (the last may be shorter) to the record at `endpoint`.
   * Returns the bytes that the kernel took (a whole number of datagrams), or -errno when it took none: -EAGAIN and -ENOBUFS mean
   * full, -EMSGSIZE larger than the device's MTU, -ENETUNREACH and its like no way now.
   */
  send(socket: UdpSocket, endpoint: number, offset: number, length: number, segmentBytes: number): number {
    if (length <= segmentBytes) return this.#sendOne(socket, endpoint, offset, length, 0);
    const perRun = Math.min(MAX_RUN_DATAGRAMS, Math.floor(MAX_RUN_BYTES / segmentBytes)) * segmentBytes;
    let done = 0;
    while (done < length) {
      const n = Math.min(perRun, length - done);
      const sent = this.#sendRun(socket, endpoint, offset + done, n, segmentBytes);
      if (sent < 0) return done > 0 ? done : sent;
      done += sent;
      if (sent < n) break;
    }
    return done;
  }

  #sendRun(socket: UdpSocket, endpoint: number, offset: number, length: number, segmentBytes: number): number {
    if (length <= segmentBytes) return this.#sendOne(socket, endpoint, offset, length, 0);
    if (socket.segmentation && socket.plainRuns === 0) {
      const sent = this.#sendOne(socket, endpoint, offset, length, segmentBytes);
      if (sent >= 0 || !isRefusal(-sent)) return sent;
      const plain = this.#sendPlain(socket, endpoint, offset, length, segmentBytes);
      if (plain > 0) {
        socket.segmentationRefused++;
        socket.plainRuns = PLAIN_RUNS_AFTER_REFUSAL;
      }
      return plain;
    }
    if (socket.plainRuns > 0) socket.plainRuns--;
    return this.#sendPlain(socket, endpoint, offset, length, segmentBytes);
  }

  /** One sendmsg; `segmentBytes` 0 means that it is one datagram. */
  #sendOne(socket: UdpSocket, endpoint: number, offset: number, length: number, segmentBytes: number): number {
    this.#address(this.#txHeaders, endpoint, segmentBytes);
    this.#setIovec(this.#txIov, offset, length);
    const n = libc.sendmsg(socket.fd, this.#arena.base + this.#txHeaders, MSG_DONTWAIT) as number;
    return n >= 0 ? n : -lastErrno();
  }

  /** The datagrams of a run one by one, in one sendmmsg. */
  #sendPlain(socket: UdpSocket, endpoint: number, offset: number, length: number, segmentBytes: number): number {
    let count = 0;
    for (let at = 0; at < length; at += segmentBytes, count++) {
      this.#address(this.#txHeaders + count * MMSGHDR_BYTES, endpoint, 0);
      this.#setIovec(this.#txIov + count * IOVEC_BYTES, offset + at, Math.min(segmentBytes, length - at));
    }
    const n = libc.sendmmsg(socket.fd, this.#arena.base + this.#txHeaders, count, MSG_DONTWAIT) as number;
    return n > 0 ? Math.min(n * segmentBytes, length) : -lastErrno();
  }

  #setIovec(at: number, offset: number, length: number): void {
    const address = this.#arena.base + offset;
    this.#view.setUint32(at, address >>> 0, true);
    this.#view.setUint32(at + 4, (address / 0x1_0000_0000) >>> 0, true);
    this.#view.setUint32(at + 8, length, true);
  }

  /** Fills name and control of a message header. */
  #address(header: number, endpoint: number, segmentBytes: number): void {
    const view = this.#view;
    const base = this.#arena.base;
    const v4 = view.getUint8(endpoint + ENDPOINT_FAMILY) === 4;
    const local = endpoint + ENDPOINT_LOCAL;
    let control = v4 ? this.#tx4 : this.#tx6;
    const space = v4 ? PKTINFO4_SPACE : PKTINFO6_SPACE;
    let controlBytes = 0;
    if (segmentBytes > 0) {
      view.setUint16(control + space + CMSG_HEADER_BYTES, segmentBytes, true);
      controlBytes = SEGMENT_SPACE;
    }
    let fromAnywhere = true;
    if (v4) {
      const word = view.getUint32(local, true);
      fromAnywhere = word === 0;
      view.setUint32(control + CMSG_HEADER_BYTES + 4, word, true);
    } else {
      for (let k = 0; k < 16; k += 4) {
        const word = view.getUint32(local + k, true);
        if (word !== 0) fromAnywhere = false;
        view.setUint32(control + CMSG_HEADER_BYTES + k, word, true);
      }
    }
    if (fromAnywhere) control += space;
    else controlBytes += space;
    const name = base + endpoint;
    view.setUint32(header + MSG_NAME, name >>> 0, true);
    view.setUint32(header + MSG_NAME + 4, (name / 0x1_0000_0000) >>> 0, true);
    view.setUint32(header + MSG_NAMELEN, v4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES, true);
    const address = base + control;
    view.setUint32(header + MSG_CONTROL, address >>> 0, true);
    view.setUint32(header + MSG_CONTROL + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(header + MSG_CONTROLLEN, controlBytes, true);
  }
}

/** Errors that mean "not as a run", which plain sending may not share. */
function isRefusal(errno: number): boolean {
  return errno === EIO || errno === EINVAL || errno === EMSGSIZE || errno === EOPNOTSUPP || errno === ENOPROTOOPT;
}

function setCmsg(arena: Arena, at: number, dataBytes: number, level: number, type: number): void {
  arena.setWord(at, CMSG_HEADER_BYTES + dataBytes);
  arena.view.setInt32(at + 8, level, true);
  arena.view.setInt32(at + 12, type, true);
}

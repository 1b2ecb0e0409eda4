/**
 * Opening the outer UDP sockets: one a link and family, tied to its device, with the don't-fragment bit set, telling for each datagram
 * which of our addresses it was sent to. The batches that pass through them are in `udp.ts`.
 */
import { type AddressBytes, printAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import type { Arena } from './arena.ts';
import { AF_INET, AF_INET6, SOCKADDR_IN_BYTES, SOCKADDR_IN6_BYTES } from './endpoint.ts';
import { EADDRINUSE, EADDRNOTAVAIL, ENODEV, EPERM, errnoName, lastErrno, libc } from './libc.ts';

const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0x800 | 0x80000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_BINDTODEVICE = 25;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const IP_MTU_DISCOVER = 10;
const IPPROTO_IPV6 = 41;
const IPV6_MTU_DISCOVER = 23;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
/** Don't fragment, and don't believe ICMP about the path MTU: we probe it ourselves. Source: RFC 8899, ip(7). */
const PMTUDISC_PROBE = 3;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
const SCRATCH_BYTES = 64;

/** What a socket shall be. */
export interface SocketOptions {
  /** Small number (0 to 255) that endpoint records carry. */
  readonly number: number;
  readonly family: 4 | 6;
  /** Local port; 0 lets the kernel choose. */
  readonly port: number;
  /** Local address; left out, any. */
  readonly address?: AddressBytes;
  /** Device to be tied to (SO_BINDTODEVICE). */
  readonly device?: string;
  /** Mark for routing rules (SO_MARK); 0 or left out: none. */
  readonly mark?: number;
  /** Units: bytes, of each of the two kernel buffers; as much as the kernel allows is taken. */
  readonly bufferBytes?: number;
  /** Send runs with UDP_SEGMENT where the kernel has it (default true). */
  readonly segmentation?: boolean;
  /** Receive runs with UDP_GRO where the kernel has it (default true). */
  readonly gro?: boolean;
}

/** Default for `bufferBytes`: 50 ms at 600 Mbit/s. */
export const DEFAULT_BUFFER_BYTES = 4 << 20;

/** An open UDP socket and what is known of it; a plain record, so that the batches stay monomorphic. */
export interface UdpSocket {
  readonly fd: number;
  readonly number: number;
  readonly family: 4 | 6;
  /** The port it is bound to. */
  readonly port: number;
  /** Whether received runs may hold several datagrams. */
  readonly gro: boolean;
  /** Whether the kernel knows UDP_SEGMENT and the options allow it. */
  readonly segmentation: boolean;
  /** Runs left to send datagram by datagram before UDP_SEGMENT is tried again; kept by `udp.ts`. */
  plainRuns: number;
  /** Runs for which UDP_SEGMENT was refused although plain sending worked. */
  segmentationRefused: number;
}

/**
 * Opens a socket in this thread's network namespace.
 * @throws YokeError (host) naming the port, address or device that cannot be had; retryable where time may help.
 */
export function openSocket(arena: Arena, scratch: number, options: SocketOptions): UdpSocket {
  const v4 = options.family === 4;
  const fd = libc.socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw complaint(options, 'a UDP socket', lastErrno());
  try {
    return setUp(arena, scratch, fd, options);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Bytes of arena scratch that `openSocket` needs. */
export const SOCKET_SCRATCH_BYTES = SCRATCH_BYTES;

/** Closes a socket. */
export function closeSocket(socket: UdpSocket): void {
  libc.close(socket.fd);
}

function setUp(arena: Arena, scratch: number, fd: number, options: SocketOptions): UdpSocket {
  const v4 = options.family === 4;
  const at = arena.base + scratch;
  const set = (level: number, name: number, value: number): boolean => {
    arena.view.setInt32(scratch, value, true);
    return libc.setsockopt(fd, level, name, at, 4) === 0;
  };
  if (options.device) {
    arena.bytes.fill(0, scratch, scratch + SCRATCH_BYTES);
    arena.bytes.set(Buffer.from(options.device).subarray(0, 15), scratch);
    if (libc.setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, at, 16) < 0) throw deviceComplaint(options, lastErrno());
  }
  if (options.mark && !set(SOL_SOCKET, SO_MARK, options.mark))
    throw complaint(options, `leave to set mark ${options.mark}`, lastErrno());
  if (!v4) set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
  if (!set(level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, PMTUDISC_PROBE))
    throw complaint(options, 'path MTU probing', lastErrno());
  if (!set(level, v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1)) throw complaint(options, 'packet info', lastErrno());
  const bufferBytes = options.bufferBytes ?? DEFAULT_BUFFER_BYTES;
  if (!set(SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes)) set(SOL_SOCKET, SO_RCVBUF, bufferBytes);
  if (!set(SOL_SOCKET, SO_SNDBUFFORCE, bufferBytes)) set(SOL_SOCKET, SO_SNDBUF, bufferBytes);
  const gro = (options.gro ?? true) && set(SOL_UDP, UDP_GRO, 1);
  // Size 0 changes nothing: it only asks whether the kernel knows the option.
  const segmentation = (options.segmentation ?? true) && set(SOL_UDP, UDP_SEGMENT, 0);

  const length = v4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
  arena.bytes.fill(0, scratch, scratch + SCRATCH_BYTES);
  arena.view.setUint16(scratch, v4 ? AF_INET : AF_INET6, true);
  arena.view.setUint16(scratch + 2, options.port);
  if (options.address) arena.bytes.set(options.address, scratch + (v4 ? 4 : 8));
  if (libc.bind(fd, at, length) < 0) throw bindComplaint(options, lastErrno());
  arena.view.setUint32(scratch + 32, length, true);
  if (libc.getsockname(fd, at, at + 32) < 0) throw complaint(options, 'a bound socket', lastErrno());
  return {
    fd,
    number: options.number,
    family: options.family,
    port: arena.view.getUint16(scratch + 2),
    gro,
    segmentation,
    plainRuns: 0,
    segmentationRefused: 0,
  };
}

function whereOf(o: SocketOptions): string {
  const address = o.address ? printAddress(o.address) : '*';
  const host = o.family === 6 ? `[${address}]` : address;
  return `UDP ${host}:${o.port}${o.device ? ` on ${o.device}` : ''}`;
}

function complaint(options: SocketOptions, expected: string, errno: number, retryable = false): YokeError {
  const todo = errno === EPERM ? 'run as root or with CAP_NET_ADMIN' : 'check the kernel and its limits';
  return new YokeError('host', { where: whereOf(options), expected, found: errnoName(errno), todo }, retryable);
}

function deviceComplaint(options: SocketOptions, errno: number): YokeError {
  if (errno !== ENODEV) return complaint(options, `to be tied to ${options.device}`, errno);
  const todo = 'bring the link up or correct its interface option';
  return new YokeError(
    'host',
    { where: whereOf(options), expected: `device ${options.device}`, found: 'no such device', todo },
    true,
  );
}

function bindComplaint(options: SocketOptions, errno: number): YokeError {
  const where = whereOf(options);
  if (errno === EADDRINUSE)
    return new YokeError('host', {
      where,
      expected: 'a free port',
      found: 'a port in use',
      todo: 'stop the other program or choose another port',
    });
  if (errno === EADDRNOTAVAIL)
    return new YokeError(
      'host',
      { where, expected: 'an address of this machine', found: 'none such', todo: 'correct the address or wait for it' },
      true,
    );
  return complaint(options, 'to bind', errno);
}

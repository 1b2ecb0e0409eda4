/**
 * The TUN device: inner packets in and out, whole or as offloaded giants of up to 64 KB.
 *
 *   with offload     [virtio header 10][IP packet up to 64 KB, maybe to be segmented, checksum maybe partial]
 *   without          [IP packet]
 *
 * Reads go to an arena offset; writes gather fragments (`add` … `flush`), so that a packet made of a header and the payloads of many
 * segments is written without being copied together. Source: Linux Documentation/networking/tuntap, virtio 1.2 §5.1.6.
 */
import { existsSync } from 'node:fs';
import { YokeError } from '../base/error.ts';
import type { Arena } from './arena.ts';
import { EACCES, EBUSY, EINVAL, ENOENT, EPERM, errnoName, lastErrno, libc } from './libc.ts';

const TUN_PATH = '/dev/net/tun';
const O_RDWR_NONBLOCK_CLOEXEC = 0x2 | 0x800 | 0x80000;
const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;

const TUNSETIFF = 0x400454ca;
const TUNSETOFFLOAD = 0x400454d0;
const TUNSETVNETHDRSZ = 0x400454d8;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const IFF_VNET_HDR = 0x4000;
const TUN_F_CSUM_TSO = 0x01 | 0x02 | 0x04;
const TUN_F_TSO_ECN = 0x08;

/** Bytes of the virtio header before each packet when offload is on (without num_buffers). Source: virtio 1.2 §5.1.6. */
export const VNET_HEADER_BYTES = 10;
/** Largest read: the virtio header and the largest IP packet. */
export const TUN_READ_BYTES = VNET_HEADER_BYTES + 65_535;
/** Fragments of one write. Source: UIO_MAXIOV is 1,024; a giant has at most 64 segments, a header and a virtio header. */
export const MAX_FRAGMENTS = 128;

/** What to ask the kernel for. */
export interface TunOptions {
  /** Device name, at most 15 bytes. */
  readonly name: string;
  /** Ask for virtio headers, checksum and segmentation offload; refused by the kernel, the device works without. */
  readonly offload: boolean;
}

/** An open TUN device. Owns: its descriptor; the device disappears with it unless it was made persistent. */
export class Tun {
  readonly fd: number;
  readonly name: string;
  /** Bytes before each packet, read and written: VNET_HEADER_BYTES or 0. */
  readonly vnetHeaderBytes: number;
  readonly #arena: Arena;
  readonly #iov: number;
  #count = 0;

  constructor(arena: Arena, fd: number, name: string, vnetHeaderBytes: number) {
    this.#arena = arena;
    this.fd = fd;
    this.name = name;
    this.vnetHeaderBytes = vnetHeaderBytes;
    this.#iov = arena.take(`${name} iovecs`, MAX_FRAGMENTS * 16);
  }

  /** Whether packets carry virtio headers, may be giants and may have partial checksums. */
  get offload(): boolean {
    return this.vnetHeaderBytes > 0;
  }

  /** Reads one packet (with its virtio header) to `offset`; its length, or -errno (-EAGAIN when there is none). */
  read(offset: number, capacity: number): number {
    const n = libc.read(this.fd, this.#arena.base + offset, capacity) as number;
    return n >= 0 ? n : -lastErrno();
  }

  /** Writes one packet that lies in one piece, virtio header included; its length, or -errno. */
  write(offset: number, length: number): number {
    const n = libc.write(this.fd, this.#arena.base + offset, length) as number;
    return n >= 0 ? n : -lastErrno();
  }

  /** Appends a fragment to the packet that `flush` will write. */
  add(offset: number, length: number): void {
    const at = this.#iov + 16 * this.#count++;
    const address = this.#arena.base + offset;
    const view = this.#arena.view;
    view.setUint32(at, address >>> 0, true);
    view.setUint32(at + 4, (address / 0x1_0000_0000) >>> 0, true);
    view.setUint32(at + 8, length, true);
  }

  /** Writes the added fragments as one packet; its length, or -errno (-EIO while the device is down). */
  flush(): number {
    const count = this.#count;
    this.#count = 0;
    const n = libc.writev(this.fd, this.#arena.base + this.#iov, count) as number;
    return n >= 0 ? n : -lastErrno();
  }

  /** Closes the device. */
  close(): void {
    libc.close(this.fd);
  }
}

/**
 * Opens (and makes, if need be) a TUN device in this thread's network namespace. It is left down and without addresses.
 * @throws YokeError (host) when the device cannot be had: no /dev/net/tun, no permission, the name taken.
 */
export function openTun(arena: Arena, options: TunOptions): Tun {
  const { name } = options;
  if (name.length === 0 || Buffer.byteLength(name) >= IFNAMSIZ)
    throw complaint(
      name,
      'a device name of 1 to 15 bytes',
      `${Buffer.byteLength(name)} bytes`,
      'choose a shorter name',
    );
  const ifreq = arena.take(`${name} ifreq`, IFREQ_BYTES);
  if (options.offload) {
    const fd = attach(arena, ifreq, name, true);
    if (fd >= 0) {
      if (setOffload(arena, ifreq, fd)) return new Tun(arena, fd, name, VNET_HEADER_BYTES);
      libc.close(fd);
    }
  }
  const fd = attach(arena, ifreq, name, false);
  if (fd < 0) throw attachComplaint(name, -fd);
  return new Tun(arena, fd, name, 0);
}

/** The descriptor, or -errno of TUNSETIFF. */
function attach(arena: Arena, ifreq: number, name: string, vnet: boolean): number {
  const fd = libc.open(TUN_PATH, O_RDWR_NONBLOCK_CLOEXEC, 0) as number;
  if (fd < 0) throw openComplaint(lastErrno());
  arena.bytes.fill(0, ifreq, ifreq + IFREQ_BYTES);
  arena.bytes.set(Buffer.from(name), ifreq);
  arena.view.setUint16(ifreq + IFREQ_FLAGS, IFF_TUN | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0), true);
  if (libc.ioctl(fd, TUNSETIFF, arena.base + ifreq) < 0) {
    const errno = lastErrno();
    libc.close(fd);
    return -errno;
  }
  return fd;
}

function setOffload(arena: Arena, ifreq: number, fd: number): boolean {
  arena.view.setInt32(ifreq, VNET_HEADER_BYTES, true);
  if (libc.ioctl(fd, TUNSETVNETHDRSZ, arena.base + ifreq) < 0) return false;
  // ECN giants first: kernels that refuse them still segment the others.
  return [TUN_F_CSUM_TSO | TUN_F_TSO_ECN, TUN_F_CSUM_TSO].some((f) => libc.ioctl(fd, TUNSETOFFLOAD, f) >= 0);
}

function complaint(name: string, expected: string, found: string, todo: string): YokeError {
  return new YokeError('host', { where: `device ${name}`, expected, found, todo });
}

function openComplaint(errno: number): YokeError {
  const where = TUN_PATH;
  const expected = 'the TUN driver';
  if (errno === ENOENT || !existsSync(TUN_PATH))
    return new YokeError('host', {
      where,
      expected,
      found: 'no such file',
      todo: 'load it (modprobe tun) or give the container the device',
    });
  if (errno === EACCES || errno === EPERM)
    return new YokeError('host', {
      where,
      expected,
      found: 'no permission',
      todo: 'run as root or with CAP_NET_ADMIN',
    });
  return new YokeError('host', { where, expected, found: errnoName(errno), todo: 'load it (modprobe tun)' });
}

function attachComplaint(name: string, errno: number): YokeError {
  if (errno === EBUSY)
    return complaint(
      name,
      'a free device name',
      'a TUN device that another process holds',
      'stop that process or choose another name',
    );
  if (errno === EINVAL)
    return complaint(
      name,
      'a free device name',
      'a device of another kind',
      'choose another name or delete the device',
    );
  if (errno === EPERM || errno === EACCES)
    return complaint(name, 'leave to make a TUN device', 'no permission', 'run as root or with CAP_NET_ADMIN');
  return complaint(name, 'a TUN device', errnoName(errno), 'check the kernel log');
}

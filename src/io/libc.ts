/**
 * The C library's functions that the packet path calls, found among the symbols of the running process (so that glibc, musl and
 * a Node of any build are served alike).
 *
 * Pointers and sizes are declared as integers: koffi passes a Number in a register and converts nothing. Everything that the
 * kernel reads or writes lives in the arena, whose addresses are Numbers.
 */
import koffi from 'koffi';
import { YokeError } from '../base/error.ts';

/** The symbols of this process: libc and, in every build of Node, libcrypto. */
export const self = koffi.load(null);

/** Negative results of the wrappers are these. Source: Linux asm-generic/errno-base.h and errno.h, the same on x64 and arm64. */
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const EACCES = 13;
export const EBUSY = 16;
export const ENODEV = 19;
export const EINVAL = 22;
export const EMSGSIZE = 90;
export const ENOPROTOOPT = 92;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ENOBUFS = 105;
export const EHOSTUNREACH = 113;

/** The raw functions; -1 means failure and `lastErrno()` says which. */
export const libc = {
  mmap: self.func('mmap', 'intptr_t', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'long']),
  munmap: self.func('munmap', 'int', ['uintptr_t', 'size_t']),
  open: self.func('open', 'int', ['str', 'int', 'int']),
  close: self.func('close', 'int', ['int']),
  read: self.func('read', 'long', ['int', 'uintptr_t', 'size_t']),
  write: self.func('write', 'long', ['int', 'uintptr_t', 'size_t']),
  writev: self.func('writev', 'long', ['int', 'uintptr_t', 'int']),
  ioctl: self.func('ioctl', 'int', ['int', 'ulong', 'uintptr_t']),
  ppoll: self.func('ppoll', 'int', ['uintptr_t', 'ulong', 'uintptr_t', 'uintptr_t']),
  eventfd: self.func('eventfd', 'int', ['uint', 'int']),
  prctl: self.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']),
  socket: self.func('socket', 'int', ['int', 'int', 'int']),
  bind: self.func('bind', 'int', ['int', 'uintptr_t', 'uint']),
  getsockname: self.func('getsockname', 'int', ['int', 'uintptr_t', 'uintptr_t']),
  setsockopt: self.func('setsockopt', 'int', ['int', 'int', 'int', 'uintptr_t', 'uint']),
  getsockopt: self.func('getsockopt', 'int', ['int', 'int', 'int', 'uintptr_t', 'uintptr_t']),
  sendmsg: self.func('sendmsg', 'long', ['int', 'uintptr_t', 'int']),
  sendmmsg: self.func('sendmmsg', 'int', ['int', 'uintptr_t', 'uint', 'int']),
  recvmmsg: self.func('recvmmsg', 'int', ['int', 'uintptr_t', 'uint', 'int', 'uintptr_t']),
};

/** The errno of the last failed call of this thread; meaningless after a success. */
export function lastErrno(): number {
  return koffi.errno();
}

/** `EBUSY (16)`: an errno as an operator can look it up. */
export function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(koffi.os.errno)) if (value === errno) return `${name} (${errno})`;
  return `errno ${errno}`;
}

/**
 * The result of a set-up call, or an error that names the place and the errno.
 * @throws YokeError (host) when `result` is negative.
 */
export function must(result: number, where: string, expected: string, todo: string): number {
  if (result >= 0) return result;
  throw new YokeError('host', { where, expected, found: errnoName(lastErrno()), todo });
}

/**
 * Waiting for descriptors with nanosecond timeouts (ppoll), and waking such a wait from another thread (eventfd).
 *
 * A paced sender sleeps for tens of microseconds, so the thread's timer slack (50 µs by default) is set to its least.
 */
import { writeSync } from 'node:fs';
import { assert } from '../base/error.ts';
import type { Arena } from './arena.ts';
import { EINTR, lastErrno, libc, must } from './libc.ts';

/** Something can be read. Source: poll(2). */
export const POLLIN = 0x001;
/** Something can be written. */
export const POLLOUT = 0x004;
/** The descriptor is in error (a device that was deleted under us, for one). */
export const POLLERR = 0x008;

const POLLFD_BYTES = 8;
const PR_SET_TIMERSLACK = 29;
const EFD_NONBLOCK_CLOEXEC = 0x800 | 0x80000;

/** A set of descriptors to wait for. Shape: `struct pollfd[]` and one `struct timespec` in the arena. */
export class Poller {
  readonly #arena: Arena;
  readonly #fds: number;
  readonly #timespec: number;
  readonly #capacity: number;
  #count = 0;

  constructor(arena: Arena, capacity = 64) {
    this.#arena = arena;
    this.#capacity = capacity;
    this.#fds = arena.take('pollfds', capacity * POLLFD_BYTES);
    this.#timespec = arena.take('poll timespec', 16, 16);
  }

  /** Adds a descriptor and returns its index, which is good until `clear`. */
  add(fd: number, events: number): number {
    assert(this.#count < this.#capacity, `poller: more than ${this.#capacity} descriptors`);
    const index = this.#count++;
    const at = this.#fds + index * POLLFD_BYTES;
    this.#arena.view.setInt32(at, fd, true);
    this.#arena.view.setUint32(at + 4, events, true);
    return index;
  }

  /** Changes what an index waits for; 0 waits for nothing. */
  setEvents(index: number, events: number): void {
    this.#arena.view.setUint16(this.#fds + index * POLLFD_BYTES + 4, events, true);
  }

  /** Forgets all descriptors (a link came or went: add those that are left). */
  clear(): void {
    this.#count = 0;
  }

  /**
   * Waits at most `timeoutNs` (0 looks only) and returns how many descriptors are ready; 0 also after a signal; else -errno.
   * Keep the timeout at 100 ms or less: a worker that blocks for ever outlives its termination.
   */
  wait(timeoutNs: number): number {
    const seconds = Math.floor(timeoutNs / 1e9);
    this.#arena.setWord(this.#timespec, seconds);
    this.#arena.setWord(this.#timespec + 8, timeoutNs - seconds * 1e9);
    const base = this.#arena.base;
    const n = libc.ppoll(base + this.#fds, this.#count, base + this.#timespec, 0) as number;
    if (n >= 0) return n;
    const errno = lastErrno();
    return errno === EINTR ? 0 : -errno;
  }

  /** What happened to an index in the last `wait`: POLLIN, POLLOUT, POLLERR… */
  ready(index: number): number {
    return this.#arena.view.getUint16(this.#fds + index * POLLFD_BYTES + 6, true);
  }
}

/** Lets this thread's timeouts end on time. Failure is harmless and ignored. */
export function sharpenTimers(): void {
  libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
}

/**
 * Makes a descriptor that other threads can wake a `Poller` with; pass its number to them.
 * @throws YokeError (host) when the process is out of descriptors.
 */
export function openWake(): number {
  return must(
    libc.eventfd(0, EFD_NONBLOCK_CLOEXEC) as number,
    'eventfd',
    'a descriptor',
    'raise the limit on open files',
  );
}

const ONE = new BigUint64Array([1n]);

/** Wakes whoever polls the descriptor; callable from any thread, also with plain Node only. */
export function wake(fd: number): void {
  writeSync(fd, ONE);
}

/** Takes the wake-ups back so that the next `wait` blocks again; `scratch` is an 8-byte offset in the arena. */
export function drainWake(arena: Arena, fd: number, scratch: number): void {
  libc.read(fd, arena.base + scratch, 8);
}

/** Closes a descriptor of this layer. */
export function closeFd(fd: number): void {
  libc.close(fd);
}

/**
 * The arena: one region of anonymous memory that both the kernel and we see, kept for the life of the process.
 *
 *   base ──────────────────────────────────────────────────────────── base + sizeBytes
 *   │ region │ region │ …                      │ free                 │
 *   └ bytes[0]        └ take() hands them out upwards, nothing is given back
 *
 * V8 frees a Buffer as soon as JavaScript does not use it any more, even while the kernel still writes into it. So no address of
 * an ordinary Buffer is ever given to a system call: everything lies here, addressed by offset.
 */
import koffi from 'koffi';
import { assert } from '../base/error.ts';
import { libc, must } from './libc.ts';

const PROT_READ_WRITE = 0x1 | 0x2;
const MAP_PRIVATE_ANONYMOUS = 0x02 | 0x20;
const PAGE_BYTES = 4096;
/** Where to look for room below 2^31, and in what steps. Programs and their heaps lie below, everything else far above. */
const LOW_START = 0x4000_0000;
const LOW_END = 0x7fff_0000;
const LOW_STEP = 0x400_0000;

/** A named piece of the arena. */
export interface Region {
  readonly name: string;
  /** Offset from the arena's start. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Memory that system calls may be pointed at. Owns: its pages, until the process ends. */
export class Arena {
  /** Address of byte 0. Addresses of user space lie below 2^53, so a Number is exact. */
  readonly base: number;
  readonly sizeBytes: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly regions: Region[] = [];
  #next = 0;

  constructor(base: number, memory: ArrayBuffer) {
    this.base = base;
    this.sizeBytes = memory.byteLength;
    this.bytes = new Uint8Array(memory);
    this.view = new DataView(memory);
  }

  /**
   * Reserves a zeroed region and returns its offset; `align` is a power of two.
   * Cost: set-up only, never per packet. @throws assertion when the arena was made too small for what the code takes.
   */
  take(name: string, sizeBytes: number, align = 64): number {
    const offset = Math.ceil(this.#next / align) * align;
    assert(offset + sizeBytes <= this.sizeBytes, `arena: ${name} wants ${sizeBytes} bytes at ${offset}`);
    this.#next = offset + sizeBytes;
    this.regions.push({ name, offset, sizeBytes });
    return offset;
  }

  /** Bytes not yet taken. Units: bytes. */
  get freeBytes(): number {
    return this.sizeBytes - this.#next;
  }

  /** Writes an address or another 64-bit number (below 2^53) in the machine's byte order, which is little endian here. */
  setWord(offset: number, value: number): void {
    this.view.setUint32(offset, value >>> 0, true);
    this.view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  }

  /** Reads what `setWord` wrote. */
  word(offset: number): number {
    return this.view.getUint32(offset, true) + this.view.getUint32(offset + 4, true) * 0x1_0000_0000;
  }
}

/**
 * Maps a new arena. Untouched pages cost nothing, so be generous.
 * @throws YokeError (host) when the kernel has no memory for us.
 */
export function openArena(sizeBytes: number): Arena {
  const size = Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;
  const base = mapLow(size) || map(0, size);
  must(base, 'memory', `${size} bytes for packets`, 'free some memory or lower the buffer limits');
  return new Arena(base, koffi.view(base, size));
}

const map = (hint: number, size: number): number =>
  libc.mmap(hint, size, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0) as number;

/**
 * Memory whose addresses are below 2^31, or 0 when there is no room there. V8 keeps such numbers in a register; larger ones cost an
 * allocation each time they are passed to a foreign function (4 % of sealing a datagram).
 */
function mapLow(size: number): number {
  for (let hint = LOW_START; hint + size <= LOW_END; hint += LOW_STEP) {
    const base = map(hint, size);
    // The kernel takes the hint when nothing lies there, else it puts the memory elsewhere.
    if (base === hint || base < 0) return Math.max(base, 0);
    libc.munmap(base, size);
  }
  return 0;
}

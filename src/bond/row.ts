/** Buckets in a row: the lists of the flow queue (queue.ts). */
import { NONE } from './pool.ts';

/** A list of numbers below `count`, each in it once at the most. Cost: O(1) each, no allocation. */
export class Row {
  /** The first; NONE: it is empty. */
  head = NONE;
  /** What comes after each; NONE: nothing. */
  readonly next: Int32Array;
  private tail = NONE;
  private readonly isIn: Uint8Array;

  constructor(count: number) {
    this.next = new Int32Array(count).fill(NONE);
    this.isIn = new Uint8Array(count);
  }

  has(b: number): boolean {
    return this.isIn[b] === 1;
  }

  /** Puts one behind the others; nothing if it is in the row. */
  append(b: number): void {
    if (this.isIn[b] === 1) return;
    this.isIn[b] = 1;
    this.next[b] = NONE;
    if (this.head === NONE) this.head = b;
    else this.next[this.tail] = b;
    this.tail = b;
  }

  /** Takes the first one out. There must be one. */
  shift(): void {
    this.isIn[this.head] = 0;
    this.head = this.next[this.head];
    if (this.head === NONE) this.tail = NONE;
  }
}

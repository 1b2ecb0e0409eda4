/** Simulated time: a heap of what is to happen, and a clock that jumps from one to the next. */

interface Happening {
  readonly atUs: number;
  readonly order: number;
  readonly run: () => void;
}

/** A binary heap by time; what was planned for the same instant happens in the order of its planning. */
export class Events {
  nowUs = 0;
  private readonly heap: Happening[] = [];
  private order = 0;

  at(atUs: number, run: () => void): void {
    const { heap } = this;
    const item: Happening = { atUs: Math.max(atUs, this.nowUs), order: this.order++, run };
    let i = heap.length;
    heap.push(item);
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!isBefore(item, heap[up])) break;
      heap[i] = heap[up];
      i = up;
    }
    heap[i] = item;
  }

  after(us: number, run: () => void): void {
    this.at(this.nowUs + us, run);
  }

  /** Infinity when nothing is planned. */
  nextUs(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0].atUs;
  }

  /** Runs everything that is due at `nowUs`. */
  runDue(): void {
    while (this.heap.length > 0 && this.heap[0].atUs <= this.nowUs) this.pop().run();
  }

  private pop(): Happening {
    const { heap } = this;
    const top = heap[0];
    const last = heap.pop() as Happening;
    const n = heap.length;
    if (n === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= n) break;
      if (child + 1 < n && isBefore(heap[child + 1], heap[child])) child++;
      if (!isBefore(heap[child], last)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}

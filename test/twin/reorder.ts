/** The reorder buffer as one would write it without caring for cost: whole numbers that never wrap, sets and sorted arrays. */

interface Held {
  id: number;
  arrivedUs: number;
}

interface Bucket {
  expected: number;
  held: Map<number, Held>;
  deadlineUs: number;
  later: Set<number>;
  givenUp: Set<number>;
}

/** How far back a given-up number is remembered. */
const MEMORY = 128;

export class SlowReorder {
  readonly delivered: number[] = [];
  readonly dropped: number[] = [];
  up = new Set<number>();
  private readonly buckets = new Map<number, Bucket>();
  private readonly spreadUs: number;
  private readonly resendUs: number;

  constructor(spreadUs: number, resendUs: number) {
    this.spreadUs = spreadUs;
    this.resendUs = resendUs;
  }

  handle(id: number, b: number, seq: number, path: number, nowUs: number): void {
    const bucket = this.bucket(b);
    if (seq < bucket.expected) {
      if (seq >= bucket.expected - MEMORY && bucket.givenUp.delete(seq)) this.delivered.push(id);
      else this.dropped.push(id);
      return;
    }
    if (bucket.held.has(seq)) {
      this.dropped.push(id);
      return;
    }
    if (seq === bucket.expected) {
      bucket.expected++;
      this.delivered.push(id);
      if (bucket.held.size > 0) this.drain(bucket, nowUs);
      return;
    }
    if (bucket.held.size === 0) {
      bucket.deadlineUs = nowUs + this.spreadUs + this.resendUs;
      bucket.later = new Set();
    }
    bucket.held.set(seq, { id, arrivedUs: nowUs });
    bucket.later.add(path);
    if ([...this.up].every((p) => bucket.later.has(p))) {
      bucket.deadlineUs = Math.min(bucket.deadlineUs, nowUs + this.resendUs);
    }
  }

  timeout(nowUs: number): void {
    for (const bucket of this.buckets.values()) {
      while (bucket.held.size > 0 && bucket.deadlineUs <= nowUs) this.giveUp(bucket, nowUs);
    }
  }

  private giveUp(bucket: Bucket, nowUs: number): void {
    const next = Math.min(...bucket.held.keys());
    for (let seq = bucket.expected; seq < next; seq++) bucket.givenUp.add(seq);
    bucket.expected = next;
    this.drain(bucket, nowUs);
  }

  private drain(bucket: Bucket, nowUs: number): void {
    for (let held = bucket.held.get(bucket.expected); held; held = bucket.held.get(bucket.expected)) {
      bucket.held.delete(bucket.expected++);
      this.delivered.push(held.id);
    }
    bucket.later = new Set();
    if (bucket.held.size === 0) return;
    const first = bucket.held.get(Math.min(...bucket.held.keys()));
    bucket.deadlineUs = Math.min(nowUs, first?.arrivedUs ?? nowUs) + this.spreadUs + this.resendUs;
  }

  private bucket(b: number): Bucket {
    let bucket = this.buckets.get(b);
    if (bucket === undefined) {
      bucket = { expected: 0, held: new Map(), deadlineUs: 0, later: new Set(), givenUp: new Set() };
      this.buckets.set(b, bucket);
    }
    return bucket;
  }
}

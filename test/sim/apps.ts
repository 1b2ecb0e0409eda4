/** Applications at the ends of a simulated pair: a constant stream of packets, and ping. */
import type { End, Pair } from './pair.ts';

/** Takes numbers in any order and says their quantiles. */
export class Samples {
  readonly values: number[] = [];

  add(value: number): void {
    this.values.push(value);
  }

  quantile(q: number): number {
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted.length === 0 ? Number.NaN : sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  }
}

/** Packets of equal size at equal distances, in one flow; the receiver notes gaps, losses, order and repetitions. */
export class UdpStream {
  sent = 0;
  received = 0;
  outOfOrder = 0;
  repeated = 0;
  damaged = 0;
  longestGapUs = 0;
  /** Count only from here on. */
  sinceUs = 0;
  readonly delaysUs = new Samples();
  private readonly seen = new Set<number>();
  private highest = -1;
  private lastUs = -1;
  private stopped = false;

  constructor(pair: Pair, isUp: boolean, flow: number, bucket: number, sizeBytes: number, everyUs: number) {
    const from = (): End => (isUp ? pair.router : pair.server);
    const to = isUp ? pair.server : pair.router;
    to.handlers.set(flow, (view, at, length) => {
      const n = view.getUint32(at);
      if (length !== sizeBytes - 22 || view.getUint32(at + 4) !== Math.imul(n, 0x9e3779b1) >>> 0) this.damaged++;
      if (this.seen.has(n)) this.repeated++;
      this.seen.add(n);
      this.received++;
      if (n < this.highest) this.outOfOrder++;
      this.highest = Math.max(this.highest, n);
      if (pair.nowUs < this.sinceUs) return;
      if (this.lastUs >= 0) this.longestGapUs = Math.max(this.longestGapUs, pair.nowUs - this.lastUs);
      this.lastUs = pair.nowUs;
      this.delaysUs.add(pair.nowUs - view.getFloat64(at + 8));
    });
    const tick = (): void => {
      if (this.stopped) return;
      const n = this.sent++;
      from().send(flow, bucket, sizeBytes, (view, at) => {
        view.setUint32(at, n);
        view.setUint32(at + 4, Math.imul(n, 0x9e3779b1));
        view.setFloat64(at + 8, pair.nowUs);
      });
      pair.events.after(everyUs, tick);
    };
    pair.events.after(0, tick);
  }

  stop(): void {
    this.stopped = true;
  }

  /** Whether packet `n` has arrived. */
  has(n: number): boolean {
    return this.seen.has(n);
  }
}

/** Echo requests from the router to the server and their answers. */
export class Ping {
  readonly rttUs = new Samples();
  sent = 0;
  sinceUs = 0;

  constructor(pair: Pair, flow: number, bucket: number, everyUs: number, sizeBytes = 84) {
    pair.server.handlers.set(flow, (view, at) => {
      const sentUs = view.getFloat64(at);
      pair.server.send(flow, bucket, sizeBytes, (v, a) => v.setFloat64(a, sentUs));
    });
    pair.router.handlers.set(flow, (view, at) => {
      const sentUs = view.getFloat64(at);
      if (sentUs >= this.sinceUs) this.rttUs.add(pair.nowUs - sentUs);
    });
    const tick = (): void => {
      this.sent++;
      pair.router.send(flow, bucket, sizeBytes, (v, a) => v.setFloat64(a, pair.nowUs));
      pair.events.after(everyUs, tick);
    };
    pair.events.after(0, tick);
  }
}

/** FQ-CoDel as the RFCs write it, and one rule more (an old flow that was empty uses the rest of its turn at once): arrays of packets, lists of flows, one state a flow; every search is a search. */

interface Waiting {
  id: number;
  length: number;
  sinceUs: number;
  /** Whether it allows a congestion mark. */
  ect: boolean;
}

interface Flow {
  bucket: number;
  packets: Waiting[];
  deficit: number;
  firstAboveUs: number;
  dropNextUs: number;
  count: number;
  lastCount: number;
  dropping: boolean;
}

const QUANTUM = 1514;
const INTERVAL_US = 100_000;

const bytesOf = (packets: Waiting[]): number => packets.reduce((sum, p) => sum + p.length, 0);

export class SlowFlowQueue {
  readonly dropped: number[] = [];
  readonly shed: number[] = [];
  readonly expired: number[] = [];
  readonly marked: number[] = [];
  targetUs = 15_000;
  limitBytes = Number.POSITIVE_INFINITY;
  private readonly limitPackets: number;
  private readonly flows = new Map<number, Flow>();
  private fresh: Flow[] = [];
  private old: Flow[] = [];
  /** Of the old ones, those that were empty and have not used up their turn. */
  private again: Flow[] = [];

  constructor(limitPackets: number) {
    this.limitPackets = limitPackets;
  }

  get waiting(): Waiting[] {
    return [...this.flows.values()].flatMap((f) => f.packets);
  }

  offer(id: number, bucket: number, length: number, ect: boolean, nowUs: number): void {
    const flow = this.flow(bucket);
    flow.packets.push({ id, length, sinceUs: nowUs, ect });
    if (!this.fresh.includes(flow) && !this.old.includes(flow)) {
      flow.deficit = QUANTUM;
      this.fresh.push(flow);
    } else if (this.old.includes(flow) && flow.packets.length === 1 && flow.deficit > 0 && !this.again.includes(flow)) {
      this.again.push(flow);
    }
    if (!this.isOver(this.limitPackets, this.limitBytes)) return;
    const packets = this.limitPackets - Math.floor(this.limitPackets / 16);
    const bytes = (this.limitBytes * 15) / 16;
    while (this.isOver(packets, bytes)) {
      const all = [...this.flows.values()].sort(
        (a, b) => bytesOf(b.packets) - bytesOf(a.packets) || a.bucket - b.bucket,
      );
      const fattest = all[0].packets;
      const n = fattest.length;
      const tooMany = this.waiting.length - packets;
      const tooMuch = Math.ceil((Math.max(0, bytesOf(this.waiting) - bytes) * n) / bytesOf(fattest));
      const cut = Math.min(Math.ceil(n / 2), Math.max(1, tooMany, tooMuch));
      this.shed.push(...fattest.splice(n - cut, cut).map((p) => p.id));
    }
  }

  /** RFC 8290 §4.2. */
  take(nowUs: number): { id: number; sparse: boolean } | undefined {
    for (;;) {
      const early = this.again[0];
      if (early !== undefined) {
        const packet = early.deficit > 0 ? this.dequeue(early, nowUs) : undefined;
        if (packet === undefined) {
          this.again.shift();
          continue;
        }
        early.deficit -= packet.length;
        return { id: packet.id, sparse: true };
      }
      const sparse = this.fresh.length > 0;
      const list = sparse ? this.fresh : this.old;
      const flow = list[0];
      if (flow === undefined) return undefined;
      if (flow.deficit <= 0) {
        flow.deficit += QUANTUM;
        list.shift();
        this.old.push(flow);
        continue;
      }
      const packet = this.dequeue(flow, nowUs);
      if (packet === undefined) {
        list.shift();
        if (sparse && this.old.length > 0) this.old.push(flow);
        continue;
      }
      flow.deficit -= packet.length;
      return { id: packet.id, sparse };
    }
  }

  /** RFC 8289 §5.5; a mark takes the place of a drop when the packet allows it (RFC 8290 §4.2). */
  private dequeue(flow: Flow, nowUs: number): Waiting | undefined {
    while (flow.packets.length > 0 && nowUs - flow.packets[0].sinceUs > 1_000_000) {
      this.expired.push((flow.packets.shift() as Waiting).id);
    }
    let ok = this.okToDrop(flow, nowUs);
    if (flow.dropping) {
      if (!ok) flow.dropping = false;
      while (nowUs >= flow.dropNextUs && flow.dropping) {
        flow.count++;
        const wasMarked = this.punish(flow);
        if (!wasMarked) ok = this.okToDrop(flow, nowUs);
        if (!ok) flow.dropping = false;
        else flow.dropNextUs += INTERVAL_US / Math.sqrt(flow.count);
        if (wasMarked) break;
      }
    } else if (ok) {
      this.punish(flow);
      const delta = flow.count - flow.lastCount;
      flow.count = delta > 1 && nowUs - flow.dropNextUs < 16 * INTERVAL_US ? delta : 1;
      flow.lastCount = flow.count;
      flow.dropping = true;
      flow.dropNextUs = nowUs + INTERVAL_US / Math.sqrt(flow.count);
    }
    return flow.packets.shift();
  }

  private okToDrop(flow: Flow, nowUs: number): boolean {
    const head = flow.packets[0];
    if (head === undefined || nowUs - head.sinceUs < this.targetUs || bytesOf(flow.packets) <= 3028) {
      flow.firstAboveUs = 0;
      return false;
    }
    if (flow.firstAboveUs === 0) {
      flow.firstAboveUs = nowUs + INTERVAL_US;
      return false;
    }
    return nowUs >= flow.firstAboveUs;
  }

  private punish(flow: Flow): boolean {
    if (flow.packets[0].ect) {
      this.marked.push(flow.packets[0].id);
      return true;
    }
    this.dropped.push((flow.packets.shift() as Waiting).id);
    return false;
  }

  private isOver(packets: number, bytes: number): boolean {
    return this.waiting.length > packets || bytesOf(this.waiting) > bytes;
  }

  private flow(bucket: number): Flow {
    let flow = this.flows.get(bucket);
    if (flow === undefined) {
      flow = {
        bucket,
        packets: [],
        deficit: 0,
        firstAboveUs: 0,
        dropNextUs: 0,
        count: 0,
        lastCount: 0,
        dropping: false,
      };
      this.flows.set(bucket, flow);
    }
    return flow;
  }
}

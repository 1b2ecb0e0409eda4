/** The model of TCP over a line that is silent now and then: what Linux takes back is taken back, what is lost is sent again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { Events } from './events.ts';
import type { Host, Net } from './net.ts';
import type { PacketHandler } from './pair.ts';
import { TcpFlow } from './tcp.ts';

const ONE_WAY_US = 20_000;
const WINDOW = 200;
const WARM_US = 2e6;

/** What the line does with a packet now: lets it pass, keeps it until then, loses it if it is data, or brings first transmissions so much later than those sent again. */
type Fate = 'pass' | 'lose' | { untilUs: number } | { firstUs: number };

class LineEnd implements Host {
  readonly mtu = 1500;
  readonly handlers = new Map<number, PacketHandler>();
  readonly afterBatch: (() => void)[] = [];
  private readonly line: Line;
  to!: LineEnd;

  constructor(line: Line) {
    this.line = line;
  }

  send(flow: number, _bucket: number, length: number, write: (view: DataView, at: number) => void): boolean {
    const { line } = this;
    const view = new DataView(new ArrayBuffer(length));
    write(view, 0);
    if (line.fate === 'lose' && this === line.server) return true;
    if (line.losesOne && this === line.server) {
      line.losesOne = false;
      return true;
    }
    line.events.at(line.leavesUs(this, view) + ONE_WAY_US, () => {
      this.to.handlers.get(flow)?.(view, 0, length);
      for (const handler of this.to.afterBatch) handler();
    });
    return true;
  }
}

/** A line without a limit but the flow's window. */
class Line implements Net {
  readonly events = new Events();
  readonly random = seeded(1);
  readonly router = new LineEnd(this);
  readonly server = new LineEnd(this);
  fate: Fate = 'pass';
  losesOne = false;

  constructor() {
    this.router.to = this.server;
    this.server.to = this.router;
  }

  get nowUs(): number {
    return this.events.nowUs;
  }

  leavesUs(from: LineEnd, view: DataView): number {
    const { fate } = this;
    if (typeof fate !== 'object') return this.nowUs;
    if ('untilUs' in fate) return fate.untilUs;
    return from === this.server && view.getUint8(12) === 0 ? this.nowUs + fate.firstUs : this.nowUs;
  }

  run(forUs: number): void {
    const { events } = this;
    const untilUs = events.nowUs + forUs;
    while (events.nextUs() <= untilUs) {
      events.nowUs = Math.max(events.nowUs, events.nextUs());
      events.runDue();
    }
    events.nowUs = untilUs;
  }
}

/** A flow at its full window over a line that is then silent for `us`. */
function overSilence(congestion: 'cubic' | 'bbr', us: number, kind: 'keeps' | 'loses') {
  const line = new Line();
  const tcp = new TcpFlow(line, { isUp: false, flow: 1, bucket: 1, maxWindow: WINDOW, congestion });
  line.run(WARM_US);
  const cwnd = tcp.cwnd;
  line.fate = kind === 'keeps' ? { untilUs: line.nowUs + us } : 'lose';
  line.run(us);
  line.fate = 'pass';
  return { line, tcp, cwnd };
}

for (const congestion of ['cubic', 'bbr'] as const) {
  test(`${congestion}: a time-out that was for nothing is taken back`, () => {
    const { line, tcp, cwnd } = overSilence(congestion, 500_000, 'keeps');
    assert.equal(tcp.timeouts, 1);
    line.run(4 * ONE_WAY_US);
    assert.equal(tcp.undone, 1);
    assert.ok(tcp.cwnd >= cwnd, `${tcp.cwnd} of ${cwnd}`);
    const { delivered } = tcp;
    line.run(10 * ONE_WAY_US);
    // Five round trips with nearly the window in each: no slow start.
    assert.ok(tcp.delivered - delivered > 4 * Math.min(cwnd, WINDOW), `${tcp.delivered - delivered} segments`);
    assert.ok(tcp.spurious <= 3, `${tcp.spurious} sent for nothing`);
  });

  test(`${congestion}: a time-out after a real loss is not`, () => {
    const { line, tcp } = overSilence(congestion, 500_000, 'loses');
    assert.equal(tcp.timeouts, 1);
    const { delivered } = tcp;
    line.run(1e6);
    assert.equal(tcp.undone, 0);
    assert.ok(tcp.delivered > delivered + 5 * WINDOW, `${tcp.delivered - delivered} segments`);
    // One time-out for what was under way, and all else by SACK.
    assert.ok(tcp.timeouts <= 2);
  });

  test(`${congestion}: a tail that was lost is found by a probe, without a time-out`, () => {
    const { line, tcp } = overSilence(congestion, 3 * ONE_WAY_US, 'loses');
    const { delivered } = tcp;
    line.run(500_000);
    assert.equal(tcp.timeouts, 0);
    assert.ok(tcp.probes > 0);
    assert.ok(tcp.delivered > delivered + WINDOW, `${tcp.delivered - delivered} segments`);
  });
}

test('what is sent again and overtakes its flow makes the rest of it look lost', () => {
  const line = new Line();
  const tcp = new TcpFlow(line, { isUp: false, flow: 1, bucket: 1, maxWindow: WINDOW, congestion: 'bbr' });
  line.run(WARM_US);
  // First transmissions stand in a queue of 60 ms from here on.
  line.fate = { firstUs: 3 * ONE_WAY_US };
  line.run(WARM_US);
  assert.equal(tcp.losses, 0);
  // Two, so that the first one sent again is all that its acknowledgement brings.
  line.losesOne = true;
  line.run(ONE_WAY_US);
  line.losesOne = true;
  line.run(1e6);
  // What left within those 60 ms before it, since BBR paces; three later segments alone would have told of one.
  assert.ok(tcp.losses > 20, `${tcp.losses} taken for lost`);
  assert.ok(tcp.spurious > 20, `${tcp.spurious} sent for nothing`);
  assert.equal(tcp.timeouts, 0);
});

test('what is sent again in its turn does not', () => {
  const line = new Line();
  const tcp = new TcpFlow(line, { isUp: false, flow: 1, bucket: 1, maxWindow: WINDOW, congestion: 'bbr' });
  line.run(WARM_US);
  line.losesOne = true;
  line.run(1e6);
  assert.equal(tcp.losses, 1);
  assert.equal(tcp.spurious, 0);
});

test('bbr: a flow that begins late opens its window at once; its shortest round trip is no older than it is', () => {
  const line = new Line();
  const startUs = 12e6;
  const tcp = new TcpFlow(line, { isUp: false, flow: 1, bucket: 1, maxWindow: 4096, congestion: 'bbr', startUs });
  line.run(startUs + 20 * ONE_WAY_US);
  assert.ok(tcp.cwnd > 200, `${tcp.cwnd} segments`);
});

test('after many losses at once the window is the new threshold, whatever was under way', () => {
  const line = new Line();
  const tcp = new TcpFlow(line, { isUp: false, flow: 1, bucket: 1, maxWindow: WINDOW });
  line.run(WARM_US);
  const { cwnd } = tcp;
  line.fate = 'lose';
  // The whole window but what a probe finds.
  line.run(2 * ONE_WAY_US);
  line.fate = 'pass';
  line.run(600_000);
  assert.equal(tcp.timeouts, 0);
  assert.ok(tcp.losses > 100, `${tcp.losses}`);
  assert.ok(tcp.cwnd >= 0.7 * cwnd - 1, `${tcp.cwnd} of ${cwnd}`);
});

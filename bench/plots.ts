/**
 * The pictures of docs/how-it-decides.md, from simulation: `node dist/bench/plots.js [FOLDER]` writes them to docs/plots/. The same tree always
 * draws the same pictures.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LinkSettings } from '../src/lab/link.ts';
import { UdpStream } from '../test/sim/apps.ts';
import { Pair, type SimLink } from '../test/sim/pair.ts';
import { TcpFlow } from '../test/sim/tcp.ts';
import { Chart } from './chart.ts';

type Points = [number, number][];

const SECOND = 1e6;
const START_US = 1 * SECOND;

function link(mbit: number, delayMs: number, more?: Partial<LinkSettings>): SimLink {
  const oneWay = { rateBps: mbit * 1e6, delayUs: delayMs * 1e3, queueUs: 60_000, ...more };
  return { down: oneWay, up: { ...oneWay, rateBps: (mbit * 1e6) / 4 } };
}

/** Calls `look` so often while the pair runs until `untilUs`. Times handed to it are seconds since the flow's start. */
function watch(pair: Pair, everyUs: number, untilUs: number, look: (seconds: number) => void): void {
  while (pair.nowUs < untilUs) {
    pair.run(Math.min(untilUs, pair.nowUs + everyUs));
    look((pair.nowUs - START_US) / SECOND);
  }
}

/** What each link carried, and TCP, between two looks. Units: Mbit/s. */
class Carried {
  readonly links: Points[];
  readonly tcp: Points = [];
  private readonly pair: Pair;
  private readonly flow: TcpFlow;
  private readonly last: number[];
  private lastBytes = 0;
  private lastUs: number;

  constructor(pair: Pair, flow: TcpFlow) {
    this.pair = pair;
    this.flow = flow;
    this.links = pair.down.map(() => []);
    this.last = pair.down.map(() => 0);
    this.lastUs = pair.nowUs;
  }

  note(seconds: number): void {
    const us = this.pair.nowUs - this.lastUs;
    this.lastUs = this.pair.nowUs;
    this.pair.down.forEach((model, i) => {
      const bytes = model.counters.acceptedBytes;
      this.links[i].push([seconds, ((bytes - this.last[i]) * 8) / us]);
      this.last[i] = bytes;
    });
    this.tcp.push([seconds, ((this.flow.goodputBytes - this.lastBytes) * 8) / us]);
    this.lastBytes = this.flow.goodputBytes;
  }
}

/** The estimator on one link that halves and doubles, and on one whose delay wanders. */
function estimator(): [string, Chart][] {
  const steps = new Pair({ links: [link(40, 15)] });
  new TcpFlow(steps, { isUp: false, flow: 1, bucket: 1, startUs: START_US });
  const real: Points = [];
  const capacity: Points = [];
  const pacing: Points = [];
  const seen: Points = [];
  const queue: Points = [];
  steps.run(START_US);
  for (const [rate, untilS] of [
    [40, 3],
    [20, 6],
    [40, 9],
  ]) {
    steps.down[0].set({ rateBps: rate * 1e6 });
    watch(steps, 20_000, START_US + untilS * SECOND, (t) => {
      const path = steps.server.peer.bond.paths[0];
      if (path === undefined) return;
      real.push([t, rate]);
      capacity.push([t, path.rate.capacity * 8]);
      pacing.push([t, path.rate.pacing * 8]);
      seen.push([t, path.rate.queueUs / 1e3]);
      queue.push([t, steps.down[0].queueUs(steps.nowUs) / 1e3]);
    });
  }
  const first = new Chart(
    'One link of 40 Mbit/s that halves at 3 s and doubles at 6 s',
    'seconds since the flow began',
    0,
    9,
  );
  first.panel('Mbit/s', 60).line('the link', real, true).line('capacity', capacity).line('pacing', pacing);
  first.panel('queue in the modem, ms').line('as it is', queue).line('as measured', seen);

  const wander = new Pair({ links: [link(30, 45, { jitterUs: 40_000, queueUs: 200_000 })] });
  new TcpFlow(wander, { isUp: false, flow: 1, bucket: 1, startUs: START_US });
  const known: Points = [];
  const sent: Points = [];
  const delay: Points = [];
  const standing: Points = [];
  const unrest: Points = [];
  wander.run(START_US);
  const origin = wander.server.localUs(0) - wander.router.localUs(0);
  watch(wander, 20_000, START_US + 6 * SECOND, (t) => {
    const path = wander.server.peer.bond.paths[0];
    if (path === undefined) return;
    known.push([t, path.rate.capacity * 8]);
    sent.push([t, path.rate.pacing * 8]);
    standing.push([t, (path.rate.delayUs + origin) / 1e3]);
    delay.push([t, path.rate.queueUs / 1e3]);
    unrest.push([t, path.rate.unrestUs / 1e3]);
  });
  const second = new Chart('30 Mbit/s whose delay of 45 ms wanders by 40 ms', 'seconds since the flow began', 0, 6);
  second
    .panel('Mbit/s', 60)
    .line(
      'the link',
      known.map(([t]) => [t, 30]),
      true,
    )
    .line('capacity', known)
    .line('pacing', sent);
  second.panel('ms').line('standing delay', standing).line('of it, queue', delay).line('unrest', unrest);
  return [
    ['estimator-steps', first],
    ['estimator-jitter', second],
  ];
}

/** How two unequal links share a flow. */
function scheduler(): [string, Chart][] {
  const pair = new Pair({ links: [link(48, 8), link(12, 45)] });
  const flow = new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1, startUs: START_US });
  pair.run(START_US);
  const carried = new Carried(pair, flow);
  const waits: Points = [];
  const held: Points = [];
  watch(pair, 50_000, START_US + 4 * SECOND, (t) => {
    carried.note(t);
    waits.push([t, pair.server.peer.bond.lanes.all[0].queue.packets]);
    held.push([t, pair.router.peer.bond.reorder.held]);
  });
  const chart = new Chart('One TCP flow over 48 Mbit/s at 8 ms and 12 Mbit/s at 45 ms', 'seconds since it began', 0, 4);
  chart
    .panel('Mbit/s', 80)
    .line('48 at 8 ms', carried.links[0])
    .line('12 at 45 ms', carried.links[1])
    .line('TCP', carried.tcp);
  chart.panel('packets').line('queue of the sender', waits).line('held by the receiver', held);
  return [['scheduler', chart]];
}

/** Shares of packets that waited longer than so long for the order of their flow. */
function holdTimes(links: SimLink[]): Points {
  const pair = new Pair({ links });
  new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1, startUs: START_US });
  pair.run(START_US + 3 * SECOND);
  const { bond } = pair.router.peer;
  const arrivedUs = new Float64Array(pair.router.endpoint.pool.count);
  const times: number[] = [];
  const { reorder, grouper } = bond;
  const take = reorder.handle.bind(reorder);
  reorder.handle = (slot, path, nowUs) => {
    arrivedUs[slot] = nowUs;
    take(slot, path, nowUs);
  };
  const pass = grouper.handle.bind(grouper);
  grouper.handle = (slot, nowUs) => {
    times.push((nowUs - arrivedUs[slot]) / 1e3);
    pass(slot, nowUs);
  };
  pair.run(pair.nowUs + 8 * SECOND);
  times.sort((a, b) => a - b);
  const points: Points = [];
  for (let ms = 0; ms <= 100; ms++) {
    let n = 0;
    while (n < times.length && times[times.length - 1 - n] > ms) n++;
    points.push([ms, (100 * n) / times.length]);
  }
  return points;
}

/** What the reorder buffer holds, by links. */
function reorder(): [string, Chart][] {
  const chart = new Chart('How long packets wait for the order of their flow', 'held longer than so many ms', 0, 100);
  chart
    .panel('per cent of packets', 100)
    .line('2 × 30 at 15 ms', holdTimes([link(30, 15), link(30, 15)]))
    .line('30 at 8, 30 at 45', holdTimes([link(30, 8), link(30, 45)]))
    .line('the same, 1 % lost', holdTimes([link(30, 8), link(30, 45, { lossRate: 0.01 })]))
    .line('45 ± 20 ms', holdTimes([link(30, 8), link(30, 45, { jitterUs: 20_000 })]));
  return [['reorder', chart]];
}

/** A link that dies in mid-transfer, and comes back. */
function dying(): [string, Chart][] {
  const pair = new Pair({ links: [link(30, 10), link(30, 10)] });
  const flow = new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1, startUs: START_US });
  const call = new UdpStream(pair, false, 2, 2, 200, 20_000);
  const gaps: Points = [];
  let received = 0;
  let lastS = 0;
  const cutUs = START_US + 3 * SECOND;
  pair.run(cutUs - 0.5 * SECOND);
  const carried = new Carried(pair, flow);
  const held: Points = [];
  const look = (t: number): void => {
    carried.note(t - 3);
    held.push([t - 3, pair.router.peer.bond.reorder.held]);
    if (call.received > received) {
      received = call.received;
      lastS = t;
    }
    gaps.push([t - 3, (t - lastS) * 1e3]);
  };
  watch(pair, 10_000, cutUs, look);
  pair.cut(1);
  watch(pair, 10_000, cutUs + SECOND, look);
  pair.restore(1);
  watch(pair, 10_000, cutUs + 2 * SECOND, look);
  const chart = new Chart(
    '2 × 30 Mbit/s at 10 ms; the second one is silently dead for a second',
    'seconds since it died',
    -0.5,
    2,
  );
  chart
    .panel('Mbit/s, over 10 ms', 120)
    .band('dead', 0, 1)
    .line('first link', carried.links[0])
    .line('second link', carried.links[1])
    .line('TCP', carried.tcp);
  chart
    .panel('packets held, ms since the last packet of a call')
    .band('dead', 0, 1)
    .line('held', held)
    .line('call', gaps);
  return [['dying-link', chart]];
}

const folder = process.argv[2] ?? 'docs/plots';
mkdirSync(folder, { recursive: true });
for (const [name, chart] of [...estimator(), ...scheduler(), ...reorder(), ...dying()]) {
  writeFileSync(join(folder, `${name}.svg`), chart.text());
  console.log(join(folder, `${name}.svg`));
}

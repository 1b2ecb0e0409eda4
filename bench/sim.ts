/**
 * The engine over simulated links: one JSON line a case. `node dist/bench/sim.js [case …] [--seconds N]`.
 *
 * One TCP flow (the model of test/sim/tcp.ts), warm-up 3 s, then 10 s; drop-tail queues of 60 ms. The share is of the limit: the
 * sum of the links' rates × 1392/1500, as a full datagram of 1,500 bytes carries 1,392 of TCP payload.
 */
import type { LinkSettings } from '../src/lab/link.ts';
import { Ping, UdpStream } from '../test/sim/apps.ts';
import { Pair, type SimLink } from '../test/sim/pair.ts';
import { TcpFlow } from '../test/sim/tcp.ts';

interface Case {
  name: string;
  links: SimLink[];
  bar: number;
  /** In the middle of the measurement the first link's rates are multiplied by this. */
  factor?: number;
}

const args = process.argv.slice(2);
/** The bond stands before the flow begins. */
const START_US = 1e6;
const WARM_US = START_US + 3e6;

function oneWay(mbit: number, delayMs: number, more?: Partial<LinkSettings>): LinkSettings {
  return { rateBps: mbit * 1e6, delayUs: delayMs * 1e3, queueUs: 60_000, ...more };
}

function link(downMbit: number, upMbit: number, delayMs: number, more?: Partial<LinkSettings>): SimLink {
  return { down: oneWay(downMbit, delayMs, more), up: oneWay(upMbit, delayMs, more) };
}

const CASES: Case[] = [
  { name: '12+12', links: [link(12, 12, 5), link(12, 12, 5)], bar: 0.96 },
  { name: '48/12+12/3', links: [link(48, 12, 8), link(12, 3, 45)], bar: 0.9 },
  { name: '50+50', links: [link(50, 50, 10), link(50, 50, 10)], bar: 0.96 },
  { name: '50+20', links: [link(50, 50, 10), link(20, 20, 10)], bar: 0.96 },
  { name: '50@10+50@60', links: [link(50, 50, 5), link(50, 50, 30)], bar: 0.92 },
  { name: '50+50 1% loss', links: [link(50, 50, 10), link(50, 50, 10, { lossRate: 0.01 })], bar: 0.8 },
];

/** What links there are: slow, fast, far, jittery, with short and long queues, changing. `--wide`. */
const WIDE: Case[] = [
  { name: '1+1', links: [link(1, 1, 10), link(1, 1, 10)], bar: 0.9 },
  { name: '2+1 @60', links: [link(2, 1, 30), link(1, 1, 30)], bar: 0.9 },
  { name: '5+5 jitter 5', links: [link(5, 5, 15, { jitterUs: 5e3 }), link(5, 5, 15, { jitterUs: 5e3 })], bar: 0.9 },
  { name: '20+20 jitter 10', links: [link(20, 20, 20, { jitterUs: 10e3 }), link(20, 20, 20)], bar: 0.9 },
  { name: '50+50 jitter 20', links: [link(50, 50, 40, { jitterUs: 20e3 }), link(50, 50, 20)], bar: 0.9 },
  {
    name: '50+50 jitter 20 both',
    links: [link(50, 50, 30, { jitterUs: 20e3 }), link(50, 50, 30, { jitterUs: 20e3 })],
    bar: 0.9,
  },
  { name: '100+100 @2', links: [link(100, 100, 1), link(100, 100, 1)], bar: 0.95 },
  { name: '300+300', links: [link(300, 300, 5), link(300, 300, 5)], bar: 0.95 },
  { name: '1000+1000', links: [link(1000, 1000, 5), link(1000, 1000, 5)], bar: 0.95 },
  { name: '1000@5+10@50', links: [link(1000, 1000, 2.5), link(10, 10, 25)], bar: 0.95 },
  { name: '20@2+20@300', links: [link(20, 20, 1), link(20, 20, 150)], bar: 0.5 },
  { name: '50+50 @300', links: [link(50, 50, 150), link(50, 50, 150)], bar: 0.9 },
  {
    name: '20+20 queue 20ms',
    links: [link(20, 20, 15, { queueUs: 20e3 }), link(20, 20, 15, { queueUs: 20e3 })],
    bar: 0.9,
  },
  {
    name: '20+20 queue 1s',
    links: [link(20, 20, 15, { queueUs: 1e6 }), link(20, 20, 15, { queueUs: 1e6 })],
    bar: 0.95,
  },
  {
    name: '50+50 2% loss both',
    links: [link(50, 50, 10, { lossRate: 0.02 }), link(50, 50, 10, { lossRate: 0.02 })],
    bar: 0.8,
  },
  { name: '50+50 5% loss', links: [link(50, 50, 10), link(50, 50, 10, { lossRate: 0.05 })], bar: 0.8 },
  { name: '20+20+20', links: [link(20, 20, 10), link(20, 20, 20), link(20, 20, 30)], bar: 0.95 },
  { name: '8 x 10', links: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => link(10, 10, 5 * i)), bar: 0.9 },
  { name: '50+50 first halves', links: [link(50, 50, 10), link(50, 50, 10)], bar: 0.9, factor: 0.5 },
  { name: '50+50 first doubles', links: [link(50, 50, 10), link(50, 50, 10)], bar: 0.85, factor: 2 },
  { name: '20+20 first to a fifth', links: [link(20, 20, 20), link(20, 20, 20)], bar: 0.85, factor: 0.2 },
];

function idlePing(links: SimLink[]): number {
  const pair = new Pair({
    links: [links.reduce((a, b) => (a.down.delayUs + a.up.delayUs > b.down.delayUs + b.up.delayUs ? a : b))],
  });
  const ping = new Ping(pair, 9, 9, 100_000);
  ping.sinceUs = 1e6;
  pair.run(3e6);
  return ping.rttUs.quantile(0.5);
}

function newPair(links: SimLink[], seed: number): Pair {
  const pair = new Pair({ links, seed });
  if (args.includes('--no-groups')) for (const end of [pair.router, pair.server]) end.peer.bond.groups = false;
  return pair;
}

function measure(c: Case, isUp: boolean, seconds: number, seed: number): Record<string, unknown> {
  const started = performance.now();
  const pair = newPair(c.links, seed);
  const tcp = new TcpFlow(pair, {
    isUp,
    flow: 1,
    bucket: 1,
    startUs: START_US,
    hystart: !args.includes('--no-hystart'),
    congestion: args.includes('--bbr') ? 'bbr' : 'cubic',
  });
  const ping = new Ping(pair, 9, 9, 50_000);
  ping.sinceUs = WARM_US;
  tcp.sinceUs = WARM_US;
  if (isTraced) trace(pair, tcp, args.includes('--reverse') ? !isUp : isUp);
  pair.run(WARM_US);
  const before = { bytes: tcp.goodputBytes, losses: tcp.losses, reordered: tcp.reordered };
  const rates = c.links.map((l) => (isUp ? l.up.rateBps : l.down.rateBps));
  if (c.factor !== undefined) {
    pair.run(WARM_US + seconds * 0.5e6);
    pair.up[0].set({ rateBps: c.links[0].up.rateBps * c.factor });
    pair.down[0].set({ rateBps: c.links[0].down.rateBps * c.factor });
    rates[0] *= (1 + c.factor) / 2;
  }
  pair.run(WARM_US + seconds * 1e6);
  const limit = (rates.reduce((a, b) => a + b, 0) * 1392) / 1500;
  const goodput = ((tcp.goodputBytes - before.bytes) * 8) / seconds;
  const models = isUp ? pair.up : pair.down;
  const idle = idlePing(c.links) / 1e3;
  const round = (x: number) => Math.round(x * 1000) / 1000;
  return {
    case: c.name,
    direction: isUp ? 'up' : 'down',
    share: round(goodput / limit),
    bar: c.bar,
    mbps: round(goodput / 1e6),
    pingIdleMs: round(idle),
    pingP50Ms: round(ping.rttUs.quantile(0.5) / 1e3),
    pingP95Ms: round(ping.rttUs.quantile(0.95) / 1e3),
    reordered: tcp.reordered - before.reordered,
    losses: tcp.losses - before.losses,
    timeouts: tcp.timeouts,
    stallMs: round(tcp.longestStallUs / 1e3),
    queueDrops: models.map((m) => m.counters.queueDrops),
    wallMs: Math.round(performance.now() - started),
  };
}

/** Cuts a link silently in mid-transfer and gives it back 3 s later: what TCP and a call notice, and when the link works again. */
function measureCut(c: Case, isUp: boolean, which: number, seed: number): Record<string, unknown> {
  const pair = newPair(c.links, seed);
  const tcp = new TcpFlow(pair, {
    isUp,
    flow: 1,
    bucket: 1,
    startUs: START_US,
    hystart: !args.includes('--no-hystart'),
    congestion: args.includes('--bbr') ? 'bbr' : 'cubic',
  });
  const udp = new UdpStream(pair, isUp, 2, 2, 200, 20_000);
  const cutUs = WARM_US + 2e6;
  const backUs = cutUs + 3e6;
  if (isTraced) trace(pair, tcp, args.includes('--reverse') ? !isUp : isUp);
  pair.run(cutUs);
  tcp.sinceUs = cutUs;
  udp.sinceUs = cutUs - 20_000;
  const before = tcp.losses;
  pair.cut(which);
  pair.run(backUs);
  const stallMs = tcp.longestStallUs / 1e3;
  const udpGapMs = udp.longestGapUs / 1e3;
  const cutLosses = tcp.losses - before;
  pair.restore(which);
  const model = (isUp ? pair.up : pair.down)[which];
  const full = model.settings.rateBps / 8;
  let usedAgainMs = Number.NaN;
  let last = model.counters.acceptedBytes;
  while (Number.isNaN(usedAgainMs) && pair.nowUs < backUs + 10e6) {
    pair.run(pair.nowUs + 100_000);
    const bytes = model.counters.acceptedBytes - last;
    last += bytes;
    // In use: a quarter of what it can carry.
    if (bytes > full / 40) usedAgainMs = (pair.nowUs - backUs) / 1e3;
  }
  pair.run(Math.max(pair.nowUs, backUs + 3e6));
  udp.stop();
  pair.run(pair.nowUs + 1e6);
  const round = (x: number) => Math.round(x * 10) / 10;
  return {
    case: `${c.name} cut of link ${which}`,
    direction: isUp ? 'up' : 'down',
    stallMs: round(stallMs),
    tcpLosses: cutLosses,
    timeouts: tcp.timeouts,
    udpGapMs: round(udpGapMs),
    udpLost: udp.sent - udp.received,
    usedAgainMs,
    stallAfterReturnMs: round(tcp.longestStallUs / 1e3),
    udpGapAfterReturnMs: round(udp.longestGapUs / 1e3),
  };
}

/** Four lines a second: what TCP, queue and paths of the sending end are at. */
function trace(pair: Pair, tcp: TcpFlow, isUp: boolean): void {
  let bytes = 0;
  let carried = pair.up.map(() => 0);
  const tick = (): void => {
    const { bond } = (isUp ? pair.router : pair.server).peer;
    const models = isUp ? pair.up : pair.down;
    const now = models.map((m) => m.counters.acceptedBytes);
    const paths = bond.paths.flatMap((p, i) =>
      p === undefined
        ? []
        : [
            `[${p.state} ${(((now[i] - carried[i]) * 8 * 4) / 1e6).toFixed(1)} cap ${(p.rate.capacity * 8).toFixed(1)} pace ${(p.rate.pacing * 8).toFixed(1)} q ${(p.rate.queueUs / 1e3).toFixed(1)}/${(models[i].queueUs(pair.nowUs) / 1e3).toFixed(1)} d ${(p.rate.delayUs / 1e3).toFixed(0)} fl ${(p.inFlightBytes / 1500).toFixed(0)} ${(p.rate as unknown as { mode: number }).mode} next ${((p.nextSendUs - (isUp ? pair.router : pair.server).localUs(pair.nowUs)) / 1e3).toFixed(1)}]`,
          ],
    );
    const mbps = ((tcp.goodputBytes - bytes) * 8 * 4) / 1e6;
    console.error(
      `${(pair.nowUs / 1e6).toFixed(2)} tcp ${mbps.toFixed(1)} cwnd ${tcp.cwnd.toFixed(0)} lost ${tcp.losses} re ${tcp.reordered} | q ${bond.lanes.packets} codel ${bond.lanes.droppedByCodel} free ${pair.router.endpoint.pool.free} ${pair.server.endpoint.pool.free} rtun ${pair.router.waitingInTun} g ${(isUp ? pair.server : pair.router).peer.bond.grouper.held} held ${(isUp ? pair.server : pair.router).peer.bond.reorder.held} tun ${(isUp ? pair.router : pair.server).waitingInTun} | ${paths.join(' ')}`,
    );
    bytes = tcp.goodputBytes;
    carried = now;
    pair.events.after(250_000, tick);
  };
  pair.events.after(250_000, tick);
}

const seed = Number(args.find((a) => a.startsWith('--seed='))?.slice(7) ?? 1);
const isTraced = args.includes('--trace');
const wanted = args.filter((a) => !a.startsWith('--'));
for (const c of args.includes('--wide') ? WIDE : CASES) {
  if (wanted.length > 0 && !wanted.includes(c.name)) continue;
  for (const isUp of args.includes('--down') ? [false] : [false, true]) {
    if (args.includes('--cut')) {
      for (let i = 0; i < c.links.length; i++) console.log(JSON.stringify(measureCut(c, isUp, i, seed)));
    } else console.log(JSON.stringify(measure(c, isUp, 10, seed)));
  }
}

/**
 * A scenario of lab/scenarios played on a pair of engines, and what applications meet in it.
 *
 *   bond comes up, 1 s ─ idle: ping, queries, a call, 3 s or a whole cycle ─ −3 s ─ flow from cold ─ 0 ─ measure, events ─ seconds
 *
 * With a seed above 1 rates, delays, losses, queues and times are a little different from what the file says; cycles begin anywhere.
 */
import { type Random, seeded } from '../../src/base/random.ts';
import { type PlainLinkSettings, settingsOf } from '../../src/lab/link.ts';
import type { Scenario } from '../../src/lab/scenario.ts';
import {
  COLD_BIN_US,
  FULL_SHARE,
  FULL_SPAN_US,
  foundAfterUs,
  limitBps,
  linkChanges,
  otherChanges,
} from '../../src/lab/timeline.ts';
import { Samples } from './apps.ts';
import { type End, Pair } from './pair.ts';
import { TcpFlow } from './tcp.ts';

/** World time at which the flow begins. */
const COLD_US = -3e6;
const UP_US = 1e6;
const IDLE_LEAST_US = 3e6;
/** A voice packet of 64 kbit/s: 160 bytes of payload and RTP, UDP and IP headers, every 20 ms. */
const VOICE_BYTES = 200;
const VOICE_US = 20_000;
const PING_BYTES = 84;
const PING_US = 20_000;
/** A query that is asked now and then, by a flow of its own each time. */
const QUERY_BYTES = 70;
const ANSWER_BYTES = 300;
const QUERY_US = 200_000;
/** How often memory and returned links are looked at. */
const LOOK_US = 20_000;

const FLOW = { ping: 1, query: 2, voice: 3, tcp: 10, guests: 100 } as const;

export interface WorldOptions {
  seed: number;
  isUp: boolean;
  congestion: 'cubic' | 'bbr';
  flows: number;
  /** In place of what the file says. */
  seconds?: number;
  /** Told before anything happens. */
  onWorld?: (world: World) => void;
}

/** What was met, from the begin of the measure to its end. Units as named; NaN where nothing was to be seen. */
export interface Findings {
  bps: number;
  limitBps: number;
  share: number;
  jain: number;
  pingIdleMs: number;
  pingP50Ms: number;
  pingP95Ms: number;
  dnsIdleMs: number;
  dnsP50Ms: number;
  dnsP95Ms: number;
  voiceIdleMs: number;
  voiceP50Ms: number;
  voiceP95Ms: number;
  voiceGapMs: number;
  voiceLost: number;
  pingGapMs: number;
  reorder: number;
  tcpLoss: number;
  dropped: number;
  timeouts: number;
  coldMs: number;
  stallMs: number;
  againMs: number;
  /** Slots of the packet pools in use at once, the larger end's. */
  slotsMost: number;
}

/** The scenario as this seed has it; seed 1 leaves it as it is. */
export function varied(scenario: Scenario, seed: number): Scenario {
  if (seed === 1) return scenario;
  const random = seeded(seed * 7919);
  const near = (value: number, by: number) => value * (1 + by * (2 * random() - 1));
  const one = <T extends Partial<PlainLinkSettings>>(s: T): T => {
    const out = { ...s };
    if (out.rateBps) out.rateBps = Math.round(near(out.rateBps, 0.1));
    if (out.delayUs) out.delayUs = near(out.delayUs, 0.1);
    if (out.jitterUs) out.jitterUs = near(out.jitterUs, 0.1);
    if (out.lossRate) out.lossRate = near(out.lossRate, 0.15);
    if (out.queueUs) out.queueUs = near(out.queueUs, 0.2);
    return out;
  };
  const both = <T extends { down: Partial<PlainLinkSettings>; up: Partial<PlainLinkSettings> }>(s: T): T => ({
    ...s,
    down: one(s.down),
    up: one(s.up),
  });
  const shift = (random() - 0.5) * 1e6;
  return {
    ...scenario,
    links: scenario.links.map((link) => {
      const cycle = link.cycle.map(both);
      // Begins with any step.
      const turn = Math.floor(random() * cycle.length);
      return { ...link, settings: both(link.settings), cycle: [...cycle.slice(turn), ...cycle.slice(0, turn)] };
    }),
    events: scenario.events.map((event) => {
      const moved = { ...event, atUs: Math.max(0, event.atUs + shift) };
      return moved.do === 'set' ? both(moved) : moved;
    }),
  };
}

/** One life of a scenario. */
export class World {
  readonly scenario: Scenario;
  readonly pair: Pair;
  readonly flows: TcpFlow[];
  private readonly o: WorldOptions;
  /** World times at which simulated time begins, the bond is up, and all is over. */
  private readonly beginUs: number;
  private readonly idleUs: number;
  private readonly endUs: number;
  private readonly ping: Asking;
  private readonly queries: Asking;
  private readonly voice: Voice;
  private againUs = Number.NaN;
  private slotsMost = 0;

  constructor(scenario: Scenario, options: WorldOptions) {
    this.scenario = scenario;
    this.o = options;
    const cycles = scenario.links.map((link) => sum(link.cycle, (step) => step.forUs));
    this.idleUs = COLD_US - Math.max(IDLE_LEAST_US, ...cycles);
    this.beginUs = this.idleUs - UP_US;
    this.endUs = (options.seconds ?? scenario.seconds) * 1e6;
    const first = linkChanges(scenario, this.beginUs, this.beginUs + 1);
    const random = seeded(options.seed);
    this.pair = new Pair({
      links: scenario.links.map((_, i) => {
        const { settings } = first.find((change) => change.link === i)!;
        return { down: settingsOf(settings.down), up: settingsOf(settings.up) };
      }),
      seed: options.seed,
    });
    this.play();
    const { pair } = this;
    this.ping = new Asking(pair, FLOW.ping, PING_US, PING_BYTES, PING_BYTES, () => FLOW.ping);
    this.queries = new Asking(pair, FLOW.query, QUERY_US, QUERY_BYTES, ANSWER_BYTES, () => bucketOf(random));
    this.voice = new Voice(pair, options.isUp);
    this.flows = Array.from({ length: options.flows }, (_, i) => this.flow(FLOW.tcp + i, options.isUp, COLD_US + i));
    for (const flow of this.flows) flow.sinceUs = -this.beginUs;
    this.guests();
    this.watchMemory();
    options.onWorld?.(this);
  }

  /** Lives it, and says what was met. */
  run(): Findings {
    const { pair, o, flows, endUs } = this;
    this.to(this.idleUs);
    for (const asking of [this.ping, this.queries, this.voice]) asking.begin();
    this.to(COLD_US);
    const idle = [this.ping, this.queries, this.voice].map((a) => a.samples.quantile(0.95) / 1e3);
    const direction = o.isUp ? 'up' : 'down';
    const coldUs = foundAfterUs(this.scenario, direction, COLD_US, this.warmUp());
    for (const asking of [this.ping, this.queries, this.voice]) asking.begin();
    const before = flows.map((f) => f.goodputBytes);
    const count = () => ({
      sent: sum(flows, (f) => f.sent),
      losses: sum(flows, (f) => f.losses),
      reordered: sum(flows, (f) => f.reordered),
      aqm: (o.isUp ? pair.router : pair.server).peer.bond.lanes.droppedByCodel,
      timeouts: sum(flows, (f) => f.timeouts),
    });
    const at = count();
    this.to(endUs);
    const now = count();
    for (const asking of [this.ping, this.queries, this.voice]) asking.end();
    const each = flows.map((f, i) => ((f.goodputBytes - before[i]) * 8e6) / endUs);
    const bps = sum(each, (x) => x);
    const limit = limitBps(this.scenario, direction, 0, endUs);
    const sent = now.sent - at.sent;
    const dropped = Math.max(0, now.aqm - at.aqm);
    const q = (a: { samples: Samples }, share: number) => a.samples.quantile(share) / 1e3;
    return {
      bps,
      limitBps: limit,
      share: bps / limit,
      jain: bps ** 2 / (each.length * sum(each, (x) => x * x)),
      pingIdleMs: idle[0],
      pingP50Ms: q(this.ping, 0.5),
      pingP95Ms: q(this.ping, 0.95),
      dnsIdleMs: idle[1],
      dnsP50Ms: q(this.queries, 0.5),
      dnsP95Ms: q(this.queries, 0.95),
      voiceIdleMs: idle[2],
      voiceP50Ms: q(this.voice, 0.5),
      voiceP95Ms: q(this.voice, 0.95),
      voiceGapMs: this.voice.longestGapUs / 1e3,
      voiceLost: this.voice.lost,
      pingGapMs: this.ping.longestGapUs / 1e3,
      reorder: (now.reordered - at.reordered) / sent,
      tcpLoss: Math.max(0, now.losses - at.losses - dropped) / sent,
      dropped: dropped / sent,
      timeouts: now.timeouts - at.timeouts,
      coldMs: coldUs / 1e3,
      stallMs: Math.max(...flows.map((f) => f.longestStallUs)) / 1e3,
      againMs: this.againUs / 1e3,
      slotsMost: this.slotsMost,
    };
  }

  private to(worldUs: number): void {
    this.pair.run(worldUs - this.beginUs);
  }

  private flow(flow: number, isUp: boolean, startUs: number): TcpFlow {
    const { congestion } = this.o;
    return new TcpFlow(this.pair, { isUp, flow, bucket: flow, startUs: startUs - this.beginUs, congestion });
  }

  private watchMemory(): void {
    const { pair } = this;
    const look = (): void => {
      for (const { endpoint } of [pair.router, pair.server]) {
        this.slotsMost = Math.max(this.slotsMost, endpoint.pool.count - endpoint.pool.free);
      }
      pair.events.after(LOOK_US, look);
    };
    pair.events.after(0, look);
  }

  private play(): void {
    const { pair, scenario } = this;
    const at = (worldUs: number, run: () => void) => pair.events.at(worldUs - this.beginUs, run);
    for (const change of linkChanges(scenario, this.beginUs, this.endUs)) {
      at(change.atUs, () => {
        for (const [model, direction] of [
          [pair.down[change.link], 'down'],
          [pair.up[change.link], 'up'],
        ] as const) {
          const settings = settingsOf(change.settings[direction]);
          // A trace goes on where it is.
          if (model.settings.trace) delete settings.trace;
          model.set(settings);
          if (change.isCut[direction] && !model.isCut) model.cut();
          if (!change.isCut[direction] && model.isCut) this.restore(change.link, change.atUs, () => model.restore());
        }
      });
    }
    for (const event of otherChanges(scenario)) {
      at(event.atUs, () => {
        if (event.do === 'restart-server') pair.restartServer();
        else if (event.do === 'sleep-router') pair.sleep(pair.router, event.forUs);
        else if (event.do === 'rebind') pair.rebind(event.link);
        else pair.readdress(event.link);
      });
    }
  }

  /** The link is back: notes how long it takes until it has its full share, or has gone again. */
  private restore(link: number, worldUs: number, restore: () => void): void {
    const { pair, o } = this;
    restore();
    if (worldUs < 0) return;
    const model = (o.isUp ? pair.up : pair.down)[link];
    const wanted = (model.settings.rateBps / 8e6) * FULL_SPAN_US * FULL_SHARE;
    const backUs = pair.nowUs;
    const counts = new Array<number>(FULL_SPAN_US / LOOK_US).fill(model.counters.acceptedBytes);
    const look = (): void => {
      this.againUs = Math.max(Number.isNaN(this.againUs) ? 0 : this.againUs, pair.nowUs - backUs);
      const bytes = model.counters.acceptedBytes - counts.shift()!;
      counts.push(model.counters.acceptedBytes);
      if (!model.isCut && bytes < wanted) pair.events.after(LOOK_US, look);
    };
    pair.events.after(LOOK_US, look);
  }

  /** Up to the begin of the measure: payload of all flows, bin by bin. */
  private warmUp(): number[] {
    const bins: number[] = [];
    for (let t = COLD_US; t + COLD_BIN_US <= 0; t += COLD_BIN_US) {
      const before = sum(this.flows, (f) => f.goodputBytes);
      this.to(t + COLD_BIN_US);
      bins.push(sum(this.flows, (f) => f.goodputBytes) - before);
    }
    return bins;
  }

  private guests(): void {
    const { pair, scenario } = this;
    let next: number = FLOW.guests;
    for (const t of scenario.traffic) {
      for (let i = 0; i < t.flows; i++) {
        const flow = this.flow(next++, t.direction === 'up', t.fromUs);
        pair.events.at(t.toUs - this.beginUs, () => flow.stop());
      }
      if (t.rateBps > 0) stream(pair, next++, t.direction === 'up', t, t.fromUs - this.beginUs, t.toUs - this.beginUs);
    }
  }
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

function bucketOf(random: Random): number {
  return 200 + Math.floor(random() * 800);
}

/** Notes round trips or delays, and the longest time without one. */
class Watch {
  samples = new Samples();
  longestGapUs = 0;
  private lastUs = Number.NaN;
  private readonly pair: Pair;

  constructor(pair: Pair) {
    this.pair = pair;
  }

  /** Forgets what was, from now on. */
  begin(): void {
    this.samples = new Samples();
    this.longestGapUs = 0;
    this.lastUs = this.pair.nowUs;
  }

  /** The time since the last one counts as well. */
  end(): void {
    this.longestGapUs = Math.max(this.longestGapUs, this.pair.nowUs - this.lastUs);
  }

  protected note(us: number): void {
    const { nowUs } = this.pair;
    this.longestGapUs = Math.max(this.longestGapUs, nowUs - this.lastUs);
    this.lastUs = nowUs;
    this.samples.add(us);
  }
}

/** A question to the other side every so often, and its answer. */
class Asking extends Watch {
  constructor(pair: Pair, flow: number, everyUs: number, size: number, answer: number, bucket: () => number) {
    super(pair);
    pair.server.handlers.set(flow, (view, at) => {
      const sentUs = view.getFloat64(at);
      pair.server.send(flow, view.getUint16(at + 8), answer, (v, a) => v.setFloat64(a, sentUs));
    });
    pair.router.handlers.set(flow, (view, at) => this.note(pair.nowUs - view.getFloat64(at)));
    const tick = (): void => {
      const b = bucket();
      pair.router.send(flow, b, size, (v, a) => {
        v.setFloat64(a, pair.nowUs);
        v.setUint16(a + 8, b);
      });
      pair.events.after(everyUs, tick);
    };
    pair.events.after(0, tick);
  }
}

/** A call in the direction of the flow: delays one way. */
class Voice extends Watch {
  private sent = 0;
  private received = 0;
  private sentAtBegin = 0;
  private receivedAtBegin = 0;

  constructor(pair: Pair, isUp: boolean) {
    super(pair);
    const from = (): End => (isUp ? pair.router : pair.server);
    (isUp ? pair.server : pair.router).handlers.set(FLOW.voice, (view, at) => {
      this.received++;
      this.note(pair.nowUs - view.getFloat64(at));
    });
    const tick = (): void => {
      this.sent++;
      from().send(FLOW.voice, FLOW.voice, VOICE_BYTES, (v, a) => v.setFloat64(a, pair.nowUs));
      pair.events.after(VOICE_US, tick);
    };
    pair.events.after(0, tick);
  }

  override begin(): void {
    super.begin();
    this.sentAtBegin = this.sent;
    this.receivedAtBegin = this.received;
  }

  /** Packets sent since the begin that have not come; those under way count. */
  get lost(): number {
    return this.sent - this.sentAtBegin - (this.received - this.receivedAtBegin);
  }
}

/** Datagrams of equal size at equal distances. */
function stream(
  pair: Pair,
  flow: number,
  isUp: boolean,
  t: { rateBps: number; sizeBytes: number },
  fromUs: number,
  toUs: number,
): void {
  (isUp ? pair.server : pair.router).handlers.set(flow, () => {});
  const everyUs = (t.sizeBytes * 8e6) / t.rateBps;
  const tick = (): void => {
    if (pair.nowUs >= toUs) return;
    (isUp ? pair.router : pair.server).send(flow, flow, t.sizeBytes, () => {});
    pair.events.after(everyUs, tick);
  };
  pair.events.at(fromUs, tick);
}

/**
 * What bonding is without an engine, in simulation: packets leave by the links in turn, weighted by their rates, in tunnel datagrams of the same
 * overhead as ours, and are delivered as they come. TCP and a ping over it, while the scenario is played.
 */
import { type Random, seeded } from '../../src/base/random.ts';
import { DROPPED, LinkModel, settingsOf } from '../../src/lab/link.ts';
import type { Scenario } from '../../src/lab/scenario.ts';
import { linkChanges } from '../../src/lab/timeline.ts';
import { Samples } from './apps.ts';
import { Events } from './events.ts';
import type { Host, Net } from './net.ts';
import type { PacketHandler } from './pair.ts';
import { TcpFlow } from './tcp.ts';

/** As in world.ts. */
const COLD_US = -3e6;
const BEGIN_US = COLD_US - 1e6;
const OVERHEAD_BYTES = 56;
const PING_US = 20_000;
const PING_BYTES = 84;
const PING_FLOW = 1;
const TCP_FLOW = 10;

/** What was met; rates and times as in world.ts. */
export interface InTurn {
  bps: number;
  pingP95Ms: number;
}

/** One end: what it sends goes out by the link whose turn it is. */
class PlainEnd implements Host {
  readonly mtu = 1500;
  readonly handlers = new Map<number, PacketHandler>();
  readonly afterBatch: (() => void)[] = [];
  readonly models: LinkModel[];
  private readonly events: Events;
  private readonly credit: number[];
  private readonly weights: readonly number[];
  to!: PlainEnd;

  constructor(events: Events, models: LinkModel[], weights: readonly number[]) {
    this.events = events;
    this.models = models;
    this.weights = weights;
    this.credit = weights.map(() => 0);
  }

  send(flow: number, _bucket: number, length: number, write: (view: DataView, at: number) => void): boolean {
    const view = new DataView(new ArrayBuffer(length));
    write(view, 22);
    const model = this.models[this.choose()];
    const deliveryUs = model.offer(length + OVERHEAD_BYTES, this.events.nowUs);
    if (deliveryUs === DROPPED) return true;
    const { generation } = model;
    this.events.at(deliveryUs, () => {
      if (model.generation !== generation) return;
      this.to.handlers.get(flow)?.(view, 22, length - 22);
      for (const handler of this.to.afterBatch) handler();
    });
    return true;
  }

  /** The link with the most credit; each gets its weight a turn, the chosen one pays for all. */
  private choose(): number {
    let best = 0;
    for (let i = 0; i < this.weights.length; i++) {
      this.credit[i] += this.weights[i];
      if (this.credit[i] > this.credit[best]) best = i;
    }
    this.credit[best] -= this.weights.reduce((a, b) => a + b, 0);
    return best;
  }
}

class PlainNet implements Net {
  readonly events = new Events();
  readonly random: Random;
  readonly router: PlainEnd;
  readonly server: PlainEnd;

  constructor(scenario: Scenario, seed: number) {
    this.random = seeded(seed);
    const first = linkChanges(scenario, BEGIN_US, BEGIN_US + 1);
    const end = (direction: 'down' | 'up') => {
      const settings = scenario.links.map((_, i) => first.find((c) => c.link === i)!.settings[direction]);
      const weights = scenario.links.map(
        ({ settings: s }) => s[direction].rateBps ?? (s[direction].trace?.length ?? 0) * 1e3,
      );
      return new PlainEnd(
        this.events,
        settings.map((s) => new LinkModel(settingsOf(s), this.random)),
        weights,
      );
    };
    this.router = end('up');
    this.server = end('down');
    this.router.to = this.server;
    this.server.to = this.router;
  }

  get nowUs(): number {
    return this.events.nowUs;
  }

  run(untilUs: number): void {
    const { events } = this;
    while (events.nextUs() <= untilUs) {
      events.nowUs = Math.max(events.nowUs, events.nextUs());
      events.runDue();
    }
    events.nowUs = untilUs;
  }
}

/** What one TCP flow gets over packets in turn, and a ping beside it; what happens to daemons is left out. */
export function liveRoundRobin(
  scenario: Scenario,
  options: { seed: number; isUp: boolean; congestion: 'cubic' | 'bbr'; flows: number; seconds?: number },
): InTurn {
  const net = new PlainNet(scenario, options.seed);
  const endUs = (options.seconds ?? scenario.seconds) * 1e6;
  for (const change of linkChanges(scenario, BEGIN_US, endUs)) {
    net.events.at(change.atUs - BEGIN_US, () => {
      for (const [end, direction] of [
        [net.server, 'down'],
        [net.router, 'up'],
      ] as const) {
        const model = end.models[change.link];
        const settings = settingsOf(change.settings[direction]);
        if (model.settings.trace) delete settings.trace;
        model.set(settings);
        if (change.isCut[direction] !== model.isCut) model.isCut ? model.restore() : model.cut();
      }
    });
  }
  const flows = Array.from({ length: options.flows }, (_, i) => {
    const { isUp, congestion } = options;
    return new TcpFlow(net, { isUp, flow: TCP_FLOW + i, bucket: 0, startUs: COLD_US - BEGIN_US + i, congestion });
  });
  const rtts = new Samples();
  net.server.handlers.set(PING_FLOW, (view, at) => {
    const sentUs = view.getFloat64(at);
    net.server.send(PING_FLOW, 0, PING_BYTES, (v, a) => v.setFloat64(a, sentUs));
  });
  net.router.handlers.set(PING_FLOW, (view, at) => {
    if (net.nowUs >= -BEGIN_US) rtts.add(net.nowUs - view.getFloat64(at));
  });
  const tick = (): void => {
    net.router.send(PING_FLOW, 0, PING_BYTES, (v, a) => v.setFloat64(a, net.nowUs));
    net.events.after(PING_US, tick);
  };
  tick();
  const payload = () => flows.reduce((sum, f) => sum + f.goodputBytes, 0);
  net.run(-BEGIN_US);
  const before = payload();
  net.run(endUs - BEGIN_US);
  return { bps: ((payload() - before) * 8e6) / endUs, pingP95Ms: rtts.quantile(0.95) / 1e3 };
}

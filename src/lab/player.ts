/**
 * Plays a scenario on a running lab: what changes on its links, and what happens to NATs, addresses and daemons.
 *
 *     play(−3 s) ─▶ links as they are then ─▶ timers, one a change ─▶ stop: links as at the begin, NAT and addresses as they were
 */
import type { Bond } from './daemons.ts';
import type { Direction } from './emulator.ts';
import type { LinkSpec } from './linkspec.ts';
import { pause, stream, transfer } from './measure.ts';
import { ipBatch } from './netns.ts';
import type { Scenario, ScenarioLink, Traffic } from './scenario.ts';
import { FULL_SHARE, FULL_SPAN_US, linkChanges, meanBps, type OtherChange, otherChanges } from './timeline.ts';
import { ADDRESS, type Lab, type LabOptions } from './topology.ts';

/** Public addresses that the NATs of lines give, one at a time. Source: RFC 2544 has the net for tests. */
const NAT_NET = '198.18.0';
const NAT_PER_LINK = 25;
const NAT_TABLE = 'lab_nat';
/** Other addresses that a line's router gets: /30 nets behind those of the lines (topology.ts). */
const OTHER_NETS_FROM = 128;
/** Between the loss of an address and the next. */
const READDRESS_MS = 50;
/** How often a returned line is looked at. */
const LOOK_MS = 20;
const DIRECTIONS = ['down', 'up'] as const;

/** How a lab is opened for a scenario. */
export function labOptionsOf(scenario: Scenario, seed = 1): LabOptions {
  const first = linkChanges(scenario, 0, 1);
  return {
    links: scenario.links.map(specOf),
    names: scenario.links.map((link) => link.name),
    settings: scenario.links.map((_, i) => first.find((change) => change.link === i)!.settings),
    seed,
  };
}

/** What the views and shares of the lab go by: the link's own values; of a trace its mean. */
function specOf({ settings: { down, up } }: ScenarioLink): LinkSpec {
  const rate = (s: typeof down) => (s.trace ? meanBps(s.trace) : (s.rateBps ?? 0));
  return {
    downBps: rate(down),
    upBps: rate(up),
    delayUs: down.delayUs,
    jitterUs: down.jitterUs ?? 0,
    lossRate: down.lossRate ?? 0,
  };
}

/** Plays it as often as it is told. Owns: timers, the NAT's table and addresses it gave. */
export class Player {
  readonly #lab: Lab;
  readonly #scenario: Scenario;
  /** Whose daemons sleep and start again; without, they are left alone. */
  readonly #bond: Bond | undefined;
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Link and direction of what is cut. */
  readonly #cuts = new Set<string>();
  /** What is being done, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #failure: unknown;
  #natAddress: number[];
  #isAsleep = false;
  /** Which direction of a returned line is watched, and the longest time until it had its full share; NaN: none returned. */
  watched: Direction = 'down';
  againMs = Number.NaN;
  readonly #watching = new Set<Promise<void>>();
  readonly #guests = new Set<Promise<unknown>>();

  constructor(lab: Lab, scenario: Scenario, bond?: Bond) {
    this.#lab = lab;
    this.#scenario = scenario;
    this.#bond = bond;
    this.#natAddress = scenario.links.map((_, i) => NAT_PER_LINK * i + 1);
  }

  /** Makes the NATs that the scenario needs; once, before daemons start. */
  async prepare(): Promise<void> {
    if (this.#natted.length === 0) return;
    await ipBatch(this.#lab.namespace('server'), [`route add ${NAT_NET}.0/24 via ${ADDRESS.core}`]);
    await this.#setNat();
  }

  /** From this instant of the scenario on, until `toUs`. */
  play(fromUs: number, toUs: number): void {
    this.againMs = Number.NaN;
    for (const change of linkChanges(this.#scenario, fromUs, toUs)) {
      this.#at(change.atUs - fromUs, () => this.#change(change));
    }
    for (const event of otherChanges(this.#scenario)) {
      if (event.atUs < toUs) this.#at(event.atUs - fromUs, () => this.#happen(event));
    }
    if (!this.#bond) return;
    for (const traffic of this.#scenario.traffic) {
      if (traffic.fromUs < toUs) this.#at(traffic.fromUs - fromUs, async () => this.#carry(traffic, toUs));
    }
  }

  /** Ends it; the links are as they were. @throws what a change met. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const change of linkChanges(this.#scenario, 0, 1)) {
      this.#do(() => this.#change({ ...change, isCut: { down: false, up: false } }));
    }
    await this.#work;
    await Promise.all([...this.#watching, ...this.#guests]);
    if (this.#isAsleep) this.#wake();
    if (this.#failure) throw this.#failure;
  }

  get #natted(): number[] {
    return [...new Set(this.#scenario.events.flatMap((e) => (e.do === 'rebind' ? [e.link] : [])))];
  }

  #at(afterUs: number, work: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#do(work);
    }, afterUs / 1000);
    this.#timers.add(timer);
  }

  #do(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error) => {
      this.#failure ??= error;
    });
  }

  async #change({ link, settings, isCut }: ReturnType<typeof linkChanges>[number]): Promise<void> {
    const line = this.#lab.link(link);
    for (const direction of DIRECTIONS) {
      const wasCut = this.#cuts.has(`${link} ${direction}`);
      // A trace goes on where it is.
      const { trace: _trace, ...change } = settings[direction];
      await line.set(change, direction);
      if (isCut[direction] && !wasCut) {
        this.#cuts.add(`${link} ${direction}`);
        await line.cut(direction);
      }
      if (!isCut[direction] && wasCut) {
        this.#cuts.delete(`${link} ${direction}`);
        await line.restore(direction);
        if (direction === this.watched) this.#watch(link, settings[direction].rateBps ?? 0);
      }
    }
  }

  /** How long until a returned line has its full share. */
  #watch(link: number, rateBps: number): void {
    const watching = (async () => {
      const beginMs = performance.now();
      const bytes = async () => (await this.#lab.stats()).links[link][this.watched].deliveredBytes;
      const looks = [[await bytes(), beginMs]];
      while (this.#timers.size > 0 || performance.now() - beginMs < 1000) {
        await pause(LOOK_MS);
        const [now, nowMs] = [await bytes(), performance.now()];
        looks.push([now, nowMs]);
        while (looks.length > 1 && nowMs - looks[1][1] >= FULL_SPAN_US / 1000) looks.shift();
        const [then, thenMs] = looks[0];
        if ((now - then) * 8 >= (FULL_SHARE * rateBps * Math.max(nowMs - thenMs, FULL_SPAN_US / 1000)) / 1000) break;
      }
      this.againMs = Math.max(performance.now() - beginMs, Number.isNaN(this.againMs) ? 0 : this.againMs);
    })().catch(() => {});
    this.#watching.add(watching);
  }

  async #happen(event: OtherChange): Promise<void> {
    const bond = this.#bond;
    switch (event.do) {
      case 'rebind':
        this.#natAddress[event.link]++;
        return this.#setNat();
      case 'readdress':
        return this.#readdress(event.link);
      case 'restart-server':
        await bond?.server.kill();
        bond?.server.start();
        return;
      case 'sleep-router':
        if (!bond) return;
        process.kill(bond.router.pid, 'SIGSTOP');
        this.#isAsleep = true;
        this.#at(event.forUs, async () => this.#wake());
    }
  }

  /** What is beside the measure is over with it. */
  #carry(traffic: Traffic, toUs: number): void {
    const { direction, flows, rateBps } = traffic;
    const seconds = (Math.min(traffic.toUs, toUs) - traffic.fromUs) / 1e6;
    const guest =
      flows > 0
        ? transfer(this.#lab, { meter: 'builtin', direction, flows, seconds, warmupMs: 0 })
        : stream(this.#lab, { direction, rateBps, sizeBytes: traffic.sizeBytes, seconds });
    // It may find nothing to flow over; that is for the measure to show.
    this.#guests.add(guest.catch(() => {}));
  }

  #wake(): void {
    this.#isAsleep = false;
    if (this.#bond?.router.isRunning) process.kill(this.#bond.router.pid, 'SIGCONT');
  }

  /** Without connection tracking, so that what the NAT forgets is forgotten at once: addresses are put in place of others, both ways. */
  async #setNat(): Promise<void> {
    const pairs = this.#natted.map((link) => ({
      device: `line${link}`,
      inner: this.#lab.link(link).address,
      outer: `${NAT_NET}.${this.#natAddress[link]}`,
    }));
    // What comes back to an address that is not given any more gets no answer.
    const text = `table ip ${NAT_TABLE}
delete table ip ${NAT_TABLE}
table ip ${NAT_TABLE} {
chain before {
type filter hook prerouting priority raw
${pairs.map(({ inner, outer }) => `iifname "eth0" ip daddr ${outer} ip daddr set ${inner}`).join('\n')}
iifname "eth0" ip daddr ${NAT_NET}.0/24 drop
}
chain after {
type filter hook postrouting priority mangle
${pairs.map(({ device, inner, outer }) => `iifname "${device}" ip saddr ${inner} ip saddr set ${outer}`).join('\n')}
}
}
`;
    await this.#lab.must('core', ['nft', '-f', '-'], { input: text });
  }

  /** Another address and gateway on the line, a little after the old ones are gone: of two nets the one that it has not. */
  async #readdress(index: number): Promise<void> {
    const { name } = this.#lab.link(index);
    const shown = await this.#lab.must('router', ['ip', '-o', '-4', 'address', 'show', 'dev', name]);
    const old = /inet (\S+)/.exec(shown)?.[1] ?? '';
    const first = OTHER_NETS_FROM + 8 * index;
    const net = old.startsWith(`198.51.100.${first + 2}/`) ? first + 4 : first;
    const [gateway, next] = [`198.51.100.${net + 1}`, `198.51.100.${net + 2}`];
    await ipBatch(this.#lab.namespace('core'), [`address replace ${gateway}/30 dev line${index}`]);
    await ipBatch(this.#lab.namespace('router'), [`address del ${old} dev ${name}`]);
    await pause(READDRESS_MS);
    await ipBatch(this.#lab.namespace('router'), [
      `address add ${next}/30 dev ${name}`,
      `route replace default via ${gateway} dev ${name} metric ${100 + index}`,
    ]);
  }
}

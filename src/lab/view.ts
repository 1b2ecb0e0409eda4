/**
 * The lab live: on a terminal a block that is painted over, elsewhere a plain line every few seconds.
 *
 *     bond: down                                             12 s
 *       link0   ↓  11.93  ↑   0.21 Mbit/s   rtt  11.2 ms   loss  0.0 %   share  99 %  ██████████
 *       link1   …
 *       bond    ↓  22.10            Mbit/s   rtt  12.0 ms   loss  0.0 %   share  99 %  ██████████
 *
 * A line's rate is in outer bytes, its share is of its own rate; the bond's rate is payload, its share is of the limit.
 */
import type { CarrierStats } from './carrier.ts';
import type { Direction, EmulatorStats } from './emulator.ts';
import type { Scene } from './experiment.ts';
import { PAYLOAD_SHARE, PLAIN_SHARE } from './report.ts';
import type { Lab } from './topology.ts';

const PAINT_MS = 500;
const PLAIN_EVERY = 8;
const BAR_CELLS = 20;
const DIRECTIONS: readonly Direction[] = ['down', 'up'];

/** What the view writes to: stdout, or stderr beside `--json`. */
export interface Screen {
  write(text: string): unknown;
  isTTY?: boolean;
}

/** Shows a scene until stopped. */
export class View {
  readonly #lab: Lab;
  readonly #scene: Scene;
  readonly #screen: Screen;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #painted = 0;
  #frames = 0;
  #before: EmulatorStats | undefined;
  #beforeMs = 0;
  #payloadBefore = 0;
  #payloadBeforeMs = 0;
  #skippedBefore = [0, 0];
  #isPainting = false;

  constructor(lab: Lab, scene: Scene, screen: Screen) {
    this.#lab = lab;
    this.#scene = scene;
    this.#screen = screen;
    this.#timer = setInterval(() => void this.#frame(), PAINT_MS);
  }

  /** Stops; the last picture stays. */
  stop(): void {
    clearInterval(this.#timer);
  }

  async #frame(): Promise<void> {
    if (this.#isPainting) return;
    this.#isPainting = true;
    try {
      const lines = await this.#picture();
      if (lines) this.#paint(lines);
    } catch {
      // The lab is being taken down, or a daemon is not there to be asked: the next frame will tell.
    } finally {
      this.#isPainting = false;
    }
  }

  #paint(lines: string[]): void {
    this.#frames++;
    if (!this.#screen.isTTY) {
      if (this.#frames % PLAIN_EVERY === 1) this.#screen.write(`${lines.join('\n')}\n`);
      return;
    }
    const up = this.#painted > 0 ? `\x1b[${this.#painted}A` : '';
    this.#screen.write(`${up}${lines.map((line) => `\x1b[2K${line}\n`).join('')}`);
    this.#painted = lines.length;
  }

  async #picture(): Promise<string[] | undefined> {
    const scene = this.#scene;
    const [stats, paths] = await Promise.all([this.#lab.stats(), this.#paths()]);
    const nowMs = performance.now();
    const before = this.#before;
    const seconds = (nowMs - this.#beforeMs) / 1000;
    const payload = Math.max(0, scene.payloadBytes - this.#payloadBefore);
    const ownBps = scene.direction ? (payload * 8000) / (scene.payloadAtMs - this.#payloadBeforeMs || 1) : 0;
    this.#before = stats;
    this.#beforeMs = nowMs;
    this.#payloadBefore = scene.payloadBytes;
    this.#payloadBeforeMs = scene.payloadAtMs;
    if (!before) return undefined;
    const clock = `${((nowMs - this.#startMs) / 1000).toFixed(0)} s`;
    const lines = [`${scene.phase.padEnd(64)}${clock.padStart(6)}`];
    let outerBps = 0;
    for (const link of this.#lab.links) {
      const delta = DIRECTIONS.map((d) => subtract(stats.links[link.index][d], before.links[link.index][d]));
      const rates = delta.map((d) => (d.deliveredBytes * 8) / seconds);
      outerBps += scene.direction === 'up' ? rates[1] : rates[0];
      const share = Math.max(rates[0] / link.spec.downBps, rates[1] / link.spec.upBps);
      const rttMs = scene.alone === link.index ? scene.pingMs : (paths?.rttMs.get(link.name) ?? Number.NaN);
      lines.push(row(link.name, rates, rttMs, lossOf(delta), share));
    }
    if (scene.bond || scene.alone !== undefined) {
      const isDown = scene.direction !== 'up';
      // iperf3 tells its count at the end only; until then what the lines carry says about the same.
      const payloadBps = scene.direction && scene.payloadAtMs === 0 ? outerBps * PAYLOAD_SHARE : ownBps;
      const share = payloadBps / this.#limitBps(isDown);
      const rates = isDown ? [payloadBps, 0] : [0, payloadBps];
      lines.push(row(scene.bond ? 'bond' : 'payload', rates, scene.pingMs, paths?.loss ?? 0, share));
    }
    return lines;
  }

  #limitBps(isDown: boolean): number {
    const { alone } = this.#scene;
    const used = alone === undefined ? this.#lab.links : [this.#lab.link(alone)];
    const sumBps = used.reduce((sum, link) => sum + (isDown ? link.spec.downBps : link.spec.upBps), 0);
    return sumBps * (alone === undefined ? PAYLOAD_SHARE : PLAIN_SHARE);
  }

  /** What the daemons say: round trips of the paths, and inner packets given up since the last look. */
  async #paths(): Promise<{ rttMs: Map<string, number>; loss: number } | undefined> {
    const { bond } = this.#scene;
    if (!bond) return undefined;
    const [router, server] = await Promise.all([bond.router.status(), bond.server.status()]);
    const ends = [router.bonds[0], server.bonds[0]];
    const skipped = ends.map((end) => end?.skipped ?? 0);
    const received = ends.map((end) => end?.rxPackets ?? 0);
    const lost = skipped[0] + skipped[1] - this.#skippedBefore[0];
    const all = received[0] + received[1] - this.#skippedBefore[1];
    this.#skippedBefore = [skipped[0] + skipped[1], received[0] + received[1]];
    return {
      rttMs: new Map(ends[0]?.paths.map((path) => [path.name, path.srttMs])),
      loss: all > 0 ? lost / (all + lost) : 0,
    };
  }
}

function subtract(now: CarrierStats, before: CarrierStats): CarrierStats {
  const out = { ...now };
  for (const key of Object.keys(now) as (keyof CarrierStats)[]) out[key] = now[key] - before[key];
  return out;
}

/** What of the offered packets a line did not deliver: queue, chance or cut. */
function lossOf(deltas: readonly CarrierStats[]): number {
  const offered = deltas.reduce((sum, d) => sum + d.offeredPackets, 0);
  const lost = deltas.reduce((sum, d) => sum + d.queueDrops + d.lossDrops + d.cutDrops + d.sizeDrops, 0);
  return offered > 0 ? lost / offered : 0;
}

function row(name: string, ratesBps: readonly number[], rttMs: number, loss: number, share: number): string {
  const number = (value: number, width: number, digits: number) =>
    (Number.isFinite(value) ? value.toFixed(digits) : '–').padStart(width);
  const full = Math.max(0, Math.min(BAR_CELLS, Math.round(share * BAR_CELLS)));
  return [
    `  ${name.padEnd(8)}`,
    `↓ ${number(ratesBps[0] / 1e6, 7, 2)}  ↑ ${number(ratesBps[1] / 1e6, 7, 2)} Mbit/s`,
    `rtt ${number(rttMs, 6, 1)} ms`,
    `loss ${number(loss * 100, 5, 1)} %`,
    `share ${number(share * 100, 4, 0)} %  ${'█'.repeat(full)}${'·'.repeat(BAR_CELLS - full)}`,
  ].join('   ');
}

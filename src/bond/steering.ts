/**
 * Which paths a class of traffic uses: modes, tiers, costs and sets of paths (docs/protocol.md §11), and how both ends come to know them.
 *
 *   setPreferences (router), handleConfig (server) ─▶ said ─┐
 *   path goes up or down ───────────────────────────────────┴▶ refresh ─▶ carriers of each class ─▶ choose: the path for a packet
 */
import { MAX_PATHS } from '../wire/header.ts';
import {
  ALL_PATHS,
  LAST_TIER,
  MAX_CLASSES,
  MODE_AGGREGATE,
  MODE_REDUNDANT,
  MODE_WEIGHTED,
  Preferences,
} from '../wire/preferences.ts';
import type { Lane } from './lanes.ts';
import type { Path } from './path.ts';
import { type Choice, chooseFirst, choosePath, type Paths, secondPath } from './scheduler.ts';
import { Spill } from './spill.ts';
import { Weighted } from './weighted.ts';

/** A CONFIG that has not been answered is said again after this time. Source: docs/protocol.md §11.2. */
const CONFIG_AGAIN_US = 200_000;

export class Steering {
  readonly said = new Preferences();
  /** Nothing is said: every path carries, and the fast way is taken. */
  isPlain = true;
  /** Router: the number of what is said. Server: of what was taken last. */
  generation = 0;
  /** Router: when the peer is to be told; infinite once it has answered. */
  configDueUs = Number.POSITIVE_INFINITY;
  /** Server: the peer waits for its CONFIG SEEN. */
  seenDue = false;
  /** Bit masks of the paths that carry, by class. */
  readonly carriers = new Uint8Array(MAX_CLASSES).fill(ALL_PATHS);

  private readonly paths: Paths;
  private readonly spills = Array.from({ length: MAX_CLASSES }, () => new Spill());
  private readonly weighted = new Weighted();
  private hasCosts = false;
  private hasGeneration = false;

  /** `paths`: the bond's own array, which it goes on filling. */
  constructor(paths: Paths) {
    this.paths = paths;
  }

  /** Router: what the operator wants. Returns whether it is anything new. */
  setPreferences(said: Preferences, nowUs: number): boolean {
    if (this.said.equals(said)) return false;
    this.said.set(said);
    this.generation = (this.generation + 1) & 0xff;
    this.configDueUs = nowUs;
    this.refresh();
    return true;
  }

  /** Server: a CONFIG came. Returns whether it was taken: it is newer than the one before. */
  handleConfig(said: Preferences, generation: number): boolean {
    this.seenDue = true;
    const ahead = (generation - this.generation) & 0xff;
    if (this.hasGeneration && (ahead === 0 || ahead > 127)) return false;
    this.hasGeneration = true;
    this.generation = generation;
    this.said.set(said);
    this.refresh();
    return true;
  }

  /** Router: the server has taken this generation. */
  handleConfigSeen(generation: number): void {
    if (generation === this.generation) this.configDueUs = Number.POSITIVE_INFINITY;
  }

  noteConfigSent(nowUs: number): void {
    this.configDueUs = nowUs + CONFIG_AGAIN_US;
  }

  /** Whether a PING brings the CONFIG along. */
  get isConfigSaid(): boolean {
    return this.configDueUs !== Number.POSITIVE_INFINITY;
  }

  /** The association begins anew. `isRouter`: what is said stays, and the peer has to be told again. */
  reset(isRouter: boolean, nowUs: number): void {
    this.hasGeneration = false;
    this.seenDue = false;
    if (!isRouter) this.said.clear();
    else if (this.generation !== 0) this.configDueUs = nowUs;
    this.refresh();
  }

  /** The paths have changed, or what is said of them. */
  refresh(): void {
    const { said, paths, carriers } = this;
    this.isPlain = said.equals(NOTHING_SAID);
    if (this.isPlain) {
      carriers.fill(ALL_PATHS);
      this.hasCosts = false;
    } else {
      this.hasCosts = said.cost.some((cost) => cost !== said.cost[0]);
      for (let c = 0; c < MAX_CLASSES; c++) {
        carriers[c] = this.carriersOf(c < said.classes ? said.paths[c] : ALL_PATHS);
        if (this.hasCosts && c < said.classes) this.spills[c].set(carriers[c], said.cost);
      }
    }
    this.markStandby(paths);
  }

  /**
   * The path for a packet of this lane: `out` as `choosePath` fills it. `urgent`: a sparse flow's packet, which waits for the path
   * that brings it first. `waitingBytes`: what is to be sent, from this packet on.
   */
  choose(lane: Lane, sizeBytes: number, urgent: boolean, waitingBytes: number, nowUs: number, out: Choice): void {
    const { paths } = this;
    const c = lane.klass;
    const mode = this.said.mode[c];
    if (mode === MODE_WEIGHTED) this.weighted.choose(paths, this.carriers[c], this.said.weight, sizeBytes, nowUs, out);
    else if (mode === MODE_REDUNDANT) this.chooseTwo(lane, sizeBytes, nowUs, out);
    else if (this.hasCosts && this.spills[c].levels > 1) this.chooseByCost(lane, sizeBytes, urgent, nowUs, out);
    else if (urgent) chooseFirst(paths, this.carriers[c], sizeBytes, true, nowUs, out);
    else choosePath(paths, this.carriers[c], sizeBytes, waitingBytes, nowUs, out);
  }

  /** Where the copy goes of what leaves by `first`; undefined: there is no other path, or the mode has no copies. */
  second(lane: Lane, first: Path, sizeBytes: number, nowUs: number): Path | undefined {
    if (this.said.mode[lane.klass] !== MODE_REDUNDANT) return undefined;
    return secondPath(this.paths, this.said.paths[lane.klass], this.carriers[lane.klass], first, sizeBytes, nowUs);
  }

  /** Whether a lane's packets go twice. */
  isRedundant(lane: Lane): boolean {
    return this.said.mode[lane.klass] === MODE_REDUNDANT;
  }

  /** Whether a lane's packets go one by one, each where its turn is. */
  isWeighted(lane: Lane): boolean {
    return this.said.mode[lane.klass] === MODE_WEIGHTED;
  }

  /** The first of two paths: while none is up, one that may be late only. */
  private chooseTwo({ klass }: Lane, sizeBytes: number, nowUs: number, out: Choice): void {
    chooseFirst(this.paths, this.carriers[klass], sizeBytes, false, nowUs, out);
    if (out.path !== undefined || out.wakeUs !== Number.POSITIVE_INFINITY) return;
    const late = secondPath(this.paths, this.said.paths[klass], 0, undefined, sizeBytes, nowUs);
    if (late?.hasRoom() && late.nextSendUs <= nowUs) out.path = late;
  }

  private chooseByCost(lane: Lane, sizeBytes: number, urgent: boolean, nowUs: number, out: Choice): void {
    const spill = this.spills[lane.klass];
    const { bytes } = lane.queue;
    const before = spill.open;
    const level = spill.level(this.paths, bytes, lane.sentBytes, nowUs);
    if (spill.open !== before) this.markStandby(this.paths);
    if (urgent) {
      chooseFirst(this.paths, spill.masks[0], sizeBytes, true, nowUs, out);
      return;
    }
    choosePath(this.paths, spill.masks[0], sizeBytes, bytes, nowUs, out);
    for (let i = 1; i <= level && out.path === undefined; i++) {
      const { wakeUs } = out;
      choosePath(this.paths, spill.masks[i], sizeBytes, bytes, nowUs, out);
      if (wakeUs < out.wakeUs) out.wakeUs = wakeUs;
    }
  }

  /** Of these paths, the ones of the lowest tier that has one which is up; of all paths when these are of no use. */
  private carriersOf(mask: number): number {
    const own = this.lowest(mask);
    if (own.mask !== 0 && own.tier < LAST_TIER) return own.mask;
    const any = this.lowest(ALL_PATHS);
    // Nobody is up: then whoever comes up first carries, and refresh is called again.
    return any.mask === 0 ? ALL_PATHS : any.mask;
  }

  private lowest(mask: number): { mask: number; tier: number } {
    let tier = 256;
    let found = 0;
    for (let i = 0; i < MAX_PATHS; i++) {
      if (!this.paths[i]?.isUp || (mask & (1 << i)) === 0) continue;
      if (this.said.tier[i] < tier) {
        tier = this.said.tier[i];
        found = 0;
      }
      if (this.said.tier[i] === tier) found |= 1 << i;
    }
    return { mask: found, tier };
  }

  private markStandby(paths: Paths): void {
    const { said } = this;
    let used = 0;
    for (let c = 0; c < said.classes; c++) {
      const spills = this.hasCosts && said.mode[c] === MODE_AGGREGATE;
      used |= spills ? this.carriers[c] & this.spills[c].openMask : this.carriers[c];
    }
    for (let i = 0; i < MAX_PATHS; i++) {
      const p = paths[i];
      if (p !== undefined) p.standby = (used & (1 << i)) === 0;
    }
  }
}

const NOTHING_SAID = new Preferences();

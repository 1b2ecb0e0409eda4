/**
 * What the operator said about paths and classes of traffic, as both ends know it: the content of a CONFIG frame (docs/protocol.md §11).
 *
 *   CONFIG:   8 │ generation │ n │ n × (path, tier, cost, weight, limit u32) │ m │ m × (class, mode, path mask)
 */
import { BUCKET_COUNT, MAX_PATHS } from './header.ts';

/** Classes of traffic; class 0 is the bond's own. Source: docs/protocol.md §11.1. */
export const MAX_CLASSES = 8;
/** Modes of a class. Source: docs/protocol.md §11.2. */
export const MODE_AGGREGATE = 0;
export const MODE_REDUNDANT = 1;
export const MODE_WEIGHTED = 2;
/** Tier from which on a path is one that nobody wants: its quota is used up. */
export const LAST_TIER = 100;
/** Any path. */
export const ALL_PATHS = 0xff;

const CLASS_0_BUCKETS = BUCKET_COUNT / 2;
const CLASS_BUCKETS = 64;

/** Preferences by path id and by class. Nothing said: `clear`. */
export class Preferences {
  readonly tier = new Uint8Array(MAX_PATHS);
  readonly cost = new Uint8Array(MAX_PATHS);
  readonly weight = new Uint8Array(MAX_PATHS).fill(1);
  /** Upper limit from the server to the router, 0: none. Units: kbit/s. */
  readonly downKbps = new Uint32Array(MAX_PATHS);
  readonly mode = new Uint8Array(MAX_CLASSES);
  /** Bit mask of the paths that a class may use. */
  readonly paths = new Uint8Array(MAX_CLASSES).fill(ALL_PATHS);
  /** Classes in use, class 0 included. */
  classes = 1;

  clear(): void {
    this.tier.fill(0);
    this.cost.fill(0);
    this.weight.fill(1);
    this.downKbps.fill(0);
    this.mode.fill(MODE_AGGREGATE);
    this.paths.fill(ALL_PATHS);
    this.classes = 1;
  }

  /** Copies all of another. */
  set(other: Preferences): void {
    this.tier.set(other.tier);
    this.cost.set(other.cost);
    this.weight.set(other.weight);
    this.downKbps.set(other.downKbps);
    this.mode.set(other.mode);
    this.paths.set(other.paths);
    this.classes = other.classes;
  }

  equals(other: Preferences): boolean {
    const same = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).every((x, i) => x === b[i]);
    return (
      same(this.tier, other.tier) &&
      same(this.cost, other.cost) &&
      same(this.weight, other.weight) &&
      same(this.downKbps, other.downKbps) &&
      same(this.mode, other.mode) &&
      same(this.paths, other.paths) &&
      this.classes === other.classes
    );
  }

  /** The class that a bucket belongs to. */
  classOf(bucket: number): number {
    if (this.classes === 1 || bucket < CLASS_0_BUCKETS) return 0;
    const c = ((bucket - CLASS_0_BUCKETS) / CLASS_BUCKETS + 1) | 0;
    return c < this.classes ? c : 0;
  }

  /** The bucket of a flow of this class. `hash`: the flow's, all bits mixed. */
  bucketOf(hash: number, klass: number): number {
    if (this.classes === 1) return hash & (BUCKET_COUNT - 1);
    if (klass === 0) return hash & (CLASS_0_BUCKETS - 1);
    return CLASS_0_BUCKETS + (klass - 1) * CLASS_BUCKETS + (hash & (CLASS_BUCKETS - 1));
  }

  /** The limit of the way down. Units: bit/s; undefined: none. */
  downBps(path: number): number | undefined {
    return this.downKbps[path] === 0 ? undefined : this.downKbps[path] * 1000;
  }

  /** Whether anything is said of a path. */
  isSaidOfPath(path: number): boolean {
    return this.tier[path] !== 0 || this.cost[path] !== 0 || this.weight[path] !== 1 || this.downKbps[path] !== 0;
  }
}

/** One link and one class in a CONFIG. Units: bytes. */
export const CONFIG_LINK_BYTES = 8;
export const CONFIG_CLASS_BYTES = 3;
/** The largest CONFIG. Units: bytes. */
export const CONFIG_MAX_BYTES = 4 + MAX_PATHS * CONFIG_LINK_BYTES + MAX_CLASSES * CONFIG_CLASS_BYTES;

/** Writes what stands behind the type of a CONFIG, if it fits for certain; `off` comes back unchanged when not. */
export function writePreferences(
  view: DataView,
  off: number,
  limit: number,
  generation: number,
  said: Preferences,
): number {
  if (off + CONFIG_MAX_BYTES - 1 > limit) return off;
  view.setUint8(off, generation);
  let at = off + 2;
  let n = 0;
  for (let path = 0; path < MAX_PATHS; path++) {
    if (!said.isSaidOfPath(path)) continue;
    view.setUint8(at, path);
    view.setUint8(at + 1, said.tier[path]);
    view.setUint8(at + 2, said.cost[path]);
    view.setUint8(at + 3, said.weight[path]);
    view.setUint32(at + 4, said.downKbps[path]);
    at += CONFIG_LINK_BYTES;
    n++;
  }
  view.setUint8(off + 1, n);
  view.setUint8(at++, said.classes);
  for (let c = 0; c < said.classes; c++) {
    view.setUint8(at, c);
    view.setUint8(at + 1, said.mode[c]);
    view.setUint8(at + 2, said.paths[c]);
    at += CONFIG_CLASS_BYTES;
  }
  return at;
}

/**
 * Where the preferences that begin at `off` end, or −1 when they are cut off or hold what cannot be. With `out` they are read, too: what is
 * not named is as nothing said.
 */
export function readPreferences(view: DataView, off: number, limit: number, out?: Preferences): number {
  if (off + 2 > limit) return -1;
  const n = view.getUint8(off + 1);
  let at = off + 2;
  if (n > MAX_PATHS || at + n * CONFIG_LINK_BYTES + 1 > limit) return -1;
  out?.clear();
  for (let i = 0; i < n; i++) {
    const path = view.getUint8(at);
    const weight = view.getUint8(at + 3);
    if (path >= MAX_PATHS || weight === 0) return -1;
    if (out !== undefined) {
      out.tier[path] = view.getUint8(at + 1);
      out.cost[path] = view.getUint8(at + 2);
      out.weight[path] = weight;
      out.downKbps[path] = view.getUint32(at + 4);
    }
    at += CONFIG_LINK_BYTES;
  }
  const m = view.getUint8(at++);
  if (m > MAX_CLASSES || at + m * CONFIG_CLASS_BYTES > limit) return -1;
  for (let i = 0; i < m; i++) {
    const c = view.getUint8(at);
    const mode = view.getUint8(at + 1);
    if (c >= MAX_CLASSES || mode > MODE_WEIGHTED) return -1;
    if (out !== undefined) {
      out.mode[c] = mode;
      out.paths[c] = view.getUint8(at + 2);
      out.classes = Math.max(out.classes, c + 1);
    }
    at += CONFIG_CLASS_BYTES;
  }
  return at;
}

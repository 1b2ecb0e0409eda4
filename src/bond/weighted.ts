/**
 * Round robin by weight, without measuring: what the bonding driver does, for comparison (docs/protocol.md §11.3). Smooth: weights 3 and 1 give
 * a a b a, not a a a b. Only a limit said by hand holds a path back.
 */
import { MAX_PATHS } from '../wire/header.ts';
import type { Choice, Paths } from './scheduler.ts';

/** Credit that a path with a limit does not lose while nothing is sent. */
const BURST_US = 2_000;

export class Weighted {
  private readonly credit = new Float64Array(MAX_PATHS);
  /** When a path's limit lets the next packet go. */
  private readonly freeUs = new Float64Array(MAX_PATHS);

  /** The path whose turn it is; it waits for that one when its limit does not let it go yet. */
  choose(paths: Paths, mask: number, weight: Uint8Array, sizeBytes: number, nowUs: number, out: Choice): void {
    const { credit } = this;
    let best = -1;
    let total = 0;
    for (let i = 0; i < MAX_PATHS; i++) {
      const p = paths[i];
      if ((mask & (1 << i)) === 0 || p === undefined || !p.hasEndpoint || !p.fits(sizeBytes)) continue;
      if (!p.hasNumbers()) continue;
      total += weight[i];
      if (best < 0 || credit[i] + weight[i] > credit[best] + weight[best]) best = i;
    }
    out.path = undefined;
    out.depthBytes = 0;
    out.wakeUs = Number.POSITIVE_INFINITY;
    if (best < 0) return;
    const path = paths[best];
    if (path === undefined) return;
    if (this.freeUs[best] > nowUs) {
      out.wakeUs = this.freeUs[best];
      return;
    }
    for (let i = 0; i < MAX_PATHS; i++) if ((mask & (1 << i)) !== 0 && paths[i] !== undefined) credit[i] += weight[i];
    credit[best] -= total;
    this.freeUs[best] = Math.max(nowUs - BURST_US, this.freeUs[best]) + (sizeBytes + path.outerBytes) / path.rate.cap;
    out.path = path;
  }
}

/**
 * Clients of a server that have a limit for all their links together (docs/setup.md, quotas).
 *
 *   to the client    each path that carries gets its share of the limit as its upper rate: packets wait in the bond's own queue, which stays short
 *   from the client  what is delivered beyond the limit is dropped, behind the reorder buffer: the rest of its flow does not wait for it
 *
 * Without limited clients nothing of this costs anything.
 */
import type { Bond } from '../../bond/bond.ts';
import type { Endpoint } from '../../bond/endpoint.ts';
import { Throttle } from '../../bond/throttle.ts';

/** The bonds that are limited now. */
export class Limits {
  private readonly limited = new Map<Bond, { bps: number; throttle: Throttle }>();

  /** Limits a bond, or lets it go. Units: bit/s; undefined: no limit. */
  set(bond: Bond, bps: number | undefined): void {
    const now = this.limited.get(bond);
    if (bps === undefined) {
      if (now !== undefined) this.release(bond);
      return;
    }
    if (now?.bps === bps) return;
    const throttle = now?.throttle ?? new Throttle(bps);
    throttle.setRate(bps);
    this.limited.set(bond, { bps, throttle });
    bond.admits = (sizeBytes, nowUs) => throttle.admits(sizeBytes, nowUs);
    this.share(bond, bps);
  }

  /** Divides each limit anew among the paths that carry; a few times a second. */
  tick({ peers }: Endpoint): void {
    if (this.limited.size === 0) return;
    for (const [bond, { bps }] of this.limited) {
      if (peers.some((p) => p.bond === bond)) this.share(bond, bps);
      else this.limited.delete(bond);
    }
  }

  private share(bond: Bond, bps: number): void {
    const carrying = bond.paths.filter((p) => p?.isUp && !p.standby).length;
    for (const path of bond.paths) {
      if (path === undefined) continue;
      const said = bond.steering.said.downBps(path.id) ?? Number.POSITIVE_INFINITY;
      bond.setLimit(path.id, Math.min(said, bps / Math.max(1, carrying)));
    }
  }

  private release(bond: Bond): void {
    this.limited.delete(bond);
    bond.admits = () => true;
    for (const path of bond.paths) {
      if (path !== undefined) bond.setLimit(path.id, bond.steering.said.downBps(path.id));
    }
  }
}

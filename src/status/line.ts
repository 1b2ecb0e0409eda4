/** How a bond is, in one line: for service managers and lists. */
import type { Status } from './status.ts';

/** `2 of 3 links up`; at a server of engine multipath `1 of 4 routers connected`. */
export function printStatusLine(status: Status): string {
  const trouble = status.warnings.length > 0 ? `; ${status.warnings[0]}` : '';
  if (status.role === 'server' && status.links.length === 0) {
    const connected = status.bonds.filter((bond) => bond.established).length;
    return `${connected} of ${status.bonds.length} routers connected${trouble}`;
  }
  const up = status.bonds[0]?.paths.filter((path) => path.state === 'up').length ?? 0;
  return `${up} of ${status.links.length} links up${trouble}`;
}

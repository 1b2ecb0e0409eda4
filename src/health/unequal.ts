/** Whether links are too unequal for packets that are dealt out in turn, as the kernel's bonding driver deals them. */

/** A link, as far as it is known. */
export interface LinkFigures {
  name: string;
  downBps?: number;
  upBps?: number;
  rttMs?: number;
  /** 0 to 1. */
  loss?: number;
}

/** Differences from which round robin loses more than it gains. Source: bench/howto.ts. */
export const UNEQUAL = { rttMs: 60, rateRatio: 1.25, loss: 0.005 };

/** Sentences on links that are too unequal for packets dealt out in turn; empty when they are not, or nothing is known. */
export function unequalLinks(links: readonly LinkFigures[]): string[] {
  const out: string[] = [];
  const known = (key: 'rttMs' | 'downBps' | 'upBps') => links.filter((l) => l[key] !== undefined);
  const ends = (key: 'rttMs' | 'downBps' | 'upBps') => {
    const sorted = known(key).sort((a, b) => a[key]! - b[key]!);
    return sorted.length < 2 ? undefined : { least: sorted[0], most: sorted[sorted.length - 1] };
  };
  const todo = "use engine 'multipath'";
  const rtt = ends('rttMs');
  if (rtt && rtt.most.rttMs! - rtt.least.rttMs! > UNEQUAL.rttMs) {
    const [far, near] = [rtt.most, rtt.least];
    out.push(
      `link ${far.name} answers ${Math.round(far.rttMs! - near.rttMs!)} ms later than ${near.name}: packets dealt out in turn arrive out of order, and one TCP flow falls below a single link; ${todo}`,
    );
  }
  for (const key of ['downBps', 'upBps'] as const) {
    const rate = ends(key);
    if (!rate || rate.most[key]! <= UNEQUAL.rateRatio * rate.least[key]!) continue;
    const word = key === 'downBps' ? 'down' : 'up';
    out.push(
      `link ${rate.most.name} is ${(rate.most[key]! / rate.least[key]!).toFixed(1)} times as fast as ${rate.least.name} (${word}): packets dealt out in turn go at the pace of the slowest; ${todo}`,
    );
  }
  for (const link of links) {
    if (link.loss !== undefined && link.loss >= UNEQUAL.loss) {
      out.push(
        `link ${link.name} loses ${(link.loss * 100).toFixed(1)} % of its packets: nothing sends them again; ${todo}`,
      );
    }
  }
  return out;
}

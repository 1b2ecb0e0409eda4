/**
 * What throughput to expect, and what limits it. Pure: figures in, figures and sentences out.
 *
 *   links   multipath: their sum; bonding: the number of links times the slowest, and much less when they are unequal
 *   cpu     a packet's cipher and its way through the kernel, on one core
 *
 * What a packet costs besides its cipher was measured on one machine; another machine's share is scaled by how fast it computes
 * ChaCha20-Poly1305, which no processor has in hardware.
 */
import type { EngineName } from '../../config/config.ts';
import type { CipherSpeed } from './ciphers.ts';

/**
 * Per packet of 1,400 bytes besides the cipher, where ChaCha20 takes REFERENCE_CHACHA_US. Rounded: an order of magnitude is what counts.
 * Source: one TCP flow without shaping (bench/unshaped.ts) on two cores of an EPYC, about 4 and 0.4 Gbit/s.
 */
const OVERHEAD_US: Record<EngineName, number> = { multipath: 2.5, openvpn: 25 };
const REFERENCE_CHACHA_US = 1.4;
/** TCP payload of a full datagram, by its outer bytes: what a user sees of a line's rate. */
const PAYLOAD_SHARE: Record<EngineName, number> = { multipath: 0.93, openvpn: 0.89 };
/** What bonding makes of equal lines. Source: the article, and our own measurement of it. */
const BONDING_SHARE = 0.9;
/** Differences from which round robin loses more than it gains. Source: bench/howto.ts. */
export const UNEQUAL = { rttMs: 60, rateRatio: 1.25, loss: 0.005 };

/** A link, as far as it is known. */
export interface LinkFigures {
  name: string;
  downBps?: number;
  upBps?: number;
  rttMs?: number;
  /** 0 to 1. */
  loss?: number;
}

/** One direction. Undefined: not known. */
export interface Expectation {
  downBps?: number;
  upBps?: number;
  /** What one core carries. */
  cpuBps: number;
  /** What is reached first. */
  limit: 'links' | 'cpu' | 'unknown';
  /** Why links do not suit the engine; empty when they do. */
  warnings: string[];
}

/** Puts the figures together. */
export function expect(
  engine: EngineName,
  links: readonly LinkFigures[],
  ciphers: readonly CipherSpeed[],
): Expectation {
  const cpuBps = cpuLimit(engine, ciphers);
  const downBps = linkLimit(engine, links, 'downBps');
  const upBps = linkLimit(engine, links, 'upBps');
  const most = Math.max(downBps ?? 0, upBps ?? 0);
  const cut = (bps: number) => Math.round(Math.min(bps, cpuBps));
  return {
    ...(downBps !== undefined && { downBps: cut(downBps) }),
    ...(upBps !== undefined && { upBps: cut(upBps) }),
    cpuBps,
    limit: most === 0 ? 'unknown' : most > cpuBps ? 'cpu' : 'links',
    warnings: engine === 'openvpn' ? unequalLinks(links) : [],
  };
}

/** What one core carries of full packets, cipher and kernel together. */
export function cpuLimit(engine: EngineName, ciphers: readonly CipherSpeed[]): number {
  const of = (name: string) => ciphers.find((c) => c.cipher === name)?.packetUs ?? 0;
  const scale = of('chacha20-poly1305') / REFERENCE_CHACHA_US;
  const cipherUs = engine === 'openvpn' ? of('aes-256-cbc+sha1') : Math.min(of('aes-256-gcm'), of('chacha20-poly1305'));
  return Math.round((1400 * 8e6) / (cipherUs + OVERHEAD_US[engine] * scale));
}

function linkLimit(engine: EngineName, links: readonly LinkFigures[], way: 'downBps' | 'upBps'): number | undefined {
  const rates = links.map((l) => l[way]);
  if (rates.length === 0 || rates.includes(undefined)) return undefined;
  const known = rates as number[];
  const sum = known.reduce((a, b) => a + b, 0);
  const slowest = Math.min(...known) * known.length;
  return engine === 'openvpn' ? slowest * BONDING_SHARE : sum * PAYLOAD_SHARE.multipath;
}

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

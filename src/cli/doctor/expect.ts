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
import { type LinkFigures, unequalLinks } from '../../health/unequal.ts';
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

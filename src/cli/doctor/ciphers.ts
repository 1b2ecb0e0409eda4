/**
 * How fast this CPU seals packets with the ciphers in use, on one core.
 *
 *   aes-256-gcm, chacha20-poly1305   as the packet path does it (io/aead.ts), one packet of 1,400 bytes after the other
 *   aes-256-cbc + sha1               the article's cipher in OpenVPN: both over the same bytes, contexts kept as that program keeps them
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { cpus } from 'node:os';
import { hasAes, isFastAead, openAead } from '../../io/aead.ts';
import { openArena } from '../../io/arena.ts';
import type { AeadCipher } from '../../wire/aead.ts';

/** A full inner packet. */
export const PACKET_BYTES = 1400;
/** How long each cipher is measured. */
const MEASURE_MS = 150;
/** Packets between two looks at the clock. */
const BATCH = 64;

/** One cipher on one core. */
export interface CipherSpeed {
  cipher: AeadCipher | 'aes-256-cbc+sha1';
  /** Time to seal one packet of PACKET_BYTES. */
  packetUs: number;
  bps: number;
}

/** The CPU as far as it matters here. */
export interface CpuReport {
  model: string;
  cores: number;
  /** AES in hardware. */
  aes: boolean;
  /** OpenSSL's functions are called directly; otherwise through Node, several times as slow. */
  direct: boolean;
  ciphers: CipherSpeed[];
}

/** Measures every cipher. Cost: about half a second of one core. */
export function measureCpu(measureMs = MEASURE_MS): CpuReport {
  const arena = openArena(1 << 16);
  const provider = openAead(arena);
  const at = arena.take('doctor packet', PACKET_BYTES + 16);
  const ciphers: CipherSpeed[] = [];
  for (const cipher of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
    const key = provider.create(cipher, randomBytes(32));
    let packet = 0;
    ciphers.push(speedOf(cipher, measureMs, () => key.seal(0, packet++, 0, 0, at, PACKET_BYTES, at)));
    key.free();
  }
  // many packets a call: Node's own share of a call is more than a packet's
  const plain = randomBytes(PACKET_BYTES * BATCH);
  const cbc = createCipheriv('aes-256-cbc', randomBytes(32), randomBytes(16)).setAutoPadding(false);
  const sha1 = createHash('sha1');
  ciphers.push(speedOf('aes-256-cbc+sha1', measureMs, () => sha1.update(cbc.update(plain)), BATCH));
  const all = cpus();
  return { model: all[0]?.model ?? '', cores: all.length, aes: hasAes(), direct: isFastAead(provider), ciphers };
}

function speedOf(cipher: CipherSpeed['cipher'], measureMs: number, seal: () => void, packetsACall = 1): CipherSpeed {
  // the compiler is given a moment
  const batch = () => {
    for (let i = 0; i < BATCH; i += packetsACall) seal();
  };
  for (let i = 0; i < 4; i++) batch();
  const startMs = performance.now();
  let packets = 0;
  let elapsedMs = 0;
  while (elapsedMs < measureMs) {
    batch();
    packets += BATCH;
    elapsedMs = performance.now() - startMs;
  }
  const packetUs = (elapsedMs * 1000) / packets;
  return { cipher, packetUs, bps: Math.round((PACKET_BYTES * 8e6) / packetUs) };
}

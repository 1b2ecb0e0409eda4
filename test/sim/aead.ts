/**
 * Ciphers for long simulations: nothing is hidden, but the tag depends on key, nonce, header and every byte, so that a wrong key, a
 * changed byte and a repeated nonce are seen as by the real ones. `openNullAead` does not even that: it serves to measure the engine alone.
 */
import type { Memory } from '../../src/base/memory.ts';
import { type AeadKey, type AeadProvider, TAG_BYTES } from '../../src/wire/aead.ts';

/** Called for every datagram sealed. */
export type SealObserver = (key: Uint8Array, nonceHi: number, nonceLo: number) => void;

export function openCheapAead(memory: Memory, observe?: SealObserver): AeadProvider {
  return { create: (_cipher, key) => new CheapKey(memory, key.slice(), observe) };
}

class CheapKey implements AeadKey {
  private readonly memory: Memory;
  private readonly key: Uint8Array;
  private readonly seed: number;
  private readonly observe: SealObserver | undefined;
  private isFree = false;

  constructor(memory: Memory, key: Uint8Array, observe: SealObserver | undefined) {
    this.memory = memory;
    this.key = key;
    this.observe = observe;
    this.seed = key.reduce((h, b) => Math.imul(h ^ b, 0x01000193), 0x811c9dc5);
  }

  seal(hi: number, lo: number, aadOff: number, aadLen: number, srcOff: number, len: number, dstOff: number): void {
    if (this.isFree) throw new Error('a freed key was used');
    this.observe?.(this.key, hi, lo);
    this.memory.bytes.copyWithin(dstOff, srcOff, srcOff + len);
    const tag = this.tag(hi, lo, aadOff, aadLen, dstOff, len);
    for (let i = 0; i < TAG_BYTES; i += 4) this.memory.view.setUint32(dstOff + len + i, tag + i);
  }

  open(hi: number, lo: number, aadOff: number, aadLen: number, srcOff: number, len: number, dstOff: number): boolean {
    if (this.isFree) throw new Error('a freed key was used');
    const tag = this.tag(hi, lo, aadOff, aadLen, srcOff, len);
    for (let i = 0; i < TAG_BYTES; i += 4) {
      if (this.memory.view.getUint32(srcOff + len + i) !== (tag + i) >>> 0) return false;
    }
    this.memory.bytes.copyWithin(dstOff, srcOff, srcOff + len);
    return true;
  }

  free(): void {
    this.isFree = true;
  }

  private tag(hi: number, lo: number, aadOff: number, aadLen: number, off: number, len: number): number {
    const { view } = this.memory;
    let h = this.seed ^ len;
    for (let i = 0; i < aadLen; i += 4) h = Math.imul(h ^ view.getInt32(aadOff + i), 0x01000193);
    const words = len & ~3;
    let i = 0;
    for (; i < words; i += 4) h = Math.imul(h ^ view.getInt32(off + i), 0x01000193);
    for (; i < len; i++) h = Math.imul(h ^ view.getUint8(off + i), 0x01000193);
    // The nonce comes last and well mixed: it stands in the header too, and the two must not cancel out.
    h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
    h = Math.imul(h ^ (h >>> 15) ^ (lo | 0), 0x846ca68b);
    h = Math.imul(h ^ (h >>> 16) ^ (hi + 1), 0x2c1b3c6d);
    return (h ^ (h >>> 15)) >>> 0;
  }
}

/** Copies and believes everything. */
export function openNullAead(memory: Memory): AeadProvider {
  const key: AeadKey = {
    seal: (_hi, _lo, _aadOff, _aadLen, srcOff, len, dstOff) => {
      memory.bytes.copyWithin(dstOff, srcOff, srcOff + len);
    },
    open: (_hi, _lo, _aadOff, _aadLen, srcOff, len, dstOff) => {
      memory.bytes.copyWithin(dstOff, srcOff, srcOff + len);
      return true;
    },
    free: () => {},
  };
  return { create: () => key };
}

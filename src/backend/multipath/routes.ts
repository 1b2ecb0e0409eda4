/** Which peer an inner address belongs to: longest prefix first, for packets from the TUN (destination) and from peers (source). */
import type { Prefix } from '../../base/address.ts';
import type { Memory } from '../../base/memory.ts';

/** No peer has this address. */
export const NO_PEER = -1;

interface Entry {
  words: number[];
  masks: number[];
  length: number;
  peer: number;
}

/** Prefixes of both families → small peer numbers. Cost: a map look-up for whole IPv4 addresses, a short list for the rest, nothing allocated. */
export class Routes {
  private readonly hosts = new Map<number, number>();
  private readonly v4: Entry[] = [];
  private readonly v6: Entry[] = [];

  /** Adds a prefix; of two that are equal the first stays. */
  add(prefix: Prefix, peer: number): void {
    const { bytes, length } = prefix;
    if (bytes.length === 4 && length === 32) {
      const word = wordOf(bytes, 0);
      if (!this.hosts.has(word)) this.hosts.set(word, peer);
      return;
    }
    const words: number[] = [];
    const masks: number[] = [];
    for (let i = 0; i < bytes.length / 4; i++) {
      const bits = Math.max(0, Math.min(32, length - 32 * i));
      const mask = bits === 0 ? 0 : -1 << (32 - bits);
      masks.push(mask);
      words.push(wordOf(bytes, 4 * i) & mask);
    }
    const list = bytes.length === 4 ? this.v4 : this.v6;
    list.push({ words, masks, length, peer });
    list.sort((a, b) => b.length - a.length);
  }

  /** The peer of the address at `at` (4 bytes when `version` is 4, else 16), or NO_PEER. */
  find(memory: Memory, at: number, version: number): number {
    const { view } = memory;
    if (version === 4) {
      const word = view.getInt32(at);
      const host = this.hosts.get(word);
      if (host !== undefined) return host;
      for (let i = 0; i < this.v4.length; i++) {
        const e = this.v4[i];
        if ((word & e.masks[0]) === e.words[0]) return e.peer;
      }
      return NO_PEER;
    }
    for (let i = 0; i < this.v6.length; i++) {
      const e = this.v6[i];
      let k = 0;
      while (k < 4 && (view.getInt32(at + 4 * k) & e.masks[k]) === e.words[k]) k++;
      if (k === 4) return e.peer;
    }
    return NO_PEER;
  }
}

function wordOf(bytes: Uint8Array, i: number): number {
  return (bytes[i] << 24) | (bytes[i + 1] << 16) | (bytes[i + 2] << 8) | bytes[i + 3];
}

/**
 * What classes the peer's flows have, seen from the other side: the answers of a flow go as the flow does (docs/protocol.md §11.1).
 *
 *   packet of the peer, class ≠ 0 ─▶ learn under the hash that its answers have          packet for the peer ─▶ classOf its hash
 */
import type { Memory } from '../base/memory.ts';
import { InnerPacket } from '../packet/inner.ts';

/** Flows that are remembered; a newer one takes an older one's place. */
const PLACES = 4096;
/** A flow is remembered for so long after its last packet. Source: docs/protocol.md §11.1. */
const REMEMBER_US = 60_000_000;

export class Mirror {
  private readonly memory: Memory;
  private readonly seed: number;
  private readonly packet = new InnerPacket();
  private readonly hashes = new Uint32Array(PLACES);
  private readonly classes = new Uint8Array(PLACES);
  private readonly untilUs = new Float64Array(PLACES);

  /** `seed`: that of the hashes that `classOf` is asked with. */
  constructor(memory: Memory, seed: number) {
    this.memory = memory;
    this.seed = seed;
  }

  /** A packet of this class came from the peer. */
  learn(at: number, length: number, klass: number, nowUs: number): void {
    if (!this.packet.parse(this.memory, at, length)) return;
    const hash = this.packet.answerHash(this.memory, this.seed);
    const place = hash & (PLACES - 1);
    this.hashes[place] = hash;
    this.classes[place] = klass;
    this.untilUs[place] = nowUs + REMEMBER_US;
  }

  /** The class of a flow towards the peer; 0 when nothing is known. */
  classOf(hash: number, nowUs: number): number {
    const place = hash & (PLACES - 1);
    return this.hashes[place] === hash && nowUs < this.untilUs[place] ? this.classes[place] : 0;
  }

  /** The classes mean something else from now on. */
  clear(): void {
    this.untilUs.fill(0);
  }
}

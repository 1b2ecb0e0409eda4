/**
 * Which packets of a TCP flow are sent again: their data lies before what the flow has sent already (docs/protocol.md §7).
 *
 * The flow's receiver waits for just these; in the queue they go before the rest of their flow. A flow is known by its hash: flows that share a
 * bucket and take turns in it are never judged.
 */
import type { Memory } from '../base/memory.ts';
import type { InnerPacket } from '../packet/inner.ts';
import { BUCKETS } from './queue.ts';

/** Where the sequence number stands in a TCP header. Source: RFC 9293 §3.1. */
const SEQUENCE_AT = 4;

/** The latest flow of each bucket, and how far it has got. Cost: O(1) a packet, no allocation. */
export class Repeats {
  private readonly memory: Memory;
  private readonly hashes = new Int32Array(BUCKETS);
  /** The sequence number behind the flow's last byte. */
  private readonly ends = new Int32Array(BUCKETS);

  constructor(memory: Memory) {
    this.memory = memory;
  }

  /** Whether this packet (a giant one, too) brings what its flow had sent before. `hash`: its flow's. */
  note(packet: InnerPacket, hash: number, bucket: number): boolean {
    const bytes = packet.totalBytes - packet.headerBytes - packet.tcpHeaderBytes;
    if (packet.tcpHeaderBytes === 0 || bytes <= 0) return false;
    const sequence = this.memory.view.getInt32(packet.offset + packet.headerBytes + SEQUENCE_AT);
    const end = (sequence + bytes) | 0;
    const isSame = this.hashes[bucket] === (hash | 0);
    // Serial number arithmetic (RFC 1982), as TCP has it.
    if (isSame && ((sequence - this.ends[bucket]) | 0) < 0) return true;
    this.hashes[bucket] = hash;
    this.ends[bucket] = end;
    return false;
  }
}

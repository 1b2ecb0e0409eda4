/** Messages of handshakes and of set-up that wait to be sent, each with a copy of the endpoint record it goes to. */
import type { Memory } from '../base/memory.ts';
import type { Transmit } from './transmit.ts';

/** Messages that may wait; more are not taken. */
const LIMIT = 64;

/** One message. Owns: both. */
export interface OutMessage {
  bytes: Uint8Array;
  /** A copy of the endpoint record. */
  endpoint: Uint8Array;
}

export class Outbox {
  private readonly memory: Memory;
  private readonly endpointAt: number;
  private readonly waiting: OutMessage[] = [];

  /** `endpointAt`: a record of its own in the memory. */
  constructor(memory: Memory, endpointAt: number) {
    this.memory = memory;
    this.endpointAt = endpointAt;
  }

  /** Takes a message, or says that there is no place. */
  offer(message: OutMessage): boolean {
    if (this.waiting.length >= LIMIT) return false;
    this.waiting.push(message);
    return true;
  }

  /** The next message, written at `bufferAt` and into `out`; false when there is none. */
  pollTransmit(out: Transmit, bufferAt: number): boolean {
    const message = this.waiting.shift();
    if (message === undefined) return false;
    this.memory.bytes.set(message.endpoint, this.endpointAt);
    this.memory.bytes.set(message.bytes, bufferAt);
    out.endpointAt = this.endpointAt;
    out.at = bufferAt;
    out.totalBytes = message.bytes.length;
    out.segmentBytes = message.bytes.length;
    out.isMtuProbe = false;
    return true;
  }
}

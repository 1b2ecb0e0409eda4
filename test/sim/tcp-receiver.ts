/**
 * The receiving side of a TCP flow (tcp.ts): puts segments in order, acknowledges every giant packet at once (44 segments at most) and a lone
 * segment after 40 ms, tells of gaps by SACK (RFC 2018), and counts what an application would notice. Behind a gap it acknowledges three
 * segments at once, the others together, as Linux does since 4.18 (tcp_comp_sack_nr, tcp_comp_sack_delay_ns).
 *
 *   segment: sequence number (4), sending time (8), 1 if sent again (1)
 *   acknowledgement: next expected (4), sending time echoed (8), blocks (1; + 128: what it answers had come before, RFC 2883), then from and to of each (4 + 4)
 */
import type { Host, Net } from './net.ts';

/** In place of a sequence number: the flow opens. */
export const HANDSHAKE = 0xffff_ffff;

const RING = 1 << 16;
const MASK = RING - 1;
const DELAYED_ACK_US = 40_000;
const ACK_BYTES = 52;
/** Where a packet's words begin: behind the IP header and the number of the flow. */
const WORDS_AT = 22;
/** Segments that fit into a giant packet of 64 KB. */
const GIANT_SEGMENTS = 44;
/** Behind a gap: so many are acknowledged one by one, then so many together, or what has come in this time. */
const LONE_SACKS = 3;
const SACK_SEGMENTS = 44;
const SACK_US = 1_000;
/** Marks the count of blocks when what is answered had come before. */
export const DUPLICATE = 0x80;

/** One end of a flow. */
export class TcpReceiver {
  /** Segments handed to the application, in order, and the bytes of their packets. */
  delivered = 0;
  deliveredBytes = 0;
  /** First transmissions that arrived after a later one. */
  reordered = 0;
  /** Arrived twice: the sender was wrong. */
  spurious = 0;
  longestStallUs = 0;
  /** Count the stall only from here on. */
  sinceUs = Number.POSITIVE_INFINITY;

  private readonly pair: Net;
  /** Where it is now: a process that is started again is another one. */
  private readonly end: () => Host;
  private readonly flow: number;
  private readonly bucket: number;
  /** The sizes of the packets that brought what is not delivered yet; 0: not there. */
  private readonly got = new Uint16Array(RING);
  private expected = 0;
  private highest = -1;
  private unacked = 0;
  /** The gap that acknowledgements were sent for one by one, how many, and what has come since behind it without one. */
  private gapAt = -1;
  private loneSacks = 0;
  private behindGap = 0;
  private echoUs = 0;
  private ackTimer = 0;
  private ackArmed = false;
  private lastProgressUs = 0;
  private readonly blocks: number[] = [];

  constructor(pair: Net, end: () => Host, flow: number, bucket: number) {
    this.pair = pair;
    this.end = end;
    this.flow = flow;
    this.bucket = bucket;
    end().handlers.set(flow, (view, at, length) =>
      this.handleSegment(view.getUint32(at), view.getFloat64(at + 4), view.getUint8(at + 12) === 1, length),
    );
    end().afterBatch.push(() => this.endBatch());
  }

  private handleSegment(seq: number, sentUs: number, again: boolean, length: number): void {
    if (seq === HANDSHAKE) {
      this.ack(sentUs);
      return;
    }
    if (seq < this.expected || this.got[seq & MASK] !== 0) {
      this.spurious++;
      this.ack(sentUs, true);
      return;
    }
    const hadGap = this.hasGap;
    if (seq < this.highest && !again) this.reordered++;
    this.highest = Math.max(this.highest, seq);
    this.got[seq & MASK] = length + WORDS_AT;
    const inOrder = seq === this.expected;
    while (this.got[this.expected & MASK] !== 0) {
      this.deliveredBytes += this.got[this.expected & MASK];
      this.got[this.expected & MASK] = 0;
      this.expected++;
      this.delivered++;
    }
    const now = this.pair.nowUs;
    if (inOrder) {
      if (now >= this.sinceUs)
        this.longestStallUs = Math.max(this.longestStallUs, now - Math.max(this.lastProgressUs, this.sinceUs));
      this.lastProgressUs = now;
    }
    this.noteBlock(seq);
    this.echoUs = sentUs;
    if (!inOrder) this.noteBehindGap();
    else if (++this.unacked >= GIANT_SEGMENTS || (hadGap && !this.hasGap)) this.ack(sentUs);
  }

  private get hasGap(): boolean {
    return this.highest >= this.expected;
  }

  private noteBehindGap(): void {
    if (this.gapAt !== this.expected) {
      this.gapAt = this.expected;
      this.loneSacks = 0;
    }
    if (this.loneSacks < LONE_SACKS) {
      this.loneSacks++;
      this.ack(this.echoUs);
    } else if (++this.behindGap >= SACK_SEGMENTS) this.ack(this.echoUs);
    else if (this.behindGap === 1) {
      const timer = this.ackTimer;
      this.pair.events.after(SACK_US, () => {
        if (timer === this.ackTimer) this.ack(this.echoUs);
      });
    }
  }

  /** What the device was given at once is one giant to TCP, which answers it with one acknowledgement. */
  private endBatch(): void {
    if (this.unacked === 0) return;
    if (this.unacked >= 2 || this.hasGap) {
      this.ack(this.echoUs);
      return;
    }
    if (this.ackArmed) return;
    this.ackArmed = true;
    const timer = this.ackTimer;
    this.pair.events.after(DELAYED_ACK_US, () => {
      this.ackArmed = false;
      if (timer === this.ackTimer && this.unacked > 0) this.ack(this.echoUs);
      else this.endBatch();
    });
  }

  /** The blocks of the SACK option: the newest first, three at the most. */
  private noteBlock(seq: number): void {
    const { blocks } = this;
    let from = seq;
    let to = seq + 1;
    for (let i = 0; i < blocks.length; i += 2) {
      if (blocks[i] <= to && blocks[i + 1] >= from) {
        from = Math.min(from, blocks[i]);
        to = Math.max(to, blocks[i + 1]);
        blocks.splice(i, 2);
        i -= 2;
      } else if (blocks[i + 1] <= this.expected) {
        blocks.splice(i, 2);
        i -= 2;
      }
    }
    if (to > this.expected) blocks.unshift(Math.max(from, this.expected), to);
  }

  private ack(echoUs: number, isDuplicate = false): void {
    this.unacked = 0;
    this.behindGap = 0;
    this.ackTimer++;
    const n = Math.min(isDuplicate ? 2 : 3, this.blocks.length / 2);
    const bytes = ACK_BYTES + 8 * (isDuplicate ? n + 1 : n);
    this.end().send(this.flow, this.bucket, bytes, (view, at) => {
      view.setUint32(at, this.expected);
      view.setFloat64(at + 4, echoUs);
      view.setUint8(at + 12, isDuplicate ? n | DUPLICATE : n);
      for (let i = 0; i < 2 * n; i++) view.setUint32(at + 13 + 4 * i, this.blocks[i]);
    });
  }
}

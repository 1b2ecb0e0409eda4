/**
 * One TCP flow with endless data, as a model: CUBIC (congestion.ts) or BBR (bbr.ts), SACK recovery (RFC 6675) with proportional
 * rate reduction (RFC 6937), pacing in bursts of a millisecond, a time-out of 200 ms at least, delayed acknowledgements. Sequence
 * numbers count segments.
 *
 * RACK (RFC 8985) serves only to find retransmissions that were lost again. Three later segments mean a loss and no reduction is ever
 * undone, so that reordering hurts as much as it ever does.
 */
import type { Random } from '../../src/base/random.ts';
import { Bbr } from './bbr.ts';
import { type Ack, type Congestion, Cubic } from './congestion.ts';
import type { Events } from './events.ts';
import type { PacketHandler } from './pair.ts';

const RING = 1 << 16;
const MASK = RING - 1;
const DUP_THRESHOLD = 3;
const MIN_RTO_US = 200_000;
const DELAYED_ACK_US = 40_000;
const ACK_BYTES = 52;
/** Segments that fit into a giant packet of 64 KB. */
const GIANT_SEGMENTS = 44;
/** A paced sender lets go what this much time is worth, at least two segments. */
const BURST_US = 1_000;

const UNSENT = 0;
const SENT = 1;
const SACKED = 2;
const LOST = 3;
const RESENT = 4;

/** One side of what lies between the ends of a flow. */
export interface Host {
  readonly handlers: Map<number, PacketHandler>;
  /** Called when what came at once has been handed over. */
  readonly afterBatch: (() => void)[];
  /** Whether it was taken; `write` puts the flow's own words behind the headers. */
  send(flow: number, bucket: number, length: number, write: (view: DataView, at: number) => void): boolean;
}

/** What lies between: two engines and their links (pair.ts), or something plainer. */
export interface Net {
  readonly events: Events;
  readonly nowUs: number;
  readonly random: Random;
  readonly router: Host;
  readonly server: Host;
}

export interface TcpOptions {
  isUp: boolean;
  flow: number;
  bucket: number;
  segmentBytes?: number;
  /** The receiver's window. */
  maxWindow?: number;
  startUs?: number;
  /** Whether slow start ends by HyStart, as Linux has it, or by loss only. */
  hystart?: boolean;
  /** CUBIC unless told. */
  congestion?: 'cubic' | 'bbr';
}

/** A sender at one end, a receiver at the other. */
export class TcpFlow {
  /** Segments handed to the application, in order. */
  delivered = 0;
  /** Segments the sender took for lost, and time-outs. */
  losses = 0;
  timeouts = 0;
  /** First transmissions that arrived after a later one. */
  reordered = 0;
  /** Arrived twice: the sender was wrong. */
  spurious = 0;
  longestStallUs = 0;
  /** Count the stall only from here on. */
  sinceUs = Number.POSITIVE_INFINITY;
  /** Segments sent, again or not. */
  sent = 0;
  readonly congestion: Congestion;
  readonly segmentBytes: number;

  private stopped = false;
  private retrying = false;
  private readonly pair: Net;
  private readonly o: TcpOptions;
  private readonly maxWindow: number;
  // Sender
  private readonly state = new Uint8Array(RING);
  private readonly sentUs = new Float64Array(RING);
  private una = 0;
  private next = 0;
  private pipe = 0;
  private scanned = 0;
  private top = [-1, -1, -1];
  private recoverTo = -1;
  private recoverFrom = 0;
  private prrDelivered = 0;
  private prrOut = 0;
  private srttUs = 0;
  private rttvarUs = 0;
  private backoff = 1;
  private rtoAtUs = Number.POSITIVE_INFINITY;
  private rtoArmed = false;
  private minRttUs = Number.POSITIVE_INFINITY;
  private roundEnd = 0;
  /** What had arrived when each segment left, when the last of that had, and when the first after it had left. */
  private readonly deliveredThen = new Float64Array(RING);
  private readonly deliveredUsThen = new Float64Array(RING);
  private readonly firstUsThen = new Float64Array(RING);
  private arrived = 0;
  private arrivedUs = 0;
  private firstUs = 0;
  private nextPaceUs = 0;
  private paceArmed = false;
  private readonly sample: Ack = {
    nowUs: 0,
    newly: 0,
    rttUs: 0,
    minRttUs: 0,
    pipeBefore: 0,
    pipe: 0,
    inRecovery: false,
    lost: 0,
    rateSegments: 0,
    rateUs: 0,
    priorDelivered: 0,
    delivered: 0,
  };
  private sampleSeq = -1;
  private resendFrom = 0;
  private lostCount = 0;
  /** Sending time of the latest segment known to have arrived, and the retransmissions under way. */
  private rackUs = 0;
  private underWay: number[] = [];
  // Receiver
  private readonly got = new Uint8Array(RING);
  private expected = 0;
  private highest = -1;
  private unacked = 0;
  private echoUs = 0;
  private ackTimer = 0;
  private ackArmed = false;
  private lastProgressUs = 0;
  private readonly blocks: number[] = [];

  constructor(pair: Net, options: TcpOptions) {
    this.pair = pair;
    this.o = options;
    this.segmentBytes = options.segmentBytes ?? 1444;
    this.maxWindow = Math.min(options.maxWindow ?? 8192, RING / 2);
    this.congestion =
      options.congestion === 'bbr'
        ? new Bbr(this.maxWindow, pair.random)
        : new Cubic(this.maxWindow, options.hystart !== false);
    const sender = options.isUp ? pair.router : pair.server;
    const receiver = options.isUp ? pair.server : pair.router;
    receiver.handlers.set(options.flow, (view, at) =>
      this.handleSegment(view.getUint32(at), view.getFloat64(at + 4), view.getUint8(at + 12) === 1),
    );
    receiver.afterBatch.push(() => this.endBatch());
    sender.handlers.set(options.flow, (view, at) => this.handleAck(view, at));
    pair.events.at(options.startUs ?? 0, () => this.push());
  }

  /** TCP payload so far. Units: bytes. */
  get goodputBytes(): number {
    return this.delivered * (this.segmentBytes - 52);
  }

  /** The window, in segments. */
  get cwnd(): number {
    return this.congestion.cwnd;
  }

  /** No data from now on. */
  stop(): void {
    this.stopped = true;
  }

  // ---- receiver

  private handleSegment(seq: number, sentUs: number, again: boolean): void {
    if (seq < this.expected || this.got[seq & MASK] === 1) {
      this.spurious++;
      this.ack(sentUs);
      return;
    }
    if (seq < this.highest && !again) this.reordered++;
    this.highest = Math.max(this.highest, seq);
    this.got[seq & MASK] = 1;
    const inOrder = seq === this.expected;
    const hadGap = this.blocks.length > 0;
    while (this.got[this.expected & MASK] === 1) {
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
    if (!inOrder || hadGap || ++this.unacked >= GIANT_SEGMENTS) this.ack(sentUs);
    this.echoUs = sentUs;
  }

  /** What the device was given at once is one giant to TCP, which answers it with one acknowledgement. */
  private endBatch(): void {
    if (this.unacked === 0) return;
    if (this.unacked >= 2) {
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

  private ack(echoUs: number): void {
    this.unacked = 0;
    this.ackTimer++;
    const end = this.o.isUp ? this.pair.server : this.pair.router;
    const n = Math.min(3, this.blocks.length / 2);
    end.send(this.o.flow, this.o.bucket, ACK_BYTES + 8 * n, (view, at) => {
      view.setUint32(at, this.expected);
      view.setFloat64(at + 4, echoUs);
      view.setUint8(at + 12, n);
      for (let i = 0; i < 2 * n; i++) view.setUint32(at + 13 + 4 * i, this.blocks[i]);
    });
  }

  // ---- sender

  private handleAck(view: DataView, at: number): void {
    const now = this.pair.nowUs;
    const ack = view.getUint32(at);
    const { congestion, sample } = this;
    const rttUs = now - view.getFloat64(at + 4);
    let newly = 0;
    sample.pipeBefore = this.pipe;
    this.sampleSeq = -1;
    this.noteRtt(rttUs);
    if (ack > this.next) return;
    const isForward = ack > this.una;
    for (; this.una < ack; this.una++) newly += this.settle(this.una, UNSENT);
    const n = view.getUint8(at + 12);
    for (let b = 0; b < n; b++) {
      const from = Math.max(this.una, view.getUint32(at + 13 + 8 * b));
      const to = Math.min(this.next, view.getUint32(at + 17 + 8 * b));
      for (let seq = from; seq < to; seq++) {
        if (this.state[seq & MASK] === SACKED) continue;
        newly += this.settle(seq, SACKED);
        this.noteTop(seq);
      }
    }
    if (isForward) {
      this.backoff = 1;
      this.armRto();
      if (this.recoverTo >= 0 && this.una >= this.recoverTo) {
        this.recoverTo = -1;
        congestion.handleRecovered();
      }
    }
    const lossesBefore = this.losses;
    this.findLost();
    sample.nowUs = now;
    sample.newly = newly;
    sample.rttUs = rttUs;
    sample.minRttUs = this.minRttUs;
    sample.pipe = this.pipe;
    sample.inRecovery = this.recoverTo >= 0;
    sample.lost = this.losses - lossesBefore;
    this.sampleRate();
    congestion.handleAck(sample);
    if (this.recoverTo >= 0 && congestion.isReduced) this.prr(newly);
    this.push();
  }

  private settle(seq: number, to: number): number {
    const i = seq & MASK;
    const was = this.state[i];
    this.state[i] = to;
    if (was === SENT || was === RESENT) this.pipe--;
    if (was === LOST) this.lostCount--;
    if (was !== UNSENT && was !== SACKED) {
      this.rackUs = Math.max(this.rackUs, this.sentUs[i]);
      this.arrived++;
      this.arrivedUs = this.pair.nowUs;
      const best = this.sampleSeq & MASK;
      if (
        this.sampleSeq < 0 ||
        this.deliveredThen[i] > this.deliveredThen[best] ||
        (this.deliveredThen[i] === this.deliveredThen[best] && this.sentUs[i] > this.sentUs[best])
      ) {
        this.sampleSeq = seq;
      }
    }
    return was === SACKED || was === UNSENT ? 0 : 1;
  }

  /** The delivery rate as Linux samples it. Source: draft-cheng-iccrg-delivery-rate-estimation-00. */
  private sampleRate(): void {
    const { sample } = this;
    sample.delivered = this.arrived;
    sample.rateUs = 0;
    if (this.sampleSeq < 0) return;
    const i = this.sampleSeq & MASK;
    sample.priorDelivered = this.deliveredThen[i];
    this.firstUs = this.sentUs[i];
    const us = Math.max(this.sentUs[i] - this.firstUsThen[i], this.arrivedUs - this.deliveredUsThen[i]);
    // Shorter than any round trip: acknowledgements that had been collected, which say nothing of the rate.
    if (us < this.minRttUs) return;
    sample.rateUs = us;
    sample.rateSegments = this.arrived - sample.priorDelivered;
  }

  private noteTop(seq: number): void {
    const { top } = this;
    if (seq > top[0]) this.top = [seq, top[0], top[1]];
    else if (seq > top[1]) this.top = [top[0], seq, top[1]];
    else if (seq > top[2]) top[2] = seq;
  }

  private findLost(): void {
    const below = this.top[DUP_THRESHOLD - 1];
    let found = 0;
    for (let seq = Math.max(this.scanned, this.una); seq < below; seq++) {
      if (this.state[seq & MASK] !== SENT) continue;
      this.markLost(seq);
      found++;
    }
    this.scanned = Math.max(this.scanned, below);
    if (this.underWay.length > 0) {
      this.underWay = this.underWay.filter((seq) => {
        if (seq < this.una || this.state[seq & MASK] !== RESENT) return false;
        if (this.sentUs[seq & MASK] + this.minRttUs / 4 >= this.rackUs) return true;
        this.markLost(seq);
        found++;
        return false;
      });
    }
    this.losses += found;
    if (found > 0 && this.recoverTo < 0) this.enterRecovery();
  }

  private markLost(seq: number): void {
    this.state[seq & MASK] = LOST;
    this.pipe--;
    this.lostCount++;
    this.resendFrom = Math.min(this.resendFrom, seq);
  }

  private enterRecovery(): void {
    this.congestion.handleLoss(this.pair.nowUs, this.pipe);
    this.recoverTo = this.next;
    this.recoverFrom = Math.max(1, this.next - this.una);
    this.prrDelivered = 0;
    this.prrOut = 0;
  }

  private prr(newly: number): void {
    this.prrDelivered += newly;
    let count: number;
    const { ssthresh } = this.congestion;
    if (this.pipe > ssthresh) {
      count = Math.ceil((this.prrDelivered * ssthresh) / this.recoverFrom) - this.prrOut;
    } else count = Math.min(ssthresh - this.pipe, Math.max(this.prrDelivered - this.prrOut, newly) + 1);
    this.congestion.cwnd = Math.max(this.pipe + Math.max(count, this.prrOut === 0 ? 1 : 0), 1);
  }

  private noteRtt(rttUs: number): void {
    this.rttvarUs = this.srttUs === 0 ? rttUs / 2 : 0.75 * this.rttvarUs + 0.25 * Math.abs(rttUs - this.srttUs);
    this.srttUs = this.srttUs === 0 ? rttUs : 0.875 * this.srttUs + 0.125 * rttUs;
    this.minRttUs = Math.min(this.minRttUs, rttUs);
    if (this.una >= this.roundEnd) {
      this.roundEnd = this.next;
      this.congestion.handleRound(this.pair.nowUs);
    }
  }

  private push(): void {
    if (this.stopped) return;
    const { pacing } = this.congestion;
    const isPaced = Number.isFinite(pacing);
    const now = this.pair.nowUs;
    const burst = isPaced ? Math.max(2, Math.floor(pacing * BURST_US)) : Number.POSITIVE_INFINITY;
    let count = 0;
    while (this.pipe < Math.floor(this.cwnd)) {
      if (count === burst || (count === 0 && isPaced && this.nextPaceUs > now)) {
        this.wait();
        return;
      }
      let seq = -1;
      if (this.lostCount > 0) {
        seq = Math.max(this.resendFrom, this.una);
        while (this.state[seq & MASK] !== LOST) seq++;
        this.resendFrom = seq + 1;
      } else if (this.next - this.una < this.maxWindow) seq = this.next;
      if (seq < 0) return;
      const again = seq < this.next;
      if (!this.transmit(seq, again)) {
        // The device is full: the kernel tells TCP, which tries again a little later and does not count it as a loss.
        this.resendFrom = Math.min(this.resendFrom, seq);
        if (this.retrying) return;
        this.retrying = true;
        this.pair.events.after(1_000, () => {
          this.retrying = false;
          this.push();
        });
        return;
      }
      if (again) {
        this.lostCount--;
        this.state[seq & MASK] = RESENT;
        this.underWay.push(seq);
      } else {
        this.state[seq & MASK] = SENT;
        this.next++;
      }
      this.pipe++;
      this.prrOut++;
      count++;
      if (isPaced) this.nextPaceUs = now + count / pacing;
      if (this.rtoAtUs === Number.POSITIVE_INFINITY) this.armRto();
    }
  }

  /** Until the pace lets the next burst go. */
  private wait(): void {
    if (this.paceArmed) return;
    this.paceArmed = true;
    this.pair.events.at(this.nextPaceUs, () => {
      this.paceArmed = false;
      this.push();
    });
  }

  private transmit(seq: number, again: boolean): boolean {
    const end = this.o.isUp ? this.pair.router : this.pair.server;
    const now = this.pair.nowUs;
    const i = seq & MASK;
    if (this.pipe === 0) {
      this.firstUs = now;
      this.arrivedUs = now;
    }
    this.sentUs[i] = now;
    this.deliveredThen[i] = this.arrived;
    this.deliveredUsThen[i] = this.arrivedUs;
    this.firstUsThen[i] = this.firstUs;
    this.sent++;
    return end.send(this.o.flow, this.o.bucket, this.segmentBytes, (view, at) => {
      view.setUint32(at, seq);
      view.setFloat64(at + 4, now);
      view.setUint8(at + 12, again ? 1 : 0);
    });
  }

  private armRto(): void {
    const rtoUs = this.srttUs === 0 ? 1_000_000 : this.srttUs + Math.max(MIN_RTO_US, 4 * this.rttvarUs);
    this.rtoAtUs = this.una === this.next ? Number.POSITIVE_INFINITY : this.pair.nowUs + rtoUs * this.backoff;
    if (this.rtoArmed || this.rtoAtUs === Number.POSITIVE_INFINITY) return;
    this.rtoArmed = true;
    this.pair.events.at(this.rtoAtUs, () => this.handleRto());
  }

  private handleRto(): void {
    this.rtoArmed = false;
    if (this.rtoAtUs === Number.POSITIVE_INFINITY || this.stopped) return;
    if (this.pair.nowUs < this.rtoAtUs) {
      this.rtoArmed = true;
      this.pair.events.at(this.rtoAtUs, () => this.handleRto());
      return;
    }
    this.timeouts++;
    this.congestion.handleTimeout(this.backoff === 1);
    this.recoverTo = -1;
    this.backoff = Math.min(64, this.backoff * 2);
    for (let seq = this.una; seq < this.next; seq++) {
      const s = this.state[seq & MASK];
      if (s === SENT || s === RESENT) this.markLost(seq);
    }
    this.scanned = this.next;
    this.resendFrom = this.una;
    this.armRto();
    this.push();
  }
}

/**
 * One TCP flow with endless data, as a model of Linux's: CUBIC (congestion.ts) or BBR (bbr.ts), SACK recovery (RFC 6675) with proportional
 * rate reduction (RFC 6937), pacing in bursts of a millisecond, a time-out of 200 ms at least. Sequence numbers count segments. The other
 * end is in tcp-receiver.ts.
 *
 *   open ─a loss is found─▶ recovery ─all of then arrived─▶ open
 *     └─nothing for 2 round trips: one segment more (tail loss probe, RFC 8985 §7) ─time-out─▶ loss ─all of then arrived─▶ open
 *                                                                                               └─for nothing: taken back─▶ open
 *
 * A time-out was for nothing when what is acknowledged after it left before it: told by the echoed sending time (RFC 3522), or by the
 * arrival of what was never sent again (RFC 5682). A loss is found by time (rack.ts), or by three later segments even where Linux has seen that
 * segments overtake each other, and its reduction is never undone, so that reordering hurts as much as it ever does.
 */
import { Bbr } from './bbr.ts';
import { type Congestion, Cubic, emptyAck } from './congestion.ts';
import type { Net } from './net.ts';
import { Rack, type RackView } from './rack.ts';
import { RateSampler } from './rate-sampler.ts';
import { DUPLICATE, HANDSHAKE, TcpReceiver } from './tcp-receiver.ts';

const RING = 1 << 16;
const MASK = RING - 1;
const DUP_THRESHOLD = 3;
const MIN_RTO_US = 200_000;
/** What Linux adds to the two round trips before a tail loss probe: two ticks of 4 ms; with one segment under way the longest delay of an acknowledgement. */
const PROBE_EXTRA_US = 8_000;
const PROBE_LONE_US = 200_000;
/** The handshake's packet, and when it is sent again. */
const HANDSHAKE_BYTES = 60;
const HANDSHAKE_US = 1_000_000;
/** A paced sender lets go what this much time is worth, at least two segments. */
const BURST_US = 1_000;

const UNSENT = 0;
const SENT = 1;
const SACKED = 2;
const LOST = 3;
const RESENT = 4;

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
export class TcpFlow implements RackView {
  /** Segments the sender took for lost, time-outs, and those of them that were for nothing. */
  losses = 0;
  timeouts = 0;
  undone = 0;
  /** Tail loss probes. */
  probes = 0;
  /** Segments sent, again or not. */
  sent = 0;
  readonly congestion: Congestion;
  readonly segmentBytes: number;

  private readonly receiver: TcpReceiver;
  private stopped = false;
  private isOpen = false;
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
  srttUs = 0;
  private rttvarUs = 0;
  private backoff = 1;
  private rtoAtUs = Number.POSITIVE_INFINITY;
  /** When a tail loss probe is due, and below which number all was under way at the last one, until that is known to have arrived; -1: none. */
  private probeAtUs = Number.POSITIVE_INFINITY;
  private probeTo = -1;
  private timerUs = Number.POSITIVE_INFINITY;
  /** A time-out under way: ends when all below has arrived (-1: none); when its first retransmission left; whether it may yet be for nothing. */
  private lossTo = -1;
  private firstAgainUs = Number.POSITIVE_INFINITY;
  private isInDoubt = false;
  private readonly wasAgain = new Uint8Array(RING);
  private originals = 0;
  sackedOut = 0;
  minRttUs = Number.POSITIVE_INFINITY;
  private roundEnd = 0;
  private readonly sampler = new RateSampler(RING);
  private readonly rack = new Rack();
  private nextPaceUs = 0;
  private paceArmed = false;
  private readonly sample = emptyAck();
  private resendFrom = 0;
  private lostCount = 0;

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
    const receiver = () => (options.isUp ? pair.server : pair.router);
    this.receiver = new TcpReceiver(pair, receiver, options.flow, options.bucket);
    sender.handlers.set(options.flow, (view, at) => this.handleAck(view, at));
    pair.events.at(options.startUs ?? 0, () => this.open(HANDSHAKE_US));
  }

  /** Segments handed to the application, in order. */
  get delivered(): number {
    return this.receiver.delivered;
  }

  /** First transmissions that arrived after a later one. */
  get reordered(): number {
    return this.receiver.reordered;
  }

  /** Arrived twice: the sender was wrong. */
  get spurious(): number {
    return this.receiver.spurious;
  }

  get longestStallUs(): number {
    return this.receiver.longestStallUs;
  }

  /** Count the stall only from here on. */
  set sinceUs(us: number) {
    this.receiver.sinceUs = us;
  }

  /** TCP payload so far. Units: bytes. */
  get goodputBytes(): number {
    return this.receiver.deliveredBytes - 52 * this.delivered;
  }

  /** The window, in segments. */
  get cwnd(): number {
    return this.congestion.cwnd;
  }

  get nowUs(): number {
    return this.pair.nowUs;
  }

  get inRecovery(): boolean {
    return this.recoverTo >= 0 || this.lossTo >= 0;
  }

  isUnderWay(seq: number, sentUs: number): boolean {
    const i = seq & MASK;
    return seq >= this.una && this.sentUs[i] === sentUs && (this.state[i] === SENT || this.state[i] === RESENT);
  }

  /** No data from now on. */
  stop(): void {
    this.stopped = true;
  }

  /** BBR takes the round trip of the handshake for its shortest; CUBIC does not use it, and begins with data. */
  private open(againUs: number): void {
    const { pair, o, congestion } = this;
    if (this.isOpen) return;
    if (!(congestion instanceof Bbr)) {
      this.isOpen = true;
      this.push();
      return;
    }
    const end = o.isUp ? pair.router : pair.server;
    end.send(o.flow, o.bucket, HANDSHAKE_BYTES, (view, at) => {
      view.setUint32(at, HANDSHAKE);
      view.setFloat64(at + 4, pair.nowUs);
    });
    pair.events.after(againUs, () => this.open(2 * againUs));
  }

  private handleAck(view: DataView, at: number): void {
    const now = this.pair.nowUs;
    if (!this.isOpen) {
      this.isOpen = true;
      this.noteRtt(now - view.getFloat64(at + 4));
      (this.congestion as Bbr).begin(now, this.minRttUs);
      this.push();
      return;
    }
    const ack = view.getUint32(at);
    const echoUs = view.getFloat64(at + 4);
    const { congestion, sample } = this;
    const rttUs = now - echoUs;
    let newly = 0;
    sample.pipeBefore = this.pipe;
    this.sampler.begin();
    this.originals = 0;
    this.noteRtt(rttUs);
    if (ack > this.next) return;
    const isForward = ack > this.una;
    const highest = this.top[0];
    let sacked = 0;
    const n = view.getUint8(at + 12) & ~DUPLICATE;
    if (n !== view.getUint8(at + 12) && this.probeTo < 0) this.rack.noteDuplicate();
    for (let b = 0; b < n; b++) {
      const from = Math.max(ack, view.getUint32(at + 13 + 8 * b));
      const to = Math.min(this.next, view.getUint32(at + 17 + 8 * b));
      for (let seq = from; seq < to; seq++) {
        if (this.state[seq & MASK] === SACKED) continue;
        if (seq < highest && this.wasAgain[seq & MASK] === 0) this.rack.isReordering = true;
        newly += this.settle(seq, SACKED);
        sacked++;
        this.noteTop(seq);
      }
    }
    for (; this.una < ack; this.una++) {
      const i = this.una & MASK;
      if (this.una < highest && this.state[i] !== SACKED && this.wasAgain[i] === 0) this.rack.isReordering = true;
      newly += this.settle(this.una, UNSENT);
    }
    const newDataOnly = this.lossTo >= 0 && this.judgeTimeout(isForward, echoUs, sacked > 0);
    if (isForward) {
      this.backoff = 1;
      this.armRto();
      if (this.recoverTo >= 0 && this.una >= this.recoverTo) {
        this.recoverTo = -1;
        this.rack.noteRecovered();
        congestion.handleRecovered();
      }
    }
    const lossesBefore = this.losses;
    this.sampler.fill(sample, this.minRttUs);
    if (newly > 0) this.rack.adapt(sample.priorDelivered, sample.delivered);
    this.findLost();
    sample.nowUs = now;
    sample.newly = newly;
    sample.rttUs = rttUs;
    sample.minRttUs = this.minRttUs;
    sample.pipe = this.pipe;
    sample.inRecovery = this.recoverTo >= 0;
    sample.lost = this.losses - lossesBefore;
    congestion.handleAck(sample);
    if (this.recoverTo >= 0 && congestion.isReduced) this.prr(newly, isForward && sample.lost === 0);
    this.push(newDataOnly);
  }

  /**
   * An acknowledgement after a time-out: was it for nothing? Returns whether only new data may be sent now, which tells more. Source: RFC 5682 §3.1,
   * RFC 3522 §3.2.
   */
  private judgeTimeout(isForward: boolean, echoUs: number, hasSacked: boolean): boolean {
    if ((isForward && echoUs < this.firstAgainUs) || (this.isInDoubt && this.originals > 0)) {
      this.undo();
      return false;
    }
    if (this.una >= this.lossTo) {
      this.lossTo = -1;
      this.congestion.handleTimeoutOver(false);
      return false;
    }
    if (this.next > this.lossTo) {
      if (hasSacked || !isForward) this.isInDoubt = false;
      return false;
    }
    if (!this.isInDoubt || !isForward) return false;
    this.isInDoubt = this.next - this.una < this.maxWindow;
    return this.isInDoubt;
  }

  /** What was taken for lost is under way after all. */
  private undo(): void {
    this.undone++;
    for (let seq = this.una; seq < this.next; seq++) {
      const i = seq & MASK;
      if (this.state[i] !== LOST) continue;
      this.state[i] = this.wasAgain[i] === 1 ? RESENT : SENT;
      this.pipe++;
    }
    this.lostCount = 0;
    this.scanned = this.una;
    this.lossTo = -1;
    this.congestion.handleTimeoutOver(true);
  }

  private settle(seq: number, to: number): number {
    const i = seq & MASK;
    const was = this.state[i];
    this.state[i] = to;
    if (was === SENT || was === RESENT) this.pipe--;
    if (was === LOST) this.lostCount--;
    if (was === SACKED) this.sackedOut--;
    if (to === SACKED) this.sackedOut++;
    if ((was === SENT || was === LOST) && this.wasAgain[i] === 0 && seq < this.lossTo) this.originals++;
    if (was !== UNSENT && was !== SACKED) {
      this.rack.noteArrived(seq, this.sentUs[i], this.wasAgain[i] === 1, this);
      this.sampler.noteArrived(i, this.pair.nowUs);
    }
    return was === SACKED || was === UNSENT ? 0 : 1;
  }

  private noteTop(seq: number): void {
    const { top } = this;
    if (seq > top[0]) this.top = [seq, top[0], top[1]];
    else if (seq > top[1]) this.top = [top[0], seq, top[1]];
    else if (seq > top[2]) top[2] = seq;
  }

  private findLost(): void {
    const below = this.top[DUP_THRESHOLD - 1];
    if (this.una >= this.probeTo) this.probeTo = -1;
    let found = 0;
    for (let seq = Math.max(this.scanned, this.una); seq < below; seq++) {
      if (this.state[seq & MASK] !== SENT) continue;
      this.markLost(seq);
      found++;
    }
    this.scanned = Math.max(this.scanned, below);
    found += this.rack.findLost(this, (seq) => this.markLost(seq));
    if (this.rack.dueUs < Number.POSITIVE_INFINITY) this.arm();
    this.losses += found;
    if (found > 0 && this.recoverTo < 0 && this.lossTo < 0) this.enterRecovery();
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
    this.probeTo = -1;
    this.probeAtUs = Number.POSITIVE_INFINITY;
  }

  /** `isSafe`: the flow moves on and nothing more is lost; only then the window grows towards the new threshold. Source: RFC 9937, as Linux has it. */
  private prr(newly: number, isSafe: boolean): void {
    this.prrDelivered += newly;
    let count: number;
    const { ssthresh } = this.congestion;
    if (this.pipe > ssthresh) {
      count = Math.ceil((this.prrDelivered * ssthresh) / this.recoverFrom) - this.prrOut;
    } else count = Math.min(ssthresh - this.pipe, Math.max(this.prrDelivered - this.prrOut, newly) + (isSafe ? 1 : 0));
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

  private push(newDataOnly = false): void {
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
      if (this.lostCount > 0 && !newDataOnly) {
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
        if (this.lossTo >= 0) this.firstAgainUs = Math.min(this.firstAgainUs, now);
        if (seq === this.una) this.armRto();
      } else {
        this.state[seq & MASK] = SENT;
        this.next++;
      }
      this.pipe++;
      this.prrOut++;
      count++;
      if (isPaced) this.nextPaceUs = now + count / pacing;
      if (this.rtoAtUs === Number.POSITIVE_INFINITY) this.armRto();
      else if (!again) this.armProbe();
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
    this.sentUs[i] = now;
    this.wasAgain[i] = again ? 1 : 0;
    this.sampler.noteSent(i, this.pipe === 0, now);
    this.rack.noteSent(seq, now);
    this.sent++;
    return end.send(this.o.flow, this.o.bucket, Math.min(this.segmentBytes, end.mtu), (view, at) => {
      view.setUint32(at, seq);
      view.setFloat64(at + 4, now);
      view.setUint8(at + 12, again ? 1 : 0);
    });
  }

  private rtoUs(): number {
    const { srttUs, rttvarUs, backoff } = this;
    return (srttUs === 0 ? 1_000_000 : srttUs + Math.max(MIN_RTO_US, 4 * rttvarUs)) * backoff;
  }

  private armRto(): void {
    this.rtoAtUs = this.una === this.next ? Number.POSITIVE_INFINITY : this.pair.nowUs + this.rtoUs();
    this.armProbe();
  }

  /** A tail loss probe two round trips from now, in the time-out's place when that is earlier. Source: RFC 8985 §7.2, and what Linux adds to it. */
  private armProbe(): void {
    const { srttUs, rtoAtUs } = this;
    const isOpen = this.recoverTo < 0 && this.lossTo < 0 && this.lostCount === 0 && this.sackedOut === 0;
    const afterUs = 2 * srttUs + (this.next - this.una === 1 ? PROBE_LONE_US : PROBE_EXTRA_US);
    this.probeAtUs = isOpen && srttUs > 0 ? Math.min(this.pair.nowUs + afterUs, rtoAtUs) : Number.POSITIVE_INFINITY;
    this.arm();
  }

  private arm(): void {
    const us = Math.min(this.rtoAtUs, this.probeAtUs, this.rack.dueUs);
    // One that fires earlier looks again.
    if (us >= this.timerUs) return;
    this.timerUs = us;
    this.pair.events.at(us, () => {
      if (us !== this.timerUs) return;
      this.timerUs = Number.POSITIVE_INFINITY;
      if (this.stopped) return;
      if (this.pair.nowUs >= this.rack.dueUs) {
        this.findLost();
        this.push();
      } else if (this.pair.nowUs >= this.probeAtUs) this.sendProbe();
      else if (this.pair.nowUs >= this.rtoAtUs) this.handleRto();
      this.arm();
    });
  }

  /** One segment more, whatever the window: a new one, or the last again. The time-out is counted from it. */
  private sendProbe(): void {
    const now = this.pair.nowUs;
    const isNew = this.next - this.una < this.maxWindow;
    this.probeAtUs = Number.POSITIVE_INFINITY;
    if (this.probeTo >= 0 || !this.transmit(isNew ? this.next : this.next - 1, !isNew)) {
      this.rtoAtUs = Math.max(now + 1_000, this.sentUs[this.una & MASK] + this.rtoUs());
      return;
    }
    this.probes++;
    if (isNew) {
      this.state[this.next++ & MASK] = SENT;
      this.pipe++;
    }
    this.probeTo = this.next;
    this.rtoAtUs = now + this.rtoUs();
  }

  private handleRto(): void {
    const now = this.pair.nowUs;
    this.timeouts++;
    if (this.lossTo < 0) this.firstAgainUs = this.recoverTo < 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    this.isInDoubt = this.recoverTo < 0;
    this.lossTo = this.next;
    this.recoverTo = -1;
    this.probeTo = -1;
    for (let seq = this.una; seq < this.next; seq++) {
      const s = this.state[seq & MASK];
      const isRecent = seq > this.una && this.sentUs[seq & MASK] + this.srttUs + this.minRttUs / 4 > now;
      if ((s === SENT || s === RESENT) && !isRecent) this.markLost(seq);
    }
    this.congestion.handleTimeout(this.backoff === 1, this.pipe);
    this.backoff = Math.min(64, this.backoff * 2);
    this.resendFrom = this.una;
    this.armRto();
    this.push();
  }
}

/**
 * The windows of TCP: what a congestion control is to a flow (tcp.ts), and CUBIC with HyStart (RFC 9438, RFC 9406) as Linux has them. BBR is in
 * bbr.ts. Windows count segments.
 */

/** What an acknowledgement told. Owns: the flow; overwritten by the next. */
export interface Ack {
  nowUs: number;
  /** Segments that it reported as arrived. */
  newly: number;
  rttUs: number;
  minRttUs: number;
  /** Segments under way before it and after it. */
  pipeBefore: number;
  pipe: number;
  inRecovery: boolean;
  /** Segments found lost by it. */
  lost: number;
  /** Delivery rate over the flight of the latest segment that arrived: so many segments in so long a time; 0 µs: no sample. */
  rateSegments: number;
  rateUs: number;
  /** What had arrived when that segment was sent, and what has arrived now. */
  priorDelivered: number;
  delivered: number;
}

/** To be filled. */
export function emptyAck(): Ack {
  return {
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
}

/** A flow's window and pace. */
export interface Congestion {
  cwnd: number;
  ssthresh: number;
  /** Units: segments/µs; Infinity: not paced. */
  readonly pacing: number;
  /** Whether the flow reduces its window in recovery (RFC 6937); else the control does as it likes. */
  readonly isReduced: boolean;
  /** Every acknowledgement. */
  handleAck(ack: Ack): void;
  /** The first loss of a window. */
  handleLoss(nowUs: number, pipe: number): void;
  /** What was under way at the first loss has arrived. */
  handleRecovered(): void;
  /** A time-out; `isFirst` unless it is one more in a row; `pipe`: what is under way nevertheless. */
  handleTimeout(isFirst: boolean, pipe: number): void;
  /** What was under way at the time-out has arrived, or it was for nothing: then the window is as it was. */
  handleTimeoutOver(wasForNothing: boolean): void;
  /** The end of one round trip and the begin of the next. */
  handleRound(nowUs: number): void;
}

const BETA = 0.7;
const C = 0.4;

export class Cubic implements Congestion {
  cwnd = 10;
  ssthresh = Number.POSITIVE_INFINITY;
  readonly pacing = Number.POSITIVE_INFINITY;
  readonly isReduced = true;
  private readonly maxWindow: number;
  private readonly hasHystart: boolean;
  private wMax = 0;
  private epochUs = 0;
  private originW = 0;
  private k = 0;
  private friendly = 0;
  private roundStartUs = 0;
  private roundMinUs = Number.POSITIVE_INFINITY;
  private roundSamples = 0;
  private lastAckUs = 0;
  /** The window before a time-out. */
  private priorCwnd = 0;
  private priorSsthresh = 0;

  constructor(maxWindow: number, hasHystart: boolean) {
    this.maxWindow = maxWindow;
    this.hasHystart = hasHystart;
  }

  handleAck(ack: Ack): void {
    this.roundMinUs = Math.min(this.roundMinUs, ack.rttUs);
    this.roundSamples++;
    // Acknowledgements closer than this belong to one train.
    if (ack.nowUs - this.lastAckUs <= 2_000) this.lastAckUs = ack.nowUs;
    if (!ack.inRecovery && ack.newly > 0 && ack.pipe + ack.newly >= this.cwnd - 3) this.grow(ack);
  }

  handleLoss(): void {
    this.wMax = this.cwnd < this.wMax ? (this.cwnd * (1 + BETA)) / 2 : this.cwnd;
    this.ssthresh = Math.max(2, this.cwnd * BETA);
    this.epochUs = 0;
  }

  handleRecovered(): void {
    this.cwnd = Math.max(2, Math.floor(this.ssthresh));
  }

  handleTimeout(isFirst: boolean, pipe: number): void {
    if (isFirst) {
      this.priorCwnd = this.cwnd;
      this.priorSsthresh = Math.max(this.ssthresh, 0.75 * this.cwnd);
      this.handleLoss();
      // Linux forgets what it knew of the link.
      this.wMax = 0;
    }
    this.cwnd = pipe + 1;
  }

  handleTimeoutOver(wasForNothing: boolean): void {
    if (!wasForNothing) return;
    this.cwnd = Math.max(this.cwnd, this.priorCwnd);
    this.ssthresh = Math.max(this.ssthresh, this.priorSsthresh);
  }

  handleRound(nowUs: number): void {
    this.roundStartUs = nowUs;
    this.lastAckUs = nowUs;
    this.roundMinUs = Number.POSITIVE_INFINITY;
    this.roundSamples = 0;
  }

  private grow(ack: Ack): void {
    const { newly, nowUs, minRttUs } = ack;
    if (this.cwnd < this.ssthresh) {
      this.cwnd = Math.min(this.cwnd + newly, this.maxWindow);
      this.hystart(minRttUs);
      return;
    }
    if (this.epochUs === 0) {
      this.epochUs = nowUs;
      this.originW = Math.max(this.wMax, this.cwnd);
      this.k = Math.cbrt((this.originW - this.cwnd) / C);
      this.friendly = this.cwnd;
    }
    const t = (nowUs - this.epochUs + minRttUs) / 1e6;
    const target = Math.min(this.originW + C * (t - this.k) ** 3, 1.5 * this.cwnd);
    this.friendly += ((3 * (1 - BETA)) / (1 + BETA)) * (newly / this.cwnd);
    if (target > this.cwnd) this.cwnd += (newly * (target - this.cwnd)) / this.cwnd;
    else this.cwnd += newly / (100 * this.cwnd);
    // Linux: as long as no loss has been seen, at least 5 % a round trip.
    if (this.wMax === 0) this.cwnd += newly / 20;
    this.cwnd = Math.min(Math.max(this.cwnd, this.friendly), this.maxWindow);
  }

  private hystart(minRttUs: number): void {
    if (this.cwnd < 16 || !this.hasHystart) return;
    const eta = Math.max(4_000, Math.min(16_000, minRttUs / 8));
    const train = this.lastAckUs - this.roundStartUs > minRttUs / 2;
    if (train || (this.roundSamples >= 8 && this.roundMinUs > minRttUs + eta)) this.ssthresh = this.cwnd;
  }
}

/** The delivery rate of a TCP flow as Linux samples it. Source: draft-cheng-iccrg-delivery-rate-estimation-00. */
import type { Ack } from './congestion.ts';

/** Where the sample of an acknowledgement goes. */
type RateSample = Pick<Ack, 'rateSegments' | 'rateUs' | 'priorDelivered' | 'delivered'>;

/** Over the flight of the latest segment that an acknowledgement reports. */
export class RateSampler {
  /** What had arrived when each segment left, when the last of that had, when the first after it had left, and when it left itself. */
  private readonly deliveredThen: Float64Array;
  private readonly deliveredUsThen: Float64Array;
  private readonly firstUsThen: Float64Array;
  private readonly sentUs: Float64Array;
  private delivered = 0;
  private deliveredUs = 0;
  private firstUs = 0;
  private best = -1;

  /** `ring`: segments are named by their place in a ring of so many. */
  constructor(ring: number) {
    this.deliveredThen = new Float64Array(ring);
    this.deliveredUsThen = new Float64Array(ring);
    this.firstUsThen = new Float64Array(ring);
    this.sentUs = new Float64Array(ring);
  }

  /** `isFirst`: nothing was under way. */
  noteSent(i: number, isFirst: boolean, nowUs: number): void {
    if (isFirst) {
      this.firstUs = nowUs;
      this.deliveredUs = nowUs;
    }
    this.deliveredThen[i] = this.delivered;
    this.deliveredUsThen[i] = this.deliveredUs;
    this.firstUsThen[i] = this.firstUs;
    this.sentUs[i] = nowUs;
  }

  /** An acknowledgement begins. */
  begin(): void {
    this.best = -1;
  }

  /** It reports this one. */
  noteArrived(i: number, nowUs: number): void {
    const { deliveredThen, sentUs, best } = this;
    this.delivered++;
    this.deliveredUs = nowUs;
    const isLater =
      best < 0 ||
      deliveredThen[i] > deliveredThen[best] ||
      (deliveredThen[i] === deliveredThen[best] && sentUs[i] > sentUs[best]);
    if (isLater) this.best = i;
  }

  /** The acknowledgement is read. */
  fill(sample: RateSample, minRttUs: number): void {
    sample.delivered = this.delivered;
    sample.rateUs = 0;
    const i = this.best;
    if (i < 0) return;
    sample.priorDelivered = this.deliveredThen[i];
    this.firstUs = this.sentUs[i];
    const us = Math.max(this.sentUs[i] - this.firstUsThen[i], this.deliveredUs - this.deliveredUsThen[i]);
    // Shorter than any round trip: acknowledgements that had been collected, which say nothing of the rate.
    if (us < minRttUs) return;
    sample.rateUs = us;
    sample.rateSegments = this.delivered - sample.priorDelivered;
  }
}

/**
 * Which flows are brief: they send so little (a call, a ping, a query, keys typed) that their packets may go twice, and never by a slower path in the place of bulk.
 *
 * FQ-CoDel alone calls a flow sparse while it has something left of its turn. A turn goes round in no time while all paths carry, and takes long when one
 * fades: a call that has used its turn up would then leave like bulk, by the path that fades, and all that it sends after that would be held behind it.
 */

/** What a flow may send in the mean and stay brief: a call of 64 kbit/s is half of it. Units: bytes/µs. */
const BRIEF_RATE = 0.02;
/** And at once, as time at that rate: two full packets. */
const AHEAD_US = 3028 / BRIEF_RATE;
/** What waits of it is no more than a full packet. */
const BACKLOG_BYTES = 1514;

/** When each flow would have sent, at that rate, what it has sent. Cost: O(1) a packet. */
export class Briefs {
  private readonly untilUs: Float64Array;

  constructor(flows: number) {
    this.untilUs = new Float64Array(flows);
  }

  /** A flow wants to send so much. */
  note(flow: number, sizeBytes: number, nowUs: number): void {
    this.untilUs[flow] = Math.max(nowUs, this.untilUs[flow]) + sizeBytes / BRIEF_RATE;
  }

  /** Whether a flow of which so much waits is brief. */
  has(flow: number, waitingBytes: number, nowUs: number): boolean {
    return waitingBytes <= BACKLOG_BYTES && this.untilUs[flow] - nowUs <= AHEAD_US;
  }
}

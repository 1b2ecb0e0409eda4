/** What the sender gives to those around it. */

/** What a bond counts, besides what its paths do. */
export interface BondCounters {
  txPackets: number;
  txBytes: number;
  rxPackets: number;
  rxBytes: number;
}

/** A run of datagrams ready to be sent: equal sizes but for the last, one after the other in memory. */
export class Transmit {
  /** Where the endpoint record lies. */
  endpointAt = 0;
  at = 0;
  totalBytes = 0;
  segmentBytes = 0;
  /** For `Bond.handleSendFailure`. */
  pathId = 0;
  isMtuProbe = false;
}

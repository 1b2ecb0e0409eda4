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

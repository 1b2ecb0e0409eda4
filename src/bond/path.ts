/**
 * One path: its packet numbers both ways, what is in flight, round-trip times, loss, and the states an operator understands.
 *
 *   closed ─setUsable─▶ waiting ─first ack─▶ up ─probe time-out─▶ suspect ─3 time-outs─▶ down
 *                          ▲               ▲  ▲──────────── an ack of a probe ─────────────┘
 *                                          └──▶ lossy: loses too much, is only probed, until hardly a probe is lost
 * One that keeps coming and going answers for a while before it is up (flaps.ts): suspect until then.
 *
 * Sent datagrams stand in a ring by packet number. A data datagram's slot is owned by the ring until it is acknowledged (freed) or
 * found lost (handed to the owner, who sends it again). Sizes are outer IP bytes, times µs.
 */
import { Arrivals, MAX_ACK_DELAY_US, MIN_ACK_DELAY_US, PAUSE_US } from './arrivals.ts';
import { Flaps } from './flaps.ts';
import { LEAST_MTU, PathMtu } from './mtu.ts';
import { FLAG_ARRIVED, FLAG_CANCELLED, FLAG_OVERFLOWN, FLAG_RESENDING, NONE, type PacketPool } from './pool.ts';
import { downProbeUs, LOSSY_PROBE_US, PROOF_PROBE_US, SUSPECT_PROBE_US } from './probes.ts';
import { RateControl } from './rate.ts';
import { noteRtt } from './rtt.ts';
import { GONE, IN_FLIGHT, LOST, RING, SentRing } from './sent.ts';
import { Train } from './train.ts';

/** The size of an endpoint record: opaque bytes that name the other end's address and the socket (src/io/udp.ts). */
export const ENDPOINT_BYTES = 48;

/** Source: RFC 9002 §6.1.1. */
const PACKET_THRESHOLD = 3;
/** It grows to what a link was seen to let packets overtake, up to this (RFC 9002 §6.1.1 lets it). */
const MOST_THRESHOLD = 128;
const MIN_TIME_THRESHOLD_US = 2_000;
const MIN_PTO_US = 30_000;
const INITIAL_RTT_US = 100_000;
const DOWN_AFTER_PTOS = 3;
const DOWN_AFTER_US = 150_000;
/** Not to answer for so long is silence, even if what was sent before has arrived. */
const SILENCE_US = 100_000;
/** A lossy path that brings no answer at all for so long is silent. */
const LOSSY_SILENT_US = 1_000_000;
/** This many unanswered datagrams at a probe time-out are a dead path; fewer may be a lost tail. */
const SUSPECT_IN_FLIGHT = 3;

/** Credit that a late timer does not lose; more of it was not used for want of packets. */
const BURST_US = 2_000;

/** Kinds of sent datagrams, as bits. */
export const ELICITING = 1;
export const PROBE_MTU = 2;
/** The peer has said that it came, but not when: it is not sent again, and its own ACK is waited for. */
const SPARED = 4;
/** One of several that were sent at once to see how far apart they arrive. */
export const TRAIN = 8;

/** Who owns the path: told what becomes of its slots. */
export interface PathOwner {
  /** The inner packet did not arrive; the owner of the path owns the slot now. */
  handleLostSlot(slot: number, path: Path, packetNumber: number, nowUs: number): void;
  handlePathState(path: Path, state: PathState, nowUs: number): void;
}

/** What an operator reads of a path. */
export type PathState = 'closed' | 'waiting' | 'up' | 'suspect' | 'down' | 'lossy';

/** One path of a bond. */
export class Path {
  readonly id: number;
  state: PathState = 'closed';
  /** Where the endpoint record lies in the memory. */
  readonly endpointAt: number;
  hasEndpoint = false;
  /** Set by the bond: no path is up. */
  isLastResort = false;
  /** IP and UDP headers in front of a datagram on this path. */
  outerBytes = 28;
  readonly rate = new RateControl();
  readonly mtu = new PathMtu(1500);
  readonly arrivals = new Arrivals();
  readonly flaps = new Flaps();
  readonly train = new Train();

  srttUs = INITIAL_RTT_US;
  rttvarUs = INITIAL_RTT_US / 2;
  minRttUs = Number.POSITIVE_INFINITY;
  inFlightBytes = 0;
  /** Pacing: the next datagram may leave at this time. */
  nextSendUs = 0;
  lastSentUs = 0;

  /** It carries nothing now: others of a lower tier or cost do. */
  standby = false;
  /** When another path of the bond was last acknowledged something: the peer lives. */
  othersProgressUs = Number.NEGATIVE_INFINITY;
  lastDataUs = Number.NEGATIVE_INFINITY;

  pingDue = false;
  /** Bytes and datagrams, for the status. */
  txBytes = 0;
  rxBytes = 0;
  txDatagrams = 0;
  rxDatagrams = 0;
  lostDatagrams = 0;
  resentPackets = 0;
  spurious = 0;

  private readonly pool: PacketPool;
  private readonly owner: PathOwner;
  private readonly sent = new SentRing();
  private largestAcked = -1;
  private threshold = PACKET_THRESHOLD;
  /** What was given up below this number was not taken for overtaken. */
  private surrendered = 0;
  private lossUs = Number.POSITIVE_INFINITY;
  private inFlightEliciting = 0;
  private ptoCount = 0;
  private lastProgressUs = 0;
  /** Since when the path is not up. */
  private suspectSinceUs = 0;
  private nextProbeUs = Number.POSITIVE_INFINITY;

  constructor(id: number, pool: PacketPool, owner: PathOwner, endpointAt: number) {
    this.id = id;
    this.pool = pool;
    this.owner = owner;
    this.endpointAt = endpointAt;
  }

  /** Up: may carry data. A lossy path may when no other one is left. */
  get isUp(): boolean {
    return this.state === 'up' || (this.state === 'lossy' && this.isLastResort);
  }

  /** The path may be tried: it has an endpoint; `up` once a datagram has been acknowledged. */
  open(ceilingMtu: number, nowUs: number): void {
    if (this.state !== 'closed') return;
    this.pingDue = true;
    this.suspectSinceUs = nowUs;
    this.nextProbeUs = nowUs;
    this.mtu.restart(ceilingMtu, nowUs);
    this.setState('waiting', nowUs);
  }

  /** The link is gone: nothing is sent on it any more; what was in flight is handed back. */
  close(nowUs: number): void {
    if (this.state === 'closed') return;
    this.surrender(nowUs);
    this.hasEndpoint = false;
    this.pingDue = false;
    this.arrivals.cancel();
    this.nextProbeUs = Number.POSITIVE_INFINITY;
    this.setState('closed', nowUs);
  }

  /** A new association: the numbers begin again at 0 both ways. Slots in flight are freed, nothing is resent. */
  reset(nowUs: number): void {
    const { sent } = this;
    for (let pn = sent.lowest; pn < sent.next; pn++) {
      const slot = sent.slot[sent.at(pn)];
      if (sent.isInFlight(pn) && slot !== NONE) this.pool.letGo(slot, 0);
    }
    sent.clear();
    this.largestAcked = -1;
    this.threshold = PACKET_THRESHOLD;
    this.surrendered = 0;
    this.inFlightBytes = 0;
    this.inFlightEliciting = 0;
    this.lossUs = Number.POSITIVE_INFINITY;
    this.arrivals.reset();
    this.ptoCount = 0;
    if (this.state !== 'closed') {
      this.pingDue = true;
      this.suspectSinceUs = nowUs;
      this.nextProbeUs = nowUs;
      this.setState('waiting', nowUs);
    }
  }

  /** Whether the window has room; pacing is asked by `nextSendUs`. */
  hasRoom(): boolean {
    return (
      this.inFlightBytes <
        this.rate.windowBytes(this.minRttUs === Number.POSITIVE_INFINITY ? this.srttUs : this.minRttUs) &&
      this.hasNumbers()
    );
  }

  /** Whether the path carries a datagram of this size, IP and UDP headers not counted. */
  fits(sizeBytes: number): boolean {
    return sizeBytes + this.outerBytes <= this.mtu.bytes;
  }

  /** What the next datagram will be sent under. */
  get nextPacketNumber(): number {
    return this.sent.next;
  }

  /** Whether what is in flight can be remembered. */
  hasNumbers(): boolean {
    return this.sent.length < RING - 64;
  }

  /** Notes a datagram as sent under `nextPacketNumber` and moves that on. `slot`: the inner packet it carries, owned by the path from now, or NONE. */
  noteSent(sizeBytes: number, slot: number, kind: number, nowUs: number): void {
    if (this.sent.length >= RING) this.makeRoom(nowUs);
    this.sent.add(sizeBytes, slot, kind, kind !== 0, nowUs);
    this.txDatagrams++;
    this.txBytes += sizeBytes;
    this.lastSentUs = nowUs;
    if (kind === 0) return;
    this.inFlightBytes += sizeBytes;
    if (this.inFlightEliciting++ === 0) this.lastProgressUs = nowUs;
  }

  /** Takes pacing credit for `sizeBytes` that have waited since `queuedUs`. */
  pace(sizeBytes: number, queuedUs: number, nowUs: number): void {
    if (this.nextSendUs < nowUs - BURST_US) {
      // Nothing was there to be sent; or we are late, which is no fault of the link either, but not for want of packets.
      if (queuedUs > this.nextSendUs + BURST_US) this.rate.starvedUs = nowUs;
      this.nextSendUs = nowUs - BURST_US;
    }
    this.nextSendUs += sizeBytes / this.rate.pacing;
  }

  /**
   * An ACK for this path: `count` ranges as whole numbers, largest first. `arrivalUs`: when the largest arrived, in the peer's clock, unwrapped.
   * `isOld`: said again because nothing has come since, over a path that may be quicker, before this one's own ACKs: no sign of life, and no measure of anything. Returns false when it names a datagram that was never sent.
   */
  handleAck(ranges: Float64Array, count: number, delayUs: number, arrivalUs: number, isOld: boolean, nowUs: number) {
    const largest = ranges[1];
    const { sent } = this;
    if (largest >= sent.next) return false;
    // The largest may be a datagram that asked for nothing (an ACK): its times are as good as any other's.
    const isNew = largest > this.largestAcked && sent.next - largest <= RING;
    const largestSentUs = sent.sentUs[sent.at(largest)];
    const spuriousBefore = this.spurious;
    let bytes = 0;
    for (let r = 0; r < count; r++) {
      const from = Math.max(ranges[2 * r], sent.lowest);
      for (let pn = ranges[2 * r + 1]; pn >= from; pn--) {
        if (isOld) this.spare(pn, nowUs);
        else bytes += this.acknowledge(pn, nowUs);
      }
    }
    if (isOld) return true;
    if (largest > this.largestAcked) this.largestAcked = largest;
    if (bytes === 0) return true;
    this.ptoCount = 0;
    this.lastProgressUs = nowUs;
    if (isNew) noteRtt(this, nowUs - largestSentUs, delayUs);
    if (this.state !== 'up' && this.state !== 'closed' && this.state !== 'lossy') {
      // What was given up has arrived: the path was late, not dead, and what is known of its rate still holds.
      const wasLate = this.state === 'suspect' && this.spurious > spuriousBefore;
      const wasOnProof = this.flaps.isOnProof;
      if (wasOnProof) this.flaps.noteAnswer();
      else if (!wasLate || nowUs - this.suspectSinceUs > SILENCE_US)
        this.flaps.noteAlive(this.state === 'waiting' ? Number.NaN : this.suspectSinceUs, nowUs);
      if (!this.flaps.isOnProof && (wasOnProof || !wasLate)) this.rate.begin(this.srttUs, nowUs);
      if (this.state === 'waiting') this.train.begin();
      const { isEjected } = this.rate.loss;
      this.nextProbeUs = isEjected ? nowUs : Number.POSITIVE_INFINITY;
      const { mtu } = this;
      mtu.handleAnswer(!sent.isGone(mtu.checkNumber) && sent.isGone(mtu.checkNumber + 1), nowUs);
      if (!mtu.found) mtu.again(nowUs);
      if (this.flaps.isOnProof) {
        this.nextProbeUs = nowUs + PROOF_PROBE_US;
        this.setState('suspect', nowUs);
      } else this.setState(isEjected ? 'lossy' : 'up', nowUs);
    }
    if (isNew) {
      if (this.nextSendUs < nowUs - BURST_US && this.hasRoom()) this.rate.starvedUs = nowUs;
      const i = sent.at(largest);
      // They came one behind the other: no delay of the link's own.
      if ((sent.kind[i] & TRAIN) !== 0) this.train.noteArrival(largest, sent.bytes[i], arrivalUs, this.rate, nowUs);
      else this.rate.handleAck(bytes, arrivalUs, arrivalUs - largestSentUs, this.srttUs, nowUs);
    } else this.rate.noteDelivered(bytes);
    this.findLost(nowUs);
    if (this.state === 'up' && this.rate.loss.isPoison) this.eject(nowUs);
    return true;
  }

  /** The path loses so much that the bond is better off without it. What is in flight is sent again over the others. */
  private eject(nowUs: number): void {
    this.rate.loss.eject(nowUs);
    this.nextProbeUs = nowUs;
    this.setState('lossy', nowUs);
    if (!this.isUp) this.surrender(nowUs);
  }

  /** A datagram of this path was authenticated. `eliciting`: the peer wants to hear of it. */
  noteArrival(packetNumber: number, sizeBytes: number, eliciting: boolean, nowUs: number): void {
    this.rxDatagrams++;
    this.rxBytes += sizeBytes;
    this.arrivals.note(packetNumber, eliciting, this.srttUs, nowUs);
    if (!eliciting) return;
    // What comes over a path that was thought dead is a reason to ask at once; and where only ACKs go, our direction may be dead without our noticing.
    if ((this.state === 'suspect' || this.state === 'down') && nowUs - this.lastSentUs > MIN_PTO_US)
      this.nextProbeUs = nowUs;
    else if (this.isUp && this.inFlightEliciting === 0 && nowUs - this.lastProgressUs > SILENCE_US) this.pingDue = true;
  }

  /** The earliest time at which `handleTimeout` has something to do. */
  pollTimeout(): number {
    if (this.state === 'closed') return Number.POSITIVE_INFINITY;
    let t = Math.min(this.arrivals.pollTimeout(), this.lossUs, this.nextProbeUs);
    if (this.state === 'up') t = Math.min(t, this.mtu.pollTimeout());
    if (this.isUp && this.inFlightEliciting > 0) t = Math.min(t, this.silentUs());
    return t;
  }

  handleTimeout(nowUs: number): void {
    if (this.state === 'closed') return;
    this.arrivals.handleTimeout(nowUs);
    if (nowUs >= this.lossUs) this.findLost(nowUs);
    if (this.isUp && this.inFlightEliciting > 0 && nowUs >= this.silentUs()) this.handlePto(nowUs);
    if (nowUs >= this.nextProbeUs) this.probe(nowUs);
  }

  /** How much later a packet arrives that was lost on the way and is sent again. */
  get resendUs(): number {
    return 1.25 * this.srttUs + this.rttvarUs + MIN_ACK_DELAY_US;
  }

  /** The probe time-out: srtt + 4 rttvar + ACK delay, doubled with each in a row. Source: RFC 9002 §6.2.1. */
  ptoUs(): number {
    const once = this.srttUs + Math.max(4 * this.rttvarUs, 1_000) + MAX_ACK_DELAY_US;
    return Math.max(MIN_PTO_US, once) * 2 ** Math.min(this.ptoCount, 4);
  }

  /**
   * When the probe time-out is over: counted from the last progress, since a peer that sleeps for a moment must not look like a dead path. While another
   * path makes progress it is not asleep; then the oldest datagram's own time counts, which is a round trip earlier on a busy path.
   */
  private silentUs(): number {
    const patientUs = this.lastProgressUs + this.ptoUs();
    if (this.ptoCount > 0 || this.othersProgressUs < this.lastProgressUs + PAUSE_US) return patientUs;
    const lateUs = this.rate.lateUs - this.rate.delayUs;
    const { sent } = this;
    let oldest = sent.front;
    while (oldest < sent.next && !sent.isInFlight(oldest)) oldest++;
    const oldestUs = sent.sentUs[sent.at(oldest)];
    return Math.min(patientUs, Math.max(oldestUs + this.ptoUs(), this.lastProgressUs + 2 * PAUSE_US + lateUs));
  }

  private handlePto(nowUs: number): void {
    this.pingDue = true;
    this.lastProgressUs = nowUs;
    this.ptoCount++;
    if (this.ptoCount === 1 && this.inFlightEliciting < SUSPECT_IN_FLIGHT) {
      this.surrender(nowUs);
      // Nothing is left to time the ping's answer by but the ping itself, which is about to be sent.
      this.ptoCount = 1;
      return;
    }
    this.suspectSinceUs = nowUs;
    const { sent } = this;
    let large = 0;
    for (let pn = sent.front; pn < sent.next; pn++) {
      if (sent.isInFlight(pn) && (sent.kind[sent.at(pn)] & SPARED) === 0 && sent.bytes[sent.at(pn)] > LEAST_MTU)
        large++;
    }
    this.mtu.handleSilence(large);
    this.surrender(nowUs);
    this.nextProbeUs = nowUs + SUSPECT_PROBE_US;
    this.setState('suspect', nowUs);
  }

  private probe(nowUs: number): void {
    this.pingDue = true;
    if (this.state === 'lossy') {
      this.nextProbeUs = nowUs + LOSSY_PROBE_US;
      if (nowUs - this.lastProgressUs > LOSSY_SILENT_US) this.handlePto(nowUs);
      return;
    }
    this.ptoCount++;
    if (this.state === 'suspect') {
      this.nextProbeUs = nowUs + SUSPECT_PROBE_US;
      const silentUs = nowUs - this.suspectSinceUs;
      if (this.ptoCount > DOWN_AFTER_PTOS && silentUs > Math.max(DOWN_AFTER_US, this.srttUs)) {
        this.flaps.noteSilent();
        this.setState('down', nowUs);
      }
    } else {
      this.nextProbeUs = nowUs + downProbeUs(nowUs - this.suspectSinceUs);
    }
    // What a dead path still has in flight are probes; they would fill the ring.
    this.surrender(nowUs);
  }

  /** Everything in flight counts as lost, here and now. */
  private surrender(nowUs: number): void {
    const { sent } = this;
    for (let pn = sent.front; pn < sent.next; pn++) {
      if (sent.isInFlight(pn)) this.lose(pn, nowUs, false);
    }
    this.surrendered = sent.next;
    sent.advance();
    this.lossUs = Number.POSITIVE_INFINITY;
  }

  /** The peer has this one, but what it tells of the path is for the path's own ACK to say: it need not be sent again, no more. */
  private spare(pn: number, nowUs: number): void {
    const { sent } = this;
    const i = sent.at(pn);
    if (sent.state[i] === LOST) this.acknowledge(pn, nowUs);
    else if (sent.state[i] === IN_FLIGHT && sent.slot[i] !== NONE) {
      this.pool.letGo(sent.slot[i], FLAG_ARRIVED);
      sent.slot[i] = NONE;
      sent.kind[i] |= SPARED;
    }
  }

  private acknowledge(pn: number, nowUs: number): number {
    const { sent } = this;
    const i = sent.at(pn);
    const state = sent.state[i];
    if (state === GONE) return 0;
    const size = sent.bytes[i];
    const slot = sent.slot[i];
    sent.state[i] = GONE;
    sent.slot[i] = NONE;
    if ((sent.kind[i] & PROBE_MTU) !== 0) this.mtu.handleProbePassed(size, nowUs);
    else if (size > LEAST_MTU) this.mtu.handleLarge(true, sent.sentUs[i], nowUs);
    if (state === IN_FLIGHT) {
      this.rate.loss.noteAcked();
      this.inFlightBytes -= size;
      this.inFlightEliciting--;
      if (slot !== NONE) this.pool.letGo(slot, FLAG_ARRIVED);
      if (this.state === 'lossy' && this.rate.loss.noteProbe(false, nowUs)) {
        this.rate.begin(this.srttUs, nowUs);
        this.nextProbeUs = Number.POSITIVE_INFINITY;
        this.setState('up', nowUs);
      }
    } else {
      this.spurious++;
      this.rate.loss.noteFound();
      if (pn >= this.surrendered) {
        this.threshold = Math.min(MOST_THRESHOLD, Math.max(this.threshold, this.largestAcked - pn + 1));
      }
      // Thought lost, and not sent again yet: it need not be.
      if (
        slot !== NONE &&
        (this.pool.flags[slot] & FLAG_RESENDING) !== 0 &&
        this.pool.originPath[slot] === this.id &&
        this.pool.originNumber[slot] === pn
      ) {
        this.pool.flags[slot] |= FLAG_CANCELLED;
      }
    }
    return size;
  }

  private lose(pn: number, nowUs: number, counts: boolean): void {
    const { sent } = this;
    const i = sent.at(pn);
    const size = sent.bytes[i];
    const slot = sent.slot[i];
    const isSpared = (sent.kind[i] & SPARED) !== 0;
    sent.state[i] = isSpared ? GONE : LOST;
    this.inFlightBytes -= size;
    this.inFlightEliciting--;
    if (isSpared) return;
    if ((sent.kind[i] & PROBE_MTU) !== 0) {
      this.mtu.handleProbeLost(size, nowUs);
      return;
    }
    if (this.state === 'lossy') this.rate.loss.noteProbe(true, nowUs);
    if (counts) {
      this.lostDatagrams++;
      this.rate.loss.noteLost();
      if (size > LEAST_MTU) this.mtu.handleLarge(false, sent.sentUs[i], nowUs);
      if (slot !== NONE && !this.rate.settled) this.pool.flags[slot] |= FLAG_OVERFLOWN;
    }
    if (slot !== NONE && !this.pool.letGoShared(slot)) this.owner.handleLostSlot(slot, this, pn, nowUs);
  }

  private findLost(nowUs: number): void {
    const timeUs = Math.max(MIN_TIME_THRESHOLD_US, (9 / 8) * this.srttUs);
    this.lossUs = Number.POSITIVE_INFINITY;
    const { sent } = this;
    sent.advanceFront(this.largestAcked);
    for (let pn = sent.front; pn < this.largestAcked; pn++) {
      if (!sent.isInFlight(pn)) continue;
      const lateUs = sent.sentUs[sent.at(pn)] + timeUs;
      if (this.largestAcked - pn >= this.threshold || lateUs <= nowUs) this.lose(pn, nowUs, true);
      else if (lateUs < this.lossUs) this.lossUs = lateUs;
    }
    sent.advance();
  }

  /** Control datagrams are sent when the ring is full too: the oldest gives way. */
  private makeRoom(nowUs: number): void {
    const { sent } = this;
    if (sent.isInFlight(sent.lowest)) this.lose(sent.lowest, nowUs, false);
    sent.forgetLowest();
    sent.advance();
  }

  private setState(state: PathState, nowUs: number): void {
    if (state === this.state) return;
    this.state = state;
    this.owner.handlePathState(this, state, nowUs);
  }
}

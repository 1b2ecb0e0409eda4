/**
 * What follows from all paths of a bond together: the inner MTU, the best path for a control datagram, and what the queues should allow for.
 */
import { DATA_OVERHEAD_BYTES } from '../wire/header.ts';
import { MAX_ACK_DELAY_US } from './arrivals.ts';
import { INTERVAL_US } from './codel.ts';
import type { Grouper } from './grouper.ts';
import type { Lanes } from './lanes.ts';
import type { Path } from './path.ts';
import { MAX_PACKET_BYTES } from './pool.ts';
import type { FlowQueue } from './queue.ts';
import type { ReorderBuffer } from './reorder.ts';
import type { Paths } from './scheduler.ts';
import type { Steering } from './steering.ts';

/** Wait in the queue that a bulk flow needs to keep the paths busy through its own back-offs, µs. */
const CODEL_BASE_US = 15_000;
/** From this share of lost packets on, a flow is held up so often that it is as if its round trip were longer. */
const HOLDING_LOSS = 0.002;
/** What may wait in all, as time at the rate of all paths, and the least that may. */
const QUEUE_LIMIT_US = 200_000;
const QUEUE_LIMIT_LEAST_BYTES = 30_000;
/** A bulk flow is delivered in so many groups a round trip of the fastest path at least, and none waits longer. */
const GROUPS_A_ROUND = 6;
const GROUP_MOST_US = 2_500;
/** What is sent again is lost as often as anything; who gives up says so (SKIP), so to wait for two costs nothing. */
const RESENDS_WAITED = 2;
/** IPv6 needs a link of 1,280 bytes (RFC 8200 §5); where only IPv4 is carried, the inner MTU may be what the narrowest path leaves of as much. */
export const LEAST_INNER_IPV6 = 1280;
export const LEAST_INNER_IPV4 = 1200;

/**
 * The largest inner packet that every path in use can carry; 0 while that is not known. `peerMtu` is what the peer says of its own
 * direction, 0 if it has not. A path that leaves less than `leastMtu` does not count: it carries what fits.
 */
export function innerMtuOf(paths: Paths, peerMtu: number, leastMtu: number): number {
  let least = 0;
  for (const p of paths) {
    if (p === undefined || p.state === 'closed' || p.state === 'waiting' || !p.mtu.found) continue;
    const mtu = p.mtu.bytes - p.outerBytes - DATA_OVERHEAD_BYTES;
    if (least < leastMtu || (mtu >= leastMtu && mtu < least)) least = mtu;
  }
  if (least === 0) return 0;
  if (peerMtu !== 0) least = Math.min(least, peerMtu);
  return Math.max(leastMtu, Math.min(least, MAX_PACKET_BYTES));
}

/** The path that is up and has the least round trip. */
export function bestUp(paths: Paths, not?: Path): Path | undefined {
  let best: Path | undefined;
  for (const p of paths) {
    if (p?.isUp && p !== not && (best === undefined || p.srttUs < best.srttUs)) best = p;
  }
  return best;
}

/** Whether no path of `mask` that is up, or whose size is still being searched, carries an inner packet of this length. */
export function isTooLarge(paths: Paths, mask: number, length: number): boolean {
  let isUp = false;
  for (const p of paths) {
    if (p === undefined || !p.isUp || (mask & (1 << p.id)) === 0) continue;
    if (!p.mtu.found || p.fits(length + DATA_OVERHEAD_BYTES)) return false;
    isUp = true;
  }
  return isUp;
}

/** What `tuneQueue` found of its paths. */
const found = { spreadUs: 0, fastestUs: 0 };

/** Sets what a flow queue should allow for, from the paths of `mask` that carry. Returns whether there are any; then `found` is filled. */
function tuneQueue(paths: Paths, mask: number, queue: FlowQueue): boolean {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  let fastest = Number.POSITIVE_INFINITY;
  let capacity = 0;
  let holdUs = 0;
  let settled = true;
  for (const p of paths) {
    if (p === undefined || !p.isUp || p.standby || (mask & (1 << p.id)) === 0) continue;
    least = Math.min(least, p.rate.delayUs);
    most = Math.max(most, p.rate.lateUs);
    fastest = Math.min(fastest, p.minRttUs);
    capacity += p.rate.capacity;
    if (p.rate.loss.mean > HOLDING_LOSS) holdUs = Math.max(holdUs, p.resendUs);
    if (!p.rate.settled) settled = false;
  }
  if (capacity === 0) return false;
  const spread = Math.min(most - least, 400_000);
  // A CUBIC flow that backs off to 0.7 keeps all paths busy only if 0.43 of a round trip was queued (1 / 0.7 − 1), and the slower
  // paths only if the queue is then still as long as the spread. Other flows do not wait in this one's queue.
  // What a lossy path does to the flow's round trip is the wait for what is sent again; the queue runs dry meanwhile, too.
  const roundTripUs = Math.min(400_000, fastest + spread + holdUs);
  queue.targetUs = CODEL_BASE_US + spread + 0.43 * roundTripUs + 0.5 * holdUs;
  queue.intervalUs = Math.max(INTERVAL_US, roundTripUs + queue.targetUs);
  queue.limitBytes = settled
    ? Math.max(QUEUE_LIMIT_LEAST_BYTES, capacity * Math.max(QUEUE_LIMIT_US + spread, 2 * queue.targetUs))
    : Number.POSITIVE_INFINITY;
  found.spreadUs = spread;
  found.fastestUs = fastest;
  return true;
}

/** Sets what the flow queues, the reorder buffer and the grouper should allow for, from the paths as they are now. */
export function retune(
  paths: Paths,
  steering: Steering,
  lanes: Lanes,
  reorder: ReorderBuffer,
  grouper: Grouper,
  groups: boolean,
): void {
  // The bond's own class comes last: order is kept for all paths that it uses.
  for (let c = lanes.all.length - 1; c > 0; c--) tuneQueue(paths, steering.carriers[c], lanes.all[c].queue);
  if (!tuneQueue(paths, steering.carriers[0], lanes.all[0].queue)) return;
  let rtt = 0;
  let pto = 0;
  for (const p of paths) {
    if (p === undefined || p.standby || (p.state !== 'up' && p.state !== 'suspect')) continue;
    // A suspect path's packets, or what is sent again for them, are still to come.
    rtt = Math.max(rtt, p.srttUs + 2 * p.rttvarUs);
    pto = Math.max(pto, p.srttUs + 4 * p.rttvarUs + MAX_ACK_DELAY_US);
  }
  grouper.windowUs = groups ? Math.min(GROUP_MOST_US, found.fastestUs / GROUPS_A_ROUND) : 0;
  reorder.spreadUs = Math.min(250_000, found.spreadUs + pto + 30_000);
  reorder.resendUs = Math.min(250_000, RESENDS_WAITED * (1.25 * rtt + 25_000));
}

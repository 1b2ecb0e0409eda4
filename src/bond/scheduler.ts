/**
 * The choice of path for the packet at the head of the queue: earliest arrival (docs/protocol.md §7).
 *
 *   arrival(path) = time at which pacing lets it go + one-way delay as it stands then + for a lone packet: share lost × time to send it again
 *                   + for one that this path has lost, while it searches for its rate or for the second time: time to send it again
 *
 * The path with the earliest arrival gets the packet if it may send now. If it must wait, another one is used at once when the queue
 * would keep the faster paths busy for longer than the slower one's delay costs (ECF, Lim et al., CoNEXT 2017); and it gets not the head
 * of the queue but the packet that the faster ones would bring at that time, so that nothing is held for it at the other end.
 */
import type { Path } from './path.ts';

/** How far ahead of pacing a path may be used, and below which size (inner and ours). */
export const SMALL_AHEAD_US = 100_000;
export const SMALL_BYTES = 600;

/** Paths by id. */
export type Paths = readonly (Path | undefined)[];

/** The answer of `choosePath`, owned by the caller: a path that may send now, or the time at which to ask again. */
export interface Choice {
  /** Asked for a packet that this path lost, and may well lose again; NONE: for any other. */
  lostBy: number;
  path: Path | undefined;
  /** What the faster paths bring before the chosen one does: the packet to take has so many bytes before it in the queue. */
  depthBytes: number;
  wakeUs: number;
}

/**
 * Chooses among the paths of `mask` that are up and carry `sizeBytes`.
 * `queuedBytes`: what is to be sent, from this packet on.
 * `wakeUs` is Infinity when only an acknowledgement can open a window.
 */
export function choosePath(
  paths: Paths,
  mask: number,
  sizeBytes: number,
  queuedBytes: number,
  nowUs: number,
  out: Choice,
): void {
  let best: Path | undefined;
  let bestArrivalUs = Number.POSITIVE_INFINITY;
  let wakeUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || (mask & (1 << i)) === 0 || !mayCarry(p, sizeBytes)) continue;
    const startUs = Math.max(nowUs, p.nextSendUs);
    if (startUs > nowUs && startUs < wakeUs) wakeUs = startUs;
    const arrivalUs = arrivalAt(p, startUs) + (i === out.lostBy ? p.resendUs : 0);
    if (arrivalUs < bestArrivalUs) {
      best = p;
      bestArrivalUs = arrivalUs;
    }
  }
  out.path = undefined;
  out.depthBytes = 0;
  out.wakeUs = wakeUs;
  if (best === undefined) return;
  if (best.nextSendUs <= nowUs) {
    out.path = best;
    return;
  }
  let second: Path | undefined;
  let secondArrivalUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || (mask & (1 << i)) === 0 || p.nextSendUs > nowUs || !mayCarry(p, sizeBytes)) continue;
    const arrivalUs = arrivalAt(p, nowUs) + (i === out.lostBy ? p.resendUs : 0);
    const depthBytes = broughtBefore(paths, mask, arrivalUs, nowUs);
    if (arrivalUs < secondArrivalUs && depthBytes < queuedBytes) {
      second = p;
      secondArrivalUs = arrivalUs;
      out.depthBytes = depthBytes;
    }
  }
  out.path = second;
}

/**
 * The path that brings a sparse flow's packet first, which waits for it. A small one need not wait for pacing, unless that is behind by more than `SMALL_AHEAD_US`: what
 * follows pays for it, and the next one sees the path taken and goes by another. It goes by what packets met just now, in the mean, once the path is known (before, a few must go there, or nobody would learn what its delay does); larger ones, which are what a
 * bulk flow without a queue sends, by the least delay, as bulk does.
 */
export function chooseFirst(
  paths: Paths,
  mask: number,
  sizeBytes: number,
  mayGoAhead: boolean,
  nowUs: number,
  out: Choice,
): void {
  const isSmall = mayGoAhead && sizeBytes < SMALL_BYTES;
  let best: Path | undefined;
  let bestArrivalUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || (mask & (1 << i)) === 0 || !mayCarry(p, sizeBytes)) continue;
    let arrivalUs = isSmall && p.rate.settled ? meanArrivalAt(p, nowUs) : arrivalAt(p, Math.max(nowUs, p.nextSendUs));
    arrivalUs += p.rate.loss.mean * p.resendUs;
    if (i === out.lostBy) arrivalUs += p.resendUs;
    if (arrivalUs >= bestArrivalUs) continue;
    best = p;
    bestArrivalUs = arrivalUs;
  }
  out.depthBytes = 0;
  out.path = undefined;
  out.wakeUs = Number.POSITIVE_INFINITY;
  if (best === undefined) return;
  const turnUs = best.nextSendUs - (isSmall && best.rate.settled ? SMALL_AHEAD_US : 0);
  if (turnUs <= nowUs) out.path = best;
  else out.wakeUs = turnUs;
}

/** When a packet sent now, or at the path's turn, arrives in the mean. */
function meanArrivalAt({ rate, nextSendUs }: Path, nowUs: number): number {
  const startUs = Math.max(nowUs, nextSendUs);
  return Math.max(startUs + rate.leastUs + rate.lateMeanUs, nextSendUs + rate.recentUs);
}

/** Not up, but what is sent over it may arrive. */
export function mayBeLate(p: Path): boolean {
  return p.state === 'suspect' || p.state === 'lossy';
}

/**
 * The path that brings a copy of what `first` carries earliest: of `carriers`; when there is no other one, of those of `mask` that are suspect or lossy:
 * better a copy that may come than none. `first` undefined: nothing goes by another one.
 */
export function secondPath(
  paths: Paths,
  mask: number,
  carriers: number,
  first: Path | undefined,
  sizeBytes: number,
  nowUs: number,
): Path | undefined {
  let best: Path | undefined;
  let bestArrivalUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || p === first || !p.hasEndpoint || !p.fits(sizeBytes)) continue;
    if (p.isUp ? (carriers & (1 << i)) === 0 : !mayBeLate(p) || (mask & (1 << i)) === 0) continue;
    // Any path that is up is better than the best of those that are not.
    const arrivalUs = arrivalAt(p, Math.max(nowUs, p.nextSendUs)) + (p.isUp ? 0 : 1e12);
    if (arrivalUs < bestArrivalUs) {
      best = p;
      bestArrivalUs = arrivalUs;
    }
  }
  return best;
}

/** When a packet sent at `startUs` arrives: behind the one before it, whose queue has become shorter since if nothing was sent. */
function arrivalAt(p: Path, startUs: number): number {
  return Math.max(startUs + p.rate.leastUs, p.nextSendUs + p.rate.delayUs);
}

/** Whether a path may be given a datagram of this size now, but for its pacing. */
export function mayCarry(p: Path, sizeBytes: number): boolean {
  return p.isUp && p.hasEndpoint && p.fits(sizeBytes) && p.hasRoom();
}

/** What the other paths bring until `arrivalUs`, of what waits now. */
function broughtBefore(paths: Paths, mask: number, arrivalUs: number, nowUs: number): number {
  let bytes = 0;
  for (let i = 0; i < paths.length; i++) {
    const q = paths[i];
    if (q === undefined || (mask & (1 << i)) === 0 || !q.isUp) continue;
    const aheadUs = arrivalUs - arrivalAt(q, Math.max(nowUs, q.nextSendUs));
    if (aheadUs > 0) bytes += aheadUs * q.rate.capacity;
  }
  return bytes;
}

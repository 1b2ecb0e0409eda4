/**
 * The choice of path for the packet at the head of the queue: earliest arrival (docs/protocol.md §7).
 *
 *   arrival(path) = time at which pacing lets it go + one-way delay as it stands then
 *
 * The path with the earliest arrival gets the packet if it may send now. If it must wait, another one is used at once when the queue
 * would keep the faster paths busy for longer than the slower one's delay costs (ECF, Lim et al., CoNEXT 2017); and it gets not the head
 * of the queue but the packet that the faster ones would bring at that time, so that nothing is held for it at the other end.
 */
import type { Path } from './path.ts';

/** The answer of `choosePath`, owned by the caller: a path that may send now, or the time at which to ask again. */
export interface Choice {
  path: Path | undefined;
  /** What the faster paths bring before the chosen one does: the packet to take has so many bytes before it in the queue. */
  depthBytes: number;
  wakeUs: number;
}

/**
 * Chooses among the paths that are up and carry `sizeBytes`. `urgent`: a sparse flow's packet, or a resend, which waits for the earliest path.
 * `wakeUs` is Infinity when only an acknowledgement can open a window.
 */
export function choosePath(
  paths: readonly (Path | undefined)[],
  sizeBytes: number,
  urgent: boolean,
  queuedBytes: number,
  nowUs: number,
  out: Choice,
): void {
  let best: Path | undefined;
  let bestArrivalUs = Number.POSITIVE_INFINITY;
  let wakeUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || !mayCarry(p, sizeBytes)) continue;
    const startUs = Math.max(nowUs, p.nextSendUs);
    if (startUs > nowUs && startUs < wakeUs) wakeUs = startUs;
    const arrivalUs = arrivalAt(p, startUs);
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
  if (urgent) {
    out.wakeUs = best.nextSendUs;
    return;
  }
  let second: Path | undefined;
  let secondArrivalUs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < paths.length; i++) {
    const p = paths[i];
    if (p === undefined || p.nextSendUs > nowUs || !mayCarry(p, sizeBytes)) continue;
    const arrivalUs = arrivalAt(p, nowUs);
    const depthBytes = broughtBefore(paths, arrivalUs, nowUs);
    if (arrivalUs < secondArrivalUs && depthBytes < queuedBytes) {
      second = p;
      secondArrivalUs = arrivalUs;
      out.depthBytes = depthBytes;
    }
  }
  out.path = second;
}

/** When a packet sent at `startUs` arrives: behind the one before it, whose queue has become shorter since if nothing was sent. */
function arrivalAt(p: Path, startUs: number): number {
  return Math.max(startUs + p.rate.leastUs, p.nextSendUs + p.rate.delayUs);
}

function mayCarry(p: Path, sizeBytes: number): boolean {
  return p.isUp && p.hasEndpoint && sizeBytes + p.outerBytes <= p.mtu.bytes && p.hasRoom();
}

/** What the other paths bring until `arrivalUs`, of what waits now. */
function broughtBefore(paths: readonly (Path | undefined)[], arrivalUs: number, nowUs: number): number {
  let bytes = 0;
  for (let i = 0; i < paths.length; i++) {
    const q = paths[i];
    if (q === undefined || !q.isUp) continue;
    const aheadUs = arrivalUs - arrivalAt(q, Math.max(nowUs, q.nextSendUs));
    if (aheadUs > 0) bytes += aheadUs * q.rate.capacity;
  }
  return bytes;
}

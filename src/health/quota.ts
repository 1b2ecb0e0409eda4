/** A link's quota: how much of it is used, and the months that it is counted by. */

/** `near` from 80 % on, `used` at 100 %. */
export type QuotaState = 'ok' | 'near' | 'used';

/** Share of a quota from which on the operator is warned. */
export const NEAR_SHARE = 0.8;

export function quotaState(usedBytes: number, limitBytes: number): QuotaState {
  if (usedBytes >= limitBytes) return 'used';
  return usedBytes >= NEAR_SHARE * limitBytes ? 'near' : 'ok';
}

/**
 * The period that a moment lies in: from midnight of the reset day to that of the next month, local time. In a month that has no such day it is
 * the last one. Shape: `{ sinceMs, untilMs }`, milliseconds since 1970.
 */
export function quotaPeriod(nowMs: number, resetDay: number): { sinceMs: number; untilMs: number } {
  const now = new Date(nowMs);
  const month = (offset: number): number => {
    const last = new Date(now.getFullYear(), now.getMonth() + offset + 1, 0).getDate();
    return new Date(now.getFullYear(), now.getMonth() + offset, Math.min(resetDay, last)).getTime();
  };
  const here = month(0);
  return nowMs < here ? { sinceMs: month(-1), untilMs: here } : { sinceMs: here, untilMs: month(1) };
}

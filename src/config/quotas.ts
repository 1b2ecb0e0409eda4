/**
 * Quotas, which links (at the router) and clients (at the server) have alike: their options, what one section says of them against itself, and the value.
 */
import type { Quota } from './config.ts';
import * as kind from './kinds.ts';
import { is } from './option-spec.ts';
import { complain, type Entry, oneOf, type Reader, type Reading } from './reading.ts';

/** The options of a link. */
export const LINK_QUOTA = {
  quota: is({
    kind: kind.size,
    role: 'router',
    engine: 'multipath',
    otherwise: 'not metered',
    doc: 'What may pass this link in a month, both ways together, counted in IP bytes as a provider does. A warning at 80 %. The count survives restarts.',
  }),
  quota_reset: is({
    kind: kind.whole(1, 31, 'a day of the month'),
    role: 'router',
    engine: 'multipath',
    default: '1',
    doc: 'Day on which the count begins anew, at midnight of the local time; in shorter months their last day.',
  }),
  quota_action: is({
    kind: kind.choice('backup', 'off', 'warn'),
    role: 'router',
    engine: 'multipath',
    default: 'backup',
    doc: 'When the quota is used up: carry only while nothing else is up, not at all, or go on with a warning.',
  }),
};

/** The options of a client. */
export const CLIENT_QUOTA = {
  quota: {
    ...LINK_QUOTA.quota,
    role: undefined,
    engine: undefined,
    doc: 'What may pass between this client and the server in a month, over all its links and both ways together, counted in outer IP bytes. A warning at 80 %. The count survives restarts.',
  },
  quota_reset: { ...LINK_QUOTA.quota_reset, role: undefined, engine: undefined },
  quota_action: is({
    kind: kind.choice('slow', 'off', 'warn'),
    default: 'slow',
    doc: 'When the quota is used up: go on at `quota_rate`, not be served at all, or go on with a warning.',
  }),
  quota_rate: is({
    kind: kind.rate('256kbit', '10gbit'),
    default: '1mbit',
    doc: "What each way has after that, with `quota_action 'slow'`.",
  }),
};

/** Complains about what is said beside a quota that is not. */
export function checkQuota(
  reader: Reader,
  { read: r }: { read: Reading<typeof LINK_QUOTA> | Reading<typeof CLIENT_QUOTA> },
): void {
  const rate: Entry<number> | undefined = 'quota_rate' in r ? r.quota_rate : undefined;
  for (const entry of [r.quota_reset, r.quota_action, ...(rate ? [rate] : [])]) {
    const said = entry.said[0];
    if (!said || r.quota.said.length > 0 || r.quota.faulty) continue;
    complain(reader, said.line, said.where, {
      expected: 'option quota beside it',
      found: 'none',
      todo: "add: option quota '20GB'",
    });
  }
  const [action, slow] = [r.quota_action.said[0], rate?.said[0]];
  if (slow && action && action.value !== 'slow') {
    const expected = "quota_action 'slow' beside it";
    complain(reader, slow.line, slow.where, { expected, found: `'${action.text}'`, todo: 'remove one of them' });
  }
}

/** The value of a section without faults; undefined: not metered. */
export function quotaOf<Action>(r: {
  quota: Entry<number>;
  quota_reset: Entry<number>;
  quota_action: Entry<Action>;
}): Quota<Action> | undefined {
  const [limitBytes, resetDay, action] = [oneOf(r.quota), oneOf(r.quota_reset), oneOf(r.quota_action)];
  if (limitBytes === undefined || resetDay === undefined || action === undefined) return undefined;
  return { limitBytes, resetDay, action };
}

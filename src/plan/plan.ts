/**
 * The way from what is to what should be: steps, each the change of one slot and so with an inverse.
 *
 * Three sources say what a slot should hold: the wish (desired.ts); else the journal, which knows what was there before us; else, for
 * a thing that bears our mark but is in no journal, nothing. So one comparison starts, follows changes, recovers after a crash (with
 * a wish) and takes everything back (without one).
 */
import type { Ownership, Should } from './desired.ts';
import { type Facts, lookout } from './facts.ts';
import { deviceOf, isMarked, sameThing, slotOf, type Thing } from './thing.ts';

export { desired } from './desired.ts';
export { lookout };

/** The change of one slot. Plain data. `before` and `after` are never both missing. */
export interface Step {
  slot: string;
  before?: Thing;
  after?: Thing;
}

/** What a slot held before yoke touched it; missing `before`: nothing. Plain data. */
export interface Entry {
  slot: string;
  before?: Thing;
  /** What yoke first meant to put there: tells whoever reads the slot where to look. */
  ours: Thing;
  /** The number of the device that the thing hangs on. */
  index?: number;
}

/** What a plan is made from. */
export type Observed = Pick<Facts, 'devices' | 'indexes' | 'things'>;

/** Everything to be done, and what has to be written down before it is done. */
export interface Plan {
  steps: Step[];
  /** Slots that become ours with this plan. */
  claims: Entry[];
  /** Slots that are as they were before us once the plan is done. */
  releases: string[];
}

/** The step that undoes a step. */
export function inverse(step: Step): Step {
  return { slot: step.slot, ...(step.after && { before: step.after }), ...(step.before && { after: step.before }) };
}

/**
 * The plan that leads from the facts to the wish; without a wish, to the host as it was.
 *
 * Invariant: after the plan is applied, the same question answers with an empty plan.
 */
export function diff(facts: Observed, should?: Should, journal: readonly Entry[] = []): Plan {
  const is = new Map(facts.things.map((t) => [slotOf(t), t]));
  const known = new Map(journal.filter((e) => !isOfFormerDevice(e, facts)).map((e) => [e.slot, e]));
  const wanted = new Set<string>();
  const plan: Plan = { steps: [], claims: [], releases: [] };
  const change = (slot: string, after: Thing | undefined) => {
    const before = is.get(slot);
    if (!sameThing(before, after)) plan.steps.push({ slot, ...(before && { before }), ...(after && { after }) });
  };

  for (const thing of should?.things ?? []) {
    const slot = slotOf(thing);
    wanted.add(slot);
    const before = is.get(slot);
    change(slot, thing);
    // A marked thing that is there already and in no journal is a leftover of ours: before us there was nothing.
    if (!known.has(slot) && (isMarked(thing) || !sameThing(before, thing)))
      plan.claims.push({ slot, ...(before && !isMarked(thing) && { before }), ours: thing, ...indexOf(thing, facts) });
  }
  for (const entry of [...journal].reverse()) {
    if (!known.has(entry.slot)) {
      if (!plan.claims.some((c) => c.slot === entry.slot)) plan.releases.push(entry.slot);
      continue;
    }
    if (wanted.has(entry.slot)) continue;
    plan.releases.push(entry.slot);
    if (canBe(is.get(entry.slot) ?? entry.ours, facts.devices)) change(entry.slot, entry.before);
  }
  for (const thing of facts.things) {
    const slot = slotOf(thing);
    if (should && !wanted.has(slot) && !known.has(slot) && isOurs(thing, should.owns)) change(slot, undefined);
  }
  return plan;
}

function indexOf(thing: Thing, facts: Observed): { index?: number } {
  const index = facts.indexes?.[deviceOf(thing) ?? ''];
  return index === undefined ? {} : { index };
}

/** What hung on a device that has come back as another one went with it; what is there now was not put there by us. */
function isOfFormerDevice(entry: Entry, facts: Observed): boolean {
  if (entry.index === undefined || isMarked(entry.ours)) return false;
  const { index } = indexOf(entry.ours, facts);
  return index !== undefined && index !== entry.index;
}

/** Whether the device that a thing needs is there; without it the thing is gone and cannot be put back. */
export function canBe(thing: Thing, devices: readonly string[]): boolean {
  const dev = deviceOf(thing);
  return dev === undefined || devices.includes(dev);
}

/** Whether a marked thing is this instance's and not of another one on the machine. */
export function isOurs(t: Thing, owns: Ownership): boolean {
  switch (t.kind) {
    case 'rule':
      return t.priority >= owns.priorities[0] && t.priority <= owns.priorities[1];
    case 'route':
      return owns.tables.includes(t.table) || t.dev === owns.device;
    case 'nft':
      return t.table === owns.nftTable;
    default:
      return false;
  }
}

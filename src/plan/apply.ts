/**
 * The transaction: everything of a plan, or nothing.
 *
 *   journal the undo (durably) → perform each step → read back → forget what was released
 *        └─ any failure → perform the inverses, last first → the journal as it was before
 *
 * Law: whichever step fails, before or after it took effect, the host is as it was; and whenever the process dies, the journal names
 * every slot that may have been touched and what it held before us, so the next start or `yoke down` needs nothing else.
 */
import { YokeError } from '../base/error.ts';
import { type Command, commandsOf, groupsOf, printCommand } from './command.ts';
import { canBe, diff, type Entry, inverse, type Observed, type Plan, type Step } from './plan.ts';
import { sameThing, slotOf, type Thing } from './thing.ts';

/** A machine to be changed: the real one, or a simulated one in tests. One contract suite runs against both. */
export interface Host {
  /** Makes the step's slot hold `after`, whatever it holds now; idempotent. @throws YokeError when it could not. */
  perform(step: Step): Promise<void>;
  /** The same for a group of `groupsOf` at once: whether all of it was done. What was not, or not known to be, is then performed one by one. */
  performTogether?(group: readonly Step[]): Promise<boolean>;
  /** What is now in the slots of these things, and which devices there are. */
  read(slotsOf: readonly Thing[]): Promise<Observed>;
}

/** Where the journal is kept between processes. */
export interface JournalStore {
  /** Undefined: there is none, or what is there speaks of a kernel that is gone. */
  load(): Promise<Journal | undefined>;
  /** Replaces the journal; durable and whole when it returns. An empty journal is removed. */
  save(journal: Journal): Promise<void>;
}

/** What was there before us, in the order in which we came. Plain data. */
export interface Journal {
  entries: Entry[];
}

/**
 * How a host performs a step by commands: one that fails because its work is done already (kept from before, or undone by the kernel
 * itself) has not failed.
 */
export async function performByCommands(
  step: Step,
  carryOut: (command: Command) => Promise<void>,
  read: Host['read'],
): Promise<void> {
  for (const command of commandsOf(step)) {
    try {
      await carryOut(command);
    } catch (error) {
      if ('write' in command) throw error;
      const { things } = await read([step.after ?? step.before!]);
      const is = things.find((t) => slotOf(t) === step.slot);
      if (!sameThing(is, step.after)) throw error;
    }
  }
}

/** The steps whose slots do not hold what they should: verification by reading back. */
export async function missing(host: Host, steps: readonly Step[]): Promise<Step[]> {
  const { things } = await host.read(steps.flatMap((s) => s.after ?? s.before ?? []));
  const is = new Map(things.map((t) => [slotOf(t), t]));
  return steps.filter((s) => !sameThing(is.get(s.slot), s.after));
}

/**
 * Carries a plan out, whole or not at all. `echo` is told each step before it is performed.
 *
 * Cost: one durable write when slots become ours, one when slots are released; none for an empty plan.
 * @throws YokeError saying which step failed, after the host is as it was (or which inverse failed too: the journal stays for `yoke down`).
 */
export async function applyPlan(
  host: Host,
  store: JournalStore,
  plan: Plan,
  echo: (step: Step) => void = () => {},
): Promise<void> {
  if (plan.steps.length === 0 && plan.claims.length === 0 && plan.releases.length === 0) return;
  const old = (await store.load()) ?? { entries: [] };
  const claimed = new Set(plan.claims.map((c) => c.slot));
  const next = { entries: [...old.entries.filter((e) => !claimed.has(e.slot)), ...plan.claims] };
  const begun: Step[] = [];
  try {
    if (plan.claims.length > 0) await store.save(next);
    for (const group of groupsOf(plan.steps)) {
      begun.push(...group);
      for (const step of group) echo(step);
      if (await doneTogether(host, group)) continue;
      for (const step of group) await host.perform(step);
    }
    const wrong = plan.steps.length > 0 ? await missing(host, plan.steps) : [];
    if (wrong.length > 0) throw notTaken(wrong[0]);
  } catch (error) {
    const failed = await performAll(host, [...begun].reverse().map(inverse), () => {});
    if (failed.length > 0) throw failure([error as Error, ...failed.map((f) => f.error)]);
    if (plan.claims.length > 0) await store.save(old);
    throw error;
  }
  if (plan.releases.length === 0) return;
  const gone = new Set(plan.releases);
  // Should this write fail, the journal names too much, not too little: the next plan releases again.
  await store.save({ entries: next.entries.filter((e) => !gone.has(e.slot)) }).catch(() => {});
}

/**
 * Takes back everything that the journal names, last first; needs no configuration. What has gone with its device is left out.
 *
 * Returns the steps performed. Goes on after a failure, and keeps in the journal what failed.
 * @throws YokeError with every step that failed.
 */
export async function revert(host: Host, store: JournalStore, echo: (step: Step) => void = () => {}): Promise<Step[]> {
  const journal = await store.load();
  if (!journal) return [];
  const is = await host.read(journal.entries.map((e) => e.ours));
  const { steps } = diff(is, undefined, journal.entries);
  const failed = await performAll(host, steps, echo);
  const stuck = new Set(failed.map((f) => f.step.slot));
  await store.save({ entries: journal.entries.filter((e) => stuck.has(e.slot)) });
  if (failed.length > 0) throw failure(failed.map((f) => f.error));
  return steps;
}

/** A process costs more than what it does: most changes are of routes and rules, and go in a few. */
async function doneTogether(host: Host, group: readonly Step[]): Promise<boolean> {
  return group.length > 1 && ((await host.performTogether?.(group)) ?? false);
}

/** Performs every step whatever becomes of the others; a step whose device is gone by then has nothing left to do. */
async function performAll(
  host: Host,
  steps: readonly Step[],
  echo: (step: Step) => void,
): Promise<{ step: Step; error: Error }[]> {
  const failed: { step: Step; error: Error }[] = [];
  for (const group of groupsOf(steps)) {
    for (const step of group) echo(step);
    if (await doneTogether(host, group).catch(() => false)) continue;
    for (const step of group) {
      try {
        await host.perform(step);
      } catch (error) {
        failed.push({ step, error: error as Error });
      }
    }
  }
  if (failed.length === 0) return failed;
  const { devices } = await host.read([]);
  return failed.filter(({ step }) => canBe(step.after ?? step.before!, devices));
}

/** Several failures as one error; the first is the cause. */
function failure(errors: readonly Error[]): YokeError {
  const complaints = errors.flatMap((e) =>
    e instanceof YokeError
      ? e.complaints
      : { where: 'the host', expected: 'the step to succeed', found: e.message, todo: "run 'yoke down'" },
  );
  return new YokeError('host', complaints, true);
}

function notTaken(step: Step): YokeError {
  return new YokeError(
    'host',
    {
      where: commandsOf(step).map(printCommand).join('; '),
      expected: 'the change to be there when read back',
      found: 'it is not: another program may be changing the same thing',
      todo: `look for what else manages '${step.slot}', then try again`,
    },
    true,
  );
}

/**
 * A step as the commands that carry it out: the dry run prints what apply runs, where neighbours of one family go in one `ip -batch`.
 *
 *   run    a program, its arguments, its standard input
 *   write  a kernel setting's file (printed as `sysctl -w`, which does the same)
 */
import { inverse, type Plan, type Step } from './plan.ts';
import { MAIN_TABLE, PROTOCOL, type RouteThing, type RuleThing, type Thing } from './thing.ts';

/** One thing to do on the machine; `mayBeGone`: that the file is not there is no failure. Plain data. */
export type Command = { run: string[]; stdin?: string } | { write: string; text: string; mayBeGone?: boolean };

/** The commands of a step, in order. Each may fail when the slot already holds what it should: who runs them looks afterwards. */
export function commandsOf(step: Step): Command[] {
  const { before, after } = step;
  if (after) return makeCommands(after, before);
  return before ? unmakeCommands(before) : [];
}

function makeCommands(t: Thing, before: Thing | undefined): Command[] {
  switch (t.kind) {
    case 'rule':
      return [{ run: ['ip', `-${t.family}`, 'rule', 'add', ...ruleWords(t)] }];
    case 'route':
      return [{ run: ['ip', `-${t.family}`, 'route', before ? 'replace' : 'add', ...routeWords(t)] }];
    case 'nft':
      return [{ run: ['nft', '-f', '-'], stdin: `add table inet ${t.table}\ndelete table inet ${t.table}\n${t.text}` }];
    case 'sysctl':
      return [
        { write: `/proc/sys/${t.key}`, text: t.value },
        ...(t.extras ?? []).map(([key, text]) => ({ write: `/proc/sys/${key}`, text, mayBeGone: true })),
      ];
    case 'address': {
      const nodad = t.family === 6 ? ['nodad'] : [];
      return [{ run: ['ip', `-${t.family}`, 'addr', 'add', t.address, 'dev', t.dev, ...nodad] }];
    }
    case 'mtu':
      return [{ run: ['ip', 'link', 'set', 'dev', t.dev, 'mtu', String(t.mtu)] }];
    case 'up':
      return [{ run: ['ip', 'link', 'set', 'dev', t.dev, t.up ? 'up' : 'down'] }];
  }
}

function unmakeCommands(t: Thing): Command[] {
  switch (t.kind) {
    case 'rule':
      return [{ run: ['ip', `-${t.family}`, 'rule', 'del', ...ruleWords(t)] }];
    case 'route':
      return [{ run: ['ip', `-${t.family}`, 'route', 'del', ...routeWords(t)] }];
    case 'nft':
      return [{ run: ['nft', 'delete', 'table', 'inet', t.table] }];
    case 'address':
      return [{ run: ['ip', `-${t.family}`, 'addr', 'del', t.address, 'dev', t.dev] }];
    default:
      return []; // A setting, an MTU, up or down is always something: it goes with its device.
  }
}

function ruleWords(r: RuleThing): string[] {
  const words = ['priority', String(r.priority)];
  if (r.notFwmark !== undefined) words.push('not', 'fwmark', `0x${r.notFwmark.toString(16)}`);
  if (r.fwmark !== undefined) words.push('fwmark', `0x${r.fwmark.toString(16)}`);
  if (r.from !== undefined) words.push('from', r.from);
  if (r.oif !== undefined) words.push('oif', r.oif);
  words.push('lookup', r.table === MAIN_TABLE ? 'main' : String(r.table));
  if (r.suppressDefault) words.push('suppress_prefixlength', '0');
  return [...words, 'protocol', String(PROTOCOL)];
}

function routeWords(r: RouteThing): string[] {
  const words = r.type === 'unreachable' ? ['unreachable', r.to] : [r.to];
  if (r.via !== undefined) words.push('via', r.via);
  if (r.dev !== undefined) words.push('dev', r.dev);
  if (r.onlink) words.push('onlink');
  if (r.src !== undefined) words.push('src', r.src);
  words.push('table', r.table === MAIN_TABLE ? 'main' : String(r.table), 'metric', String(r.metric));
  return [...words, 'proto', String(PROTOCOL)];
}

/** Words that a line of `ip -batch` hands on as they are: no blanks, quotes, or signs of a comment. */
const PLAIN_WORD = /^[\w@%+=:,./-]+$/;

/** Steps in their order, in groups: of a group with several, every command is `ip`'s and of one family, so that `batchOf` can make one of them. */
export function groupsOf(steps: readonly Step[]): Step[][] {
  const groups: { family: string | undefined; steps: Step[] }[] = [];
  for (const step of steps) {
    const family = familyOf(step);
    const last = groups.at(-1);
    const fits = family !== undefined && last?.family !== undefined && (family === last.family || family === ANY);
    if (last && fits) last.steps.push(step);
    else if (last && last.family === ANY && family !== undefined) {
      last.family = family;
      last.steps.push(step);
    } else groups.push({ family, steps: [step] });
  }
  return groups.map((g) => g.steps);
}

/** The one command of a group; what of it took effect before it failed is not told. */
export function batchOf(group: readonly Step[]): Command {
  const words = group.flatMap(commandsOf).flatMap((c) => ('run' in c ? [c.run] : []));
  const family = words.map((w) => w[1]).find((w) => w !== ANY) ?? '-4';
  const lines = words.map((w) => w.slice(w[1] === ANY ? 1 : 2).join(' '));
  return { run: ['ip', family, '-batch', '-'], stdin: `${lines.join('\n')}\n` };
}

/** `ip link` has no family. */
const ANY = 'link';

/** `-4`, `-6` or ANY; undefined: it is no matter of `ip` alone. */
function familyOf(step: Step): string | undefined {
  const commands = commandsOf(step);
  const isPlain =
    commands.length > 0 &&
    commands.every((c) => 'run' in c && c.run[0] === 'ip' && c.run.every((w) => PLAIN_WORD.test(w)));
  const [first] = commands;
  return isPlain && first && 'run' in first ? first.run[1] : undefined;
}

/** A command as a reader could type it. */
export function printCommand(c: Command): string {
  if ('write' in c) return `sysctl -w ${c.write.slice('/proc/sys/'.length)}=${c.text}`;
  const line = c.run.map((word) => (PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
  return c.stdin === undefined ? line : `${line} <<'END'\n${c.stdin}END`;
}

/** The steps of a plan, one `[#] command` after the other, as wg-quick echoes them; empty when there is nothing to do. */
export function printPlan(plan: Plan): string {
  return printSteps(plan.steps);
}

/** What takes the plan back, in the order in which it would run. */
export function printUndo(plan: Plan): string {
  return printSteps([...plan.steps].reverse().map(inverse));
}

/** Any steps, printed like a plan. */
export function printSteps(steps: readonly Step[]): string {
  return steps
    .flatMap(commandsOf)
    .map((c) => `[#] ${printCommand(c)}\n`)
    .join('');
}

/** `yoke plan`: the dry run. Prints what `run` would do to this host now, and what takes it back; reads only. */

import { withDevice } from '../daemon/dry.ts';
import { linuxMachine } from '../daemon/linux.ts';
import { loadConfig } from '../daemon/load.ts';
import { printPlan, printUndo } from '../plan/command.ts';
import { unusableLinks } from '../plan/desired.ts';
import { lookout } from '../plan/facts.ts';
import { desired, diff } from '../plan/plan.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** Prints both lists, as the commands that one could type. */
export async function plan(options: GlobalOptions): Promise<number> {
  const config = loadConfig(options.config);
  const machine = linuxMachine(options.runDir);
  const entries = (await machine.store.load())?.entries ?? [];
  const found = await machine.observe(lookout(config), entries);
  const { ifname } = config.bond;
  const there = found.devices.includes(ifname);
  const { facts, live } = withDevice(config, found);
  const steps = diff(facts, desired(config, facts, live), entries);
  const lines: string[] = [];
  for (const link of unusableLinks(found)) lines.push(`# link ${link.name} is left out for now: ${link.problem}\n`);
  if (!there) lines.push(`# the device ${ifname} comes and goes with the process\n`);
  if (steps.steps.length === 0) lines.push('# nothing to change\n');
  else lines.push('# to be done:\n', printPlan(steps), '# to be undone at the end:\n', printUndo(steps));
  process.stdout.write(lines.join(''));
  return EXIT_DONE;
}

/**
 * `yoke plan`: the dry run. Prints what `run` would do to this host now, and what takes it back; with `--down`, what `down` would do
 * now. Reads only.
 */

import { resolve } from 'node:path';
import { leftovers } from '../backend/openvpn/bond-device.ts';
import { ownerOf } from '../backend/openvpn/openvpn.ts';
import { askControl } from '../daemon/control.ts';
import { withDevice, withoutDevice } from '../daemon/dry.ts';
import { openvpnPlan } from '../daemon/dry-openvpn.ts';
import { linuxMachine } from '../daemon/linux.ts';
import { loadConfig } from '../daemon/load.ts';
import { lockHolder } from '../daemon/lock.ts';
import { printPlan, printUndo } from '../plan/command.ts';
import { unusableLinks } from '../plan/desired.ts';
import { lookout } from '../plan/facts.ts';
import { desired, diff, type Step } from '../plan/plan.ts';
import { deviceOf } from '../plan/thing.ts';
import type { Status } from '../status/status.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** Prints both lists, as the commands that one could type. */
export async function plan(options: GlobalOptions & { down?: boolean }): Promise<number> {
  if (options.down) return planDown(options);
  const config = loadConfig(options.config);
  const machine = linuxMachine(options.runDir);
  const entries = (await machine.store.load())?.entries ?? [];
  const found = await machine.observe(lookout(config), entries);
  const { ifname } = config.bond;
  const there = found.devices.includes(ifname);
  const { facts, live } = withDevice(config, found);
  const own = config.engine === 'openvpn' && !there ? await openvpnPlan(config, found, options.runDir) : undefined;
  const steps = diff(facts, desired(config, facts, own ?? live), entries);
  const lines: string[] = lockHolder(options.runDir) ? await reloadLines(options) : [];
  for (const link of unusableLinks(found)) lines.push(`# link ${link.name} is left out for now: ${link.problem}\n`);
  if (!there && !own) lines.push(`# the device ${ifname} comes and goes with the process\n`);
  if (steps.steps.length === 0) lines.push('# nothing to change\n');
  else if (own) {
    const needs = (step: Step) => deviceOf(step.after ?? step.before!) === ifname;
    const [first, then] = [steps.steps.filter((s) => !needs(s)), steps.steps.filter(needs)];
    lines.push(
      '# to be done:\n',
      printPlan({ ...steps, steps: first }),
      ...own.up,
      printPlan({ ...steps, steps: then }),
    );
    lines.push('# to be undone at the end:\n', ...own.down, printUndo({ ...steps, steps: first }));
  } else lines.push('# to be done:\n', printPlan(steps), '# to be undone at the end:\n', printUndo(steps));
  process.stdout.write(lines.join(''));
  return EXIT_DONE;
}

/** What a reload would take into the running instance, and what only a restart would. */
async function reloadLines({ config, runDir }: GlobalOptions): Promise<string[]> {
  const { file, changes, restart } = (await askControl(runDir, 'changes')) as {
    file: string;
    changes: string[];
    restart: string[];
  };
  if (resolve(file) !== resolve(config)) return [`# the running instance has another file: ${file}\n`];
  if (changes.length === 0) return ['# the running instance has this configuration already\n'];
  const way = restart.length > 0 ? 'a restart would change' : 'yoke reload would change';
  return [`# ${way}:\n`, ...changes.map((line) => `# ${line}\n`), ...restart.map((line) => `# ${line}\n`)];
}

/** What the end of the running instance, or `down` after one that was killed, would take back: the journal knows, no file is asked. */
async function planDown({ runDir }: GlobalOptions): Promise<number> {
  const { host, store } = linuxMachine(runDir);
  const holder = lockHolder(runDir);
  const entries = (await store.load())?.entries ?? [];
  const lines: string[] = [];
  let found = await host.read(entries.map((e) => e.ours));
  if (holder) {
    const { ifname, engine } = (await askControl(runDir, 'status')) as Status;
    lines.push(`# pid ${holder.pid} is asked to end, and the device ${ifname} goes with it\n`);
    if (engine === 'openvpn') lines.push('# its tunnels end\n', removal(ifname));
    found = withoutDevice(found, ifname);
  } else {
    for (const device of await leftovers(ownerOf(runDir))) {
      lines.push(removal(device));
      found = withoutDevice(found, device);
    }
  }
  const steps = diff(found, undefined, entries);
  if (steps.steps.length > 0) lines.push('# to be undone:\n', printPlan(steps));
  else if (lines.length === 0) lines.push('# nothing runs, nothing to take back\n');
  process.stdout.write(lines.join(''));
  return EXIT_DONE;
}

const removal = (device: string) => `[#] ip link del dev ${device}\n`;

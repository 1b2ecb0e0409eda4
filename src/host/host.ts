/** This Linux machine, as the transaction sees it: performs a step, reads slots. */
import { writeFile } from 'node:fs/promises';
import { type Host, performByCommands } from '../plan/apply.ts';
import { batchOf, type Command } from '../plan/command.ts';
import type { Observed, Step } from '../plan/plan.ts';
import { deviceOf, type Thing } from '../plan/thing.ts';
import {
  deviceThings,
  hasIpv6,
  type IpDevice,
  readDevices,
  readNft,
  readRoutes,
  readRules,
  readSettingThing,
} from './read.ts';
import { failed, runWell } from './run.ts';

/** The machine in whose network namespace this process runs. */
export class LinuxHost implements Host {
  perform(step: Step): Promise<void> {
    return performByCommands(step, carryOut, (slotsOf) => this.read(slotsOf));
  }

  performTogether(group: readonly Step[]): Promise<boolean> {
    return carryOut(batchOf(group)).then(
      () => true,
      () => false,
    );
  }

  async read(slotsOf: readonly Thing[]): Promise<Observed> {
    return readSlots(slotsOf, await readDevices());
  }
}

/** What is in the slots of some things; slots that nobody asked about may be among the answers. */
export async function readSlots(slotsOf: readonly Thing[], devices: readonly IpDevice[]): Promise<Observed> {
  const jobs: (Thing[] | Promise<Thing[]>)[] = [];
  const ipv6 = await hasIpv6();
  for (const family of [4, 6] as const) {
    if (family === 6 && !ipv6) continue;
    if (slotsOf.some((t) => t.kind === 'rule' && t.family === family)) jobs.push(readRules(family));
    if (slotsOf.some((t) => t.kind === 'route' && t.family === family)) jobs.push(readRoutes(family));
  }
  for (const table of new Set(slotsOf.flatMap((t) => (t.kind === 'nft' ? [t.table] : [])))) jobs.push(readNft(table));
  for (const key of new Set(slotsOf.flatMap((t) => (t.kind === 'sysctl' ? [t.key] : []))))
    jobs.push(readSettingThing(key));
  const wanted = new Set(slotsOf.flatMap((t) => (isOfDevice(t) ? [deviceOf(t)] : [])));
  for (const device of devices) if (wanted.has(device.ifname)) jobs.push(deviceThings(device));
  return {
    devices: devices.map((d) => d.ifname),
    indexes: Object.fromEntries(devices.map((d) => [d.ifname, d.ifindex])),
    things: (await Promise.all(jobs)).flat(),
  };
}

const isOfDevice = (t: Thing) => t.kind === 'address' || t.kind === 'mtu' || t.kind === 'up';

async function carryOut(command: Command): Promise<void> {
  if ('run' in command) {
    await runWell(command.run, command.stdin);
    return;
  }
  try {
    await writeFile(command.write, command.text);
  } catch (error) {
    if (command.mayBeGone && (error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw failed(['write', command.text, 'to', command.write], (error as Error).message);
  }
}

/**
 * The bonding device: made, filled and removed with `ip`.
 *
 *   make      module there? → name free (or ours from before, or the one that the module makes by itself) → add → name its owner
 *   add       slave down, then its master: since Linux 6.1 not in one command
 *   change    what the driver takes while it runs
 *   remove    slave leaves; the kernel leaves it down
 *
 * The device's alias is `yoke RUN-DIRECTORY`: so what a killed instance left is known again.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { printAddress } from '../../base/address.ts';
import { YokeError } from '../../base/error.ts';
import { run, runWell } from '../../host/run.ts';
import type { BackendSettings, OpenvpnSettings } from '../backend.ts';

/** Modes in which the driver can ask its tunnels by ARP. Source: Documentation/networking/bonding.rst, arp_interval. */
const ARP_MODES = ['balance-rr', 'active-backup', 'balance-xor', 'broadcast'];
/** A tunnel is left after two of these without an answer. Units: milliseconds. */
const ARP_INTERVAL_MS = 200;
/** Where ARP cannot be used: the carrier, which falls with OpenVPN. Units: milliseconds. */
const MIIMON_MS = 100;

/** What one link looks like to `ip -j -d link`; what is used here. */
interface IpLink {
  ifname: string;
  flags: string[];
  master?: string;
  ifalias?: string;
  linkinfo?: { info_kind?: string };
}

/** The parameters of the driver: what the file says, and what follows from the mode. `primary` is told when its tunnel is there. */
export function bondParameters(openvpn: OpenvpnSettings, devType: 'tun' | 'tap'): [string, string][] {
  const said = openvpn.parameters.filter((p) => p.name !== 'primary').map((p): [string, string] => [p.name, p.value]);
  const has = (name: string) => said.some(([n]) => n === name);
  const own: [string, string][] = [];
  const peer = openvpn.peerAddress?.length === 4 ? printAddress(openvpn.peerAddress) : undefined;
  if (has('arp_interval')) {
    if (!has('arp_ip_target') && peer !== undefined) own.push(['arp_ip_target', peer]);
  } else if (!has('miimon')) {
    const asks = devType === 'tap' && ARP_MODES.includes(openvpn.mode) && peer !== undefined;
    if (asks) own.push(['arp_interval', String(ARP_INTERVAL_MS)], ...(has('arp_ip_target') ? [] : [target(peer)]));
    else own.push(['miimon', String(MIIMON_MS)]);
  }
  if (openvpn.mode === 'active-backup' && !has('all_slaves_active')) own.push(['all_slaves_active', '1']);
  return [...own, ...said];
}

/** Is told each command before it is run. */
export type Echo = (argv: readonly string[]) => void;

const target = (peer: string): [string, string] => ['arp_ip_target', peer];

/** The commands that make the device. */
export function makeCommands(settings: BackendSettings, devType: 'tun' | 'tap', owner: string): string[][] {
  const openvpn = settings.openvpn!;
  const parameters = bondParameters(openvpn, devType).flat();
  const mac = devType === 'tap' ? ['address', macOf(settings)] : [];
  const own = [...mac, ...singly(openvpn)];
  return [
    ['ip', 'link', 'add', 'name', settings.ifname, ...own, 'type', 'bond', 'mode', openvpn.mode, ...parameters],
    ['ip', 'link', 'set', 'dev', settings.ifname, 'alias', owner],
  ];
}

/** The commands that make a tunnel a slave. */
export function addCommands({ ifname, openvpn }: BackendSettings, device: string): string[][] {
  const isPrimary = openvpn!.parameters.some((p) => p.name === 'primary' && p.value === device);
  return [
    ['ip', 'link', 'set', 'dev', device, ...singly(openvpn!), 'down'],
    ['ip', 'link', 'set', 'dev', device, 'master', ifname],
    ...(isPrimary ? [['ip', 'link', 'set', 'dev', ifname, 'type', 'bond', 'primary', device]] : []),
  ];
}

/**
 * Packets one by one, where they are dealt out in turn: otherwise it is the turn of pieces of up to 64 KB, and their packets arrive far out
 * of order. Said of the slaves, too, from which kernels before 5.19 take the bond's value. Source: bench/howto, 3+3-10/40.
 */
const singly = ({ mode }: OpenvpnSettings) => (mode === 'balance-rr' ? ['gso_max_segs', '1'] : []);

/** The command that takes it out again. */
export const removeCommand = (device: string): string[] => ['ip', 'link', 'set', 'dev', device, 'nomaster'];

/** The same at every start, so that the other end's neighbour entry stays true; local, not multicast. */
function macOf({ role, ifname, openvpn }: BackendSettings): string {
  const seed = `${role} ${ifname} ${openvpn?.peerAddress ? printAddress(openvpn.peerAddress) : ''}`;
  const bytes = createHash('sha256').update(seed).digest().subarray(0, 6);
  bytes[0] = (bytes[0] & 0xfc) | 0x02;
  return [...bytes].map((b) => b.toString(16).padStart(2, '0')).join(':');
}

/** Who has a name: nobody, a former instance of this run directory, the driver itself (made with the module, never used), or somebody. */
export async function holderOf(name: string, owner: string): Promise<'nobody' | 'us' | 'driver' | 'somebody'> {
  const ran = await run(['ip', '-j', '-d', '-s', 'addr', 'show', 'dev', name]);
  if (ran.status !== 0) return 'nobody';
  const [link] = JSON.parse(ran.stdout) as (IpLink & { addr_info: unknown[] })[];
  if (link.linkinfo?.info_kind !== 'bond') return 'somebody';
  if (link.ifalias === owner) return 'us';
  const slaves = (await slavesOf(name)).length;
  return !link.flags.includes('UP') && link.addr_info.length === 0 && slaves === 0 ? 'driver' : 'somebody';
}

/** The devices of kind bond that a killed instance of this run directory left. */
export async function leftovers(owner: string): Promise<string[]> {
  const ran = await run(['ip', '-j', '-d', 'link', 'show', 'type', 'bond']);
  if (ran.status !== 0 || ran.stdout.trim() === '') return [];
  return (JSON.parse(ran.stdout) as IpLink[]).filter((l) => l.ifalias === owner).map((l) => l.ifname);
}

/** Removes the device, if it is there. */
export async function removeBond(name: string): Promise<void> {
  const ran = await run(['ip', 'link', 'del', 'dev', name]);
  if (ran.status !== 0 && !/Cannot find device/.test(ran.stderr)) {
    await runWell(['ip', 'link', 'del', 'dev', name]);
  }
}

/** Makes the device. @throws YokeError when the name is taken or the kernel has no bonding driver; then nothing is there. */
export async function makeBond(
  settings: BackendSettings,
  devType: 'tun' | 'tap',
  owner: string,
  echo: Echo,
): Promise<void> {
  const { ifname } = settings;
  await loadDriver();
  const holder = await holderOf(ifname, owner);
  if (holder === 'somebody') throw nameTaken(ifname);
  if (holder !== 'nobody') await removeBond(ifname);
  for (const argv of makeCommands(settings, devType, owner)) {
    echo(argv);
    const ran = await run(argv);
    if (ran.status === 0) continue;
    const made = argv[2] !== 'add';
    if (made) await removeBond(ifname);
    if (/Unknown device type|Operation not supported|not supported by/i.test(ran.stderr) && !made) {
      throw new YokeError('host', DRIVER_MISSING);
    }
    if (/File exists/.test(ran.stderr)) throw nameTaken(ifname);
    throw new YokeError('host', {
      where: argv.join(' '),
      expected: 'a bonding device with these parameters',
      found: ran.stderr.trim().replace(/\s*\n\s*/g, ' / '),
      todo: "correct the mode's parameters in config interface 'bond'",
    });
  }
}

/**
 * Gives the running device the parameters that changed; the driver takes most of them so. What it does not take, and what only a new device
 * can have, comes back: a sentence each.
 */
export async function changeBond(
  before: BackendSettings,
  now: BackendSettings,
  devType: 'tun' | 'tap',
  echo: Echo,
): Promise<string[]> {
  const [old, fresh] = [before.openvpn!, now.openvpn!];
  if (old.mode !== fresh.mode) return [`mode '${fresh.mode}' ${WITH_A_RESTART}: the bond is in '${old.mode}'`];
  const [is, should] = [parametersOf(old, devType), parametersOf(fresh, devType)];
  const left = [...is.keys()].filter((name) => !should.has(name) && !WATCHES.includes(name));
  const sentences = left.map((name) => `${name}, which the file no longer says, goes ${WITH_A_RESTART}`);
  if (old.devType !== fresh.devType) sentences.push(`dev_type '${fresh.devType}' ${WITH_A_RESTART}`);
  for (const [name, value] of should) {
    if (is.get(name) === value) continue;
    const argv = ['ip', 'link', 'set', 'dev', now.ifname, 'type', 'bond', name, value];
    echo(argv);
    const { status, stderr } = await run(argv);
    if (status !== 0) sentences.push(`${name} '${value}' ${WITH_A_RESTART}: ${stderr.trim().split('\n')[0]}`);
  }
  return sentences;
}

/** One way of watching the tunnels ends the other. */
const WATCHES = ['miimon', 'arp_interval', 'arp_ip_target'];
const WITH_A_RESTART = 'only with a restart of yoke';

const parametersOf = (openvpn: OpenvpnSettings, devType: 'tun' | 'tap') =>
  new Map([
    ...bondParameters(openvpn, devType),
    ...openvpn.parameters.filter((p) => p.name === 'primary').map((p): [string, string] => [p.name, p.value]),
  ]);

/** The one line for a kernel without the driver. */
export const DRIVER_MISSING = {
  where: 'this kernel',
  expected: 'the bonding driver (module bonding)',
  found: 'none',
  todo: "install a kernel that has it (OpenWrt: kmod-bonding; Debian: linux-image-amd64), or set option engine 'multipath', which needs none",
};

/** Loads the module without the device that it would make by itself; a kernel that has it built in needs nothing. */
export async function loadDriver(): Promise<void> {
  if (existsSync('/sys/module/bonding')) return;
  await run(['modprobe', '-q', 'bonding', 'max_bonds=0']).catch(() => {});
}

/** Whether the kernel makes bonding devices, tried in a throw-away namespace; `undefined`: it could not be tried. */
export async function hasDriver(): Promise<boolean | undefined> {
  await loadDriver();
  return tryThere('link add name yk-b0 type bond\n');
}

/** Whether the kernel's driver takes TUN devices in this mode: tried in a throw-away namespace. */
export async function takesTun(mode: string): Promise<boolean> {
  await loadDriver();
  const words = `tuntap add dev yk-t0 mode tun\nlink add name yk-b0 type bond mode ${mode}\nlink set dev yk-t0 master yk-b0\n`;
  return (await tryThere(words)) === true;
}

async function tryThere(batch: string): Promise<boolean | undefined> {
  try {
    const { status, stderr } = await run(['unshare', '-n', 'ip', '-batch', '-'], batch);
    // its own complaint: no right to a namespace, as in a service without CAP_SYS_ADMIN
    return /^unshare: /m.test(stderr) ? undefined : status === 0;
  } catch {
    return undefined; // no `unshare` here
  }
}

function nameTaken(ifname: string): YokeError {
  return new YokeError('host', {
    where: `device ${ifname}`,
    expected: 'a device name that is free',
    found: 'a device of that name',
    todo: `choose another ifname, or remove that device (ip link del ${ifname})`,
  });
}

/** Makes a tunnel a slave. @throws YokeError when the driver refuses it. */
export async function addSlave(settings: BackendSettings, device: string, echo: Echo): Promise<void> {
  for (const argv of addCommands(settings, device)) {
    echo(argv);
    await runWell(argv);
  }
}

/** Takes a slave out; one that has gone with its process is out already. */
export async function removeSlave(device: string): Promise<void> {
  await run(removeCommand(device));
}

/** The slaves of a bond, and whether the driver uses each. Read every second, so from /proc: starting `ip` costs a hundred times more. */
export async function slavesOf(bond: string): Promise<{ device: string; used: boolean }[]> {
  const text = await readProc(`bonding/${bond}`);
  return [...text.matchAll(/^Slave Interface: (\S+)\nMII Status: (.*)$/gm)].map(([, device, status]) => ({
    device,
    used: status !== 'down',
  }));
}

/** The counters of a device. Units: bytes, packets. */
export async function countersOf(
  device: string,
): Promise<{ rxBytes: number; txBytes: number; rxPackets: number; txPackets: number } | undefined> {
  const line = (await readProc('dev')).split('\n').find((l) => l.trimStart().startsWith(`${device}:`));
  if (line === undefined) return undefined;
  const numbers = line
    .slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/)
    .map(Number);
  const [rxBytes, rxPackets, txBytes, txPackets] = [0, 1, 8, 9].map((i) => numbers[i]);
  return { rxBytes, txBytes, rxPackets, txPackets };
}

/** A file of this process's network namespace (/sys follows the mount instead); empty when there is none. */
async function readProc(name: string): Promise<string> {
  try {
    return await readFile(`/proc/self/net/${name}`, 'utf8');
  } catch {
    return '';
  }
}

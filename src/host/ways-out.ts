/**
 * Finds the internet accesses of this machine: every interface that is up, has an address and knows a gateway. Changes nothing.
 *
 *   all devices ─▶ not lo, no tunnel, not the bond ─▶ findLink: address and gateway ─▶ two of one line count once
 */
import { networkOf, parseAddress, printPrefix } from '../base/address.ts';
import type { Access, LinkFacts } from '../plan/facts.ts';
import { findLink, type Surroundings } from './links.ts';
import { interfaceNames } from './netifd.ts';
import { hasIpv6, type IpRoute, ipJson, readDevices } from './read.ts';
import { run } from './run.ts';

/** An interface that would be a link, but for this. */
export interface Passed {
  device: string;
  why: string;
}

/** What was found. */
export interface WaysOut {
  /** In the order of the kernel's device numbers; all have a device. `name`: what a configuration calls it, netifd's interface or else the device. */
  links: LinkFacts[];
  passed: Passed[];
}

/** Kinds of devices whose packets leave by another device: to be no link of their own. Source: ip-link(8), "TYPES". */
const TUNNELS = ['tun', 'wireguard', 'ipip', 'sit', 'gre', 'ip6tnl', 'vti', 'xfrm', 'vxlan', 'geneve', 'ifb', 'dummy'];

interface DeviceKind {
  ifname: string;
  linkinfo?: { info_kind?: string };
}

/** Looks at the machine; `except`: devices that are no links whatever they look like. @throws YokeError when a program is missing. */
export async function findWaysOut(except: readonly string[]): Promise<WaysOut> {
  const [around, kinds, names] = await Promise.all([
    surroundings(),
    ipJson<DeviceKind>('-d', 'link', 'show'),
    interfaceNames(),
  ]);
  const tunnels = kinds.filter((k) => TUNNELS.includes(k.linkinfo?.info_kind ?? '')).map((k) => k.ifname);
  const candidates = around.devices.filter(
    (d) => !d.flags.includes('LOOPBACK') && !except.includes(d.ifname) && !tunnels.includes(d.ifname),
  );
  const found = await Promise.all(candidates.map((d) => lookAt(d.ifname, around)));
  const links = found.filter(
    (l) => l.problem === undefined && (leadsOut(l.v4, l, around) || leadsOut(l.v6, l, around)),
  );
  return oneForEachLine(links.map((l) => ({ ...l, name: names.get(l.device!) ?? l.name })));
}

/** One device or interface of netifd that was named by hand, whatever it looks like; `name` is that name. */
export async function lookAtDevice(device: string): Promise<LinkFacts> {
  return lookAt(device, await surroundings());
}

async function surroundings(): Promise<Surroundings> {
  const [devices, v4, v6] = await Promise.all([
    readDevices(),
    ipJson<IpRoute>('-4', 'route', 'show', 'table', 'all', 'exact', 'default'),
    (await hasIpv6()) ? ipJson<IpRoute>('-6', 'route', 'show', 'table', 'all', 'exact', 'default') : [],
  ]);
  return { devices, defaults: { 4: v4, 6: v6 } };
}

function lookAt(device: string, around: Surroundings): Promise<LinkFacts> {
  return findLink({ name: device, place: { file: '', line: 0 }, interface: device }, around);
}

/** A gateway, or a point-to-point device that a default route uses or that a modem makes. */
function leadsOut(access: Access | undefined, link: LinkFacts, around: Surroundings): boolean {
  if (access === undefined || access.source === 'none') return false;
  if (access.source !== 'point-to-point') return true;
  const routed = [...around.defaults[4], ...around.defaults[6]].some((r) => r.dev === link.device);
  return routed || /^(ppp|wwan|wwp|rmnet)/.test(link.device ?? '');
}

/** Two interfaces behind one modem share its line; two modems that gave the same address cannot be told apart. */
async function oneForEachLine(links: readonly LinkFacts[]): Promise<WaysOut> {
  const out: WaysOut = { links: [], passed: [] };
  for (const link of links) {
    let why: string | undefined;
    for (const other of out.links) why ??= await whyNotBoth(other, link);
    if (why === undefined) out.links.push(link);
    else out.passed.push({ device: link.device!, why });
  }
  return out;
}

async function whyNotBoth(a: LinkFacts, b: LinkFacts): Promise<string | undefined> {
  const net = (access: Access | undefined) => access && subnetOf(access);
  if (a.v4 === undefined || b.v4 === undefined || net(a.v4) !== net(b.v4)) return undefined;
  if (a.v4.address === b.v4.address) {
    return `${a.device} has the same address ${a.v4.address}: give one of the two modems another network`;
  }
  if (a.v4.gateway === undefined || a.v4.gateway !== b.v4.gateway) return undefined;
  const [one, two] = await Promise.all([neighbour(a.v4.gateway, a.device!), neighbour(b.v4.gateway, b.device!)]);
  if (one !== undefined && two !== undefined && one !== two) return undefined;
  return `${a.device} leads to the same gateway ${a.v4.gateway} in ${subnetOf(a.v4)}: one line, not two`;
}

const subnetOf = (a: Access) => printPrefix(networkOf({ bytes: parseAddress(a.address)!, length: a.prefixLength }));

/** The link-layer address of a gateway, as far as it answers. */
async function neighbour(address: string, device: string): Promise<string | undefined> {
  const known = await askNeighbour(address, device);
  if (known !== undefined) return known;
  // Whoever is asked for an echo is looked for first, answer or not; without the program it stays unknown.
  await run(['ping', '-n', '-c', '1', '-W', '1', '-I', device, address]).catch(() => undefined);
  return askNeighbour(address, device);
}

async function askNeighbour(address: string, device: string): Promise<string | undefined> {
  const found = await ipJson<{ lladdr?: string }>('neigh', 'show', 'to', address, 'dev', device);
  return found.find((n) => n.lladdr !== undefined)?.lladdr;
}

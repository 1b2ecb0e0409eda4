/**
 * Reads what is in the host's slots: `ip -j`, `nft list table`, /proc/sys. Numbers stay numbers (`-N`), addresses are printed one way.
 */
import { readdir, readFile } from 'node:fs/promises';
import { parsePrefix, printPrefix } from '../base/address.ts';
import { markOfListing } from '../plan/nft.ts';
import { type Family, PROTOCOL, type Thing } from '../plan/thing.ts';
import { failed, run, runWell } from './run.ts';

/** A device as `ip -j addr` shows it; only what is used here. Source: iproute2 6.1. */
export interface IpDevice {
  ifindex: number;
  ifname: string;
  flags: string[];
  mtu: number;
  addr_info: IpAddress[];
}

/** One of its addresses. */
export interface IpAddress {
  family: 'inet' | 'inet6';
  local: string;
  prefixlen: number;
  scope: string;
  secondary?: boolean;
  tentative?: boolean;
  dadfailed?: boolean;
  temporary?: boolean;
  deprecated?: boolean;
}

/** A route as `ip -N -j route` shows it. */
export interface IpRoute {
  type?: string;
  dst: string;
  gateway?: string;
  dev?: string;
  table?: string;
  protocol?: string;
  prefsrc?: string;
  metric?: number;
  flags?: string[];
  nexthops?: { gateway?: string; dev?: string }[];
}

interface IpRule {
  priority: number;
  not?: null;
  src: string;
  srclen?: number;
  oif?: string;
  fwmark?: string;
  table?: string;
  suppress_prefixlen?: number;
  protocol?: string;
}

/** `unreachable` as a number. Source: rtnetlink(7), RTN_UNREACHABLE. */
const UNREACHABLE = ['unreachable', '7'];

/** Runs an `ip` command whose output is JSON; empty output is an empty list. @throws YokeError when it fails. */
export async function ipJson<T>(...words: string[]): Promise<T[]> {
  const text = await runWell(['ip', '-N', '-j', ...words]);
  return text.trim() === '' ? [] : (JSON.parse(text) as T[]);
}

/** All devices with their addresses. */
export function readDevices(): Promise<IpDevice[]> {
  return ipJson<IpDevice>('addr', 'show');
}

/** Whether this kernel speaks IPv6 here. */
export async function hasIpv6(): Promise<boolean> {
  return (await readSetting('net/ipv6/conf/all/forwarding')) !== undefined;
}

/** The policy rules that bear our protocol number. */
export async function readRules(family: Family): Promise<Thing[]> {
  const rules = await ipJson<IpRule>(`-${family}`, 'rule', 'show');
  return rules
    .filter((r) => r.protocol === String(PROTOCOL))
    .map((r) => ({
      kind: 'rule' as const,
      family,
      priority: r.priority,
      table: Number(r.table),
      ...(r.src !== 'all' && { from: r.srclen === undefined ? canonical(r.src) : `${canonical(r.src)}/${r.srclen}` }),
      ...(r.oif !== undefined && { oif: r.oif }),
      ...(r.fwmark !== undefined && { ['not' in r ? 'notFwmark' : 'fwmark']: Number(r.fwmark) }),
      ...(r.suppress_prefixlen === 0 && { suppressDefault: true }),
    }));
}

/** The routes that bear our protocol number, in every table. */
export async function readRoutes(family: Family): Promise<Thing[]> {
  const routes = await ipJson<IpRoute>(`-${family}`, 'route', 'show', 'table', 'all', 'proto', String(PROTOCOL));
  return routes.map((r) => {
    const unreachable = UNREACHABLE.includes(r.type ?? '');
    return {
      kind: 'route' as const,
      family,
      table: r.table === undefined ? 254 : Number(r.table),
      type: unreachable ? ('unreachable' as const) : ('unicast' as const),
      to: r.dst === 'default' ? 'default' : canonicalPrefix(r.dst),
      metric: r.metric ?? 0,
      ...(r.gateway !== undefined && { via: canonical(r.gateway) }),
      ...(r.dev !== undefined && !unreachable && { dev: r.dev }),
      ...(r.flags?.includes('onlink') && { onlink: true }),
      ...(r.prefsrc !== undefined && { src: canonical(r.prefsrc) }),
    };
  });
}

/** A table of the inet family, with its text as nft prints it; nothing when it is not there. @throws YokeError when nft fails. */
export async function readNft(table: string): Promise<Thing[]> {
  // without states and without what sets hold now: that comes and goes by itself
  const argv = ['nft', '-s', '-t', 'list', 'table', 'inet', table];
  const ran = await run(argv);
  if (ran.status === 0) return [{ kind: 'nft', table, mark: markOfListing(ran.stdout), text: ran.stdout }];
  if (/No such file or directory/.test(ran.stderr)) return [];
  throw failed(argv, ran.stderr);
}

/** A kernel setting; undefined when this kernel, or this device, has none of that name. */
export async function readSetting(key: string): Promise<string | undefined> {
  try {
    return (await readFile(`/proc/sys/${key}`, 'utf8')).trim();
  } catch {
    return undefined; // Absent, or not to be read (addr_gen_mode of a device without IPv6): either way nothing to be set.
  }
}

/** A setting as a thing, with what else the kernel would overwrite if it were written. */
export async function readSettingThing(key: string): Promise<Thing[]> {
  const value = await readSetting(key);
  if (value === undefined) return [];
  const extras = await readExtras(key, value);
  return [{ kind: 'sysctl', key, value, ...(extras.length > 0 && { extras }) }];
}

/**
 * Settings that would not survive if `key` went away from its value and back, because the kernel writes them on the way.
 *
 * Source: Linux inet_forward_change() and addrconf_forward_change(): every device's forwarding, and IPv4's all/accept_redirects.
 */
async function readExtras(key: string, value: string): Promise<[string, string][]> {
  const expected = new Map<string, string>();
  if (key === 'net/ipv4/ip_forward') {
    for (const dev of await readdir('/proc/sys/net/ipv4/conf')) expected.set(`net/ipv4/conf/${dev}/forwarding`, value);
    expected.set('net/ipv4/conf/all/accept_redirects', value === '0' ? '1' : '0');
  } else if (key === 'net/ipv6/conf/all/forwarding') {
    for (const dev of await readdir('/proc/sys/net/ipv6/conf')) expected.set(`net/ipv6/conf/${dev}/forwarding`, value);
  }
  const out: [string, string][] = [];
  for (const [extra, implied] of expected) {
    const is = await readSetting(extra);
    if (is !== undefined && is !== implied) out.push([extra, is]);
  }
  return out;
}

/** Addresses, MTU, up or down of a device, as things. */
export function deviceThings(device: IpDevice): Thing[] {
  const dev = device.ifname;
  return [
    { kind: 'mtu', dev, mtu: device.mtu },
    { kind: 'up', dev, up: device.flags.includes('UP') },
    ...device.addr_info.map((a): Thing => {
      const family = a.family === 'inet' ? 4 : 6;
      return { kind: 'address', family, dev, address: canonicalPrefix(`${a.local}/${a.prefixlen}`) };
    }),
  ];
}

/** An address in the one way in which we write it. */
export function canonical(address: string): string {
  const p = parsePrefix(address);
  return p ? printPrefix(p).replace(/\/\d+$/, '') : address;
}

function canonicalPrefix(text: string): string {
  const p = parsePrefix(text);
  return p ? printPrefix(p) : text;
}

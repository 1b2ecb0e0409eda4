/**
 * OpenWrt's network daemon, asked through ubus: which device a logical interface (`wan`) has now, and what the interface of a device is called.
 */
import { access } from 'node:fs/promises';
import { parseAddress } from '../base/address.ts';
import type { Family } from '../plan/thing.ts';
import { run } from './run.ts';

/** What it knows of one logical interface. */
export interface Netifd {
  device?: string;
  gateways: Partial<Record<Family, string>>;
}

/** As ubus prints it. */
interface InterfaceStatus {
  interface?: string;
  up?: boolean;
  /** Made by another one, for its addresses of one family: `wan_6`. */
  dynamic?: boolean;
  l3_device?: string;
  device?: string;
  route?: { target?: string; mask?: number; nexthop?: string }[];
  'ipv4-address'?: unknown[];
}

/** A logical interface; undefined where there is no netifd, or no such interface. */
export async function askNetifd(name: string): Promise<Netifd | undefined> {
  const text = await ubus(`network.interface.${name}`, 'status');
  return text === undefined ? undefined : parseNetifd(text);
}

/** The logical interface of each device, by which a configuration follows a renumbering; empty where there is no netifd. */
export async function interfaceNames(): Promise<Map<string, string>> {
  const text = await ubus('network.interface', 'dump');
  return text === undefined ? new Map() : parseInterfaceNames(text);
}

async function ubus(object: string, method: string): Promise<string | undefined> {
  if (!(await exists('/bin/ubus')) && !(await exists('/usr/bin/ubus'))) return undefined;
  const ran = await run(['ubus', 'call', object, method]);
  return ran.status === 0 ? ran.stdout : undefined;
}

/** Reads `ubus call network.interface.NAME status`. */
export function parseNetifd(text: string): Netifd | undefined {
  const status = parse(text) as InterfaceStatus | undefined;
  if (status === undefined) return undefined;
  const gateways: Partial<Record<Family, string>> = {};
  for (const r of status.route ?? []) {
    const hop = r.nexthop === undefined ? undefined : parseAddress(r.nexthop);
    if (r.mask === 0 && hop?.some((b) => b !== 0)) gateways[hop.length === 4 ? 4 : 6] ??= r.nexthop;
  }
  return { device: status.l3_device ?? status.device, gateways };
}

/** Reads `ubus call network.interface dump`: of several on one device (`wan`, `wan6`) the one that was configured, and has IPv4, names it. */
export function parseInterfaceNames(text: string): Map<string, string> {
  const { interface: all = [] } = (parse(text) ?? {}) as { interface?: InterfaceStatus[] };
  const rank = (i: InterfaceStatus) => (i.dynamic ? 2 : 0) + ((i['ipv4-address'] ?? []).length > 0 ? 0 : 1);
  const names = new Map<string, string>();
  for (const { interface: name, l3_device: device } of all
    .filter((i) => i.up === true)
    .sort((a, b) => rank(a) - rank(b))) {
    if (name !== undefined && device !== undefined && !names.has(device)) names.set(device, name);
  }
  return names;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) ?? undefined;
  } catch {
    return undefined;
  }
}

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

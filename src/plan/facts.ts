/**
 * What was observed of the host, and what to look at.
 *
 *   Config ─lookout→ Lookout ─(host/observe.ts)→ Facts
 */

import { printAddress } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import { nftTableName } from './nft.ts';
import type { Thing } from './thing.ts';

/** What an observer needs to know of the configuration. Plain data. */
export interface Lookout {
  /** The bond's device. */
  device: string;
  nftTable: string;
  /** Names of routing tables to look up; numbers are told as they are. */
  tables: string[];
  links: LinkLookout[];
}

/** One link as the file says it. */
export interface LinkLookout {
  name: string;
  place: { file: string; line: number };
  interface: string;
  /** Said by hand. */
  address?: string;
  gateway?: string;
}

/** How the next hop of a link's default route was found; `none`: only neighbours can be reached. */
export type GatewaySource = 'config' | 'main table' | 'other table' | 'netifd' | 'lease' | 'point-to-point' | 'none';

/** How a link reaches the world in one address family. */
export interface Access {
  address: string;
  prefixLength: number;
  /** Further global addresses of the device. */
  others: string[];
  /** Next hop; undefined with `point-to-point` (none is needed) and `none` (none was found). */
  gateway?: string;
  source: GatewaySource;
}

/** A link as found. */
export interface LinkFacts {
  name: string;
  /** Undefined: no such device now. */
  device?: string;
  index?: number;
  up: boolean;
  /** Units: bytes. */
  mtu: number;
  v4?: Access;
  v6?: Access;
  /** Why nothing can be sent by this link now; undefined: it can be used. */
  problem?: string;
}

/** Everything observed. Plain data: JSON keeps it. */
export interface Facts {
  /** Whether the kernel speaks IPv6. */
  ipv6: boolean;
  /** Every network device there is. */
  devices: string[];
  /** Their numbers: a device that came back under its old name has a new one, and what we changed on the old one is gone. */
  indexes?: Record<string, number>;
  /** Numbers of the tables that were asked for by name; a name that is nowhere defined is missing. */
  tables: Record<string, number>;
  /** In the order of the configuration. */
  links: LinkFacts[];
  /** Devices with a default route learned by router advertisement. */
  raDevices: string[];
  /** The contents of the slots: our rules and routes, our table, the settings and the device that were asked about. */
  things: Thing[];
}

/** What to observe for a configuration. */
export function lookout(config: Config): Lookout {
  const links = config.role === 'router' ? config.links.filter((l) => !l.disabled) : [];
  return {
    device: config.bond.ifname,
    nftTable: nftTableName(config.bond.ifname),
    tables: links.flatMap((l) => (l.routingTable === undefined ? [] : [l.routingTable])),
    links: links.map((l) => ({
      name: l.name,
      place: l.place,
      interface: l.interface,
      ...(l.ipaddr && { address: printAddress(l.ipaddr.bytes) }),
      ...(l.gateway && { gateway: printAddress(l.gateway) }),
    })),
  };
}

/**
 * The settings that have a bearing on yoke. Source: Documentation/networking/ip-sysctl.rst.
 *
 * accept_ra is asked of every device: one that was set to 2 has to stay so while its line, and with it its learned route, is away.
 */
export function sysctlKeys(bondDevice: string, linkDevices: readonly string[], devices: readonly string[]): string[] {
  const keys = ['net/ipv4/ip_forward', 'net/ipv4/conf/all/rp_filter', 'net/ipv6/conf/all/forwarding'];
  for (const dev of new Set(linkDevices)) keys.push(`net/ipv4/conf/${dev}/rp_filter`);
  for (const dev of devices) if (dev !== 'lo' && dev !== bondDevice) keys.push(`net/ipv6/conf/${dev}/accept_ra`);
  keys.push(`net/ipv4/conf/${bondDevice}/rp_filter`, `net/ipv6/conf/${bondDevice}/addr_gen_mode`);
  return keys;
}

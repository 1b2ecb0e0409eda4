/**
 * Finds a link's device, addresses and gateways.
 *
 *   device    netifd's answer for a logical interface (OpenWrt), else the name is the device
 *   address   said by hand, else the first global one (IPv6: of the public range first, never temporary)
 *   gateway   said by hand → main table → any other table → netifd → DHCP lease → point-to-point device: none needed
 */
import { parseAddress, parseIpv6, parsePrefix, prefixContains } from '../base/address.ts';
import type { Access, GatewaySource, LinkFacts, LinkLookout } from '../plan/facts.ts';
import { type Family, MAIN_TABLE, PROTOCOL } from '../plan/thing.ts';
import { leaseGateway } from './leases.ts';
import { askNetifd, type Netifd } from './netifd.ts';
import { canonical, type IpAddress, type IpDevice, type IpRoute } from './read.ts';

/** What was read once for all links. */
export interface Surroundings {
  devices: IpDevice[];
  /** The default routes of all tables. */
  defaults: Record<Family, IpRoute[]>;
}

/** Everything about one link that can be seen from here. */
export async function findLink(link: LinkLookout, around: Surroundings): Promise<LinkFacts> {
  const netifd = await askNetifd(link.interface);
  const name = netifd?.device ?? link.interface;
  const device = around.devices.find((d) => d.ifname === name);
  if (!device) {
    const problem = netifd && !netifd.device ? `interface ${name} is down` : `no device ${name}`;
    return { name: link.name, up: false, mtu: 0, problem };
  }
  const up = device.flags.includes('UP');
  const carrier = !device.flags.includes('NO-CARRIER');
  const facts: LinkFacts = {
    name: link.name,
    device: device.ifname,
    index: device.ifindex,
    up: up && carrier,
    mtu: device.mtu,
  };
  if (!up) return { ...facts, problem: `${name} is down` };
  const v4 = await findAccess(4, link, device, around, netifd);
  const v6 = await findAccess(6, link, device, around, netifd);
  const found = { ...facts, ...(v4 && { v4 }), ...(v6 && { v6 }) };
  if (!carrier) return { ...found, problem: `${name} has no carrier` };
  if (v4 || v6) return found;
  return { ...found, problem: link.address ? `${name} has no address ${link.address}` : `${name} has no address` };
}

async function findAccess(
  family: Family,
  link: LinkLookout,
  device: IpDevice,
  around: Surroundings,
  netifd: Netifd | undefined,
): Promise<Access | undefined> {
  const usable = globalAddresses(family, device);
  const said = link.address !== undefined && familyOf(link.address) === family ? link.address : undefined;
  const chosen = said ? usable.find((a) => canonical(a.local) === said) : usable[0];
  if (!chosen) return undefined;
  const others = said ? [] : usable.filter((a) => a !== chosen).map((a) => canonical(a.local));
  const base = { address: canonical(chosen.local), prefixLength: chosen.prefixlen, others };
  const [gateway, source] = await findGateway(family, link, device, around, netifd);
  return { ...base, ...(gateway !== undefined && { gateway: canonical(gateway) }), source };
}

function globalAddresses(family: Family, device: IpDevice): IpAddress[] {
  const word = family === 4 ? 'inet' : 'inet6';
  const good = device.addr_info.filter(
    (a) =>
      a.family === word && a.scope === '0' && a.local && !a.tentative && !a.dadfailed && !a.temporary && !a.deprecated,
  );
  // Array sort is stable: within a rank the kernel's order stays.
  return good.sort((a, b) => rankOf(a) - rankOf(b));
}

const PUBLIC_IPV6 = parsePrefix('2000::/3')!;

function rankOf(a: IpAddress): number {
  if (a.secondary) return 1;
  const v6 = parseIpv6(a.local);
  return v6 && !prefixContains(PUBLIC_IPV6, v6) ? 1 : 0;
}

async function findGateway(
  family: Family,
  link: LinkLookout,
  device: IpDevice,
  around: Surroundings,
  netifd: Netifd | undefined,
): Promise<[gateway: string | undefined, source: GatewaySource]> {
  if (link.gateway !== undefined && familyOf(link.gateway) === family) return [link.gateway, 'config'];
  const mine = around.defaults[family].filter((r) => r.protocol !== String(PROTOCOL)).flatMap(hopsOf);
  const through = mine.filter((hop) => hop.dev === device.ifname);
  const inMain = through.find((hop) => hop.table === MAIN_TABLE);
  if (inMain?.gateway) return [inMain.gateway, 'main table'];
  const elsewhere = through.find((hop) => hop.gateway !== undefined);
  if (elsewhere) return [elsewhere.gateway, 'other table'];
  if (netifd?.gateways[family]) return [netifd.gateways[family], 'netifd'];
  const leased = family === 4 ? await leaseGateway(device.ifname, device.ifindex) : undefined;
  if (leased !== undefined) return [leased, 'lease'];
  // A device-only default route in main says the same as the flag: packets need no next hop.
  return [undefined, device.flags.includes('POINTOPOINT') || inMain ? 'point-to-point' : 'none'];
}

function hopsOf(r: IpRoute): { dev?: string; gateway?: string; table: number }[] {
  const table = r.table === undefined ? MAIN_TABLE : Number(r.table);
  return (r.nexthops ?? [r]).map((hop) => ({ dev: hop.dev, gateway: hop.gateway, table }));
}

const familyOf = (address: string): Family => (parseAddress(address)?.length === 16 ? 6 : 4);

/**
 * The gateways that DHCP clients were told, for lines whose default route is not in the main table (a second line's seldom is).
 *
 *   dhclient           /var/lib/dhcp/dhclient*.leases, /var/lib/NetworkManager/*.lease     the last lease of the device wins
 *   systemd-networkd   /run/systemd/netif/leases/IFINDEX                                  ROUTER=
 *   NetworkManager     /run/NetworkManager/devices/IFINDEX                                next-hop=
 *   dhcpcd             dhcpcd -U DEVICE                                                   routers=
 *   udhcpc             /run/udhcpc*.DEVICE or what its script wrote                       router=
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseIpv4, printAddress } from '../base/address.ts';
import { run } from './run.ts';

/** The IPv4 gateway that a DHCP client knows for a device; undefined when none does. `root` stands before every path. */
export async function leaseGateway(device: string, index: number, root = '/'): Promise<string | undefined> {
  return (
    (await networkdGateway(index, root)) ??
    (await networkManagerGateway(index, root)) ??
    (await dhclientGateway(device, root)) ??
    (await udhcpcGateway(device, root)) ??
    (root === '/' ? await dhcpcdGateway(device) : undefined)
  );
}

async function networkdGateway(index: number, root: string): Promise<string | undefined> {
  return namedAddress(await text(join(root, 'run/systemd/netif/leases', String(index))), 'ROUTER');
}

async function networkManagerGateway(index: number, root: string): Promise<string | undefined> {
  return namedAddress(await text(join(root, 'run/NetworkManager/devices', String(index))), 'next-hop');
}

async function dhclientGateway(device: string, root: string): Promise<string | undefined> {
  let best: { renewed: string; gateway: string } | undefined;
  for (const folder of ['var/lib/dhcp', 'var/lib/dhclient', 'var/lib/NetworkManager']) {
    for (const file of await list(join(root, folder))) {
      if (!/\.leases?$/.test(file)) continue;
      for (const lease of parseDhclientLeases(await text(join(root, folder, file)))) {
        if (lease.device === device && lease.gateway && (!best || lease.renewed >= best.renewed))
          best = { renewed: lease.renewed, gateway: lease.gateway };
      }
    }
  }
  return best?.gateway;
}

/** The leases in a file of ISC dhclient, oldest first. Source: dhclient.leases(5). */
export function parseDhclientLeases(file: string): { device?: string; gateway?: string; renewed: string }[] {
  return [...file.matchAll(/^lease \{$([\s\S]*?)^\}$/gm)].map(([, body]) => ({
    device: /^\s*interface "([^"]+)";/m.exec(body)?.[1],
    gateway: address(/^\s*option routers ([^;,]+)/m.exec(body)?.[1]),
    // `renew 3 2024/05/01 10:11:12;` – dates in this form sort as text.
    renewed: /^\s*renew \d (\S+ \S+);/m.exec(body)?.[1] ?? '',
  }));
}

async function udhcpcGateway(device: string, root: string): Promise<string | undefined> {
  for (const file of await list(join(root, 'run'))) {
    if (!file.startsWith('udhcpc') || !file.includes(device)) continue;
    const found = namedAddress(await text(join(root, 'run', file)), 'router');
    if (found) return found;
  }
  return undefined;
}

async function dhcpcdGateway(device: string): Promise<string | undefined> {
  if (!(await list('/var/lib/dhcpcd')).length && !(await list('/var/lib/dhcpcd5')).length) return undefined;
  try {
    const ran = await run(['dhcpcd', '-U', device]);
    return namedAddress(ran.stdout, 'routers');
  } catch {
    return undefined; // Its leases are there, the program is not: nothing to be learned.
  }
}

/** The first address after `NAME=`, which may stand in quotes. */
function namedAddress(file: string, name: string): string | undefined {
  return address(new RegExp(`^${name}=['"]?([^'"\\s,]+)`, 'm').exec(file)?.[1]);
}

function address(found: string | undefined): string | undefined {
  const bytes = found === undefined ? undefined : parseIpv4(found.trim());
  return bytes?.some((b) => b !== 0) ? printAddress(bytes) : undefined;
}

const text = (path: string) => readFile(path, 'utf8').catch(() => '');
const list = (folder: string) => readdir(folder).catch((): string[] => []);

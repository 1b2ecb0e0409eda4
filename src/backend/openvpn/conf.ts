/** The text of one tunnel's configuration: what all have, and what is this link's own. Pure. */
import { printAddress } from '../../base/address.ts';
import type { BackendSettings, LinkSettings } from '../backend.ts';

/** What Ethernet, OpenVPN's header, its largest cipher overhead, UDP and IPv4 add to an inner packet, rounded up. Units: bytes. */
const OVERHEAD_BYTES = 100;
/** What IPv6 outside adds to that. Units: bytes. */
const OVERHEAD_IPV6_BYTES = 20;
/** With `fragment` OpenVPN cuts what is too large by itself. Units: bytes. */
const ETHERNET_MTU = 1500;

/** The tunnel's device: said, or made from the bond's name and the link's number; 15 bytes at most. */
export function tunnelName(settings: BackendSettings, link: LinkSettings): string {
  return link.tunnel ?? `${settings.ifname.slice(0, 12)}-t${link.id}`;
}

/** The port of this end: where none is said the server's, for a peer that comes back by the port that it had is known at once. */
export const localPortOf = (link: LinkSettings): number => link.localPort || link.serverPort;

/** The MTU of the bond, and so of its tunnels. Units: bytes. */
export function innerMtu(settings: BackendSettings): number {
  if (settings.mtu !== undefined) return settings.mtu;
  if (settings.openvpn?.fragment !== undefined) return ETHERNET_MTU;
  const each = settings.links.map((l) => {
    return l.mtu - OVERHEAD_BYTES - (l.serverAddress.length === 16 ? OVERHEAD_IPV6_BYTES : 0);
  });
  return Math.min(ETHERNET_MTU, ...each);
}

/** The configuration of a link's tunnel. `socket`: where yoke listens for OpenVPN's management. */
export function tunnelConf(
  settings: BackendSettings,
  link: LinkSettings,
  devType: 'tun' | 'tap',
  socket: string,
): string {
  const server = settings.role === 'server';
  const proto = link.serverAddress.length === 16 ? 'udp6' : 'udp4';
  const lines = [
    `# Written by yoke for link ${link.name}; gone when it ends.`,
    'mode p2p',
    `dev ${tunnelName(settings, link)}`,
    `dev-type ${devType}`,
    `proto ${proto}`,
    ...(link.localAddress ? [`local ${printAddress(link.localAddress)}`] : server ? ['multihome'] : []),
    `lport ${localPortOf(link)}`,
    ...(server ? [] : [`remote ${printAddress(link.serverAddress)} ${link.serverPort}`]),
    ...(server ? [] : [`bind-dev ${link.device}`]),
    ...(settings.fwmark > 0 ? [`mark ${settings.fwmark}`] : []),
    // OpenVPN calls us: when yoke is gone, however it went, the connection breaks and OpenVPN ends.
    `management ${socket} unix`,
    'management-client',
    'management-hold',
    'machine-readable-output',
    ...(settings.openvpn?.lines ?? []),
  ];
  return `${lines.join('\n')}\n`;
}

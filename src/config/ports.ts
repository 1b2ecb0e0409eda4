/** The server's UDP ports: where nothing is said, and where everything is. */
import type { AddressBytes } from '../base/address.ts';
import type { Config } from './config.ts';

/** The UDP port where nothing else is said, and with engine openvpn that of the first tunnel. Source: the article's `local_port`, IANA's number for OpenVPN. */
export const DEFAULT_PORT = 1194;

/** Where the server's end of a tunnel waits; `index` counts the links that are not disabled. */
export function portOfTunnel(localPort: number | undefined, index: number): number {
  return localPort || DEFAULT_PORT + index;
}

/** Every UDP port at which a server waits for its routers; no address: at all of them. */
export function waitingPorts(config: Config): { address?: AddressBytes; port: number }[] {
  if (config.engine === 'multipath') return config.bond.listen;
  const links = config.links.filter((l) => !l.disabled);
  return links.map(({ localPort, ipaddr }, i) => ({
    ...(ipaddr && { address: ipaddr.bytes }),
    port: portOfTunnel(localPort, i),
  }));
}

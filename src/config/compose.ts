/** Values → a new configuration file, commented as one would by hand: what a set-up command writes. */
import { quoteUci } from './uci-edit.ts';

/** One link of a new router. */
export interface NewLink {
  name: string;
  interface: string;
  /** The server as seen from it; undefined: as from the others. */
  server?: string;
  /** As `option down '20mbit'` would say it. */
  down?: string;
  up?: string;
}

/** What a new router needs to know. */
export interface NewRouter {
  links: readonly NewLink[];
  /** Host name or address of the server. */
  server: string;
  /** Undefined: the default. */
  port?: number;
  /** Inner address with length: `10.0.0.2/24`; this or `ip6addr`. */
  ipaddr?: string;
  ip6addr?: string;
  remoteIpaddr?: string;
  remoteIp6addr?: string;
  privateKeyFile: string;
  serverPublicKey: string;
  presharedKeyFile?: string;
}

/** One client of a new server. */
export interface NewClient {
  name: string;
  publicKey: string;
  ipaddr: string;
  ip6addr?: string;
  allowedIps?: readonly string[];
  presharedKeyFile?: string;
}

/** What a new server needs to know. */
export interface NewServer {
  /** Undefined: the default. */
  port?: number;
  /** Inner address with length: `10.0.0.1/24`. */
  ipaddr: string;
  ip6addr?: string;
  privateKeyFile: string;
  publicIpaddr?: string;
  /** Where routers reach it. */
  endpoints?: readonly string[];
  /** The UDP port there; undefined: the one that it listens at. */
  endpointPort?: number;
  clients: readonly NewClient[];
}

/** Prints a router's file. Invariant: `readConfig` reads it. */
export function printRouterConfig(router: NewRouter): string {
  return [
    section('The bond: the device that traffic goes through.', "interface 'bond'", [
      ['role', 'router'],
      ['ipaddr', router.ipaddr, 'inner address of this router'],
      ['ip6addr', router.ip6addr],
      ['remote_ipaddr', router.remoteIpaddr, 'inner address of the server'],
      ['remote_ip6addr', router.remoteIp6addr],
      ['private_key_file', router.privateKeyFile, "made by 'yoke keygen'"],
      ['public_key', router.serverPublicKey, "the server's, printed by 'yoke pubkey' there"],
      ['preshared_key_file', router.presharedKeyFile],
    ]),
    ...router.links.map((link) =>
      section('', `link ${quoteUci(link.name)}`, [
        ['interface', link.interface],
        ['server', link.server ?? router.server],
        ['remote_port', router.port?.toString()],
        ['down', link.down, 'upper limit'],
        ['up', link.up, 'upper limit'],
      ]),
    ),
  ].join('\n');
}

/** Prints a server's file. Invariant: `readConfig` reads it. */
export function printServerConfig(server: NewServer): string {
  return [
    section('The bond: the device that traffic goes through.', "interface 'bond'", [
      ['role', 'server'],
      ['ipaddr', server.ipaddr, 'inner address of this server'],
      ['ip6addr', server.ip6addr],
      ['listen_port', server.port?.toString()],
      ['private_key_file', server.privateKeyFile, "made by 'yoke keygen'"],
      ['public_ipaddr', server.publicIpaddr, 'what clients appear as on the internet'],
      ...(server.endpoints ?? []).map((e): Line => ['endpoint', e, 'where routers reach this server', 'list']),
      ['endpoint_port', server.endpointPort?.toString(), 'which is forwarded to this machine'],
    ]),
    ...server.clients.map(printClientSection),
  ].join('\n');
}

/** Prints the section of one client, to be put behind a server's file. */
export function printClientSection(client: NewClient): string {
  return section('', `client ${quoteUci(client.name)}`, [
    ['public_key', client.publicKey, "the router's, printed by 'yoke pubkey' there"],
    ['ipaddr', client.ipaddr],
    ['ip6addr', client.ip6addr],
    ...(client.allowedIps ?? []).map((ip): Line => ['allowed_ip', ip, 'a network behind it', 'list']),
    ['preshared_key_file', client.presharedKeyFile],
  ]);
}

type Line = readonly [name: string, value: string | undefined, remark?: string, command?: 'list'];

function section(title: string, heading: string, lines: readonly Line[]): string {
  const body = lines
    .filter((line) => line[1] !== undefined)
    .map(([name, value, remark, command]) => {
      const said = `\t${command ?? 'option'} ${name} ${quoteUci(value ?? '')}`;
      return remark ? `${said} # ${remark}` : said;
    });
  return `${[...(title ? [`# ${title}`] : []), `config ${heading}`, ...body].join('\n')}\n`;
}

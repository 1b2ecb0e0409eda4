/** What a configuration means once it has been read: the values every other folder works with. Units are in the names. */
import type { AddressBytes, Prefix } from '../base/address.ts';
import type { BondingMode } from './bonding.ts';
import type { PortRange, Service } from './kinds.ts';

export type Role = 'router' | 'server';
export type EngineName = 'multipath' | 'openvpn';

/** How packets are divided among the links, engine multipath. */
export const BOND_MODES = ['aggregate', 'redundant', 'weighted'] as const;

/** One of them. */
export type BondMode = (typeof BOND_MODES)[number];

/** Where in the file a value was said, for messages about it later. */
export interface Place {
  file: string;
  line: number;
}

/** What is done with a link, and with a client, whose quota is used up. */
export type LinkQuotaAction = 'backup' | 'off' | 'warn';
export type ClientQuotaAction = 'slow' | 'off' | 'warn';

/** What may pass in a month, both ways together. */
export interface Quota<Action> {
  limitBytes: number;
  resetDay: number;
  action: Action;
}

/** `config link 'NAME'`: one internet access of the router. */
export interface LinkConfig {
  name: string;
  place: Place;
  /** The device (`eth1`), or the logical interface of OpenWrt (`wan0`), as the file says it; empty: not said (server). */
  interface: string;
  /** Address or host name of the server as seen from this link. */
  server: string;
  /** UDP port of our side; 0 lets the kernel choose. */
  localPort: number;
  remotePort: number;
  /** Table number, or a name from rt_tables; undefined: chosen by yoke. */
  routingTable?: string;
  /** The link whose default route the host falls back to. */
  active: boolean;
  /** Address and gateway said by hand; undefined: found by themselves. */
  ipaddr?: Prefix;
  gateway?: AddressBytes;
  /** Upper limits; undefined: none. */
  downBps?: number;
  upBps?: number;
  mtu?: number;
  /** The links of the lowest tier carry, the others stand by. */
  tier: number;
  /** A dearer link carries what the cheaper ones cannot. */
  cost: number;
  weight: number;
  /** Undefined: not metered. */
  quota?: Quota<LinkQuotaAction>;
  /** Device of the tunnel through this link; engine openvpn only. */
  tunnel?: string;
  /** Never of the file: why the running instance leaves it for now. */
  held?: string;
  disabled: boolean;
}

/** `config interface 'bond'`: the device that the bond appears as, and the host's side of it. */
export interface BondConfig {
  place: Place;
  ifname: string;
  /** Inner addresses of this end, with their prefix lengths (ipaddr + netmask, ip6addr). */
  addresses: Prefix[];
  /** Inner addresses of the other end (remote_ipaddr, remote_ip6addr); router only. */
  remoteAddresses: AddressBytes[];
  privateKeyFile?: string;
  /** The key itself, when the file holds it (`option private_key`). 32 bytes. */
  privateKey?: Uint8Array;
  /** The server's public key; router only. 32 bytes. */
  peerPublicKey?: Uint8Array;
  presharedKeyFile?: string;
  /** 32 bytes. */
  presharedKey?: Uint8Array;
  /** Router: send all traffic through the bond. */
  defaultRoute: boolean;
  /** Prefixes sent through the bond when `defaultRoute` is off. */
  routes: Prefix[];
  masquerade: boolean;
  killswitch: boolean;
  /** Server: the address its clients appear as; undefined: masquerade. */
  publicIpaddr?: AddressBytes;
  /** Server: addresses and names under which routers reach it, for invitations. */
  endpoints?: string[];
  /** Server: the UDP port of these; undefined: the first that it listens at. */
  endpointPort?: number;
  /** Server: UDP addresses and ports it listens at. */
  listen: { address?: AddressBytes; port: number }[];
  /** Server: what clients reach at its inner addresses, beside ping and the speed test. */
  open: Service[];
  /** TCP port of the speed test at the inner addresses. */
  testPort: number;
  /** Mark of the outer datagrams, so that no rule sends them into the bond again. */
  fwmark: number;
  /** Table of the bond's own routes. */
  routingTable: number;
  /** First preference of the ip rules yoke adds. */
  rulePriority: number;
  mtu?: number;
  /** Engine multipath; said at the router. */
  mode: BondMode;
  /** The bonding driver's; engine openvpn only. */
  bonding?: { mode: BondingMode; parameters: { name: string; value: string }[] };
  watchdog?: { address?: AddressBytes; periodUs: number; timeoutUs: number; action?: string };
}

/** `config client 'NAME'`: a router that this server serves. */
export interface ClientConfig {
  name: string;
  place: Place;
  publicKey: Uint8Array;
  presharedKeyFile?: string;
  presharedKey?: Uint8Array;
  /** Inner addresses and networks behind this client: what it may send from, and what is sent to it. */
  allowed: Prefix[];
  /** Undefined: not metered. `slowBps`: what each way has once it is used up, with action `slow`. */
  quota?: Quota<ClientQuotaAction> & { slowBps: number };
  /** Never of the file: why the running instance does not serve it for now. */
  held?: string;
  /** Never of the file: what each way has for now; undefined: no limit. */
  limitBps?: number;
  disabled: boolean;
}

/** `config policy 'NAME'`: what some of the traffic does otherwise. Empty lists: any. */
export interface PolicyConfig {
  name: string;
  place: Place;
  protocols: number[];
  sources: Prefix[];
  destinations: Prefix[];
  sourcePorts: PortRange[];
  destinationPorts: PortRange[];
  dscp: number[];
  /** Undefined: the bond's own. */
  mode?: BondMode;
  links: string[];
  disabled: boolean;
}

/** `config forward 'NAME'`: a port of the server's that leads through the bond. */
export interface ForwardConfig {
  name: string;
  place: Place;
  proto: 'tcp' | 'udp' | 'both';
  ports: PortRange;
  /** The server's address it is a port of; undefined: `publicIpaddr`, or else every address but the inner ones. */
  address?: AddressBytes;
  client?: string;
  /** Where it leads, at most one address of a family. */
  to: AddressBytes[];
  /** Undefined: the same port. */
  destPort?: number;
  disabled: boolean;
}

/** `config openvpn` or `config openvpn-server`: options of OpenVPN as the file says them; engine openvpn only. */
export interface OpenvpnConfig {
  section: 'openvpn' | 'openvpn-server';
  name?: string;
  place: Place;
  options: { name: string; value: string; place: Place }[];
}

/** A whole configuration file. */
export interface Config {
  file: string;
  role: Role;
  engine: EngineName;
  bond: BondConfig;
  /** In the order of the file, at most 8; of a server with engine openvpn: where its tunnels wait. */
  links: LinkConfig[];
  /** Router only, in the order of the file: the first that matches wins. */
  policies: PolicyConfig[];
  /** Server only. */
  clients: ClientConfig[];
  /** Server only. */
  forwards: ForwardConfig[];
  /** Engine openvpn only. */
  openvpn?: OpenvpnConfig[];
}

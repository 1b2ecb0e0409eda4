/** Ways to make one device of many links, behind one interface. One contract suite runs against every implementation (test/contract/). */
import type { AddressBytes, Prefix } from '../base/address.ts';
import type { BondMode } from '../config/config.ts';
import type { Rule } from '../packet/rules.ts';
import type { BondStatus, DropCounts } from '../status/status.ts';
import type { JoinAnswer } from '../wire/join.ts';

/** One link as the backend needs it: found or said, resolved to numbers. */
export interface LinkSettings {
  /** Stable for the life of the process; the path id on the wire (0 to 7). */
  id: number;
  name: string;
  device: string;
  /** Whether packets can leave by it now (device up, has an address of the server's family). */
  usable: boolean;
  localAddress?: AddressBytes;
  localPort: number;
  serverAddress: AddressBytes;
  serverPort: number;
  /** The device's MTU: the upper bound of the path MTU. */
  mtu: number;
  /** Upper limits of the directions; undefined: none. */
  downBps?: number;
  upBps?: number;
  /** Undefined: 0, the links that carry; above: those that stand by while one of a lower tier is up. From LAST_TIER on: nobody wants it. */
  tier?: number;
  /** Undefined: 0; a dearer one carries what the cheaper ones cannot. */
  cost?: number;
  /** Undefined: 1; its share in mode `weighted`. */
  weight?: number;
  /** Engine openvpn: the device of the tunnel. */
  tunnel?: string;
}

/** What traffic goes where. */
export interface SteeringSettings {
  /** How each class is sent, and over which links (by id; none: any). The first one is the bond's own; MAX_CLASSES at most. */
  classes: { mode: BondMode; links: number[] }[];
  /** Which packets are of another class than the bond's own: the first that matches. */
  rules: Rule[];
}

export interface PeerSettings {
  name: string;
  /** 32 bytes. */
  publicKey: Uint8Array;
  presharedKey?: Uint8Array;
  /** What may come from and go to this peer; at the router everything (`0.0.0.0/0`, `::/0`). */
  allowed: Prefix[];
  /** Server: what each way has, all its links together; undefined: no limit. */
  limitBps?: number;
  /** Server: false: it is turned away without a word, and has no session. Undefined: true. */
  isServed?: boolean;
}

/** What OpenVPN under the bonding driver needs beside. */
export interface OpenvpnSettings {
  /** Lines of the configuration that all tunnels have, in OpenVPN's words. */
  lines: string[];
  /** What was changed or left out of the file's, a sentence each; told once, at the start. */
  remarks: string[];
  /** Files that the lines name; `where` is the place that names them. */
  files: { where: string; option: string; path: string }[];
  /** What the file asks for; TAP where the kernel takes no TUN. */
  devType: 'tun' | 'tap';
  /** Units: bytes. */
  fragment?: number;
  /** The bonding driver's. */
  mode: string;
  parameters: { name: string; value: string }[];
  /** The other end's inner IPv4 address: by it the driver notices dead tunnels. */
  peerAddress?: AddressBytes;
}

export interface BackendSettings {
  role: 'router' | 'server';
  ifname: string;
  privateKey: Uint8Array;
  /** Router: exactly one, the server. Server: its clients. */
  peers: PeerSettings[];
  /** Router; with engine openvpn also the server, where a link's local address and port are those that its tunnel waits at. */
  links: LinkSettings[];
  /** Server only. */
  listen: { address?: AddressBytes; port: number }[];
  /** Router; undefined: everything over all links. */
  steering?: SteeringSettings;
  fwmark: number;
  /** Upper bound of the inner MTU said by hand. */
  mtu?: number;
  /** Engine multipath: IPv6 goes through the bond, which asks for an inner MTU of 1,280. */
  carriesIpv6?: boolean;
  /** Turn off to use the plain path of system calls (no segmentation offload). */
  offload: boolean;
  /** Engine openvpn only. */
  openvpn?: OpenvpnSettings;
}

/** What a backend says by itself, rarely. */
export type BackendEvent =
  | { kind: 'mtu'; innerMtu: number }
  | { kind: 'path'; peer: string; path: string; state: string }
  | { kind: 'established'; peer: string }
  | { kind: 'log'; level: 'info' | 'warn' | 'error'; text: string }
  /** A router asks to be taken in (server); `answerJoin` answers. */
  | { kind: 'join'; id: number; publicKey: Uint8Array; secret: Uint8Array; from: string }
  | { kind: 'failed'; error: Error };

export interface BackendReport {
  bonds: BondStatus[];
  drops: DropCounts;
}

export interface Backend {
  /** Does early what takes time and touches nothing of the host, so that `start` is quick. May be left out. */
  prepare?(): void;
  /** Opens the device and the sockets. Resolves when the device exists; rejects with a YokeError and leaves nothing behind. */
  start(settings: BackendSettings, onEvent: (event: BackendEvent) => void): Promise<void>;
  /** Makes the running backend match; what did not change is not disturbed. */
  set(settings: BackendSettings): Promise<void>;
  status(): Promise<BackendReport>;
  /** Answers a `join` event, within seconds. Left out by backends that have no such event. */
  answerJoin?(id: number, answer: JoinAnswer): void;
  /** Says goodbye to the peers, closes the device. Idempotent. */
  stop(): Promise<void>;
}

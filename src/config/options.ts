/** Every option of every section: the one table that reading, messages and docs/config.md are made of. */
import { BONDING_MODES, BONDING_PARAMETERS, type BondingMode, bondingMode } from './bonding.ts';
import { BOND_MODES, type BondMode } from './config.ts';
import * as kind from './kinds.ts';
import { DISABLED, is, type SectionSpec } from './option-spec.ts';
import { CLIENT_QUOTA, LINK_QUOTA } from './quotas.ts';

export type { OptionSpec, SectionSpec, Specs } from './option-spec.ts';

/** Links of a router, at most. Source: docs/protocol.md §1, a path id is 0 to 7. */
export const MAX_LINKS = 8;

/** Policies of a router, and different aims of theirs, at most. Source: docs/protocol.md §11.1, classes 1 to 7. */
export const MAX_POLICIES = 32;
export const MAX_AIMS = 7;

/** `config link 'NAME'`. */
export const LINK_OPTIONS = {
  interface: is({
    kind: kind.device,
    role: 'router',
    bothWith: 'openvpn',
    required: true,
    doc: 'The device of this internet access (`eth1`, `ppp0`, `wwan0`), or the logical interface of OpenWrt (`wan0`).',
  }),
  server: is({
    kind: kind.host,
    // OpenVPN reads it; and the article's file, whose server is words in angle brackets, stays readable.
    openvpnKind: kind.text,
    role: 'router',
    bothWith: 'openvpn',
    required: true,
    doc: 'The server as seen from this link: host name, IPv4 or IPv6 address. Several links may name the same one.',
  }),
  remote_port: is({ kind: kind.port(1), default: '1194', doc: "The server's UDP port." }),
  local_port: is({
    kind: kind.port(0),
    default: '0',
    doc: "UDP port of this end; `'0'` lets the kernel choose (engine openvpn: `remote_port`; at the server 1194, 1195, …).",
  }),
  down: is({
    kind: kind.rate('8kbit', '100gbit'),
    otherwise: 'no limit',
    doc: "Upper limit from the internet to here. Not needed: each link's capacity is found by itself.",
  }),
  up: is({
    kind: kind.rate('8kbit', '100gbit'),
    otherwise: 'no limit',
    doc: 'Upper limit from here to the internet.',
  }),
  ipaddr: is({
    kind: kind.hostPrefix(),
    otherwise: 'found by itself',
    doc: 'Address of this end on the link, where it is not to be found by itself.',
  }),
  netmask: is({ kind: kind.netmask, otherwise: 'the length behind `ipaddr`', doc: 'Netmask of `ipaddr` (IPv4).' }),
  gateway: is({ kind: kind.address(), otherwise: 'found by itself', doc: 'Next hop of the link.' }),
  mtu: is({
    kind: kind.whole(576, 65535, 'a number of bytes'),
    otherwise: "found by probing, at most the device's",
    doc: 'Largest outer IP packet on this link. Units: bytes.',
  }),
  active: is({
    kind: kind.flag,
    default: '0',
    doc: "The link that holds the host's own default route, and that the host falls back to. One link at most.",
  }),
  routing_table: is({
    kind: kind.table,
    otherwise: 'chosen by yoke',
    doc: "Table for this link's own default route: a number, or a name from rt_tables.",
  }),
  mode: is({
    kind: kind.choice('normal', 'backup'),
    role: 'router',
    engine: 'multipath',
    otherwise: "`'normal'`; `'backup'` with a `tier` above 0",
    doc: 'A backup link carries only while no normal link is up. It is probed all the time (every 5 s), so that it is ready at once.',
  }),
  tier: is({
    kind: kind.whole(0, 9, 'a tier'),
    role: 'router',
    engine: 'multipath',
    otherwise: "`'0'`; `'1'` with mode `'backup'`",
    doc: 'Order among backup links: the links of the lowest tier of which one is up carry, the others stand by.',
  }),
  cost: is({
    kind: kind.whole(0, 9, 'a cost'),
    role: 'router',
    engine: 'multipath',
    default: '0',
    doc: 'A dearer link carries only what the cheaper ones of its tier cannot: it joins when they are full, and leaves when they are not.',
  }),
  weight: is({
    kind: kind.whole(1, 100, 'a weight'),
    role: 'router',
    engine: 'multipath',
    default: '1',
    doc: "Share of this link in mode `'weighted'`.",
  }),
  ...LINK_QUOTA,
  tunnel: is({
    kind: kind.newDevice,
    engine: 'openvpn',
    otherwise: 'chosen by yoke',
    doc: 'Device of the OpenVPN tunnel through this link.',
  }),
  ...DISABLED,
};

/** `config interface 'bond'`. */
export const BOND_OPTIONS = {
  role: is({
    kind: kind.choice('router', 'server'),
    default: 'router',
    doc: 'Which end this is: the router has the links, the server has the clients.',
  }),
  engine: is({
    kind: kind.choice('multipath', 'openvpn'),
    otherwise: "`'multipath'`; `'openvpn'` when the file has an `openvpn` or `openvpn-server` section",
    doc: "How one device is made of many links: yoke's own protocol, or OpenVPN tunnels under the kernel's bonding driver.",
  }),
  ifname: is({ kind: kind.newDevice, default: 'bond0', doc: 'Name of the device that the bond appears as.' }),
  ipaddr: is({
    kind: kind.hostPrefix(4),
    many: true,
    doc: 'Inner IPv4 address of this end, `10.0.0.2/24` or with `netmask`. One of `ipaddr` and `ip6addr` is needed.',
  }),
  netmask: is({ kind: kind.netmask, otherwise: 'the length behind `ipaddr`', doc: 'Netmask of `ipaddr`.' }),
  ip6addr: is({ kind: kind.hostPrefix(6), many: true, doc: 'Inner IPv6 address of this end, `fd00:796f::2/64`.' }),
  remote_ipaddr: is({
    kind: kind.address(4),
    role: 'router',
    bothWith: 'openvpn',
    doc: 'Inner IPv4 address of the other end. Engine openvpn needs it at both: by it a dead tunnel is noticed.',
  }),
  remote_ip6addr: is({ kind: kind.address(6), role: 'router', doc: 'Inner IPv6 address of the server.' }),
  private_key_file: is({
    kind: kind.path,
    engine: 'multipath',
    doc: 'File with the private key of this end, as `yoke keygen` prints it. This or `private_key` is needed.',
  }),
  private_key: is({
    kind: kind.secretKey,
    engine: 'multipath',
    doc: 'The private key itself; the configuration file must then be readable by its owner only.',
  }),
  public_key: is({
    kind: kind.publicKey,
    role: 'router',
    engine: 'multipath',
    required: true,
    doc: 'The public key of the server, as `yoke pubkey` prints it there.',
  }),
  preshared_key_file: is({
    kind: kind.path,
    role: 'router',
    engine: 'multipath',
    otherwise: 'none',
    doc: 'File with a key that both ends share, mixed into the handshake. On the server it stands with the client.',
  }),
  preshared_key: is({
    kind: kind.secretKey,
    role: 'router',
    engine: 'multipath',
    otherwise: 'none',
    doc: 'The shared key itself.',
  }),
  mode: is<BondMode | BondingMode>({
    kind: {
      ...kind.choice(...BOND_MODES),
      hint: (text) =>
        text === 'backup'
          ? "say it of the link: option mode 'backup' in its section config link"
          : (BONDING_MODES as readonly string[]).includes(text)
            ? "that is the bonding driver's: set option engine 'openvpn', or write 'aggregate'"
            : undefined,
    },
    openvpnKind: bondingMode,
    otherwise: "`'aggregate'`; engine openvpn: `'balance-rr'`",
    doc:
      '`aggregate`: all links as one. `redundant`: every packet on the two best links, for what must not be lost; it carries as much as the slower of the two. ' +
      '`weighted`: packets dealt out by `weight`, whatever the links carry (for comparison). Said at the router, for both ways. ' +
      `Engine openvpn: the mode of the bonding driver, by name or number, the same at both ends (${BONDING_MODES.map((m) => `\`${m}\``).join(', ')}).`,
  }),
  ...BONDING_PARAMETERS,
  default_route: is({
    kind: kind.flag,
    role: 'router',
    default: '1',
    doc: "Send everything through the bond. The host's own default route stays, behind a rule.",
  }),
  route: is({
    kind: kind.network,
    role: 'router',
    many: true,
    otherwise: 'none',
    doc: "Network to send through the bond when `default_route` is `'0'`.",
  }),
  masquerade: is({
    kind: kind.flag,
    default: '1',
    doc:
      'Router: what leaves through the bond has the address of the bond. Server: what leaves to the internet has the address of the server. ' +
      "With `'0'` on the router, the networks behind it are `allowed_ip` of its client section on the server.",
  }),
  killswitch: is({
    kind: kind.flag,
    role: 'router',
    default: '0',
    doc: 'Never fall back to a plain link: what would go through the bond is dropped while the bond is down.',
  }),
  public_ipaddr: is({
    kind: kind.address(4),
    role: 'server',
    otherwise: 'the address of the device that leads out',
    doc: 'Address that clients appear as on the internet, where the server has several.',
  }),
  endpoint: is({
    kind: kind.host,
    role: 'server',
    engine: 'multipath',
    many: true,
    otherwise: 'the address of the device that leads out',
    doc: 'Where routers reach this server: address or host name, for `yoke invite` (docs/setup.md). Four at most.',
  }),
  endpoint_port: is({
    kind: kind.port(1),
    role: 'server',
    engine: 'multipath',
    otherwise: 'the first port that it listens at',
    doc: 'UDP port that routers reach this server at, where a router or NAT before it forwards another one.',
  }),
  listen: is({
    kind: kind.listen,
    role: 'server',
    engine: 'multipath',
    many: true,
    doc: "UDP address and port to listen at: `'0.0.0.0:1194'`, `'[::]:1194'`, or a port alone for every address.",
  }),
  listen_port: is({
    kind: kind.port(1),
    role: 'server',
    engine: 'multipath',
    otherwise: "`'1194'` when there is no `listen` either",
    doc: 'UDP port to listen at on every address; the short form of `listen`.',
  }),
  open: is({
    kind: kind.service,
    role: 'server',
    many: true,
    otherwise: 'none',
    doc: "What clients reach at the server's inner addresses, beside ping and the speed test: `tcp/22`, `udp/5000-5010`, `any`. See docs/firewall.md.",
  }),
  test_port: is({
    kind: { ...kind.port(1), expected: 'a TCP port from 1 to 65535' },
    default: '30327',
    doc: 'TCP port of `yoke test` at the inner addresses; the same at both ends.',
  }),
  mtu: is({
    kind: kind.whole(576, 65535, 'a number of bytes'),
    otherwise: 'follows the links',
    doc: 'Largest inner packet; at least 1280 with an IPv6 address. Units: bytes.',
  }),
  fwmark: is({
    kind: kind.whole(1, 0xffffffff, 'a mark'),
    default: '30327',
    doc: "Mark of yoke's own datagrams, so that no rule sends them into the bond again. Decimal, or hex with 0x.",
  }),
  routing_table: is({
    kind: kind.tableNumber,
    default: '30327',
    doc: "Table of the bond's own routes; the nine numbers behind it are for the links' and for answers.",
  }),
  rule_priority: is({
    kind: kind.whole(1, 32700, 'a rule preference'),
    default: '700',
    doc: 'First preference of the ip rules that yoke adds; the next few are its own too.',
  }),
  watchdog: is({
    kind: kind.flag,
    role: 'router',
    default: '0',
    doc: 'Ping through the bond, and act when nothing answers.',
  }),
  watchdog_ip: is({
    kind: kind.address(),
    role: 'router',
    otherwise: '`remote_ipaddr`',
    doc: 'Address that the watchdog pings.',
  }),
  watchdog_period: is({
    kind: kind.time('1s', '1h'),
    role: 'router',
    default: '10',
    doc: 'Time between two pings; a bare number is seconds.',
  }),
  watchdog_timeout: is({
    kind: kind.time('1s', '24h'),
    role: 'router',
    default: '60',
    doc: 'Act when nothing was heard for so long; at least `watchdog_period`.',
  }),
  watchdog_action: is({
    kind: kind.watchdogAction,
    role: 'router',
    otherwise: 'the whole bond is restarted',
    doc: '`restart-links`: each link is taken down and up again, one after the other. Or a program to run, by its absolute path, with arguments between blanks; no shell reads it.',
  }),
};

/** `config client 'NAME'`. */
export const CLIENT_OPTIONS = {
  public_key: is({
    kind: kind.publicKey,
    required: true,
    doc: "The client's public key, as `yoke pubkey` prints it on the router.",
  }),
  ipaddr: is({
    kind: kind.address(4),
    many: true,
    doc: 'Inner IPv4 address of the client. One of `ipaddr`, `ip6addr` and `allowed_ip` is needed.',
  }),
  ip6addr: is({ kind: kind.address(6), many: true, doc: 'Inner IPv6 address of the client.' }),
  allowed_ip: is({
    kind: kind.network,
    many: true,
    otherwise: 'none',
    doc: 'Network behind the client: it may send from there, and packets for it go there.',
  }),
  preshared_key_file: is({ kind: kind.path, otherwise: 'none', doc: 'File with the key shared with this client.' }),
  preshared_key: is({ kind: kind.secretKey, otherwise: 'none', doc: 'The shared key itself.' }),
  ...CLIENT_QUOTA,
  ...DISABLED,
};

/** `config forward 'NAME'`. */
export const FORWARD_OPTIONS = {
  proto: is({ kind: kind.choice('tcp', 'udp', 'both'), default: 'both', doc: 'Protocol.' }),
  port: is({
    kind: kind.ports,
    required: true,
    doc: 'Port on the public address, or a range: `8000-8010`.',
  }),
  address: is({
    kind: kind.address(),
    otherwise: '`public_ipaddr`, or else every address of the server but the inner ones',
    doc: "The server's address that it is a port of.",
  }),
  client: is({
    kind: kind.text,
    engine: 'multipath',
    otherwise: 'the one that has `dest_ip` in its `allowed_ip`',
    doc: 'Name of the client that it leads to.',
  }),
  dest_ip: is({
    kind: kind.address(),
    otherwise: 'the inner address of the client',
    doc: 'Address of a host in the network behind the client.',
  }),
  dest_port: is({
    kind: kind.ports,
    otherwise: 'the same port',
    doc: 'Port there. A range keeps its ports.',
  }),
  ...DISABLED,
};

/** `config policy 'NAME'`. */
export const POLICY_OPTIONS = {
  proto: is({ kind: kind.protocol, many: true, otherwise: 'any', doc: 'Protocol of the inner packet.' }),
  src_ip: is({
    kind: kind.addresses,
    many: true,
    otherwise: 'any',
    doc: "Address or network on the router's side. With `masquerade '1'` everything leaves with the bond's own address: then only that can be met.",
  }),
  dest_ip: is({ kind: kind.addresses, many: true, otherwise: 'any', doc: 'Address or network on the far side.' }),
  src_port: is({
    kind: kind.ports,
    many: true,
    otherwise: 'any',
    doc: "Port or range on the router's side; needs `proto`.",
  }),
  dest_port: is({
    kind: kind.ports,
    many: true,
    otherwise: 'any',
    doc: 'Port or range on the far side; needs `proto`.',
  }),
  dscp: is({ kind: kind.dscp, many: true, otherwise: 'any', doc: 'DSCP of the inner packet, by name or number.' }),
  mode: is({
    kind: kind.choice(...BOND_MODES),
    otherwise: "the bond's own",
    doc: 'How these packets are sent: see `mode` of the bond. This or `link` is needed.',
  }),
  link: is({
    kind: kind.text,
    many: true,
    otherwise: 'any',
    doc: 'Links that these packets keep to, backup links too; while none of them is up, or only ones whose quota is used up, the others take them.',
  }),
  ...DISABLED,
};

/** The sections of the file, in the order of docs/config.md. */
export const SECTIONS: readonly SectionSpec[] = [
  {
    type: 'interface',
    heading: "config interface 'bond'",
    doc: 'The bond itself: one section, on either end.',
    options: BOND_OPTIONS,
  },
  {
    type: 'link',
    heading: "config link 'NAME'",
    doc: `One internet access of the router; 1 to ${MAX_LINKS} sections. Without a name it is called as its interface.`,
    options: LINK_OPTIONS,
  },
  {
    type: 'policy',
    heading: "config policy 'NAME'",
    role: 'router',
    engine: 'multipath',
    doc:
      `What some of the traffic does otherwise than the rest; ${MAX_POLICIES} sections at most, the first that matches wins. All that is said must match, of several values one. ` +
      'It holds both ways: the answers of a flow go as the flow does, once the router has sent a packet of it.',
    options: POLICY_OPTIONS,
  },
  {
    type: 'client',
    heading: "config client 'NAME'",
    role: 'server',
    engine: 'multipath',
    doc: 'One router that the server serves.',
    options: CLIENT_OPTIONS,
  },
  {
    type: 'forward',
    heading: "config forward 'NAME'",
    role: 'server',
    doc: 'A port of the server that leads through the bond, to a client or a host behind it (docs/firewall.md).',
    options: FORWARD_OPTIONS,
  },
  {
    type: 'openvpn',
    heading: 'config openvpn',
    engine: 'openvpn',
    doc:
      "OpenVPN's own options for the router's tunnels, with `_` for `-`. They are handed on; what OpenVPN has removed since is left out " +
      'or written in its modern form, and `yoke check` says so.',
  },
  {
    type: 'openvpn-server',
    heading: 'config openvpn-server',
    engine: 'openvpn',
    doc: "The same for the server's end; there each `config link` is a tunnel that waits at `local_port` (of `ipaddr`).",
  },
];

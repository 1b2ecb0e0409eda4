/**
 * What the host should be: a configuration and what was observed → a list of things, in the order in which they are safe to make.
 *
 * Router, from the first preference (config.bond.rulePriority) on, in each family:
 *
 *   +0       lookup main suppress_prefixlength 0      what the host knows better than a default route stays as it is
 *   +1+i     from ADDRESS lookup TABLE                link i: answers leave by the line that was asked
 *   +10+i    oif DEVICE lookup TABLE                  link i: sockets tied to the device, ours above all
 *   +19      fwmark MARK+1 lookup BOND-TABLE+9        answers to what came by the bond, where the default route is another
 *   +20      not fwmark MARK lookup BOND-TABLE        everything else; our own datagrams are marked and stay out
 *
 * main keeps its default route: when the bond's device is gone its table is empty, and the packet falls through to main. The kill
 * switch is an `unreachable` route behind the bond's own that needs no device and so outlives the process.
 *
 * Settings. Forwarding on. rp_filter from strict to loose at links and bond (what comes in by a line may be answered by another way). IPv6
 * forwarding turns router advertisements off unless accept_ra is 2, so it is 2 first wherever they are listened to.
 * Redirects need nothing: forwarding makes the kernel refuse them, and none is sent when a packet leaves by another device.
 */
import {
  type AddressBytes,
  networkOf,
  parseAddress,
  parsePrefix,
  prefixContains,
  printAddress,
  printPrefix,
} from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import type { Access, Facts, LinkFacts } from './facts.ts';
import { needsReplyPath, replyMark } from './firewall.ts';
import { desiredNft, nftTableName, outermost } from './nft.ts';
import {
  type Family,
  KILLSWITCH_METRIC,
  MAIN_TABLE,
  ROUTE_METRIC,
  type RouteThing,
  type RuleThing,
  type SysctlThing,
  type Thing,
} from './thing.ts';

/** Limit: more links than this the configuration refuses. */
const MOST_LINKS = 8;
/** Where rules stand behind the first preference; the links fit between them. */
const FROM_RULE_OFFSET = 1;
const OIF_RULE_OFFSET = 10;
const REPLY_RULE_OFFSET = 19;
const BOND_RULE_OFFSET = 20;
/** The table for answers stands behind those of the links. */
const REPLY_TABLE_OFFSET = MOST_LINKS + 1;

/** What is known only while the packet path runs: its device exists, and this is the MTU that fits the paths. */
export interface Live {
  /** Units: bytes. */
  innerMtu: number;
}

/** Which marked things are this instance's: several may live on one machine. Plain data. */
export interface Ownership {
  device: string;
  nftTable: string;
  tables: number[];
  /** First and last preference of our rules. */
  priorities: [number, number];
}

/** What the host should be. */
export interface Should {
  /** In the order in which they are made; taken away the other way round. */
  things: Thing[];
  owns: Ownership;
}

/**
 * What should be on the host for a configuration.
 *
 * Without `live` all that must stand before the packet path opens its device: the links' tables and rules, settings, the nftables
 * table, the kill switch. With it, and once the device is observed, also the device's addresses and what is routed to it.
 *
 * @throws YokeError for a routing table that has no number or is the system's.
 */
export function desired(config: Config, facts: Facts, live?: Live): Should {
  const parts = config.role === 'router' ? routerThings(config, facts) : serverThings(config);
  const device = live && facts.devices.includes(config.bond.ifname) ? deviceThings(config, facts, live) : [];
  const routed = device.length > 0 ? parts.routed : parts.routed.filter((r) => r.dev === undefined);
  return {
    things: [...parts.before, ...settings(config, facts), desiredNft(config), ...device, ...routed, ...parts.last],
    owns: {
      device: config.bond.ifname,
      nftTable: nftTableName(config.bond.ifname),
      tables: config.role === 'router' ? ownTables(config, facts) : [],
      priorities: [config.bond.rulePriority, config.bond.rulePriority + BOND_RULE_OFFSET],
    },
  };
}

/** The families that the bond carries: those of its inner addresses, as far as the kernel speaks them. */
export function innerFamilies(config: Config, facts: Facts): Family[] {
  const has = (length: number) => config.bond.addresses.some((a) => a.bytes.length === length);
  const out: Family[] = [];
  if (has(4)) out.push(4);
  if (has(16) && facts.ipv6) out.push(6);
  return out;
}

interface Parts {
  before: Thing[];
  routed: RouteThing[];
  last: Thing[];
}

function routerThings(config: Config, facts: Facts): Parts {
  const { bond } = config;
  const tables = linkTables(config, facts);
  const links: Thing[] = [];
  const linkFamilies = new Set<Family>();
  facts.links.forEach((link, i) => {
    for (const family of [4, 6] as const) {
      const access = family === 4 ? link.v4 : link.v6;
      if (!access || link.device === undefined) continue;
      linkFamilies.add(family);
      links.push(...linkThings(family, link.device, access, tables[i], bond.rulePriority + i));
    }
  });
  const inner = innerFamilies(config, facts);
  // The switch also closes the family that the bond does not carry: it would leave by the plain line for ever.
  const closed: Family[] = bond.killswitch && bond.defaultRoute ? (facts.ipv6 ? [4, 6] : [4]) : inner;
  const ruled = ([4, 6] as const).filter((f) => closed.includes(f) || linkFamilies.has(f));
  const routed: RouteThing[] = [];
  for (const family of closed) routed.push(...bondRoutes(config, family, inner.includes(family)));
  const replies = needsReplyPath(config) ? inner : [];
  const replyTable = bond.routingTable + REPLY_TABLE_OFFSET;
  for (const family of replies) routed.push(bondRoute(config, family, replyTable, 'default'));
  return {
    before: [
      ...ruled.map((family): RuleThing => {
        return { kind: 'rule', family, priority: bond.rulePriority, table: MAIN_TABLE, suppressDefault: true };
      }),
      ...links,
    ],
    routed,
    last: [
      ...replies.map((family): RuleThing => {
        const priority = bond.rulePriority + REPLY_RULE_OFFSET;
        return { kind: 'rule', family, priority, table: replyTable, fwmark: replyMark(config) };
      }),
      ...closed.map((family): RuleThing => {
        const priority = bond.rulePriority + BOND_RULE_OFFSET;
        return { kind: 'rule', family, priority, table: bond.routingTable, notFwmark: bond.fwmark };
      }),
    ],
  };
}

function linkThings(family: Family, dev: string, access: Access, table: number, first: number): Thing[] {
  const things: Thing[] = [];
  const base = { kind: 'route', family, table, type: 'unicast', metric: ROUTE_METRIC, dev } as const;
  const bytes = parseAddress(access.address)!;
  const near = networkOf({ bytes, length: access.prefixLength });
  if (access.prefixLength < bytes.length * 8)
    things.push({ ...base, to: printPrefix(near), ...(family === 4 && { src: access.address }) });
  if (access.gateway !== undefined) {
    const gateway = parseAddress(access.gateway)!;
    const linkLocal = family === 6 && prefixContains(parsePrefix('fe80::/10')!, gateway);
    const onlink = !linkLocal && !prefixContains(near, gateway);
    things.push({ ...base, to: 'default', via: access.gateway, ...(onlink && { onlink }) });
  } else if (access.source === 'point-to-point') things.push({ ...base, to: 'default' });
  for (const from of [access.address, ...access.others])
    things.push({ kind: 'rule', family, priority: first + FROM_RULE_OFFSET, table, from });
  things.push({ kind: 'rule', family, priority: first + OIF_RULE_OFFSET, table, oif: dev });
  return things;
}

/** @throws YokeError for a table that has no number or is the system's. */
function linkTables(config: Config, facts: Facts): number[] {
  const links = config.links.filter((l) => !l.disabled);
  return links.map((link, i) => {
    const said = link.routingTable;
    if (said === undefined) return config.bond.routingTable + 1 + i;
    const table = /^\d+$/.test(said) ? Number(said) : facts.tables[said];
    const where = `${link.place.file}:${link.place.line}: link '${link.name}'`;
    if (table === undefined)
      throw new YokeError('config', {
        where,
        expected: 'a routing table number, or a name from /etc/iproute2/rt_tables',
        found: `'${said}'`,
        todo: `add a line '1001 ${said}' to that file, or leave option routing_table out`,
      });
    if (table === 0 || (table >= 253 && table <= 255) || table > 0xffffffff)
      throw new YokeError('config', {
        where,
        expected: 'a routing table of its own',
        found: `table ${table}, which is the system's`,
        todo: 'take another number, or leave option routing_table out',
      });
    return table;
  });
}

/** The bond's table, the numbers that links may be given, that of the answers, and what links were told. */
function ownTables(config: Config, facts: Facts): number[] {
  const given = Array.from({ length: 1 + REPLY_TABLE_OFFSET }, (_, i) => config.bond.routingTable + i);
  return [...new Set([...given, ...linkTables(config, facts)])];
}

function bondRoutes(config: Config, family: Family, carried: boolean): RouteThing[] {
  const { bond } = config;
  const ofFamily = (bytes: Uint8Array) => (bytes.length === 4) === (family === 4);
  const said = outermost(bond.routes.filter((p) => ofFamily(p.bytes)));
  const wanted = bond.defaultRoute ? ['default'] : said.map((p) => (p.length === 0 ? 'default' : printPrefix(p)));
  const near = (a: AddressBytes) => bond.addresses.some((p) => prefixContains(p, a));
  const far = bond.remoteAddresses
    .filter((a) => ofFamily(a) && !near(a))
    .map((a) => printPrefix({ bytes: a, length: a.length * 8 }));
  const base = { kind: 'route', family, table: bond.routingTable } as const;
  const closed: RouteThing[] = bond.killswitch
    ? wanted.map((to) => ({ ...base, type: 'unreachable', to, metric: KILLSWITCH_METRIC }))
    : [];
  const open = carried ? [...new Set([...(bond.defaultRoute ? [] : far), ...wanted])] : [];
  return [...closed, ...open.map((to) => bondRoute(config, family, bond.routingTable, to))];
}

/** A route by the bond. Between tunnels that carry Ethernet a packet needs a neighbour to go to; our own tunnel has but one other end. */
function bondRoute({ engine, bond }: Config, family: Family, table: number, to: string): RouteThing {
  const route = { kind: 'route', family, table, type: 'unicast', to, metric: ROUTE_METRIC, dev: bond.ifname } as const;
  const peer = bond.remoteAddresses.find((a) => (a.length === 4) === (family === 4));
  if (engine !== 'openvpn' || !peer || to === printPrefix({ bytes: peer, length: peer.length * 8 })) return route;
  const near = bond.addresses.some((p) => prefixContains(p, peer));
  return { ...route, via: printAddress(peer), ...(!near && { onlink: true }) };
}

function serverThings(config: Config): Parts {
  const { bond } = config;
  const behind = outermost(
    config.engine === 'openvpn'
      ? config.forwards.filter((f) => !f.disabled).flatMap((f) => f.to.map((a) => ({ bytes: a, length: a.length * 8 })))
      : config.clients.filter((c) => !c.disabled).flatMap((c) => c.allowed),
  );
  // What the device's own prefixes cover the kernel routes by itself; a default route to a client would be the end of the server.
  const wanted = behind.filter(
    (p) => p.length > 0 && !bond.addresses.some((a) => a.length <= p.length && prefixContains(a, p.bytes)),
  );
  const routed = wanted.map((p) => bondRoute(config, p.bytes.length === 4 ? 4 : 6, MAIN_TABLE, printPrefix(p)));
  return { before: [], routed, last: [] };
}

function settings(config: Config, facts: Facts): SysctlThing[] {
  const is = settingsOf(facts);
  const out: SysctlThing[] = [];
  const want = (key: string, value: string) => {
    if (is.has(key)) out.push({ kind: 'sysctl', key, value });
  };
  const linkDevices = [...new Set(facts.links.flatMap((l) => l.device ?? []))];
  for (const dev of linkDevices) if (filtersStrictly(is, dev)) want(`net/ipv4/conf/${dev}/rp_filter`, '2');
  if (carriesIpv6(config)) {
    for (const dev of facts.devices) {
      const key = `net/ipv6/conf/${dev}/accept_ra`;
      // Whoever listens now shall listen on; and 2 stays 2: ours, or the user's own wish.
      const listens = is.get('net/ipv6/conf/all/forwarding') === '0' || linkDevices.includes(dev);
      if (is.get(key) === '2' || (is.get(key) === '1' && (listens || facts.raDevices.includes(dev)))) want(key, '2');
    }
    want('net/ipv6/conf/all/forwarding', '1');
  }
  want('net/ipv4/ip_forward', '1');
  return out;
}

/** Whether anybody has an IPv6 address inside. */
export function carriesIpv6(config: Config): boolean {
  return [config.bond.addresses, ...config.clients.map((c) => c.allowed)].flat().some((p) => p.bytes.length === 16);
}

/** Whether the answer stays yes after loose filtering was set, so that a second look changes nothing. */
function filtersStrictly(is: Map<string, string>, dev: string): boolean {
  return (is.get(`net/ipv4/conf/${dev}/rp_filter`) ?? '0') !== '0' || is.get('net/ipv4/conf/all/rp_filter') === '1';
}

function settingsOf(facts: Facts): Map<string, string> {
  return new Map(facts.things.flatMap((t) => (t.kind === 'sysctl' ? [[t.key, t.value] as const] : [])));
}

function deviceThings(config: Config, facts: Facts, live: Live): Thing[] {
  const dev = config.bond.ifname;
  const is = settingsOf(facts);
  const things: Thing[] = [];
  // No link-local address of the kernel's own: its solicitations would be the first packets in the tunnel.
  const quiet = `net/ipv6/conf/${dev}/addr_gen_mode`;
  // A bond of Ethernet tunnels needs it: its neighbours are asked from that address.
  if (is.has(quiet) && config.engine === 'multipath') things.push({ kind: 'sysctl', key: quiet, value: '1' });
  if (filtersStrictly(is, dev)) things.push({ kind: 'sysctl', key: `net/ipv4/conf/${dev}/rp_filter`, value: '2' });
  // Up before the addresses: a device that goes down loses its IPv6 addresses, and each step is to undo its own work only.
  things.push({ kind: 'mtu', dev, mtu: live.innerMtu }, { kind: 'up', dev, up: true });
  for (const a of config.bond.addresses) {
    const family = a.bytes.length === 4 ? 4 : 6;
    if (family === 4 || facts.ipv6) things.push({ kind: 'address', family, dev, address: printPrefix(a) });
  }
  return things;
}

/** The links of which nothing can be sent now, with the reason; for status and log. */
export function unusableLinks(facts: Facts): LinkFacts[] {
  return facts.links.filter((l) => l.problem !== undefined);
}

/**
 * The server's half of our nftables table: what comes in, and which ports lead through the bond (docs/firewall.md). And the router's
 * return path for what came in by the bond while its default route stays elsewhere.
 *
 *   internet ─▶ input: tunnel ports, new flows limited            internet ─▶ prerouting: port forwards ─▶ bond
 *   bond ─────▶ input: inner addresses closed but for a few       bond ─▶ forward ─▶ bond: comes back by us (postrouting)
 *
 * Only drops, never a policy: whatever is not named here is left to the operator's own rules.
 */
import { networkOf, type Prefix, printAddress, printPrefix } from '../base/address.ts';
import type { Config, ForwardConfig } from '../config/config.ts';
import { printPorts, type Service } from '../config/kinds.ts';
import { waitingPorts } from '../config/ports.ts';

/** New flows to the tunnel ports from one address (IPv6: from one /64). Beyond: dropped. A router makes one a link. */
const FLOWS_OF_ONE = '10/second burst 100 packets';
/** New flows to the tunnel ports in all: half a minute of them is 15,000 entries, which any machine's connection tracking holds. Beyond: dropped. */
const FLOWS_OF_ALL = '500/second burst 1000 packets';
/** Addresses that are counted one by one. Beyond: only the limit for all. */
const STRANGERS = 16_384;
/** All bits of an IPv6 address that tell one subscriber from another. */
const SUBSCRIBER = 'ffff:ffff:ffff:ffff::';

/** Sets of the server's table, before its chains. */
export function serverSets(): string {
  const set = (name: string, type: string) =>
    `\tset ${name} {\n\t\ttype ${type}\n\t\tsize ${STRANGERS}\n\t\tflags dynamic,timeout\n\t\ttimeout 1m\n\t}\n`;
  return `${set('strangers4', 'ipv4_addr')}\n${set('strangers6', 'ipv6_addr')}\n`;
}

/** What comes into the server: rules of the input hook. */
export function inputRules(config: Config): string[] {
  const ports = [...new Set(waitingPorts(config).map((p) => p.port))];
  // The first packet of a flow alone: the later ones stay new until they are answered, but take no new entry.
  const fresh = `udp dport { ${ports.join(', ')} } ct state new ct status & confirmed == 0`;
  const rules = [
    `${fresh} add @strangers4 { ip saddr limit rate over ${FLOWS_OF_ONE} } drop`,
    `${fresh} add @strangers6 { ip6 saddr & ${SUBSCRIBER} limit rate over ${FLOWS_OF_ONE} } drop`,
    `${fresh} limit rate over ${FLOWS_OF_ALL} drop`,
  ];
  const { open, ifname, testPort } = config.bond;
  if (open.some((s) => s.proto === 'any')) return rules;
  return [
    ...rules,
    `iifname != "${ifname}" accept`,
    'ct state established,related accept',
    'icmp type echo-request accept',
    'icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept',
    ...[{ proto: 'tcp' as const, ports: { first: testPort, last: testPort } }, ...open].map(acceptRule),
    // An inner network has a broadcast address, too, and what is meant for all is meant for us.
    `ip daddr { ${[...innerNetworks(config, 4), '224.0.0.0/4', '255.255.255.255'].join(', ')} } drop`,
    `ip6 daddr { ${[...innerNetworks(config, 6), 'fe80::/10', 'ff00::/8'].join(', ')} } drop`,
  ];
}

const acceptRule = ({ proto, ports }: Service) => `${proto} dport ${printPorts(ports!)} accept`;

function innerNetworks(config: Config, family: 4 | 6): string[] {
  const own = config.bond.addresses.filter((a) => (a.bytes.length === 4) === (family === 4));
  return [...new Set(own.map((a) => printPrefix(networkOf(a))))];
}

/** The ports that lead through the bond: rules of the prerouting hook. */
export function forwardRules(config: Config): string[] {
  return config.forwards.filter((f) => !f.disabled).flatMap((f) => f.to.flatMap((to) => forwardRule(config, f, to)));
}

function forwardRule(config: Config, f: ForwardConfig, to: Uint8Array): string[] {
  const family = to.length === 4 ? 4 : 6;
  const word = family === 4 ? 'ip' : 'ip6';
  const ours = f.address ?? config.bond.publicIpaddr;
  const address = ours?.length === to.length ? ours : undefined;
  const inner = innerNetworks(config, family);
  const outside = inner.length > 0 ? `${word} daddr != { ${inner.join(', ')} }` : `meta nfproto ipv${family}`;
  const arrives = address ? `${word} daddr ${printAddress(address)}` : `fib daddr type local ${outside}`;
  const port = f.destPort === undefined ? '' : `:${f.destPort}`;
  const target = family === 4 || port === '' ? printAddress(to) : `[${printAddress(to)}]`;
  return (f.proto === 'both' ? ['tcp', 'udp'] : [f.proto]).map(
    (proto) => `${arrives} ${proto} dport ${printPorts(f.ports)} dnat ${word} to ${target}${port}`,
  );
}

/**
 * A client that asks for a forwarded port gets its answer through us: rules of the postrouting hook. Without them the host would answer
 * straight to one that asked somebody else.
 */
export function hairpinRules(config: Config, served: readonly Prefix[]): string[] {
  if (!config.forwards.some((f) => !f.disabled)) return [];
  return served.map((p) => {
    const word = p.bytes.length === 4 ? 'ip' : 'ip6';
    return `oifname "${config.bond.ifname}" ${word} saddr ${printPrefix(p)} ct status dnat masquerade`;
  });
}

/** The mark of connections that came in by the router's bond, beside that of the tunnel's own datagrams. */
export function replyMark({ bond }: Config): number {
  return bond.fwmark === 0xffffffff ? bond.fwmark - 1 : bond.fwmark + 1;
}

/** Whether the router must see to it that answers go back by the bond: its default route does not lead there. */
export function needsReplyPath(config: Config): boolean {
  return config.role === 'router' && !config.bond.defaultRoute;
}

/** Connections that begin at the far end are marked, and what answers them bears the mark when it is routed. */
export function replyRules(config: Config): { prerouting: string[]; output: string[] } {
  const mark = `0x${replyMark(config).toString(16)}`;
  const device = `"${config.bond.ifname}"`;
  return {
    prerouting: [
      `iifname ${device} ct state new ct mark set ${mark}`,
      `iifname != ${device} ct mark ${mark} meta mark set ${mark}`,
    ],
    output: [`ct mark ${mark} meta mark set ${mark}`],
  };
}

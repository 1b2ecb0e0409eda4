/**
 * The text of our one nftables table: NAT, MSS clamp, and what firewall.ts says. Tables of the user are neither read nor written.
 *
 * A chain without a hook bears the hash of the text in its name: so an observer knows the table's version although the kernel
 * prints rules in its own words.
 */
import { networkOf, type Prefix, prefixContains, printAddress, printPrefix } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import { forwardRules, hairpinRules, inputRules, needsReplyPath, replyRules, serverSets } from './firewall.ts';
import type { NftThing } from './thing.ts';

/** Name of the table for a device; characters that nft does not take are written as `/` and their code. */
export function nftTableName(device: string): string {
  return `yoke_${device.replace(/[^A-Za-z0-9_.-]/g, (c) => `/${c.charCodeAt(0).toString(16)}`)}`;
}

/** The table that a configuration asks for. */
export function desiredNft(config: Config): NftThing {
  const table = nftTableName(config.bond.ifname);
  const chains = [clampChain('forward', config.bond.ifname), clampChain('output', config.bond.ifname)];
  const server = config.role === 'server';
  const forwards = forwardRules(config);
  const nat = [...natRules(config), ...hairpinRules(config, outermost(served(config)))];
  if (server) chains.push(chain('input', 'type filter hook input priority filter; policy accept;', inputRules(config)));
  if (forwards.length > 0)
    chains.push(chain('prerouting', 'type nat hook prerouting priority dstnat; policy accept;', forwards));
  if (needsReplyPath(config)) {
    const { prerouting, output } = replyRules(config);
    chains.push(chain('come_by', 'type filter hook prerouting priority mangle; policy accept;', prerouting));
    chains.push(chain('answer', 'type route hook output priority mangle; policy accept;', output));
  }
  if (nat.length > 0)
    chains.push(chain('postrouting', 'type nat hook postrouting priority srcnat; policy accept;', nat));
  const body = `${server ? serverSets() : ''}${chains.join('\n')}`;
  const text = `table inet ${table} {\n\tchain mark_${fnv1a(body)} {\n\t}\n\n${body}}\n`;
  return { kind: 'nft', table, mark: markOfListing(text), text };
}

/** Reads the mark of a table from what `nft list table` prints: the hash of the text it was made of, and how many rules it has now. */
export function markOfListing(listing: string): string {
  const hash = /^\s*chain mark_([0-9a-f]+) \{/m.exec(listing)?.[1] ?? 'none';
  const rules = listing
    .replace(/^\s*set \w+ \{[^{}]*\}\n/gm, '')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== '}' && !line.endsWith('{') && !line.startsWith('type '));
  return `${hash}/${rules.length}`;
}

/**
 * TCP's segment size follows the path through the bond. `rt mtu` is the smaller one of both directions' routes, so one rule for each
 * direction does. Source: nft(8), "rt expressions".
 */
function clampChain(hook: 'forward' | 'output', device: string): string {
  const clamp = 'tcp flags & (syn|rst) == syn tcp option maxseg size set rt mtu';
  const ways = hook === 'forward' ? ['oifname', 'iifname'] : ['oifname'];
  return chain(
    hook,
    `type filter hook ${hook} priority mangle; policy accept;`,
    ways.map((way) => `${way} ${quote(device)} ${clamp}`),
  );
}

function natRules(config: Config): string[] {
  const device = quote(config.bond.ifname);
  if (config.role === 'router') return config.bond.masquerade ? [`oifname ${device} masquerade`] : [];
  const own = config.bond.publicIpaddr;
  if (!own && !config.bond.masquerade) return [];
  const rules: string[] = [];
  for (const p of outermost(served(config))) {
    const word = p.bytes.length === 4 ? 'ip' : 'ip6';
    const snat = own && own.length === p.bytes.length ? `snat ${word} to ${printAddress(own)}` : 'masquerade';
    if (snat === 'masquerade' && !config.bond.masquerade) continue;
    const from = p.length === 0 ? `meta nfproto ${word === 'ip' ? 'ipv4' : 'ipv6'}` : `${word} saddr ${printPrefix(p)}`;
    rules.push(`oifname != ${device} ${from} ${snat}`);
  }
  return rules;
}

/** What may come out of the bond to the internet: with OpenVPN the network of the bond, for there are no clients by name. */
function served(config: Config): Prefix[] {
  if (config.engine === 'openvpn') return config.bond.addresses;
  return config.clients.filter((c) => !c.disabled).flatMap((c) => c.allowed);
}

/** The prefixes without host bits and without those that lie inside another one, in the order given. */
export function outermost(prefixes: readonly Prefix[]): Prefix[] {
  const out: Prefix[] = [];
  for (const p of prefixes.map(networkOf)) {
    const inside = (a: Prefix, b: Prefix) => a.length >= b.length && prefixContains(b, a.bytes);
    if (out.some((o) => inside(p, o))) continue;
    const kept = out.filter((o) => !inside(o, p));
    out.splice(0, out.length, ...kept, p);
  }
  return out;
}

function chain(name: string, head: string, rules: readonly string[]): string {
  return `\tchain ${name} {\n\t\t${head}\n${rules.map((r) => `\t\t${r}\n`).join('')}\t}\n`;
}

const quote = (text: string) => `"${text}"`;

/** A short hash; equality of our own texts is all it serves. Source: FNV-1a, 32 bit, twice with different starts. */
function fnv1a(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x5bd1e995;
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x01000193);
    b ^= b >>> 13;
  }
  return [a, b].map((n) => (n >>> 0).toString(16).padStart(8, '0')).join('');
}

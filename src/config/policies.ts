/**
 * Policies: checked against the links and each other, then made into values; and what the links say of modes and tiers.
 *
 *   sections ──read──▶ PolicyReading ──checkPolicies──▶ complaints
 *                                    ──toPolicy───────▶ PolicyConfig ──aimOf──▶ the classes of traffic
 */
import { type Prefix, prefixContains } from '../base/address.ts';
import type { BondReading, LinkReading } from './checks.ts';
import type { BondMode, Config, PolicyConfig } from './config.ts';
import { MAX_AIMS, MAX_POLICIES, type POLICY_OPTIONS } from './options.ts';
import { allOf, complain, type Entry, headingOf, oneOf, type Reader, type Reading } from './reading.ts';
import { nearest } from './suggest.ts';
import type { UciSection } from './uci.ts';

/** A policy's section, read. */
export interface PolicyReading {
  section: UciSection;
  read: Reading<typeof POLICY_OPTIONS>;
}

const PROTOCOLS_WITH_PORTS: readonly number[] = [6, 17, 33, 132, 136];
const CONDITIONS = ['proto', 'src_ip', 'dest_ip', 'src_port', 'dest_port', 'dscp'] as const;

const isOn = (r: { disabled: Entry<boolean>; enabled: Entry<boolean> }) =>
  !oneOf(r.disabled) && oneOf(r.enabled) !== false;

/** Policies against the links, the bond and each other. */
export function checkPolicies(
  reader: Reader,
  policies: readonly PolicyReading[],
  links: readonly LinkReading[],
  bond: BondReading | undefined,
): void {
  for (const link of links) checkLinkMode(reader, link);
  const names = new Map<string, number>();
  const aims = new Set<string>();
  let general: UciSection | undefined;
  let behind = 0;
  policies.forEach(({ section, read: r }, i) => {
    const heading = headingOf(section);
    const refuse = (expected: string, found: string, todo: string) =>
      complain(reader, section.line, heading, { expected, found, todo });
    if (i === MAX_POLICIES)
      refuse(`at most ${MAX_POLICIES} policies`, `${policies.length}`, 'put some of them together');
    if (section.name !== undefined && names.has(section.name)) {
      refuse('a name of its own', `'${section.name}' in line ${names.get(section.name)} too`, 'rename one of them');
    }
    names.set(section.name ?? '', section.line);
    if (!isOn(r)) return;
    checkAim(reader, { section, read: r }, links);
    checkPorts(reader, r);
    checkAddresses(reader, r, bond);
    if (general !== undefined) behind++;
    const said = CONDITIONS.filter((name) => r[name].said.length > 0 || r[name].faulty);
    if (said.length === 0) general ??= section;
    const mode = oneOf(r.mode);
    const before = aims.size;
    aims.add(`${mode} ${allOf(r.link).sort()}`);
    if (aims.size > MAX_AIMS && aims.size > before) {
      refuse(`at most ${MAX_AIMS} different aims (mode and links)`, `${aims.size}`, 'give some policies the same aim');
    }
  });
  if (general !== undefined && behind > 0) {
    complain(reader, general.line, headingOf(general), {
      expected: `one of ${CONDITIONS.join(', ')}, or no policy behind it`,
      found: `none: it matches everything, and hides ${behind} behind it`,
      todo: 'put it last, or say what it is for',
    });
  }
}

/** A link's own mode and tier against each other. */
function checkLinkMode(reader: Reader, { read: r }: LinkReading) {
  const [mode, tier] = [r.mode.said[0], r.tier.said[0]];
  if (mode && tier && (mode.value === 'backup') !== tier.value > 0) {
    const expected = mode.value === 'backup' ? "a tier from 1 to 9 with mode 'backup'" : "tier '0' with mode 'normal'";
    complain(reader, tier.line, 'option tier', {
      expected,
      found: `'${tier.text}'`,
      todo: mode.value === 'backup' ? 'raise it, or leave it out' : "write mode 'backup', or leave tier out",
    });
  }
}

function checkAim(reader: Reader, { section, read: r }: PolicyReading, links: readonly LinkReading[]) {
  if (r.mode.said.length === 0 && r.link.said.length === 0 && !r.mode.faulty && !r.link.faulty) {
    const todo = "add: option mode 'redundant', or option link with the links to keep to";
    complain(reader, section.line, headingOf(section), { expected: 'option mode or link', found: 'neither', todo });
  }
  const nameOf = ({ section, read }: LinkReading) => section.name ?? oneOf(read.interface) ?? '';
  for (const said of r.link.said) {
    const link = links.find((l) => nameOf(l) === said.value);
    if (link && isOn(link.read)) continue;
    const known = links.filter((l) => isOn(l.read)).map(nameOf);
    const near = nearest(said.value, known);
    complain(reader, said.line, said.where, {
      expected: 'the name of a link of this file',
      found: link ? `'${said.text}', which is disabled (line ${link.section.line})` : `'${said.text}'`,
      todo: near && near !== said.value ? `did you mean '${near}'?` : `take one of ${known.join(', ')}`,
    });
  }
  if (oneOf(r.mode) === 'redundant' && new Set(allOf(r.link)).size === 1) {
    const [said] = r.link.said;
    complain(reader, said.line, said.where, {
      expected: "two links or more with mode 'redundant'",
      found: `'${said.text}' alone`,
      todo: 'name another one, or leave option link out',
    });
  }
}

function checkPorts(reader: Reader, r: PolicyReading['read']) {
  const port = r.src_port.said[0] ?? r.dest_port.said[0];
  if (!port || r.proto.faulty) return;
  if (r.proto.said.length === 0) {
    const todo = "add: option proto 'udp' or 'tcp', or both: option proto 'tcp udp'";
    complain(reader, port.line, port.where, { expected: 'option proto beside a port', found: 'none', todo });
    return;
  }
  const other = r.proto.said.find((p) => !p.value.every((n) => PROTOCOLS_WITH_PORTS.includes(n)));
  if (other) {
    complain(reader, port.line, port.where, {
      expected: "proto 'tcp' or 'udp' beside a port",
      found: `'${other.text}', which has no ports`,
      todo: 'remove the port, or write a policy of its own for each protocol',
    });
  }
}

function checkAddresses(reader: Reader, r: PolicyReading['read'], bond: BondReading | undefined) {
  const [from, to] = [r.src_ip.said, r.dest_ip.said];
  if (from.length > 0 && to.length > 0 && !from.some((a) => to.some((b) => isSameFamily(a.value, b.value)))) {
    complain(reader, to[0].line, to[0].where, {
      expected: 'an address of the family of src_ip',
      found: `'${to[0].text}' beside '${from[0].text}': no packet has both`,
      todo: 'correct one of them',
    });
  }
  if (from.length === 0 || !bond || oneOf(bond.read.masquerade) === false) return;
  const own = [...allOf(bond.read.ipaddr), ...allOf(bond.read.ip6addr)];
  for (const said of from) {
    if (own.some((o) => isSameFamily(o, said.value) && prefixContains(said.value, o.bytes))) continue;
    complain(reader, said.line, said.where, {
      expected: "an address of the bond, which masquerade '1' gives to all that leaves",
      found: `'${said.text}', which no packet in the bond has`,
      todo: "set masquerade '0' (and allowed_ip on the server), or match by port or dscp",
    });
  }
}

const isSameFamily = (a: Prefix, b: Prefix) => a.bytes.length === b.bytes.length;

/** Makes the values of a section without faults. */
export function toPolicy(file: string, { section, read: r }: PolicyReading): PolicyConfig {
  return {
    name: section.name ?? `policy${section.line}`,
    place: { file, line: section.line },
    protocols: allOf(r.proto).flat(),
    sources: allOf(r.src_ip),
    destinations: allOf(r.dest_ip),
    sourcePorts: allOf(r.src_port),
    destinationPorts: allOf(r.dest_port),
    dscp: allOf(r.dscp),
    mode: oneOf(r.mode),
    links: allOf(r.link),
    disabled: oneOf(r.disabled) === true || oneOf(r.enabled) === false,
  };
}

/** What packets do: how they are sent, and the links that they keep to (none named: any). */
export interface Aim {
  mode: BondMode;
  links: string[];
}

/** The different aims of the bond and its policies, the bond's own first, and the number of each policy's. Invariant: at most MAX_AIMS beside the first. */
export function aimsOf({ bond, policies }: Config): { aims: Aim[]; policies: { policy: PolicyConfig; aim: number }[] } {
  const aims: Aim[] = [{ mode: bond.mode, links: [] }];
  const key = ({ mode, links }: Aim) => `${mode} ${[...links].sort()}`;
  const numbered = policies
    .filter((policy) => !policy.disabled)
    .map((policy) => {
      const wanted: Aim = { mode: policy.mode ?? bond.mode, links: policy.links };
      let aim = aims.findIndex((a) => key(a) === key(wanted));
      if (aim < 0) aim = aims.push(wanted) - 1;
      return { policy, aim };
    });
  return { aims, policies: numbered };
}

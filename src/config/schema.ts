/**
 * Text → Config: syntax (uci.ts), then each section against its table (reading.ts, options.ts), then what no section can see of itself
 * (checks.ts), and only when nothing was wrong the values are made.
 */
import type { Prefix } from '../base/address.ts';
import { assert, YokeError } from '../base/error.ts';
import { BONDING_PARAMETERS, type BondingMode } from './bonding.ts';
import {
  type BondReading,
  type ClientReading,
  checkBond,
  checkClients,
  checkLinks,
  checkOpenvpn,
  type LinkReading,
} from './checks.ts';
import type {
  BondConfig,
  BondMode,
  ClientConfig,
  Config,
  EngineName,
  LinkConfig,
  OpenvpnConfig,
  Role,
} from './config.ts';
import { checkForwards, type ForwardReading, toForward, withForwards } from './forwards.ts';
import {
  BOND_OPTIONS,
  CLIENT_OPTIONS,
  FORWARD_OPTIONS,
  LINK_OPTIONS,
  POLICY_OPTIONS,
  SECTIONS,
  type Specs,
} from './options.ts';
import { checkPolicies, type PolicyReading, toPolicy } from './policies.ts';
import { DEFAULT_PORT } from './ports.ts';
import { checkQuota, quotaOf } from './quotas.ts';
import { allOf, complain, type Entry, headingOf, oneOf, type Reader, readSection } from './reading.ts';
import { nearest } from './suggest.ts';
import { parseUci, quoted, type UciDocument, type UciSection } from './uci.ts';
import { getOption } from './uci-edit.ts';

const TABLES: Readonly<Record<string, Specs>> = {
  "interface 'bond'": BOND_OPTIONS,
  link: LINK_OPTIONS,
  client: CLIENT_OPTIONS,
  forward: FORWARD_OPTIONS,
  policy: POLICY_OPTIONS,
};

/** Reads a configuration file's text. `file` names it in messages. @throws YokeError `config` with everything that is wrong. */
export function readConfig(text: string, file: string): Config {
  const document = parseUci(text, file);
  const reader: Reader = { file, role: roleOf(document), engine: engineOf(document), complaints: [] };
  let bond: BondReading | undefined;
  const links: LinkReading[] = [];
  const clients: ClientReading[] = [];
  const forwards: ForwardReading[] = [];
  const policies: PolicyReading[] = [];
  const openvpn: OpenvpnConfig[] = [];
  for (const section of document.sections) {
    if (!isWelcome(reader, section, bond?.section)) continue;
    const { type } = section;
    if (type === 'interface') bond = { section, read: readSection(reader, section, BOND_OPTIONS, TABLES) };
    else if (type === 'link') links.push({ section, read: readSection(reader, section, LINK_OPTIONS, TABLES) });
    else if (type === 'client') clients.push({ section, read: readSection(reader, section, CLIENT_OPTIONS, TABLES) });
    else if (type === 'policy') policies.push({ section, read: readSection(reader, section, POLICY_OPTIONS, TABLES) });
    else if (type === 'forward')
      forwards.push({ section, read: readSection(reader, section, FORWARD_OPTIONS, TABLES) });
    else openvpn.push(toOpenvpn(file, section));
  }
  if (bond) checkBond(reader, bond);
  else {
    const found = 'none';
    complain(reader, 0, '', {
      expected: "a section config interface 'bond'",
      found,
      todo: 'add it, see docs/config.md for an example',
    });
  }
  checkLinks(reader, links, bond);
  checkClients(reader, clients, bond);
  const around = { clients, links, bond };
  checkForwards(reader, forwards, around);
  checkPolicies(reader, policies, links, bond);
  for (const metered of [...links, ...clients]) checkQuota(reader, metered);
  if (reader.engine === 'openvpn') checkOpenvpn(reader, openvpn, bond);
  if (reader.complaints.length > 0) {
    throw new YokeError(
      'config',
      reader.complaints.sort((a, b) => a.line - b.line).map((c) => c.complaint),
    );
  }
  const forwarded = forwards.map((f) => toForward(file, f, around));
  assert(bond !== undefined, 'a file without complaints has a bond');
  return {
    file,
    role: reader.role,
    engine: reader.engine,
    bond: toBond(file, reader, bond),
    links: links.map((l) => toLink(file, l)),
    policies: policies.map((p) => toPolicy(file, p)),
    clients: clients.map((c) => withForwards(toClient(file, c), forwarded)),
    forwards: forwarded,
    ...(reader.engine === 'openvpn' ? { openvpn } : {}),
  };
}

const bondOption = (document: UciDocument, name: string) => {
  const at = document.sections.findIndex((s) => s.type === 'interface' && s.name === 'bond');
  return at < 0 ? undefined : getOption(document, at, name);
};

/** The role said; where it is said wrongly or not at all in a broken file, the one whose sections are there. */
function roleOf(document: UciDocument): Role {
  const said = bondOption(document, 'role');
  if (said === 'router' || said === 'server') return said;
  if (said !== undefined && nearest(said, ['server'])) return 'server';
  const has = (type: string) => document.sections.some((s) => s.type === type);
  return said !== undefined && has('client') && !has('link') ? 'server' : 'router';
}

function engineOf(document: UciDocument): EngineName {
  const said = bondOption(document, 'engine');
  if (said === 'multipath' || said === 'openvpn') return said;
  return document.sections.some((s) => s.type === 'openvpn' || s.type === 'openvpn-server') ? 'openvpn' : 'multipath';
}

/** Whether a section is known, not there twice, and of this role and engine; complains when it is not. */
function isWelcome(reader: Reader, section: UciSection, bond: UciSection | undefined): boolean {
  const heading = headingOf(section);
  const refuse = (expected: string, found: string, todo: string) => {
    complain(reader, section.line, heading, { expected, found, todo });
    return false;
  };
  const spec = SECTIONS.find((s) => s.type === section.type);
  if (!spec) {
    const types = SECTIONS.map((s) => s.type);
    const near = nearest(section.type, types);
    const todo = near === undefined ? 'remove it, or see docs/config.md' : `did you mean 'config ${near}'?`;
    return refuse(`a section of type ${types.join(', ')}`, quoted(section.type), todo);
  }
  if (section.type === 'interface') {
    const name = section.name === undefined ? 'no name' : quoted(section.name);
    if (section.name !== 'bond') return refuse("the name 'bond'", name, "write: config interface 'bond'");
    if (bond) return refuse('it once', `it in line ${bond.line} too`, 'put all its options into one section');
    return true;
  }
  if (spec.engine !== undefined && spec.engine !== reader.engine) {
    const todo = `remove it, or set option engine '${spec.engine}' in config interface 'bond'`;
    return refuse(`engine '${spec.engine}' for this section`, `engine '${reader.engine}'`, todo);
  }
  // The article's server has links too: one for each tunnel.
  const role = section.type === 'link' && reader.engine === 'multipath' ? 'router' : spec.role;
  if (role !== undefined && role !== reader.role) {
    const todo = `remove it, or set option role '${role}' in config interface 'bond'`;
    return refuse(`role '${role}' for this section`, `role '${reader.role}'`, todo);
  }
  return true;
}

/** The value of an option that has a default or was seen to be there. */
function must<T>(entry: Entry<T>): T {
  const value = oneOf(entry);
  assert(value !== undefined, `option ${entry.name} has neither value nor default`);
  return value;
}

/** Addresses with the lengths that they bring along, or that of the netmask: never both (checks.ts). */
function prefixes(ipaddr: Entry<Prefix>, netmask: Entry<number>): Prefix[] {
  const length = oneOf(netmask);
  return ipaddr.said.map(({ value }) => (length === undefined ? value : { bytes: value.bytes, length }));
}

function toBond(file: string, reader: Reader, { section, read: r }: BondReading): BondConfig {
  const remotes = [oneOf(r.remote_ipaddr), oneOf(r.remote_ip6addr)].filter((a) => a !== undefined);
  const listen = [...allOf(r.listen), ...allOf(r.listen_port).map((port) => ({ port }))];
  if (listen.length === 0 && reader.role === 'server') listen.push({ port: DEFAULT_PORT });
  return {
    place: { file, line: section.line },
    ifname: must(r.ifname),
    addresses: [...prefixes(r.ipaddr, r.netmask), ...allOf(r.ip6addr)],
    remoteAddresses: remotes,
    privateKeyFile: oneOf(r.private_key_file),
    privateKey: oneOf(r.private_key),
    peerPublicKey: oneOf(r.public_key),
    presharedKeyFile: oneOf(r.preshared_key_file),
    presharedKey: oneOf(r.preshared_key),
    defaultRoute: reader.role === 'router' && must(r.default_route),
    routes: allOf(r.route),
    masquerade: must(r.masquerade),
    killswitch: must(r.killswitch),
    publicIpaddr: oneOf(r.public_ipaddr),
    ...(r.endpoint.said.length > 0 && { endpoints: allOf(r.endpoint) }),
    ...(r.endpoint_port.said.length > 0 && { endpointPort: oneOf(r.endpoint_port) }),
    listen,
    open: allOf(r.open),
    testPort: must(r.test_port),
    fwmark: must(r.fwmark),
    routingTable: must(r.routing_table),
    rulePriority: must(r.rule_priority),
    mtu: oneOf(r.mtu),
    mode: reader.engine === 'multipath' ? ((oneOf(r.mode) as BondMode | undefined) ?? 'aggregate') : 'aggregate',
    ...(reader.engine === 'openvpn' && { bonding: toBonding(r) }),
    watchdog: must(r.watchdog)
      ? {
          address: oneOf(r.watchdog_ip) ?? remotes[0],
          periodUs: must(r.watchdog_period),
          timeoutUs: must(r.watchdog_timeout),
          action: oneOf(r.watchdog_action),
        }
      : undefined,
  };
}

function toBonding(r: BondReading['read']): BondConfig['bonding'] {
  const names = Object.keys(BONDING_PARAMETERS) as (keyof typeof BONDING_PARAMETERS)[];
  const parameters = names.flatMap((name) => allOf(r[name]).map((value) => ({ name, value })));
  return { mode: (oneOf(r.mode) as BondingMode | undefined) ?? 'balance-rr', parameters };
}

function toLink(file: string, { section, read: r }: LinkReading): LinkConfig {
  const quota = quotaOf(r);
  return {
    name: section.name ?? oneOf(r.interface) ?? `link${section.line}`,
    place: { file, line: section.line },
    interface: oneOf(r.interface) ?? '',
    server: oneOf(r.server) ?? '',
    localPort: must(r.local_port),
    remotePort: must(r.remote_port),
    routingTable: oneOf(r.routing_table),
    active: must(r.active),
    ipaddr: prefixes(r.ipaddr, r.netmask)[0],
    gateway: oneOf(r.gateway),
    downBps: oneOf(r.down),
    upBps: oneOf(r.up),
    mtu: oneOf(r.mtu),
    tier: oneOf(r.tier) ?? (oneOf(r.mode) === 'backup' ? 1 : 0),
    cost: must(r.cost),
    weight: must(r.weight),
    ...(quota && { quota }),
    tunnel: oneOf(r.tunnel),
    disabled: must(r.disabled) || !must(r.enabled),
  };
}

function toClient(file: string, { section, read: r }: ClientReading): ClientConfig {
  const quota = quotaOf(r);
  const whole = [...allOf(r.ipaddr), ...allOf(r.ip6addr)].map((bytes) => ({ bytes, length: bytes.length * 8 }));
  return {
    name: section.name ?? '',
    place: { file, line: section.line },
    publicKey: must(r.public_key),
    presharedKeyFile: oneOf(r.preshared_key_file),
    presharedKey: oneOf(r.preshared_key),
    allowed: [...whole, ...allOf(r.allowed_ip)],
    ...(quota && { quota: { ...quota, slowBps: must(r.quota_rate) } }),
    disabled: must(r.disabled) || !must(r.enabled),
  };
}

function toOpenvpn(file: string, section: UciSection): OpenvpnConfig {
  return {
    section: section.type === 'openvpn' ? 'openvpn' : 'openvpn-server',
    name: section.name,
    place: { file, line: section.line },
    options: section.options.map((o) => ({ name: o.name, value: o.value, place: { file, line: o.line } })),
  };
}

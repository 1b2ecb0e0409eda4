/**
 * Port forwards: checked against the clients, the tunnel's own ports and each other, then made into values.
 *
 *   sections ──read──▶ ForwardReading ──checkForwards──▶ complaints
 *                                     ──toForward──────▶ ForwardConfig ──withForwards──▶ the client lets it through
 */
import { type AddressBytes, type Prefix, prefixContains, printAddress } from '../base/address.ts';
import { assert } from '../base/error.ts';
import { type BondReading, type ClientReading, isOn, type LinkReading } from './checks.ts';
import type { ClientConfig, ForwardConfig } from './config.ts';
import type { PortRange } from './kinds.ts';
import type { FORWARD_OPTIONS } from './options.ts';
import { DEFAULT_PORT, portOfTunnel } from './ports.ts';
import { allOf, complain, headingOf, oneOf, type Reader, type Reading } from './reading.ts';
import { nearest } from './suggest.ts';
import type { UciSection } from './uci.ts';

/** A forward's section, read. */
export interface ForwardReading {
  section: UciSection;
  read: Reading<typeof FORWARD_OPTIONS>;
}

/** What forwards are checked against. */
export interface ForwardSurroundings {
  clients: readonly ClientReading[];
  links: readonly LinkReading[];
  bond: BondReading | undefined;
}

const meets = (a: PortRange, b: PortRange) => a.first <= b.last && b.first <= a.last;
const same = (a: AddressBytes, b: AddressBytes) => printAddress(a) === printAddress(b);

/** Forwards against clients, tunnel ports and each other. */
export function checkForwards(reader: Reader, forwards: readonly ForwardReading[], around: ForwardSurroundings): void {
  const names = new Map<string, number>();
  const before: ForwardReading[] = [];
  for (const forward of forwards) {
    const { section, read: r } = forward;
    const heading = headingOf(section);
    if (section.name === undefined) {
      const todo = "write: config forward 'NAME'";
      complain(reader, section.line, heading, { expected: 'a name', found: 'none', todo });
    } else if (names.has(section.name)) {
      const found = `'${section.name}' in another forward (line ${names.get(section.name)}) too`;
      complain(reader, section.line, heading, { expected: 'a name of its own', found, todo: 'rename one of them' });
    } else names.set(section.name, section.line);
    if (!isOn(r)) continue;
    checkDestPort(reader, r);
    checkDestination(reader, forward, around);
    checkHost(reader, forward, before);
    checkTunnelPorts(reader, r, around);
    checkOthers(reader, forward, before, around.bond);
    before.push(forward);
  }
}

function checkDestPort(reader: Reader, r: ForwardReading['read']) {
  const [port, dest] = [r.port.said[0], r.dest_port.said[0]];
  if (!port || !dest || dest.text === port.text) return;
  const range = port.value.first !== port.value.last || dest.value.first !== dest.value.last;
  if (!range) return;
  complain(reader, dest.line, 'option dest_port', {
    expected: `'${port.text}' or nothing: a range keeps its ports`,
    found: `'${dest.text}'`,
    todo: 'leave dest_port out, or write a forward for each port',
  });
}

function checkDestination(reader: Reader, { section, read: r }: ForwardReading, around: ForwardSurroundings) {
  const heading = headingOf(section);
  const [named, dest, address] = [r.client.said[0], r.dest_ip.said[0], r.address.said[0]];
  const client = named && around.clients.find((c) => c.section.name === named.value);
  const own = around.bond ? [...allOf(around.bond.read.ipaddr), ...allOf(around.bond.read.ip6addr)] : [];
  for (const said of [dest, address]) {
    if (!said || !own.some((o) => same(o.bytes, said.value))) continue;
    const isDest = said === dest;
    complain(reader, said.line, said.where, {
      expected: isDest ? 'a host behind the bond' : 'an address that the internet reaches',
      found: `'${said.text}', the server's own inner address`,
      todo: isDest ? "name the host; at the server itself a port is opened by 'list open'" : 'name a public address',
    });
    return;
  }
  if (named && !client) {
    const known = around.clients.flatMap((c) => c.section.name ?? []);
    const near = nearest(named.value, known);
    complain(reader, named.line, named.where, {
      expected: 'the name of a client of this file',
      found: `'${named.text}'`,
      todo: near ? `did you mean '${near}'?` : known.length > 0 ? `take one of ${known.join(', ')}` : 'add the client',
    });
    return;
  }
  if (client && !isOn(client.read)) {
    complain(reader, named.line, named.where, {
      expected: 'a client that is not disabled',
      found: `'${named.text}', disabled (line ${client.section.line})`,
      todo: 'disable the forward too, or enable the client',
    });
    return;
  }
  if (reader.engine === 'multipath' && !r.client.faulty && !r.dest_ip.faulty) {
    if (!named && !dest) {
      const todo = 'add: option client with the name of the client it leads to';
      complain(reader, section.line, heading, { expected: 'option client or dest_ip', found: 'neither', todo });
      return;
    }
    const holder = dest && holderOf(dest.value, around.clients);
    if (dest && !named && !holder) {
      complain(reader, dest.line, dest.where, {
        expected: "an address of a client, or in a client's allowed_ip",
        found: `'${dest.text}', which no client has`,
        todo: 'add: option client with the name of the client it is behind',
      });
    } else if (dest && named && holder && holder !== client) {
      complain(reader, dest.line, dest.where, {
        expected: `an address behind client '${named.text}'`,
        found: `'${dest.text}', which is behind ${headingOf(holder.section)} (line ${holder.section.line})`,
        todo: 'correct one of them',
      });
    }
  }
  checkFamilies(reader, { section, read: r }, destinationsOf(r, around));
}

/** One address cannot be behind two clients. */
function checkHost(reader: Reader, { read: r }: ForwardReading, before: readonly ForwardReading[]) {
  const [client, dest] = [oneOf(r.client), r.dest_ip.said[0]];
  if (client === undefined || !dest) return;
  const other = before.find(({ read: o }) => {
    const [theirs, to] = [oneOf(o.client), oneOf(o.dest_ip)];
    return theirs !== undefined && theirs !== client && to !== undefined && same(to, dest.value);
  });
  if (!other) return;
  const found = `'${dest.text}', which ${headingOf(other.section)} (line ${other.section.line}) has behind '${oneOf(other.read.client)}'`;
  const todo = 'give the hosts addresses of their own, or forward to the client itself and from there on';
  complain(reader, dest.line, dest.where, { expected: `an address behind client '${client}' alone`, found, todo });
}

/** A forward must have somewhere to lead in the family of its address. */
function checkFamilies(reader: Reader, { section, read: r }: ForwardReading, to: readonly AddressBytes[]) {
  if (r.dest_ip.faulty || r.client.faulty || r.address.faulty) return;
  const address = r.address.said[0];
  const dest = r.dest_ip.said[0];
  const family = address?.value.length === 16 ? 'IPv6' : 'IPv4';
  if (address && dest && address.value.length !== dest.value.length) {
    const todo = 'correct one of them: a forward does not change the family';
    complain(reader, dest.line, dest.where, { expected: `an ${family} address`, found: `'${dest.text}'`, todo });
  } else if (to.length === 0) {
    complain(reader, section.line, headingOf(section), {
      expected: address ? `an ${family} address to lead to` : 'an address to lead to',
      found: 'none: the client has no inner address of its own',
      todo: "add dest_ip, or give the client an 'ipaddr' or 'ip6addr'",
    });
  }
}

function checkTunnelPorts(reader: Reader, r: ForwardReading['read'], { links, bond }: ForwardSurroundings) {
  const port = r.port.said[0];
  if (!port || oneOf(r.proto) === 'tcp') return;
  const address = oneOf(r.address);
  const waits = bond ? tunnelPorts(reader, bond, links) : [];
  const own = waits.find(({ at, number }) => {
    if (number < port.value.first || number > port.value.last) return false;
    return at === undefined || address === undefined || at.every((b) => b === 0) || same(at, address);
  });
  if (!own) return;
  const todo = "take another port, or another one for the tunnel; or proto 'tcp'";
  complain(reader, port.line, port.where, {
    expected: "a UDP port that is not the tunnel's own",
    found: `'${port.text}', ${port.text === String(own.number) ? 'which' : `${own.number} of which`} the tunnel waits at`,
    todo,
  });
}

/** The UDP ports at which the server waits for its routers. */
function tunnelPorts(reader: Reader, { read: r }: BondReading, links: readonly LinkReading[]) {
  if (reader.engine === 'openvpn') {
    const on = links.filter((l) => isOn(l.read));
    return on.map((l, i) => ({ at: oneOf(l.read.ipaddr)?.bytes, number: portOfTunnel(oneOf(l.read.local_port), i) }));
  }
  const said = allOf(r.listen).map(({ address, port }) => ({ at: address, number: port }));
  const all = [...said, ...allOf(r.listen_port).map((number) => ({ at: undefined, number }))];
  return all.length > 0 ? all : [{ at: undefined, number: DEFAULT_PORT }];
}

function checkOthers(
  reader: Reader,
  { read: r }: ForwardReading,
  before: readonly ForwardReading[],
  bond: BondReading | undefined,
) {
  const port = r.port.said[0];
  if (!port) return;
  const place = (f: ForwardReading['read'], length: 4 | 16) => {
    const said = oneOf(f.address) ?? (length === 4 && bond ? oneOf(bond.read.public_ipaddr) : undefined);
    return said === undefined || said.length === length ? { leads: true, said } : { leads: false, said: undefined };
  };
  const other = before.find(({ read: o }) => {
    const [mine, theirs] = [oneOf(r.proto), oneOf(o.proto)];
    if (mine !== 'both' && theirs !== 'both' && mine !== theirs) return false;
    if (!o.port.said[0] || !meets(o.port.said[0].value, port.value)) return false;
    return ([4, 16] as const).some((length) => {
      const wanted = (f: ForwardReading['read']) => {
        const dest = oneOf(f.dest_ip);
        return dest === undefined || dest.length === length;
      };
      const [a, b] = [place(r, length), place(o, length)];
      if (!a.leads || !b.leads || !wanted(r) || !wanted(o)) return false;
      return a.said === undefined || b.said === undefined || same(a.said, b.said);
    });
  });
  if (!other) return;
  const theirs = other.read.port.said[0];
  complain(reader, port.line, port.where, {
    expected: 'a port that no other forward has',
    found: `'${port.text}', which overlaps '${theirs.text}' of ${headingOf(other.section)} (line ${theirs.line})`,
    todo: 'choose another port, or remove one of them',
  });
}

/** The client that has an address, the narrowest network first: as the tunnel itself decides. */
function holderOf(address: AddressBytes, clients: readonly ClientReading[]): ClientReading | undefined {
  const on = clients.filter((c) => isOn(c.read));
  const whole = on.find((c) => [...allOf(c.read.ipaddr), ...allOf(c.read.ip6addr)].some((a) => same(a, address)));
  return whole ?? on.find((c) => allOf(c.read.allowed_ip).some((p) => prefixContains(p, address)));
}

function destinationsOf(r: ForwardReading['read'], around: ForwardSurroundings): AddressBytes[] {
  const dest = oneOf(r.dest_ip);
  const address = oneOf(r.address);
  const { clients, bond } = around;
  const client = clients.find((c) => c.section.name === oneOf(r.client))?.read;
  const remotes = bond ? [...allOf(bond.read.remote_ipaddr), ...allOf(bond.read.remote_ip6addr)] : [];
  const firsts = client ? [allOf(client.ipaddr)[0], allOf(client.ip6addr)[0]] : remotes;
  const all = dest ? [dest] : firsts.filter((a) => a !== undefined);
  return all.filter((a) => address === undefined || a.length === address.length);
}

/** The value of a section without complaints. */
export function toForward(
  file: string,
  { section, read: r }: ForwardReading,
  around: ForwardSurroundings,
): ForwardConfig {
  const ports = oneOf(r.port);
  assert(ports !== undefined, 'a file without complaints has the port of each forward');
  const dest = oneOf(r.dest_port);
  const destination = oneOf(r.dest_ip);
  const client = oneOf(r.client) ?? (destination && holderOf(destination, around.clients)?.section.name);
  return {
    name: section.name ?? '',
    place: { file, line: section.line },
    proto: oneOf(r.proto) ?? 'both',
    ports,
    ...(r.address.said.length > 0 && { address: oneOf(r.address) }),
    ...(client !== undefined && { client }),
    to: destinationsOf(r, around),
    ...(dest && dest.first !== ports.first && { destPort: dest.first }),
    disabled: !isOn(r),
  };
}

/** The client with what its forwards lead to, where that is not its own yet. */
export function withForwards(client: ClientConfig, forwards: readonly ForwardConfig[]): ClientConfig {
  const mine = forwards.filter((f) => !f.disabled && f.client === client.name).flatMap((f) => f.to);
  const extra = mine.filter((a) => !client.allowed.some((p) => prefixContains(p, a)));
  const whole = new Map(extra.map((a): [string, Prefix] => [printAddress(a), { bytes: a, length: a.length * 8 }]));
  return whole.size > 0 ? { ...client, allowed: [...client.allowed, ...whole.values()] } : client;
}

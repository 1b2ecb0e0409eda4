/** What one option or one section cannot see of itself: contradictions, doubles, overlaps. Order: bond, links, clients. */
import {
  type AddressBytes,
  networkOf,
  type Prefix,
  prefixContains,
  printAddress,
  printPrefix,
} from '../base/address.ts';
import type { OpenvpnConfig } from './config.ts';
import { translateOpenvpn } from './openvpn.ts';
import { type BOND_OPTIONS, type CLIENT_OPTIONS, type LINK_OPTIONS, MAX_LINKS } from './options.ts';
import { allOf, complain, type Entry, headingOf, oneOf, type Reader, type Reading, type Said } from './reading.ts';
import type { UciSection } from './uci.ts';

/** The bond's section, read. */
export interface BondReading {
  section: UciSection;
  read: Reading<typeof BOND_OPTIONS>;
}

/** A link's section, read. */
export interface LinkReading {
  section: UciSection;
  read: Reading<typeof LINK_OPTIONS>;
}

/** A client's section, read. */
export interface ClientReading {
  section: UciSection;
  read: Reading<typeof CLIENT_OPTIONS>;
}

const silent = (...entries: Entry<unknown>[]) => entries.every((e) => e.said.length === 0 && !e.faulty);

/** Complains where two entries are said that exclude each other. */
function checkEither(reader: Reader, a: Entry<unknown>, b: Entry<unknown>) {
  if (a.said.length === 0 || b.said.length === 0) return;
  const [first, second] = a.said[0].line < b.said[0].line ? [a, b] : [b, a];
  complain(reader, second.said[0].line, `option ${second.name}`, {
    expected: `either ${a.name} or ${b.name}`,
    found: `${first.name} in line ${first.said[0].line} too`,
    todo: 'remove one of them',
  });
}

function checkNetmask(reader: Reader, ipaddr: Entry<Prefix>, netmask: Entry<number>) {
  const mask = netmask.said[0];
  if (!mask || ipaddr.faulty) return;
  const where = 'option netmask';
  const address = ipaddr.said.find((a) => a.text.includes('/') || a.value.bytes.length !== 4);
  if (ipaddr.said.length === 0) {
    complain(reader, mask.line, where, {
      expected: 'an ipaddr that it is the mask of',
      found: 'none',
      todo: 'add ipaddr, or remove it',
    });
  } else if (address?.value.bytes.length === 16) {
    const todo = `remove it, and write the length behind the address: '${address.text}/64'`;
    complain(reader, mask.line, where, { expected: 'an IPv4 address in ipaddr', found: `'${address.text}'`, todo });
  } else if (address) {
    const found = `'${address.text}' in line ${address.line}`;
    complain(reader, mask.line, where, { expected: 'an ipaddr without a length', found, todo: 'remove the netmask' });
  }
}

function checkSwitch(reader: Reader, disabled: Entry<boolean>, enabled: Entry<boolean>) {
  if (disabled.said.length > 0 && enabled.said.length > 0 && disabled.said[0].value === enabled.said[0].value) {
    checkEither(reader, disabled, enabled);
  }
}

/** Whether a section takes part. */
export const isOn = (r: { disabled: Entry<boolean>; enabled: Entry<boolean> }) =>
  !oneOf(r.disabled) && oneOf(r.enabled) !== false;

/** Complains about the second of two equal values. */
class Doubles {
  readonly #seen = new Map<string, { line: number; who: string }>();
  readonly #reader: Reader;
  readonly #todo: string;

  constructor(reader: Reader, todo: string) {
    this.#reader = reader;
    this.#todo = todo;
  }

  /** `shown`: the value as a message shows it. */
  add(
    key: string | undefined,
    line: number,
    where: string,
    what: string,
    who: string,
    shown: string = `'${key}'`,
  ): void {
    if (key === undefined) return;
    const other = this.#seen.get(key);
    if (!other) this.#seen.set(key, { line, who });
    else {
      const found = `${shown} in ${other.who} (line ${other.line}) too`;
      complain(this.#reader, line, where, { expected: `${what} of its own`, found, todo: this.#todo });
    }
  }

  addSaid(entry: Entry<unknown>, what: string, section: UciSection, shown?: string): void {
    for (const s of entry.said) this.add(s.text, s.line, s.where, what, headingOf(section), shown ?? `'${s.text}'`);
  }
}

/** The bond against itself. */
export function checkBond(reader: Reader, { section, read: r }: BondReading): void {
  const heading = headingOf(section);
  checkNetmask(reader, r.ipaddr, r.netmask);
  if (silent(r.ipaddr, r.ip6addr)) {
    const todo = `add: option ipaddr '${reader.role === 'server' ? '10.0.0.1/24' : '10.0.0.2/24'}'`;
    complain(reader, section.line, heading, { expected: 'option ipaddr or ip6addr', found: 'neither', todo });
  }
  if (reader.engine === 'multipath' && silent(r.private_key, r.private_key_file)) {
    const todo = "add: option private_key_file with the file that 'yoke keygen' was written to";
    complain(reader, section.line, heading, {
      expected: 'option private_key_file or private_key',
      found: 'neither',
      todo,
    });
  }
  checkEither(reader, r.private_key, r.private_key_file);
  checkEither(reader, r.preshared_key, r.preshared_key_file);
  const own = [...r.ipaddr.said, ...r.ip6addr.said];
  const doubles = new Doubles(reader, 'remove one of them');
  for (const s of own) doubles.add(printAddress(s.value.bytes), s.line, s.where, 'an address', 'this section');
  checkRemote(reader, r.remote_ipaddr, r.ipaddr);
  checkRemote(reader, r.remote_ip6addr, r.ip6addr);
  const mtu = r.mtu.said[0];
  if (mtu && mtu.value < 1280 && r.ip6addr.said.length > 0) {
    const todo = 'raise it, or remove ip6addr';
    complain(reader, mtu.line, 'option mtu', {
      expected: 'at least 1280 with an IPv6 address (RFC 8200)',
      found: `'${mtu.text}'`,
      todo,
    });
  }
  const publicIp = r.public_ipaddr.said[0];
  if (publicIp && oneOf(r.masquerade) === false) {
    const todo = 'remove public_ipaddr, or masquerade';
    complain(reader, publicIp.line, 'option public_ipaddr', {
      expected: "masquerade '1' with it",
      found: "masquerade '0'",
      todo,
    });
  }
  checkListen(reader, r);
  checkWatchdog(reader, section, r);
}

function checkRemote(reader: Reader, remote: Entry<AddressBytes>, own: Entry<Prefix>) {
  const far = remote.said[0];
  if (!far || own.faulty) return;
  const where = `option ${remote.name}`;
  if (own.said.length === 0) {
    const todo = `add ${own.name}, or remove it`;
    complain(reader, far.line, where, { expected: `an ${own.name} of this end beside it`, found: 'none', todo });
  }
  const same = own.said.find((s) => printAddress(s.value.bytes) === printAddress(far.value));
  if (same) {
    const found = `'${far.text}', which is this end's own (line ${same.line})`;
    complain(reader, far.line, where, {
      expected: "the server's inner address",
      found,
      todo: 'give each end an address of its own',
    });
  }
}

function checkListen(reader: Reader, r: BondReading['read']) {
  const all: Said<{ address?: AddressBytes; port: number }>[] = [
    ...r.listen.said,
    ...r.listen_port.said.map((s) => ({ ...s, value: { port: s.value } })),
  ].sort((a, b) => a.line - b.line);
  const everywhere = (address?: AddressBytes) => address === undefined || address.every((b) => b === 0);
  all.forEach((a, i) => {
    const other = all.slice(0, i).find(({ value: b }) => {
      if (a.value.port !== b.port) return false;
      if (a.value.address === undefined || b.address === undefined) return true;
      if (a.value.address.length !== b.address.length) return false;
      return (
        everywhere(a.value.address) ||
        everywhere(b.address) ||
        printAddress(a.value.address) === printAddress(b.address)
      );
    });
    if (other) {
      const found = `'${a.text}', covered by '${other.text}' in line ${other.line}`;
      complain(reader, a.line, a.where, { expected: 'each address and port once', found, todo: 'remove one of them' });
    }
  });
}

function checkWatchdog(reader: Reader, section: UciSection, r: BondReading['read']) {
  const period = oneOf(r.watchdog_period);
  const timeout = oneOf(r.watchdog_timeout);
  if (period !== undefined && timeout !== undefined && timeout < period) {
    const said = r.watchdog_timeout.said[0] ?? r.watchdog_period.said[0];
    const texts = [r.watchdog_timeout, r.watchdog_period].map((e) => e.said[0]?.text ?? e.spec.default);
    complain(reader, said.line, 'option watchdog_timeout', {
      expected: `at least watchdog_period ('${texts[1]}')`,
      found: `'${texts[0]}'`,
      todo: 'raise the timeout to several periods',
    });
  }
  if (oneOf(r.watchdog) && silent(r.watchdog_ip, r.remote_ipaddr, r.remote_ip6addr)) {
    const line = r.watchdog.said[0]?.line ?? section.line;
    const todo = 'add one of them';
    complain(reader, line, 'option watchdog', {
      expected: 'watchdog_ip or remote_ipaddr to ping',
      found: 'neither',
      todo,
    });
  }
}

/** Links against themselves, each other and the bond. */
export function checkLinks(reader: Reader, links: readonly LinkReading[], bond: BondReading | undefined): void {
  const names = new Doubles(reader, 'rename one of them');
  const interfaces = new Doubles(reader, 'remove or disable one of the two links');
  const tables = new Doubles(reader, 'choose another table, or leave the option out');
  let active: { line: number; who: string } | undefined;
  const ports = new Doubles(reader, 'choose another port');
  const tunnels = new Doubles(reader, 'choose another name');
  if (bond) {
    // Tables are compared as they are written: what a name stands for is known to the host alone.
    const said = bond.read.routing_table.said[0];
    tables.add(
      said?.text ?? bond.read.routing_table.spec.default,
      said?.line ?? bond.section.line,
      '',
      '',
      headingOf(bond.section),
    );
    const ifname = bond.read.ifname.said[0];
    const name = ifname?.text ?? bond.read.ifname.spec.default;
    tunnels.add(name, ifname?.line ?? bond.section.line, '', '', headingOf(bond.section));
  }
  links.forEach(({ section, read: r }, i) => {
    const heading = headingOf(section);
    if (i === MAX_LINKS) {
      const todo = 'remove the links that are one too many';
      complain(reader, section.line, heading, {
        expected: `at most ${MAX_LINKS} links`,
        found: `${links.length}`,
        todo,
      });
    }
    names.add(section.name ?? oneOf(r.interface), section.line, heading, 'a name', 'another link');
    checkSwitch(reader, r.disabled, r.enabled);
    checkNetmask(reader, r.ipaddr, r.netmask);
    const ipaddr = r.ipaddr.said[0];
    const gateway = r.gateway.said[0];
    if (ipaddr && gateway && ipaddr.value.bytes.length !== gateway.value.length) {
      const found = `'${gateway.text}' beside ipaddr '${ipaddr.text}'`;
      complain(reader, gateway.line, 'option gateway', {
        expected: 'ipaddr and gateway of one family',
        found,
        todo: 'correct one of them',
      });
    }
    const ifname = bond && oneOf(bond.read.ifname);
    if (ifname !== undefined && oneOf(r.interface) === ifname) {
      const found = `'${ifname}', the device that the bond makes`;
      const todo = 'name the device that leads to the internet, or choose another ifname';
      complain(reader, r.interface.said[0].line, 'option interface', { expected: "a link's own device", found, todo });
    }
    if (!isOn(r)) return;
    if (reader.role === 'router') interfaces.addSaid(r.interface, 'an interface', section);
    tables.addSaid(r.routing_table, 'a routing table', section);
    checkTable(reader, r.routing_table, bond);
    if (oneOf(r.active)) {
      const { line } = r.active.said[0];
      if (active) {
        const found = `${active.who} (line ${active.line}) too`;
        complain(reader, line, 'option active', {
          expected: 'one active link',
          found,
          todo: 'leave it at one of them',
        });
      } else active = { line, who: heading };
    }
    if (reader.engine === 'openvpn') {
      if (oneOf(r.local_port) !== 0) ports.addSaid(r.local_port, 'a port', section);
      tunnels.addSaid(r.tunnel, 'a device', section);
    }
  });
  const needed = reader.role === 'router' || reader.engine === 'openvpn';
  if (needed && !links.some((l) => isOn(l.read))) {
    const found = links.length === 0 ? 'none' : 'only disabled ones';
    complain(reader, 0, '', {
      expected: 'at least one link',
      found,
      todo: "add or enable a section config link 'NAME'",
    });
  }
}

/** A link's table said by hand must not be one of those that are chosen for the other links. */
function checkTable(reader: Reader, table: Entry<string>, bond: BondReading | undefined) {
  const own = bond && oneOf(bond.read.routing_table);
  const said = table.said[0];
  if (own === undefined || !said || !(Number(said.value) > own && Number(said.value) <= own + MAX_LINKS + 1)) return;
  const todo = 'choose another table, or leave the option out';
  const expected = `none of ${own + 1} to ${own + MAX_LINKS + 1}, which yoke chooses from`;
  complain(reader, said.line, said.where, { expected, found: `'${said.text}'`, todo });
}

/** The sections for OpenVPN, and what tunnels under the bonding driver need of the bond. */
export function checkOpenvpn(reader: Reader, sections: readonly OpenvpnConfig[], bond: BondReading | undefined): void {
  const wanted = reader.role === 'router' ? 'openvpn' : 'openvpn-server';
  if (!sections.some((s) => s.section === wanted)) {
    const todo = 'add it: what OpenVPN needs to know (ca, cert, key)';
    complain(reader, 0, '', { expected: `a section config ${wanted}`, found: 'none', todo });
  }
  for (const role of ['router', 'server'] as const) {
    for (const { option, place, ...fault } of translateOpenvpn(sections, role).faults) {
      complain(reader, place.line, `option ${option}`, fault);
    }
  }
  if (!bond) return;
  const { ipaddr, remote_ipaddr: remote } = bond.read;
  if (ipaddr.said.length > 0 && silent(remote)) {
    const todo = `add: option remote_ipaddr '${reader.role === 'server' ? '10.0.0.2' : '10.0.0.1'}'`;
    const expected = "option remote_ipaddr, the other end's inner address";
    complain(reader, bond.section.line, headingOf(bond.section), { expected, found: 'none', todo });
  }
}

/** Clients against each other and the server's own addresses. */
export function checkClients(reader: Reader, clients: readonly ClientReading[], bond: BondReading | undefined): void {
  const names = new Doubles(reader, 'rename one of them');
  const keys = new Doubles(reader, 'make a key pair for each client');
  const taken: { prefix: Prefix; line: number; who: string }[] = [];
  const own = bond ? [...allOf(bond.read.ipaddr), ...allOf(bond.read.ip6addr)] : [];
  for (const { section, read: r } of clients) {
    const heading = headingOf(section);
    if (section.name === undefined) {
      const todo = "write: config client 'NAME'";
      complain(reader, section.line, heading, { expected: 'a name', found: 'none', todo });
    }
    names.add(section.name, section.line, heading, 'a name', 'another client');
    checkSwitch(reader, r.disabled, r.enabled);
    checkEither(reader, r.preshared_key, r.preshared_key_file);
    if (silent(r.ipaddr, r.ip6addr, r.allowed_ip)) {
      const todo = "add: option ipaddr '10.0.0.2'";
      complain(reader, section.line, heading, {
        expected: 'option ipaddr, ip6addr or allowed_ip',
        found: 'none',
        todo,
      });
    }
    if (!isOn(r)) continue;
    keys.addSaid(r.public_key, 'a key', section, 'the same key');
    const addresses = [r.ipaddr, r.ip6addr].flatMap((e) => e.said.map((s) => ({ said: s, prefix: wholly(s.value) })));
    const networks = r.allowed_ip.said.map((s) => ({ said: s, prefix: s.value }));
    const mine = [...addresses, ...networks];
    for (const { said, prefix } of mine) {
      const self = own.find((o) => prefixContains(prefix, o.bytes));
      const other = taken.find((t) => prefixesOverlap(t.prefix, prefix));
      const foe = self
        ? `'${said.text}', which contains the server's own ${printAddress(self.bytes)}`
        : other && `'${said.text}', which overlaps ${printPrefix(other.prefix)} of ${other.who} (line ${other.line})`;
      if (foe) {
        const todo = 'give every client addresses of its own';
        complain(reader, said.line, said.where, {
          expected: 'addresses that no other section has',
          found: foe,
          todo,
        });
      }
    }
    for (const { said, prefix } of mine) taken.push({ prefix, line: said.line, who: heading });
  }
}

const wholly = (bytes: AddressBytes): Prefix => ({ bytes, length: bytes.length * 8 });

/** Whether two prefixes have an address in common. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  const [wide, narrow] = a.length <= b.length ? [a, b] : [b, a];
  return prefixContains(wide, networkOf(narrow).bytes);
}

/** Kinds of values that an option may hold: how to read one, and how to tell the operator what one looks like. */
import {
  type AddressBytes,
  networkOf,
  type Prefix,
  parseAddress,
  parseIpv4,
  parseNetmask,
  parsePrefix,
  printPrefix,
} from '../base/address.ts';
import { parseRateBps, parseSizeBytes, parseTimeUs } from '../base/units.ts';

/** One kind of value. */
export interface Kind<T> {
  /** Its name in docs/config.md. */
  readonly name: string;
  /** What a message expects: reads on after "expected". */
  readonly expected: string;
  /** A value that is accepted. */
  readonly example: string;
  /** Its values are not shown in messages. */
  readonly secret?: boolean;
  read(text: string): T | undefined;
  /** An instruction for a mistake that is often made; undefined: say the example. */
  hint?(text: string): string | undefined;
}

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([
  ...['1', 'on', 'yes', 'true', 'enabled'].map((w) => [w, true] as const),
  ...['0', 'off', 'no', 'false', 'disabled'].map((w) => [w, false] as const),
]);

/** Yes or no, in the words that OpenWrt's scripts take. */
export const flag: Kind<boolean> = {
  name: 'flag',
  expected: "'1' or '0'",
  example: '1',
  read: (text) => BOOLEANS.get(text),
  hint: () => "write '1' for yes or '0' for no",
};

/** A whole number in decimal, or in hex with 0x. */
export function whole(min: number, max: number, what: string): Kind<number> {
  return {
    name: 'number',
    expected: `${what} from ${min} to ${max}`,
    example: String(min),
    read: (text) => {
      const n = /^(0|[1-9]\d*|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
      return n >= min && n <= max ? n : undefined;
    },
    hint: (text) =>
      /^\d+(bit|kbit|mbit|gbit|b|kb|ms|s)$/i.test(text) ? 'leave the unit out' : `write a number from ${min} to ${max}`,
  };
}

/** A UDP port; 0 only where the kernel may choose. */
export const port = (min: 0 | 1): Kind<number> => ({
  ...whole(min, 65535, 'a UDP port'),
  name: 'port',
  example: '1194',
});

/** One port, or several in a row: both ends are part of it. */
export interface PortRange {
  first: number;
  last: number;
}

/** Reads `443` or `8000-8010`. */
export function parsePorts(text: string): PortRange | undefined {
  const m = /^([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(text);
  if (!m) return undefined;
  const [first, last] = [Number(m[1]), Number(m[2] ?? m[1])];
  return first <= last && last <= 65535 ? { first, last } : undefined;
}

/** Prints a range as `parsePorts` reads it. */
export function printPorts({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

/** One port or several in a row. */
export const ports: Kind<PortRange> = {
  name: 'ports',
  expected: "a port, or a range as '8000-8010'",
  example: '443',
  read: parsePorts,
};

/** A service by protocol and ports; undefined ports: everything. */
export interface Service {
  proto: 'tcp' | 'udp' | 'any';
  ports?: PortRange;
}

/** What is opened: `tcp/22`, `udp/5000-5010`, `any`. */
export const service: Kind<Service> = {
  name: 'service',
  expected: "a protocol and a port as 'tcp/22' or 'udp/5000-5010', or 'any'",
  example: 'tcp/22',
  read: (text) => {
    if (text === 'any') return { proto: 'any' };
    const m = /^(tcp|udp)\/(.+)$/.exec(text);
    const range = m ? parsePorts(m[2]) : undefined;
    return m && range ? { proto: m[1] as 'tcp' | 'udp', ports: range } : undefined;
  },
  hint: (text) => (parsePorts(text) ? `say the protocol: 'tcp/${text}'` : undefined),
};

/** A rate as tc writes it. Units: bit/s. */
export function rate(min: string, max: string): Kind<number> {
  const [low, high] = [parseRateBps(min) ?? 0, parseRateBps(max) ?? 0];
  return {
    name: 'rate',
    expected: `a rate from ${min} to ${max}`,
    example: '20mbit',
    read: (text) => {
      const bps = parseRateBps(text);
      return bps !== undefined && bps >= low && bps <= high ? bps : undefined;
    },
    hint: (text) =>
      /^\d+$/.test(text) ? `add the unit: a bare number is bit/s, '${text}mbit' may be meant` : undefined,
  };
}

/** An amount of data. A bare number is refused: bytes are never meant. Units: bytes. */
export const size: Kind<number> = {
  name: 'size',
  expected: 'an amount with its unit, MB, GB or TB',
  example: '20GB',
  read: (text) => {
    const bytes = /[a-z]$/i.test(text) ? parseSizeBytes(text) : undefined;
    return bytes !== undefined && bytes >= 1e6 ? bytes : undefined;
  },
  hint: (text) =>
    /^\d+(\.\d+)?$/.test(text)
      ? `add the unit: '${text}GB' may be meant`
      : /^\d+(\.\d+)?[kmgt]$/i.test(text)
        ? `write '${text.toUpperCase()}B'`
        : "write it like '20GB'; 1MB at the least",
};

/** Protocols by number, as a policy names them. */
export const protocol: Kind<readonly number[]> = {
  name: 'protocol',
  expected: "'tcp' or 'udp' or 'icmp', or a protocol number from 0 to 255",
  example: 'udp',
  read: (text) => {
    if (text === 'tcp') return [6];
    if (text === 'udp') return [17];
    if (text === 'icmp') return [1, 58];
    return /^(0|[1-9]\d{0,2})$/.test(text) && Number(text) <= 255 ? [Number(text)] : undefined;
  },
};

/** Source: RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622. */
const CODE_POINTS: ReadonlyMap<string, number> = new Map([
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((n) => [`cs${n}`, 8 * n] as const),
  ...[1, 2, 3, 4].flatMap((c) => [1, 2, 3].map((d) => [`af${c}${d}`, 8 * c + 2 * d] as const)),
  ['le', 1],
  ['va', 44],
  ['ef', 46],
]);

/** A DSCP by name or number. */
export const dscp: Kind<number> = {
  name: 'dscp',
  expected: "a code point from 0 to 63, or its name as 'ef', 'af41', 'cs5'",
  example: 'ef',
  read: (text) => {
    const named = CODE_POINTS.get(text.toLowerCase());
    if (named !== undefined) return named;
    return /^(0|[1-9]\d?)$/.test(text) && Number(text) <= 63 ? Number(text) : undefined;
  },
};

/** A duration; a bare number is seconds. Units: microseconds. */
export function time(min: string, max: string): Kind<number> {
  const [low, high] = [parseTimeUs(min) ?? 0, parseTimeUs(max) ?? 0];
  return {
    name: 'time',
    expected: `a time from ${min} to ${max}`,
    example: '5s',
    read: (text) => {
      const us = parseTimeUs(text);
      return us !== undefined && us >= low && us <= high ? us : undefined;
    },
  };
}

/** One of a few words. */
export function choice<const W extends string>(...words: readonly W[]): Kind<W> {
  const list = words.map((w) => `'${w}'`).join(' or ');
  return {
    name: 'word',
    expected: list,
    example: words[0],
    read: (text) => words.find((w) => w === text),
    hint: () => `write ${list}`,
  };
}

/** Any text but none. */
export const text: Kind<string> = { name: 'text', expected: 'a text', example: 'text', read: (t) => t || undefined };

/** A file by its whole path. */
export const path: Kind<string> = {
  name: 'path',
  expected: 'an absolute path',
  example: '/etc/yoke/private.key',
  read: (t) => (/^\/[^\0\n]*[^\0\n/]$/.test(t) ? t : undefined),
  hint: () => 'write the whole path, beginning with /',
};

/** A program with arguments, split at blanks; no shell reads it. */
export const command: Kind<string> = {
  name: 'command',
  expected: 'a program by its absolute path, with arguments',
  example: '/etc/init.d/yoke restart',
  read: (t) => (/^\/[^\0\n]+$/.test(t) ? t : undefined),
  hint: (t) =>
    /[|&;<>$`]/.test(t)
      ? 'put the shell line into a script and name the script'
      : 'write the whole path of the program, beginning with /',
};

/** What the watchdog does: a program, or one thing that yoke does itself. */
export const watchdogAction: Kind<string> = {
  ...command,
  name: 'action',
  expected: "'restart-links', or a program by its absolute path, with arguments",
  example: 'restart-links',
  read: (t) => (t === 'restart-links' ? t : command.read(t)),
};

/** What Linux refuses as a name of a device, and the names that sysctl gives a meaning. */
const NO_DEVICE = new Set(['.', '..', 'all', 'default', 'lo']);

/** A device that yoke makes. Source: Linux, at most 15 bytes without blank, slash and colon. */
export const newDevice: Kind<string> = {
  name: 'device',
  expected: 'a device name of 1 to 15 letters, digits and _ . -',
  example: 'bond0',
  read: (t) => (/^[A-Za-z0-9_.-]{1,15}$/.test(t) && !t.startsWith('-') && !NO_DEVICE.has(t) ? t : undefined),
};

/** A device, or a logical interface of OpenWrt, that is there already. */
export const device: Kind<string> = {
  name: 'interface',
  expected: 'the name of one interface',
  example: 'eth1',
  read: (t) => (/^[^\s/:\0-]([^\s/:\0]{0,30})$/.test(t) && !NO_DEVICE.has(t) ? t : undefined),
  hint: (t) => (t === 'lo' ? 'name the device that leads to the internet' : undefined),
};

const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?$/i;

/** Host name, IPv4 or IPv6 address. Source: RFC 1123 §2.1 (the last label is not a number, so that 1.2.3 is no name). */
export const host: Kind<string> = {
  name: 'host',
  expected: 'a host name or an address',
  example: '203.0.113.10',
  read: (t) => {
    if (parseAddress(t)) return t;
    const name = t.replace(/\.$/, '');
    const labels = name.split('.');
    return name.length <= 253 && labels.every((l) => LABEL.test(l)) && !/^\d+$/.test(labels.at(-1) ?? '')
      ? t
      : undefined;
  },
  hint: (t) => {
    if (/^(\[.*\]|[^:]*):\d+$/.test(t)) return 'leave the port out, it is said by remote_port';
    if (/^\[.*\]$/.test(t)) return 'leave the brackets out';
    if (/^<.*>$/.test(t)) return "put the server's own address here";
    return undefined;
  },
};

/** One address, of either family or of one. */
export function address(family?: 4 | 6): Kind<AddressBytes> {
  const name = family === undefined ? 'address' : `IPv${family} address`;
  return {
    name,
    expected: family === undefined ? 'an address' : `an ${name}`,
    example: family === 6 ? 'fd00:796f::1' : '10.0.0.1',
    read: (t) => ofFamily(parseAddress(t), family),
    hint: (t) => (parsePrefix(t) && t.includes('/') ? `leave the length out: '${t.split('/')[0]}'` : undefined),
  };
}

const ofFamily = (bytes: AddressBytes | undefined, family?: 4 | 6) =>
  family === undefined || bytes?.length === (family === 4 ? 4 : 16) ? bytes : undefined;

/** An address of this host with the length of its network. A bare address has its whole length. */
export function hostPrefix(family?: 4 | 6): Kind<Prefix> {
  const name = family === undefined ? 'address/length' : `IPv${family} address/length`;
  return {
    name,
    expected: `an ${family === undefined ? '' : `IPv${family} `}address, or address/length`,
    example: family === 6 ? 'fd00:796f::2/64' : '10.0.0.2/24',
    read: (t) => {
      const prefix = parsePrefix(t);
      return prefix && ofFamily(prefix.bytes, family) ? prefix : undefined;
    },
  };
}

/** One address or a network. */
export const addresses: Kind<Prefix> = {
  name: 'addresses',
  expected: 'an address or a network',
  example: '192.168.1.20',
  read: (t) => (t.includes('/') ? network.read(t) : parsePrefix(t)),
  hint: (t) => network.hint?.(t),
};

/** A network: no host bits. */
export const network: Kind<Prefix> = {
  name: 'network',
  expected: 'a network',
  example: '192.168.1.0/24',
  read: (t) => {
    const prefix = parsePrefix(t);
    return prefix && printPrefix(networkOf(prefix)) === printPrefix(prefix) ? prefix : undefined;
  },
  hint: (t) => {
    const prefix = parsePrefix(t);
    return (
      prefix && `write '${printPrefix(networkOf(prefix))}' for the network, or '${t.split('/')[0]}' for the one address`
    );
  },
};

/** A netmask in dotted decimal, as the length it stands for. Units: bits. */
export const netmask: Kind<number> = {
  name: 'netmask',
  expected: 'a netmask',
  example: '255.255.255.0',
  read: (t) => parseNetmask(t),
  hint: (t) =>
    /^\/?\d{1,2}$/.test(t) ? "write '255.255.255.0', or put the length behind the address: '10.0.0.2/24'" : undefined,
};

/** Where a server listens: `ADDRESS:PORT`, `[IPV6]:PORT`, or a port on every address. */
export const listen: Kind<{ address?: AddressBytes; port: number }> = {
  name: 'address:port',
  expected: "'ADDRESS:PORT', '[IPV6]:PORT' or a port",
  example: '0.0.0.0:1194',
  read: (t) => {
    const m = /^(?:(\[[^\]]+\]|[^:[\]]+):)?([1-9]\d{0,4})$/.exec(t);
    if (!m || Number(m[2]) > 65535) return undefined;
    if (m[1] === undefined) return { port: Number(m[2]) };
    const bytes = m[1].startsWith('[') ? ofFamily(parseAddress(m[1].slice(1, -1)), 6) : parseIpv4(m[1]);
    return bytes && { address: bytes, port: Number(m[2]) };
  },
  hint: (t) => (parseAddress(t) ? `add the port: '${t.includes(':') ? `[${t}]` : t}:1194'` : undefined),
};

/** Numbers that the kernel keeps for itself: default, main, local. Source: rtnetlink(7). */
const OWN_TABLES = new Set(['0', '253', '254', '255', 'unspec', 'default', 'main', 'local', 'all']);

/** A routing table that is nobody's yet, by number or by its name in rt_tables. */
export const table: Kind<string> = {
  name: 'table',
  expected: 'a routing table: a number from 1 to 4294967295 or a name, but not main, local or default',
  example: '101',
  read: (t) => {
    if (OWN_TABLES.has(t)) return undefined;
    if (/^\d+$/.test(t)) return /^[1-9]/.test(t) && Number(t) <= 0xffffffff ? t : undefined;
    return /^[A-Za-z_][A-Za-z0-9_.-]{0,30}$/.test(t) ? t : undefined;
  },
};

/** The bond's table by number; the nine numbers behind it are the links' and that of answers, and none of them may be the kernel's. */
export const tableNumber: Kind<number> = {
  name: 'table number',
  expected: 'a routing table from 1 to 243 or from 256 to 4294967286',
  example: '30327',
  read: (t) => {
    const n = /^[1-9]\d*$/.test(t) ? Number(t) : Number.NaN;
    return n <= 243 || (n >= 256 && n <= 4294967286) ? n : undefined;
  },
};

const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** Reads 32 bytes in base64 as WireGuard writes keys; undefined when they are not. Shape: 32 bytes. */
export function parseKey(t: string): Uint8Array | undefined {
  return KEY.test(t) ? Uint8Array.from(atob(t), (c) => c.charCodeAt(0)) : undefined;
}

/** Prints 32 bytes as `parseKey` reads them. */
export function printKey(key: Uint8Array): string {
  return btoa(String.fromCharCode(...key));
}

/** A public key: an all-zero one is refused, for the exchange with it is no secret (RFC 7748 §6.1). */
export const publicKey: Kind<Uint8Array> = {
  name: 'key',
  expected: 'a public key: 44 characters of base64',
  example: 'THE/PUBLIC/KEY/OF/THE/SERVER/GOES/HERE////0=',
  read: (t) => {
    const key = parseKey(t);
    return key?.some((b) => b !== 0) ? key : undefined;
  },
  hint: () => "copy what 'yoke pubkey' printed at the other end",
};

/** A private or shared key; never shown. */
export const secretKey: Kind<Uint8Array> = {
  name: 'key',
  expected: 'a key: 44 characters of base64',
  example: '',
  secret: true,
  read: publicKey.read,
  hint: () => "make one with 'yoke keygen'",
};

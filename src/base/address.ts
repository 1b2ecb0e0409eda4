/** IPv4 and IPv6 addresses and prefixes as values: bytes and text, nothing of the network. */

/** 4 or 16 bytes in network order. */
export type AddressBytes = Uint8Array;

/** An address with a prefix length: `10.0.0.2/24`, `fd00::2/64`. */
export interface Prefix {
  readonly bytes: AddressBytes;
  readonly length: number;
}

/** Reads an IPv4 address in dotted decimal. Returns undefined when it is not one (leading zeros are refused: they mean octal elsewhere). */
export function parseIpv4(text: string): AddressBytes | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const out = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    if (!/^(0|[1-9]\d{0,2})$/.test(parts[i])) return undefined;
    const n = Number(parts[i]);
    if (n > 255) return undefined;
    out[i] = n;
  }
  return out;
}

/** Reads an IPv6 address (RFC 4291 §2.2, without a zone). Returns undefined when it is not one. */
export function parseIpv6(text: string): AddressBytes | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0], halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1], true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const out = new Uint8Array(16);
  groups.forEach((g, i) => {
    out[2 * i] = g >> 8;
    out[2 * i + 1] = g & 0xff;
  });
  return out;
}

function parseGroups(text: string, dottedTailAllowed: boolean): number[] | undefined {
  if (text === '') return [];
  const out: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (dottedTailAllowed && i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part);
      if (!v4) return undefined;
      out.push((v4[0] << 8) | v4[1], (v4[2] << 8) | v4[3]);
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) out.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return out;
}

/** Reads an address of either family. */
export function parseAddress(text: string): AddressBytes | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** Prints an address; IPv6 in the canonical form of RFC 5952. */
export function printAddress(bytes: AddressBytes): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i] << 8) | bytes[2 * i + 1]);
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let n = 0;
    while (i + n < 8 && groups[i + n] === 0) n++;
    if (n > bestLength) {
      bestStart = i;
      bestLength = n;
    }
  }
  const hex = (part: number[]) => part.map((g) => g.toString(16)).join(':');
  if (bestStart < 0) return hex(groups);
  return `${hex(groups.slice(0, bestStart))}::${hex(groups.slice(bestStart + bestLength))}`;
}

/** Reads `ADDRESS/LENGTH`; without a length, the whole address. Host bits are kept. Returns undefined when it is not one. */
export function parsePrefix(text: string): Prefix | undefined {
  const [address, length, ...rest] = text.split('/');
  const bytes = parseAddress(address);
  if (!bytes || rest.length > 0) return undefined;
  if (length === undefined) return { bytes, length: bytes.length * 8 };
  if (!/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bytes.length * 8) return undefined;
  return { bytes, length: Number(length) };
}

/** Prints a prefix as `ADDRESS/LENGTH`. */
export function printPrefix(p: Prefix): string {
  return `${printAddress(p.bytes)}/${p.length}`;
}

/** The prefix with its host bits cleared: `10.0.0.2/24` → `10.0.0.0/24`. */
export function networkOf(p: Prefix): Prefix {
  const bytes = p.bytes.map((b, i) => {
    const kept = Math.max(0, Math.min(8, p.length - 8 * i));
    return b & (0xff << (8 - kept)) & 0xff;
  });
  return { bytes, length: p.length };
}

/** Reads a netmask (`255.255.255.0`) as a prefix length; undefined when its ones are not contiguous. */
export function parseNetmask(text: string): number | undefined {
  const bytes = parseIpv4(text);
  if (!bytes) return undefined;
  const bits = Array.from(bytes, (b) => b.toString(2).padStart(8, '0')).join('');
  return /^1*0*$/.test(bits) ? bits.replaceAll('0', '').length : undefined;
}

/** Whether the address lies inside the prefix. */
export function prefixContains(p: Prefix, address: AddressBytes): boolean {
  if (address.length !== p.bytes.length) return false;
  const inside = networkOf({ bytes: address, length: p.length }).bytes;
  return networkOf(p).bytes.every((b, i) => b === inside[i]);
}

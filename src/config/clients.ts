/**
 * A server's client sections as a set that grows and shrinks: each edit takes the file's text and gives the new one, everything else as it was.
 *
 * Invariant: what `addClient` gives, `readConfig` reads, when it read the text before.
 */
import { type AddressBytes, networkOf, type Prefix, prefixContains, printAddress } from '../base/address.ts';
import { assert } from '../base/error.ts';
import type { ClientConfig, Config } from './config.ts';
import { printKey } from './kinds.ts';
import { parseUci, printUci, type UciDocument } from './uci.ts';
import { addSection, deleteSection, findSection, getOption, setOption } from './uci-edit.ts';

/** Whole inner addresses, at most one of each family. */
export interface ClientAddresses {
  v4?: AddressBytes;
  v6?: AddressBytes;
}

/** Most addresses of a network that are tried; beyond them it counts as full. */
const TRIES_LIMIT = 65_536;

/**
 * The next free inner address in each network of the server that has room for clients; undefined when one of them is full, or there is none.
 * `others`: clients that have theirs, too.
 */
export function freeAddresses(config: Config, others: readonly ClientConfig[] = []): ClientAddresses | undefined {
  const { addresses } = config.bond;
  const clients = [...config.clients, ...others];
  const taken = [...addresses.map(({ bytes }) => whole(bytes)), ...clients.flatMap((c) => c.allowed)];
  const out: ClientAddresses = {};
  for (const network of addresses) {
    const is4 = network.bytes.length === 4;
    const hostBits = network.bytes.length * 8 - network.length;
    if (hostBits < 2 || (is4 ? out.v4 : out.v6) !== undefined) continue;
    const free = firstFree(network, hostBits, taken);
    if (free === undefined) return undefined;
    if (is4) out.v4 = free;
    else out.v6 = free;
  }
  return out.v4 === undefined && out.v6 === undefined ? undefined : out;
}

function firstFree(network: Prefix, hostBits: number, taken: readonly Prefix[]): AddressBytes | undefined {
  // neither the network's own address nor IPv4's broadcast
  const last = Math.min(TRIES_LIMIT, hostBits >= 31 ? TRIES_LIMIT : 2 ** hostBits - 2);
  for (let host = 1; host <= last; host++) {
    const address = plus(networkOf(network).bytes, host);
    if (!taken.some((t) => prefixContains(t, address))) return address;
  }
  return undefined;
}

function plus(base: AddressBytes, n: number): AddressBytes {
  const out = base.slice();
  let carry = n;
  for (let i = out.length - 1; carry > 0 && i >= 0; i--) {
    const sum = out[i] + (carry & 255);
    out[i] = sum & 255;
    carry = (carry >>> 8) + (sum >>> 8);
  }
  return out;
}

const whole = (bytes: AddressBytes): Prefix => ({ bytes, length: bytes.length * 8 });

/** Adds a client's section at the end. */
export function addClient(
  text: string,
  file: string,
  client: { name: string; publicKey: Uint8Array } & ClientAddresses,
): string {
  const { name, publicKey, v4, v6 } = client;
  const document = addSection(parseUci(text, file), 'client', name, {
    public_key: printKey(publicKey),
    ...(v4 && { ipaddr: printAddress(v4) }),
    ...(v6 && { ip6addr: printAddress(v6) }),
  });
  return printUci(document);
}

/** Removes a client's section, and the forwards that lead to it by name; undefined when there is no such client. */
export function removeClient(text: string, file: string, name: string): string | undefined {
  let document = parseUci(text, file);
  const at = findSection(document, 'client', name);
  if (at < 0) return undefined;
  document = deleteSection(document, at);
  for (let i = forwardTo(document, name); i >= 0; i = forwardTo(document, name)) document = deleteSection(document, i);
  return printUci(document);
}

/** Gives a client another name, and the forwards that lead to it too; undefined when there is no such client. */
export function renameClient(text: string, file: string, from: string, to: string): string | undefined {
  let document = parseUci(text, file);
  const at = findSection(document, 'client', from);
  if (at < 0) return undefined;
  const { words } = document.sections[at].statement;
  const texts = document.tokens.map((t) => t.text);
  assert(words.length === 3, 'a client that was found by its name has one');
  texts[words[2]] = `'${to}'`;
  document = parseUci(texts.join(''), file);
  for (let i = forwardTo(document, from); i >= 0; i = forwardTo(document, from))
    document = setOption(document, i, 'client', to);
  return printUci(document);
}

const forwardTo = (document: UciDocument, client: string) =>
  document.sections.findIndex((s, i) => s.type === 'forward' && getOption(document, i, 'client') === client);

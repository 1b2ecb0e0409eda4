/** What is in the way of firewall and forwards on this host: ports that programs hold, addresses that are not there, other firewalls. Looks only. */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { type AddressBytes, parseAddress, prefixContains, printAddress } from '../base/address.ts';
import type { Complaint } from '../base/error.ts';
import type { Config, ForwardConfig } from '../config/config.ts';
import { waitingPorts } from '../config/ports.ts';
import { type Listener, readListeners } from '../host/listening.ts';
import { run } from '../host/run.ts';
import { nftTableName } from '../plan/nft.ts';

/** Forwards that would cut off a program of this server: one complaint each. */
export function forwardTroubles(
  config: Config,
  listeners: readonly Listener[] = readListeners(),
  addresses: readonly AddressBytes[] = ownAddresses(),
): Complaint[] {
  const [firstFree, lastFree] = ephemeralPorts();
  return config.forwards
    .filter((f) => !f.disabled)
    .flatMap((f) => {
      const cut = listeners.find((l) => {
        // whoever asks a name server holds such a port for a moment
        if (l.proto === 'udp' && l.port >= firstFree && l.port <= lastFree) return false;
        return isCutOff(config, f, l, addresses);
      });
      if (!cut) return [];
      const at = cut.address.every((b) => b === 0) ? 'every address' : printAddress(cut.address);
      return {
        where: `${f.place.file}:${f.place.line} forward '${f.name}'`,
        expected: `${cut.proto.toUpperCase()} port ${cut.port} of this server to be free`,
        found: `a program that listens there (${at}) and would be reached no more`,
        todo: `see which (ss -${cut.proto[0]}lnp sport = :${cut.port}); choose another port, or stop it`,
      };
    });
}

/** Whether the internet reaches a program no more once the forward stands. */
function isCutOff(config: Config, f: ForwardConfig, l: Listener, addresses: readonly AddressBytes[]): boolean {
  if (f.proto !== 'both' && f.proto !== l.proto) return false;
  if (l.port < f.ports.first || l.port > f.ports.last) return false;
  const isInner = (a: AddressBytes) => config.bond.addresses.some((p) => prefixContains(p, a));
  return f.to.some(({ length }) => {
    const said = [f.address, config.bond.publicIpaddr].find((a) => a?.length === length);
    if (l.address.some((b) => b !== 0)) {
      if (l.address.length !== length || isInner(l.address) || isLoopback(l.address)) return false;
      return said === undefined || printAddress(said) === printAddress(l.address);
    }
    if (l.address.length < length) return false;
    // it may still be reached by another address of the server
    const others = addresses.filter((a) => a.length === length && !isInner(a) && !isLoopback(a));
    return said === undefined || !others.some((a) => printAddress(a) !== printAddress(said));
  });
}

const isLoopback = (a: AddressBytes) => (a.length === 4 ? a[0] === 127 : printAddress(a) === '::1');

function ownAddresses(): AddressBytes[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.flatMap(({ address }) => parseAddress(address.replace(/%.*/, '')) ?? []).filter((a) => !isLinkLocal(a));
}

const isLinkLocal = (a: AddressBytes) => a.length === 16 && a[0] === 0xfe && (a[1] & 0xc0) === 0x80;

function ephemeralPorts(): [number, number] {
  try {
    const [first, last] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'latin1').trim().split(/\s+/);
    return [Number(first), Number(last)];
  } catch {
    return [32768, 60999];
  }
}

/** The same of those forwards alone that a running instance does not have yet. */
export function newForwardTroubles(before: Config, after: Config): Complaint[] {
  const known = new Set(before.forwards.map((f) => JSON.stringify({ ...f, place: undefined })));
  const forwards = after.forwards.filter((f) => !known.has(JSON.stringify({ ...f, place: undefined })));
  return forwards.length > 0 ? forwardTroubles({ ...after, forwards }) : [];
}

/** What an operator should look at before he waits for packets that cannot come, a sentence each. */
export async function firewallWarnings(config: Config): Promise<string[]> {
  return [...addressWarnings(config), ...(await otherFirewalls(config))];
}

function addressWarnings(config: Config): string[] {
  const own = ownAddresses().map(printAddress);
  const where = (f: ForwardConfig) => `${f.place.file}:${f.place.line} forward '${f.name}': address`;
  const said: [string, AddressBytes | undefined][] = [
    [`${config.file}:${config.bond.place.line} public_ipaddr`, config.bond.publicIpaddr],
    ...config.forwards.filter((f) => !f.disabled).map((f): [string, AddressBytes | undefined] => [where(f), f.address]),
  ];
  return said.flatMap(([what, address]) =>
    address && !own.includes(printAddress(address))
      ? `${what} ${printAddress(address)} is on no device here: packets for it must be sent to this machine by whoever routes it`
      : [],
  );
}

interface NftChain {
  family: string;
  table: string;
  name: string;
  hook?: string;
  policy?: string;
}

interface NftRule {
  family: string;
  table: string;
  chain: string;
  expr: Record<string, unknown>[];
}

/** Chains of others that drop by default where our packets pass, as far as they do not speak of our port or device. */
async function otherFirewalls(config: Config): Promise<string[]> {
  const listed = await run(['nft', '-j', 'list', 'ruleset']).catch(() => undefined);
  if (listed?.status !== 0) return [];
  try {
    return closedChains(listed.stdout, config);
  } catch {
    return []; // an nft that prints something else: what cannot be read is not judged
  }
}

/** The same from the JSON that nft prints. */
export function closedChains(json: string, config: Config): string[] {
  const { ifname } = config.bond;
  const all = JSON.parse(json).nftables as { chain?: NftChain; rule?: NftRule }[];
  const rules = all.flatMap((x) => x.rule ?? []);
  const ports = config.role === 'server' ? [...new Set(waitingPorts(config).map((p) => p.port))] : [];
  return all
    .flatMap((x) => x.chain ?? [])
    .filter((c) => c.table !== nftTableName(ifname))
    .flatMap((c) => {
      const ofTable = rules.filter((r) => r.family === c.family && r.table === c.table);
      const last = ofTable.findLast((r) => r.chain === c.name);
      const closes = last?.expr.length === 1 && ('drop' in last.expr[0] || 'reject' in last.expr[0]);
      if (c.hook === undefined || (c.policy !== 'drop' && !closes)) return [];
      const text = JSON.stringify(ofTable.map((r) => r.expr));
      const at = `the firewall's chain ${c.family} ${c.table} ${c.name} drops what it does not know`;
      if (c.hook === 'input') {
        const shut = ports.filter((p) => !new RegExp(`\\b${p}\\b`).test(text));
        return shut.length > 0 ? `${at}: let in UDP port ${shut.join(', ')} there (docs/firewall.md)` : [];
      }
      const wanted = c.hook === 'forward' && !text.includes(`"${ifname}"`);
      return wanted ? `${at}: let through what comes and goes by ${ifname} there (docs/firewall.md)` : [];
    });
}

/** Configuration + what was found + names resolved → what the backend is told. No side effects: the same input gives the same value. */

import type {
  BackendSettings,
  LinkSettings,
  OpenvpnSettings,
  PeerSettings,
  SteeringSettings,
} from '../backend/backend.ts';
import { type AddressBytes, parseAddress, parsePrefix, printAddress } from '../base/address.ts';
import type { Config, LinkConfig } from '../config/config.ts';
import { translateOpenvpn } from '../config/openvpn.ts';
import { aimsOf } from '../config/policies.ts';
import { portOfTunnel } from '../config/ports.ts';
import { carriesIpv6 } from '../plan/desired.ts';
import type { Access, Facts, LinkFacts } from '../plan/facts.ts';
import type { Keys } from './keys.ts';

/** Everything that the settings are made of. */
export interface SettingsInput {
  config: Config;
  keys: Keys;
  facts: Facts;
  /** Addresses of the servers by link name; a link without one cannot be used yet. */
  servers: ReadonlyMap<string, AddressBytes>;
  /** Path ids by link name; stable while the process lives. */
  ids: ReadonlyMap<string, number>;
  offload: boolean;
}

/** The links that take part. */
export function activeLinks(config: Config): LinkConfig[] {
  return config.role === 'router' ? config.links.filter((l) => !l.disabled) : [];
}

/** What the backend should be now. */
export function backendSettings(input: SettingsInput): BackendSettings {
  const { config, keys, offload } = input;
  if (config.engine === 'openvpn') return openvpnBackendSettings(input);
  return {
    role: config.role,
    ifname: config.bond.ifname,
    privateKey: keys.privateKey,
    peers: config.role === 'router' ? [serverPeer(config, keys)] : clientPeers(config, keys),
    links: activeLinks(config).flatMap((link) => linkSettings(link, input) ?? []),
    listen: listenAddresses(config, input.facts.ipv6),
    ...(config.role === 'router' && { steering: steeringSettings(config, input.ids) }),
    fwmark: config.bond.fwmark,
    ...(config.bond.mtu !== undefined && { mtu: config.bond.mtu }),
    carriesIpv6: carriesIpv6(config),
    offload,
  };
}

/** What the mode of the bond and its policies come to. */
export function steeringSettings(config: Config, ids: ReadonlyMap<string, number>): SteeringSettings {
  const { aims, policies } = aimsOf(config);
  return {
    classes: aims.map(({ mode, links }) => ({ mode, links: links.flatMap((name) => ids.get(name) ?? []) })),
    rules: policies.map(({ policy, aim }) => {
      const { protocols, sources, destinations, sourcePorts, destinationPorts, dscp } = policy;
      return { protocols, sources, destinations, sourcePorts, destinationPorts, dscp, klass: aim };
    }),
  };
}

/** Where a server listens; a port without an address means every address of both families. */
export function listenAddresses(config: Config, ipv6: boolean): { address: AddressBytes; port: number }[] {
  if (config.role !== 'server') return [];
  return config.bond.listen.flatMap(({ address, port }) => {
    if (address) return [{ address, port }];
    const any = [{ address: new Uint8Array(4), port }];
    return ipv6 ? [...any, { address: new Uint8Array(16), port }] : any;
  });
}

function openvpnBackendSettings(input: SettingsInput): BackendSettings {
  const { config, keys, offload } = input;
  return {
    role: config.role,
    ifname: config.bond.ifname,
    privateKey: keys.privateKey,
    peers: [],
    links:
      config.role === 'router'
        ? activeLinks(config).flatMap((link) => linkSettings(link, input) ?? [])
        : waitingTunnels(config),
    listen: [],
    fwmark: config.bond.fwmark,
    ...(config.bond.mtu !== undefined && { mtu: config.bond.mtu }),
    offload,
    openvpn: openvpnSettings(config),
  };
}

/** What the sections for OpenVPN and the options of the bonding driver come to. */
export function openvpnSettings(config: Config): OpenvpnSettings {
  const { lines, remarks, files, devType, fragment } = translateOpenvpn(config.openvpn ?? [], config.role);
  const at = (place: { file: string; line: number }) => `${place.file}:${place.line}`;
  const peerAddress = config.bond.remoteAddresses.find((a) => a.length === 4);
  return {
    lines,
    remarks: remarks.map(({ place, text }) => `${at(place)} ${text}`),
    files: files.map(({ option, path, place }) => ({ where: `${at(place)} option ${option}`, option, path })),
    devType,
    ...(fragment !== undefined && { fragment }),
    mode: config.bond.bonding?.mode ?? 'balance-rr',
    parameters: config.bond.bonding?.parameters ?? [],
    ...(peerAddress && { peerAddress }),
  };
}

/** The server's ends of the tunnels: where each waits. */
export function waitingTunnels(config: Config): LinkSettings[] {
  return config.links
    .filter((l) => !l.disabled)
    .map((link, id): LinkSettings => {
      const localPort = portOfTunnel(link.localPort, id);
      return {
        id,
        name: link.name,
        device: link.interface,
        usable: true,
        ...(link.ipaddr && { localAddress: link.ipaddr.bytes }),
        localPort,
        serverAddress: link.ipaddr?.bytes ?? new Uint8Array(4),
        serverPort: localPort,
        mtu: link.mtu ?? FALLBACK_MTU,
        ...(link.tunnel !== undefined && { tunnel: link.tunnel }),
      };
    });
}

function serverPeer(config: Config, keys: Keys): PeerSettings {
  return {
    name: 'server',
    publicKey: config.bond.peerPublicKey!,
    ...(keys.presharedKey && { presharedKey: keys.presharedKey }),
    allowed: ['0.0.0.0/0', '::/0'].map((text) => parsePrefix(text)!),
  };
}

/** A client that is not served is named all the same: then its handshakes are no stranger's. */
function clientPeers(config: Config, keys: Keys): PeerSettings[] {
  return config.clients.map(({ name, publicKey, allowed, limitBps, disabled, held }) => {
    const presharedKey = keys.clientPresharedKeys.get(name);
    const isServed = !disabled && held === undefined;
    return {
      name,
      publicKey,
      ...(presharedKey && { presharedKey }),
      allowed,
      ...(limitBps !== undefined && { limitBps }),
      ...(!isServed && { isServed }),
    };
  });
}

/** A link without a server address is left out: there is nothing to send to. */
function linkSettings(link: LinkConfig, { facts, servers, ids }: SettingsInput): LinkSettings | undefined {
  const serverAddress = servers.get(link.name);
  if (!serverAddress) return undefined;
  const found = facts.links.find((f) => f.name === link.name);
  const access = found && accessFor(found, serverAddress);
  const localAddress = access && parseAddress(access.address);
  return {
    id: ids.get(link.name)!,
    name: link.name,
    device: found?.device ?? link.interface,
    usable: linkTrouble(link, found, serverAddress) === '',
    ...(localAddress && { localAddress }),
    localPort: link.localPort,
    serverAddress,
    serverPort: link.remotePort,
    mtu: link.mtu ?? (found?.mtu || FALLBACK_MTU),
    ...(link.downBps !== undefined && { downBps: link.downBps }),
    ...(link.upBps !== undefined && { upBps: link.upBps }),
    tier: link.tier,
    cost: link.cost,
    weight: link.weight,
    ...(link.tunnel !== undefined && { tunnel: link.tunnel }),
  };
}

/** The MTU of a device that is not there yet: Ethernet's. */
const FALLBACK_MTU = 1500;

/** Why a link cannot carry anything now; empty when it can. */
export function linkTrouble(link: LinkConfig, found: LinkFacts | undefined, server: AddressBytes | undefined): string {
  if (link.held) return link.held;
  if (!found) return 'not looked at yet';
  if (found.problem !== undefined) return found.problem;
  if (!server) return `the name ${link.server} has no address yet`;
  if (!accessFor(found, server))
    return `no IPv${server.length === 4 ? 4 : 6} address to reach ${printAddress(server)} from`;
  return '';
}

/** How a link reaches an address of this family. */
export function accessFor(found: LinkFacts, server: AddressBytes): Access | undefined {
  return server.length === 4 ? found.v4 : found.v6;
}

/** Addresses of a link, for the choice among a name's answers. */
export function addressesOf(found: LinkFacts | undefined): AddressBytes[] {
  return [found?.v4, found?.v6].flatMap((a) => (a ? (parseAddress(a.address) ?? []) : []));
}

/** Gives new links the lowest free ids and keeps those of links that stay. */
export function assignIds(links: readonly LinkConfig[], before: ReadonlyMap<string, number>): Map<string, number> {
  const ids = new Map<string, number>();
  for (const { name } of links) if (before.has(name)) ids.set(name, before.get(name)!);
  for (const { name } of links) {
    if (ids.has(name)) continue;
    const taken = new Set(ids.values());
    let id = 0;
    while (taken.has(id)) id++;
    ids.set(name, id);
  }
  return ids;
}

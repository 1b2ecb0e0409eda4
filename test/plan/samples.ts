/** Configurations made by hand, for tests. */
import { parseAddress, parsePrefix } from '../../src/base/address.ts';
import type { BondConfig, ClientConfig, Config, LinkConfig } from '../../src/config/config.ts';

const place = { file: 'bonding', line: 1 };

export function sampleLink(name: string, device: string, more: Partial<LinkConfig> = {}): LinkConfig {
  return {
    name,
    place,
    interface: device,
    server: '203.0.113.1',
    localPort: 0,
    remotePort: 1194,
    active: false,
    tier: 0,
    cost: 0,
    weight: 1,
    disabled: false,
    ...more,
  };
}

export function sampleClient(name: string, allowed: string[], more: Partial<ClientConfig> = {}): ClientConfig {
  const prefixes = allowed.map((a) => parsePrefix(a)!);
  return { name, place, publicKey: new Uint8Array(32), allowed: prefixes, disabled: false, ...more };
}

export function sampleBond(addresses: string[], remote: string[], more: Partial<BondConfig> = {}): BondConfig {
  return {
    place,
    ifname: 'bond0',
    addresses: addresses.map((a) => parsePrefix(a)!),
    remoteAddresses: remote.map((a) => parseAddress(a)!),
    defaultRoute: true,
    routes: [],
    masquerade: true,
    killswitch: false,
    listen: [],
    open: [],
    testPort: 30327,
    mode: 'aggregate',
    fwmark: 30327,
    routingTable: 1000,
    rulePriority: 700,
    ...more,
  };
}

export function sampleRouter(bond: Partial<BondConfig> = {}, links?: LinkConfig[]): Config {
  return {
    file: 'bonding',
    role: 'router',
    engine: 'multipath',
    bond: sampleBond(['10.7.0.2/24', 'fd00:7::2/64'], ['10.7.0.1', 'fd00:7::1'], bond),
    links: links ?? [sampleLink('one', 'eth1'), sampleLink('two', 'eth2')],
    clients: [],
    policies: [],
    forwards: [],
  };
}

export function sampleServer(bond: Partial<BondConfig> = {}, clients?: ClientConfig[]): Config {
  return {
    file: 'bonding',
    role: 'server',
    engine: 'multipath',
    bond: sampleBond(['10.7.0.1/24'], [], { listen: [{ port: 1194 }], ...bond }),
    links: [],
    clients: clients ?? [sampleClient('home', ['10.7.0.2/32', '192.168.10.0/24'])],
    policies: [],
    forwards: [],
  };
}

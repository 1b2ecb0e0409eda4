/** What the backend is told: ids that stay, addresses to listen at, and why a link cannot be used. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, printAddress } from '../../src/base/address.ts';
import type { Config, LinkConfig, PolicyConfig } from '../../src/config/config.ts';
import { assignIds, linkTrouble, listenAddresses, steeringSettings } from '../../src/daemon/settings.ts';
import { sampleRouter } from '../plan/samples.ts';
import { linkUp } from './simulated.ts';

const links = (...names: string[]) => names.map((name) => ({ name })) as LinkConfig[];

test('a link keeps its id while it is there; a new one takes the lowest that is free', () => {
  const first = assignIds(links('a', 'b', 'c'), new Map());
  assert.deepEqual([...first].sort(), [
    ['a', 0],
    ['b', 1],
    ['c', 2],
  ]);
  const second = assignIds(links('new', 'c', 'a'), first);
  assert.deepEqual([...second].sort(), [
    ['a', 0],
    ['c', 2],
    ['new', 1],
  ]);
});

test('a port without an address is every address of the families there are', () => {
  const config = {
    role: 'server',
    bond: { listen: [{ port: 1194 }, { address: parseAddress('192.0.2.1'), port: 5 }] },
  } as unknown as Config;
  const at = (ipv6: boolean) => listenAddresses(config, ipv6).map((l) => `${printAddress(l.address)} ${l.port}`);
  assert.deepEqual(at(true), ['0.0.0.0 1194', ':: 1194', '192.0.2.1 5']);
  assert.deepEqual(at(false), ['0.0.0.0 1194', '192.0.2.1 5']);
  assert.deepEqual(listenAddresses({ ...config, role: 'router' }, true), []);
});

test('why a link cannot be used', () => {
  const link = { name: 'a', server: 'far.example' } as LinkConfig;
  const v4 = parseAddress('198.51.100.1');
  assert.equal(linkTrouble(link, linkUp('a', 1), v4), '');
  assert.equal(linkTrouble(link, undefined, v4), 'not looked at yet');
  assert.equal(linkTrouble(link, { name: 'a', up: false, mtu: 0, problem: 'no device' }, v4), 'no device');
  assert.equal(linkTrouble(link, linkUp('a', 1), undefined), 'the name far.example has no address yet');
  assert.equal(
    linkTrouble(link, linkUp('a', 1), parseAddress('2001:db8::1')),
    'no IPv6 address to reach 2001:db8::1 from',
  );
});

test('policies: equal aims are one class, the bond’s own is class 0, links are path ids, what is disabled does not count', () => {
  const policy = (more: Partial<PolicyConfig>): PolicyConfig => ({
    ...{ name: '', place: { file: 'bonding', line: 1 }, protocols: [], sources: [], destinations: [] },
    ...{ sourcePorts: [], destinationPorts: [], dscp: [], links: [], disabled: false },
    ...more,
  });
  const config: Config = {
    ...sampleRouter(),
    policies: [
      policy({ dscp: [46], mode: 'redundant' }),
      policy({ protocols: [17], links: ['two', 'one'] }),
      policy({ dscp: [1], mode: 'weighted', disabled: true }),
      policy({ dscp: [10], mode: 'aggregate' }),
      policy({ dscp: [12], links: ['one', 'two'], mode: 'aggregate' }),
      policy({ dscp: [14], mode: 'redundant' }),
    ],
  };
  const { classes, rules } = steeringSettings(
    config,
    new Map([
      ['one', 4],
      ['two', 2],
    ]),
  );
  assert.deepEqual(classes, [
    { mode: 'aggregate', links: [] },
    { mode: 'redundant', links: [] },
    { mode: 'aggregate', links: [2, 4] },
  ]);
  assert.deepEqual(
    rules.map((r) => [r.dscp, r.klass]),
    [
      [[46], 1],
      [[], 2],
      [[10], 0],
      [[12], 2],
      [[14], 1],
    ],
  );
});

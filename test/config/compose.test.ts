/** New files: what a set-up command writes is read back as the values it was given. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress, parsePrefix, printPrefix } from '../../src/base/address.ts';
import { parseRateBps } from '../../src/base/units.ts';
import { printClientSection, printRouterConfig, printServerConfig } from '../../src/config/compose.ts';
import { printKey } from '../../src/config/kinds.ts';
import { readConfig } from '../../src/config/schema.ts';

const key = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .filter((k) => k.some((b) => b !== 0))
  .map(printKey);
const name = fc.stringMatching(/^[a-z_0-9]{1,12}$/);
const path = fc.stringMatching(/^\/etc\/[a-z '"#;\\]{0,12}[a-z]$/);
const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
const port = fc.option(fc.integer({ min: 1, max: 65535 }), { nil: undefined });
const maybe = <T>(a: fc.Arbitrary<T>) => fc.option(a, { nil: undefined });
const rate = fc.constantFrom('8kbit', '12.5mbit', '1gbit');

const router = fc.record(
  {
    links: fc.uniqueArray(
      fc.record(
        { name, interface: fc.stringMatching(/^[a-z]{2,8}\d$/), down: maybe(rate), up: maybe(rate) },
        { noNullPrototype: true },
      ),
      { minLength: 1, maxLength: 8, selector: (l) => l.interface, comparator: 'IsStrictlyEqual' },
    ),
    server: host,
    port,
    ipaddr: fc.constantFrom('10.0.0.2/24', '10.9.8.7'),
    ip6addr: fc.constant('fd00::2/64'),
    remoteIpaddr: fc.constant('10.0.0.1'),
    remoteIp6addr: maybe(fc.constant('fd00::1')),
    privateKeyFile: path,
    serverPublicKey: key,
    presharedKeyFile: maybe(path),
  },
  { noNullPrototype: true },
);

test('a new router is read back', () => {
  fc.assert(
    fc.property(router, (r) => {
      const names = new Set(r.links.map((l) => l.name));
      fc.pre(names.size === r.links.length && r.links.every((l) => l.interface !== 'bond0'));
      const config = readConfig(printRouterConfig(r), 'f');
      assert.equal(config.role, 'router');
      assert.equal(config.engine, 'multipath');
      assert.deepEqual(config.bond.addresses, [parsePrefix(r.ipaddr), parsePrefix(r.ip6addr)]);
      assert.deepEqual(
        config.bond.remoteAddresses,
        [r.remoteIpaddr, r.remoteIp6addr].flatMap((a) => (a === undefined ? [] : [parseAddress(a)])),
      );
      assert.equal(config.bond.privateKeyFile, r.privateKeyFile);
      assert.equal(config.bond.presharedKeyFile, r.presharedKeyFile);
      assert.equal(printKey(config.bond.peerPublicKey ?? new Uint8Array()), r.serverPublicKey);
      assert.deepEqual(
        config.links.map((l) => [l.name, l.interface, l.server, l.remotePort, l.downBps, l.upBps]),
        r.links.map((l) => [
          l.name,
          l.interface,
          r.server,
          r.port ?? 1194,
          l.down && parseRateBps(l.down),
          l.up && parseRateBps(l.up),
        ]),
      );
    }),
  );
});

test('a new server is read back, and clients can be put behind it', () => {
  const keys = fc.uniqueArray(key, { minLength: 1, maxLength: 5 });
  fc.assert(
    fc.property(keys, path, port, (clientKeys, privateKeyFile, listenPort) => {
      const clients = clientKeys.map((publicKey, i) => ({
        name: `client_${i}`,
        publicKey,
        ipaddr: `10.0.0.${i + 2}`,
        ip6addr: `fd00::${i + 2}`,
        allowedIps: [`192.168.${i}.0/24`, `172.16.${i}.0/24`],
        presharedKeyFile: privateKeyFile,
      }));
      const [last, ...first] = clients;
      const server = { port: listenPort, ipaddr: '10.0.0.1/24', ip6addr: 'fd00::1/64', privateKeyFile, clients: first };
      const config = readConfig(`${printServerConfig(server)}\n${printClientSection(last)}`, 'f');
      assert.equal(config.role, 'server');
      assert.deepEqual(config.bond.listen, [{ port: listenPort ?? 1194 }]);
      assert.deepEqual(
        config.clients.map((c) => [c.name, printKey(c.publicKey), ...c.allowed.map(printPrefix)]),
        [...first, last].map((c) => [c.name, c.publicKey, `${c.ipaddr}/32`, `${c.ip6addr}/128`, ...c.allowedIps]),
      );
    }),
  );
});

/** What is told of ports in use and of other firewalls, on samples of what the kernel and nft print. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, printAddress } from '../../src/base/address.ts';
import type { Config, ForwardConfig } from '../../src/config/config.ts';
import { closedChains, forwardTroubles } from '../../src/daemon/firewall.ts';
import { parseListeners } from '../../src/host/listening.ts';
import { sampleServer } from '../plan/samples.ts';

const address = (text: string) => parseAddress(text)!;
const forward = (more: Partial<ForwardConfig> = {}): ForwardConfig => ({
  name: 'web',
  place: { file: 'bonding', line: 9 },
  proto: 'tcp',
  ports: { first: 80, last: 90 },
  to: [address('10.7.0.2')],
  disabled: false,
  ...more,
});
const serverWith = (f: ForwardConfig): Config => ({ ...sampleServer(), forwards: [f] });
const PUBLIC = address('203.0.113.1');

test('listeners are read from the tables of the kernel', () => {
  const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 017100CB:0016 0271A8C0:C350 01 00000000:00000000 00:00000000 00000000     0        0 3
`;
  const tcp6 = '   0: B80D0120000000000000000001000000:01BB 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1\n';
  assert.deepEqual(
    [...parseListeners(tcp, 'tcp'), ...parseListeners(tcp6, 'tcp')].map((l) => [printAddress(l.address), l.port]),
    [
      ['127.0.0.1', 8080],
      ['0.0.0.0', 22],
      ['2001:db8::1', 443],
    ],
  );
});

test('a forward is refused where it would cut a program off, and only there', () => {
  const cut = (f: Partial<ForwardConfig>, at: string, proto: 'tcp' | 'udp' = 'tcp', port = 85, more: string[] = []) =>
    forwardTroubles(
      serverWith(forward(f)),
      [{ proto, address: address(at), port }],
      [PUBLIC, address('10.7.0.1'), address('127.0.0.1'), ...more.map(address)],
    ).length > 0;
  assert.ok(cut({}, '0.0.0.0'));
  assert.ok(cut({}, '::'), 'an IPv6 socket for all takes IPv4 too');
  assert.ok(cut({}, '203.0.113.1'));
  assert.ok(cut({ proto: 'both' }, '0.0.0.0', 'udp'));
  assert.ok(cut({ address: PUBLIC }, '0.0.0.0'), 'the only address there is');
  assert.ok(!cut({ address: PUBLIC }, '0.0.0.0', 'tcp', 85, ['203.0.113.2']), 'reached by another address');
  assert.ok(!cut({ address: PUBLIC }, '203.0.113.2'));
  assert.ok(!cut({}, '127.0.0.1') && !cut({}, '10.7.0.1'), 'a forward takes nothing from these');
  assert.ok(!cut({}, '0.0.0.0', 'udp') && !cut({}, '0.0.0.0', 'tcp', 91));
  assert.ok(!cut({ disabled: true }, '0.0.0.0'));
  assert.ok(!cut({ to: [address('fd00::2')] }, '0.0.0.0'), 'another family');
  const high = { proto: 'both', ports: { first: 1024, last: 65535 } } as const;
  assert.ok(!cut(high, '0.0.0.0', 'udp', 50_000), 'a socket of a moment');
});

test('chains of others that drop what they do not know are told, unless they speak of us', () => {
  const json = (policy: string, rules: object[], hook = 'input') =>
    JSON.stringify({
      nftables: [
        { metainfo: {} },
        { chain: { family: 'ip', table: 'filter', name: 'X', type: 'filter', hook, prio: 0, policy } },
        { chain: { family: 'ip', table: 'filter', name: 'side' } },
        { chain: { family: 'inet', table: 'yoke_bond0', name: 'input', hook: 'input', policy: 'drop' } },
        ...rules.map((expr) => ({ rule: { family: 'ip', table: 'filter', chain: 'X', expr } })),
      ],
    });
  const config = sampleServer();
  const match = (right: unknown) => ({ match: { op: '==', left: {}, right } });
  assert.deepEqual(closedChains(json('accept', []), config), []);
  assert.match(closedChains(json('drop', []), config)[0], /chain ip filter X drops .*let in UDP port 1194 there/);
  assert.match(closedChains(json('accept', [[match(22), { accept: null }], [{ reject: null }]]), config)[0], /1194/);
  assert.deepEqual(closedChains(json('drop', [[match(1194), { accept: null }]]), config), []);
  assert.deepEqual(closedChains(json('accept', [[match(22), { drop: null }]]), config), []);
  assert.match(closedChains(json('drop', [], 'forward'), config)[0], /comes and goes by bond0/);
  assert.deepEqual(closedChains(json('drop', [[match('bond0'), { accept: null }]], 'forward'), config), []);
});

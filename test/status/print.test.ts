/** The words for eyes: what stands in them, and that sizes, rates and ages read well at their edges. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { printAge, printBytes, printRateForEyes, printStatus } from '../../src/status/print.ts';
import type { BondStatus, PathStatus, Status } from '../../src/status/status.ts';

const path = (over: Partial<PathStatus> = {}): PathStatus => ({
  name: 'link0',
  id: 0,
  state: 'up',
  local: '192.0.2.2:1194',
  remote: '198.51.100.1:1194',
  srttMs: 10.4,
  minRttMs: 10.1,
  queueMs: 0.2,
  capacityBps: 11.9e6,
  pacingBps: 11.9e6,
  inFlightBytes: 3000,
  mtu: 1500,
  txBytes: 1000,
  rxBytes: 2000,
  txDatagrams: 10,
  rxDatagrams: 20,
  lostDatagrams: 0,
  resentPackets: 0,
  ...over,
});
const bond = (over: Partial<BondStatus> = {}): BondStatus => ({
  peer: 'server',
  established: true,
  cipher: 'AES-256-GCM',
  handshakeAgeS: 12,
  innerMtu: 1444,
  txBytes: 900,
  rxBytes: 1536,
  txPackets: 1,
  rxPackets: 2,
  queuedPackets: 0,
  heldPackets: 0,
  droppedByCodel: 0,
  droppedByLimit: 0,
  reordered: 0,
  duplicates: 0,
  skipped: 0,
  paths: [path(), path({ name: 'link1', id: 1, state: 'down', srttMs: 0, lostDatagrams: 1, resentPackets: 1 })],
  ...over,
});
const status = (over: Partial<Status> = {}): Status => ({
  version: 1,
  role: 'router',
  engine: 'multipath',
  ifname: 'bond0',
  pid: 77,
  startedAt: '2024-01-01T00:00:00.000Z',
  cpuSeconds: 1.25,
  rssBytes: 64 * 1024 * 1024,
  bonds: [bond()],
  drops: { 'bad tag': 3, replay: 0 },
  links: [
    {
      name: 'link1',
      device: 'eth1',
      usable: false,
      reason: 'the device is down',
      address: '',
      gateway: '',
      server: '',
      verdict: 'down',
    },
  ],
  warnings: ['no AES instructions'],
  ...over,
});
const NOW = Date.parse('2024-01-01T01:02:03.000Z');

test('a status reads as blocks: the instance, each bond, each path', () => {
  assert.equal(
    printStatus(status(), { nowMs: NOW }),
    `instance: bond0
  role: router, engine multipath, pid 77
  running: 1 hour, 2 minutes, cpu 1.3 s, memory 64.00 MiB
  link link1: cannot be used: the device is down
  refused: 3 bad tag
  warning: no AES instructions

bond: server
  session: AES-256-GCM, handshake 12 seconds ago
  inner mtu: 1444
  transfer: 1.50 KiB received, 900 B sent

  path: link0
    state: up
    endpoints: 192.0.2.2:1194 → 198.51.100.1:1194
    rtt: 10.4 ms, least 10.1 ms, of it queue 0.2 ms
    capacity: 11.9 Mbit/s up from here, mtu 1500
    transfer: 1.95 KiB received, 1000 B sent

  path: link1
    state: down
    endpoints: 192.0.2.2:1194 → 198.51.100.1:1194
    capacity: 11.9 Mbit/s up from here, mtu 1500
    transfer: 1.95 KiB received, 1000 B sent
    lost: 1 of 10 datagrams (10.00 %), 1 packets sent again`,
  );
});

test('rates come from two samples; counters that began anew give none below zero', () => {
  const before = status({ bonds: [bond({ rxBytes: 536, txBytes: 5000, paths: [path({ rxBytes: 0 })] })] });
  const text = printStatus(status(), { nowMs: NOW, before: { status: before, elapsedS: 2 } });
  assert.match(text, /^ {2}rate: 4\.00 kbit\/s in, 0 bit\/s out$/m);
  assert.match(text, /^ {4}rate: 8\.00 kbit\/s in, 0 bit\/s out$/m);
});

test('sizes, rates and ages at their edges', () => {
  assert.deepEqual([0, 1023, 1024, 1024 ** 4].map(printBytes), ['0 B', '1023 B', '1.00 KiB', '1.00 TiB']);
  assert.deepEqual([0, 999, 1000, 9.99e6, 10e6, 123.4e6, 4.46e9, Number.POSITIVE_INFINITY].map(printRateForEyes), [
    '0 bit/s',
    '999 bit/s',
    '1.00 kbit/s',
    '9.99 Mbit/s',
    '10.0 Mbit/s',
    '123 Mbit/s',
    '4.46 Gbit/s',
    'unlimited',
  ]);
  assert.deepEqual([-3, 1, 61, 3600, 90061].map(printAge), [
    '0 seconds',
    '1 second',
    '1 minute, 1 second',
    '1 hour',
    '1 day, 1 hour',
  ]);
});

test('a rate for eyes is never off by more than half a percent', () => {
  const factors: Record<string, number> = { 'bit/s': 1, 'kbit/s': 1e3, 'Mbit/s': 1e6, 'Gbit/s': 1e9 };
  fc.assert(
    fc.property(fc.double({ min: 1000, max: 9e11, noNaN: true }), (bps) => {
      const [n, unit] = printRateForEyes(bps).split(' ');
      assert.ok(Math.abs(Number(n) * factors[unit] - bps) <= 0.0051 * bps);
    }),
  );
});

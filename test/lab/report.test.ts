/** The closing table and the limit. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantile } from '../../src/lab/measure.ts';
import { closingTable, type LabResult, PAYLOAD_SHARE, PLAIN_SHARE } from '../../src/lab/report.ts';

test('a full datagram of 1500 bytes carries 1392 of TCP payload, a plain packet 1448', () => {
  assert.equal(PAYLOAD_SHARE, 1392 / 1500);
  assert.equal(PLAIN_SHARE, 1448 / 1500);
});

test('quantiles are values of the sample', () => {
  const samples = Array.from({ length: 100 }, (_, i) => 100 - i);
  assert.deepEqual([quantile(samples, 0.5), quantile(samples, 0.95), quantile(samples, 1)], [50, 95, 100]);
  assert.equal(quantile([7], 0.95), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

const direction = { bps: 20e6, share: 0.9, stallMs: 40, retransmits: 1, rttLoadedP95Ms: 30, linkBytes: [1, 2] };
const result: LabResult = {
  engine: 'multipath',
  seconds: 10,
  flows: 1,
  measure: 'builtin',
  limit: { downBps: 22_272_000, upBps: 22_272_000 },
  links: [
    {
      name: 'link0',
      spec: '12mbit/12mbit/5ms',
      downLimitBps: 12e6,
      upLimitBps: 12e6,
      downBps: 11.5e6,
      upBps: 11.4e6,
      rttIdleMs: 10.4,
      rttLoadedP95Ms: 69,
      retransmits: 3,
    },
  ],
  bond: {
    downBps: 21.5e6,
    upBps: 21.4e6,
    downShare: 0.965,
    upShare: 0.961,
    rttIdleMs: 12,
    rttLoadedP95Ms: 27,
    stallMs: 53,
    retransmits: 4,
    startMs: 700,
    down: direction,
    up: direction,
  },
  daemons: [{ role: 'router', cpuSeconds: 3.2, peakRssBytes: 90e6 }],
  emulator: { cpuSeconds: 2 },
};

test('the table has a row for each line and one for the bond, in columns', () => {
  const lines = closingTable(result).split('\n');
  assert.match(lines[1], /^link0 alone +11\.50 +11\.40 +99\.3 % \/ 98\.4 % +10\.4 ms +69\.0 ms +3$/);
  assert.match(lines[2], /^bond \(multipath\) +21\.50 +21\.40 +96\.5 % \/ 96\.1 % +12\.0 ms +27\.0 ms +53 ms +4$/);
  assert.equal(lines[0].indexOf('up Mbit/s') + 9, lines[2].indexOf('21.40') + 5, 'figures stand under their heads');
  assert.match(closingTable(result), /router daemon: 3\.20 s CPU, 90 MB/);
  assert.doesNotMatch(closingTable({ ...result, bond: undefined }), /bond/);
});

test('a cut is told in words', () => {
  const probe = { sent: 400, upLost: 0, upGapMs: 61, downLost: 2, downGapMs: 68, rttsMs: [] };
  const cut = { ...result, bond: { ...result.bond!, down: { ...direction, probe, usedAgainMs: 206 } } };
  assert.match(
    closingTable(cut),
    /Cut \(down\): flow stalled 40 ms; UDP stream of 400: up 0 lost.*used again after 206 ms/,
  );
});

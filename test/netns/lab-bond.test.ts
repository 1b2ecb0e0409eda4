/** The main job as a user runs it: the lab with the real daemons prints one JSON object that has what is promised, and leaves nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/lab/netns.ts';
import type { LabResult } from '../../src/lab/report.ts';

const LAB = fileURLToPath(new URL('../../src/lab/lab.js', import.meta.url));
const LIMIT_MS = 90_000;

async function lab(...more: string[]) {
  return run([process.execPath, LAB, ...more], { timeoutMs: LIMIT_MS });
}

test('two lines become one: traffic flows over both, a cut does not end it, the JSON says so', async () => {
  const { code, stdout, stderr } = await lab('--json', '--no-alone', '--seconds', '2', '--cut', 'link1@0.5-1.2');
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trim().split('\n').length, 1, 'one line and nothing else');
  const result = JSON.parse(stdout) as LabResult;
  const { bond, daemons } = result;
  assert.ok(bond);
  for (const key of [
    'downBps',
    'upBps',
    'downShare',
    'upShare',
    'rttIdleMs',
    'rttLoadedP95Ms',
    'stallMs',
    'retransmits',
  ] as const)
    assert.ok(Number.isFinite(bond[key]), key);
  for (const direction of [bond.down, bond.up]) {
    assert.ok(direction.bps > 0 && direction.share <= 1.1, `${direction.bps}`);
    for (const bytes of direction.linkBytes) assert.ok(bytes > 0, 'each line carried some of it');
    assert.ok(direction.probe!.sent > 0);
  }
  assert.deepEqual(
    daemons.map((d) => [d.role, d.cpuSeconds > 0, d.peakRssBytes > 0]),
    [
      ['router', true, true],
      ['server', true, true],
    ],
  );
});

test('wrong arguments are one line and make nothing', async () => {
  const before = (await run(['ip', 'netns', 'list'])).stdout;
  for (const [argv, says] of [
    [['--link', '12'], /DOWN\/UP\/DELAY/],
    [['--cut', '7@1'], /a link from 0 to 1/],
    [['--seconds', '0'], /whole number/],
    [['--measure', 'guess'], /builtin or iperf3/],
  ] as const) {
    const { code, stdout, stderr } = await lab(...argv);
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.match(stderr, says);
    assert.equal(stderr.trim().split('\n').length, 1, stderr);
  }
  assert.equal((await run(['ip', 'netns', 'list'])).stdout, before);
});

/** The lab itself on the real kernel: packets pass with the delay they were told, cuts are cuts, nothing is left behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { overLineAlone, pingIdle, probe, transfer } from '../../src/lab/measure.ts';
import { run } from '../../src/lab/netns.ts';
import { ADDRESS, Lab } from '../../src/lab/topology.ts';

const RATE_BPS = 8e6;
let lab: Lab;

before(async () => {
  lab = await Lab.open({ links: ['8mbit/8mbit/10ms', '8mbit/8mbit/30ms'].map(parseLinkSpec) });
});
after(async () => {
  await lab.close();
  assert.deepEqual(
    (await namespaces()).filter((name) => name.startsWith(`${lab.prefix}-`)),
    [],
  );
});

async function namespaces(): Promise<string[]> {
  return (await run(['ip', 'netns', 'list'])).stdout.split('\n').map((line) => line.split(' ')[0]);
}

/** Whether the router reaches the server by a line. */
async function answers(line: number): Promise<boolean> {
  const argv = ['ping', '-n', '-c', '1', '-W', '1', '-I', lab.link(line).name, ADDRESS.server];
  return (await lab.exec('router', argv)).code === 0;
}

test('each line has its own delay, both ways of both families', async () => {
  for (const [line, rttMs] of [
    [0, 20],
    [1, 60],
  ]) {
    const { name } = lab.link(line);
    for (const to of [ADDRESS.server, ADDRESS.server6]) {
      const text = await lab.must('router', ['ping', '-n', '-c', '3', '-i', '0.05', '-W', '2', '-I', name, to]);
      const times = [...text.matchAll(/time=([\d.]+)/g)].map((m) => Number(m[1]));
      assert.equal(times.length, 3);
      for (const time of times) assert.ok(time >= rttMs - 0.5, `${name} to ${to}: ${time} ms`);
    }
  }
});

test('without NAT the internet does not answer the LAN', async () => {
  assert.deepEqual(await pingIdle(lab, 2), []);
});

test('a transfer over one line is carried by that line alone, and its rate is not exceeded', async () => {
  const before = await lab.stats();
  for (const direction of ['down', 'up'] as const) {
    const options = { meter: 'builtin', direction, flows: 2, seconds: 1, warmupMs: 500 } as const;
    const { bps } = await overLineAlone(lab, 0, () => transfer(lab, options));
    assert.ok(bps > 0 && bps < RATE_BPS * 1.1, `${direction}: ${bps}`);
  }
  const after = await lab.stats();
  assert.ok(after.links[0].down.deliveredBytes - before.links[0].down.deliveredBytes > 100_000);
  assert.ok(after.links[0].up.deliveredBytes - before.links[0].up.deliveredBytes > 100_000);
  assert.equal(after.links[1].up.deliveredBytes, before.links[1].up.deliveredBytes);
});

test('a cut is silent and total, the other line goes on, and after it the line is as before', async () => {
  await lab.link(0).cut();
  assert.equal(await answers(0), false);
  assert.equal(await answers(1), true);
  assert.match(await lab.must('router', ['ip', 'link', 'show', lab.link(0).name]), /LOWER_UP/);
  await lab.link(0).restore();
  assert.equal(await answers(0), true);
});

test('a line can be changed while it runs: size limit, delay, loss, one direction', async () => {
  const big = ['ping', '-n', '-c', '1', '-W', '1', '-s', '1400', '-I', lab.link(0).name, ADDRESS.server];
  await lab.link(0).set({ blackholeOverBytes: 1000 }, 'up');
  assert.equal((await lab.exec('router', big)).code, 1);
  assert.equal(await answers(0), true);
  await lab.link(0).set({ blackholeOverBytes: 1500, delayUs: 100_000 }, 'up');
  const { stdout } = await lab.exec('router', big);
  assert.ok(Number(/time=([\d.]+)/.exec(stdout)?.[1]) >= 109, stdout);
  await lab.link(0).set({ delayUs: 10_000 });
  await lab.link(0).set({ lossRate: 1 }, 'down');
  assert.equal(await answers(0), false);
  await lab.link(0).set({ lossRate: 0 });
  assert.equal(await answers(0), true);
});

test('the numbered stream tells loss and where it happened', async () => {
  const clean = await overLineAlone(lab, 0, () => probe(lab, 0.5));
  assert.ok(clean.sent > 0);
  assert.deepEqual([clean.upLost, clean.downLost], [0, 0]);
  await lab.link(0).set({ lossRate: 1 }, 'down');
  const deaf = await overLineAlone(lab, 0, () => probe(lab, 0.5));
  await lab.link(0).set({ lossRate: 0 }, 'down');
  assert.deepEqual([deaf.upLost, deaf.downLost], [0, deaf.sent]);
});

test('Ctrl-C in the middle leaves nothing', async () => {
  const file = fileURLToPath(new URL('../../src/lab/lab.js', import.meta.url));
  const child = spawn(process.execPath, [file, '--engine', 'none'], { stdio: ['ignore', 'pipe', 'inherit'] });
  // Its first picture: the namespaces exist and a measure runs.
  await once(child.stdout, 'data');
  const mine = (name: string) => name.startsWith(`yk${child.pid}-`);
  assert.ok((await namespaces()).some(mine));
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  assert.equal(code, 130);
  assert.deepEqual((await namespaces()).filter(mine), []);
});

test('what a killed lab left is removed by the next one', async () => {
  const file = fileURLToPath(new URL('../../src/lab/lab.js', import.meta.url));
  const child = spawn(process.execPath, [file, '--engine', 'none'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  const mine = (name: string) => name.startsWith(`yk${child.pid}-`);
  assert.ok((await namespaces()).some(mine));
  await (await Lab.open({ links: [parseLinkSpec('8mbit/8mbit/1ms')] })).close();
  assert.deepEqual((await namespaces()).filter(mine), []);
});

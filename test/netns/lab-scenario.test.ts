/** A scenario with real packets: what is to happen to links, NAT, addresses and daemons happens, the bond outlives it, and all is as before at the end. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Bond, INNER, startBond } from '../../src/lab/daemons.ts';
import { until } from '../../src/lab/measure.ts';
import { labOptionsOf, Player } from '../../src/lab/player.ts';
import { parseScenario } from '../../src/lab/scenario.ts';
import { ADDRESS, Lab } from '../../src/lab/topology.ts';

const LIMIT_MS = 15_000;
const TEXT = JSON.stringify({
  about: 'everything at once, for a test',
  seconds: 4,
  links: [
    { name: 'steady', rate: '8mbit', delay: '5ms', cycle: [{ for: '500ms' }, { for: '500ms', rate: '4mbit' }] },
    { name: 'moved', rate: '8mbit', delay: '10ms' },
  ],
  events: [
    { at: '0s', do: 'rebind', link: 'moved' },
    { at: '100ms', do: 'set', link: 'moved', delay: '40ms' },
    { at: '200ms', do: 'cut', link: 'moved', direction: 'down' },
    { at: '900ms', do: 'restore', link: 'moved' },
    { at: '1s', do: 'readdress', link: 'moved' },
    { at: '1500ms', do: 'sleep-router', for: '500ms' },
    { at: '2500ms', do: 'restart-server' },
  ],
  traffic: [{ from: '0s', to: '1s', rate: '500kbit', size: '500b' }],
});
const scenario = parseScenario(TEXT, 'test', 'test', () => '');
let lab: Lab;
let bond: Bond;

before(async () => {
  lab = await Lab.open(labOptionsOf(scenario));
  await new Player(lab, scenario).prepare();
  bond = await startBond(lab);
});
after(() => lab.close());

async function pathsUp(): Promise<number> {
  const status = await bond.router.status().catch(() => undefined);
  return status?.bonds[0]?.paths.filter((path) => path.state === 'up').length ?? 0;
}

/** Of the second line by itself; NaN without an answer. */
async function rttMs(): Promise<number> {
  const argv = ['ping', '-n', '-c', '1', '-W', '1', '-I', 'moved', ADDRESS.server];
  return Number(/time=([\d.]+)/.exec((await lab.exec('router', argv)).stdout)?.[1]);
}

/** Where the server believes the router's second link to be. */
async function remoteOfMoved(): Promise<string> {
  const status = await bond.server.status();
  return status.bonds[0]?.paths.find((path) => path.id === 1)?.remote ?? '';
}

test('a scenario is played to its end, twice, and the bond stands with both links', async () => {
  await until(async () => (await pathsUp()) === 2, LIMIT_MS, 'the second link');
  await until(async () => (await remoteOfMoved()).startsWith('198.18.0.26:'), LIMIT_MS, 'the address of the NAT');
  for (const address of ['198.51.100.138', '198.51.100.142']) {
    const serverPid = bond.server.pid;
    const player = new Player(lab, scenario, bond);
    player.play(-200_000, scenario.seconds * 1e6);
    await until(async () => (await rttMs()) >= 50, LIMIT_MS, 'the longer delay');
    await until(async () => bond.server.isRunning && bond.server.pid !== serverPid, LIMIT_MS, 'another server');
    await player.stop();
    assert.ok(!Number.isNaN(player.againMs), 'the return of the link was seen');
    const ping = ['ping', '-n', '-c', '1', '-W', '1', INNER.server];
    await until(async () => (await lab.exec('client', ping)).code === 0, LIMIT_MS, 'an answer of the new server');
    await until(async () => (await pathsUp()) === 2, LIMIT_MS, 'both links');
    const shown = await lab.must('router', ['ip', '-o', '-4', 'address', 'show', 'dev', 'moved']);
    assert.ok(shown.includes(`${address}/30`), shown);
    await until(async () => (await rttMs()) < 40, LIMIT_MS, 'the delay of the begin');
  }
});

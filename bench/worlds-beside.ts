/**
 * Others over the same links, in the same lab: kernel MPTCP end to end from router to server (which are then the hosts: nobody behind them
 * could use it), and a weighted round robin without reordering (wrr.ts) through a tunnel of the same MTU as ours.
 */
import { fileURLToPath } from 'node:url';
import { YokeError } from '../src/base/error.ts';
import type { Ends } from '../src/lab/measure.ts';
import { inside, ipBatch, must } from '../src/lab/netns.ts';
import type { Scenario } from '../src/lab/scenario.ts';
import { ADDRESS, type Lab } from '../src/lab/topology.ts';
import type { WrrOptions } from './wrr.ts';

const WRR_FILE = fileURLToPath(new URL('./wrr.js', import.meta.url));
const WRR = { device: 'wrr0', port: 5999, router: '10.99.0.2', server: '10.99.0.1', mtu: 1444 } as const;
/** Tables and rules of the router's own addresses. */
const TABLE_FROM = 220;
const RULE_PRIORITY = 60;
const SUBFLOWS = 8;

/** How a measure goes over it. */
export interface Way {
  places: Ends;
  host: string;
  prefix?: readonly string[];
  /** Says whether it was what it should be. @throws YokeError (host) when not. */
  check(): Promise<void>;
  stop(): Promise<void>;
}

const PLACES: Ends = { near: 'router', far: 'server' };

/** MPTCP with a subflow over every link. */
export async function openMptcp(lab: Lab): Promise<Way> {
  const router = lab.namespace('router');
  const links = await Promise.all(lab.links.map(({ name }) => addressOf(lab, name)));
  const rules = links.map(
    ({ address }, i) => `rule add from ${address} lookup ${TABLE_FROM + i} priority ${RULE_PRIORITY}`,
  );
  const routes = links.map(
    ({ gateway, name }, i) => `route replace default via ${gateway} dev ${name} table ${TABLE_FROM + i}`,
  );
  await ipBatch(router, [...routes, ...rules]);
  for (const place of ['router', 'server'] as const) {
    const limits = ['limits', 'set', 'subflow', String(SUBFLOWS), 'add_addr_accepted', String(SUBFLOWS)];
    await lab.must(place, ['ip', 'mptcp', ...limits]);
  }
  for (const { address, name } of links) {
    await lab.must('router', ['ip', 'mptcp', 'endpoint', 'add', address, 'dev', name, 'subflow']);
  }
  const joins = async (): Promise<number> => {
    const text = await lab.must('server', ['cat', '/proc/net/netstat']);
    const [names, values] = text.split('\n').filter((line) => line.startsWith('MPTcpExt:'));
    return Number(values.split(' ')[names.split(' ').indexOf('MPJoinAckRx')]);
  };
  let before = await joins();
  return {
    places: PLACES,
    host: ADDRESS.server,
    prefix: ['mptcpize', 'run'],
    async check() {
      const now = await joins();
      if (now <= before && lab.links.length > 1) throw failed('MPTCP', 'a subflow more for each link', 'none');
      before = now;
    },
    async stop() {
      await lab.must('router', ['ip', 'mptcp', 'endpoint', 'flush']);
      await ipBatch(
        router,
        rules.map((rule) => rule.replace('rule add', 'rule del')),
      );
    },
  };
}

/** What the router has on a link now: a scenario may have given it another address. */
async function addressOf(lab: Lab, name: string): Promise<{ name: string; address: string; gateway: string }> {
  const shown = await lab.must('router', ['ip', '-o', '-4', 'address', 'show', 'dev', name]);
  const routes = await lab.must('router', ['ip', '-o', '-4', 'route', 'show', 'default', 'dev', name]);
  const [address, gateway] = [/inet ([\d.]+)/.exec(shown)?.[1], /via ([\d.]+)/.exec(routes)?.[1]];
  if (!address || !gateway) throw failed(`link ${name}`, 'an address and a gateway', `${shown}${routes}`);
  return { name, address, gateway };
}

/** Packets in turn. */
export async function openWrr(lab: Lab, scenario: Scenario): Promise<Way> {
  const weights = (direction: 'down' | 'up') =>
    lab.links.map(({ spec }) => (direction === 'down' ? spec.downBps : spec.upBps) / 1e6);
  const start = async (place: 'router' | 'server', options: WrrOptions) => {
    const child = lab.spawn(place, [process.execPath, WRR_FILE, JSON.stringify(options)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout!.once('data', () => resolve());
      child.once('exit', (code) => reject(failed('wrr', `an end in ${place} for ${scenario.name}`, `status ${code}`)));
    });
    await ipBatch(lab.namespace(place), [
      `address add ${WRR[place]}/24 dev ${WRR.device}`,
      `link set dev ${WRR.device} up mtu ${WRR.mtu}`,
    ]);
    return child;
  };
  const { device, port } = WRR;
  const server = await start('server', { device, port, weights: weights('down') });
  const devices = lab.links.map((link) => link.name);
  const router = await start('router', { device, port, weights: weights('up'), server: ADDRESS.server, devices });
  await must(inside(lab.namespace('router'), ['ping', '-n', '-q', '-c', '3', '-i', '0.3', '-W', '2', WRR.server]));
  return {
    places: PLACES,
    host: WRR.server,
    async check() {},
    async stop() {
      await Promise.all([lab.end(router), lab.end(server)]);
    },
  };
}

function failed(where: string, expected: string, found: string): YokeError {
  return new YokeError('host', { where, expected, found, todo: 'run the world again; see the messages above' });
}

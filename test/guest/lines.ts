/**
 * A router and a server in a guest kernel, and the lines between them (tests and bench/howto):
 *
 *   router ── veth ── core ── veth ── server        for each line i: 198.51.100.4i+2 … +1 core 203.0.113.4i+1 … +2
 *
 * The core shapes what leaves it, each line each way (netem: rate, delay, loss, a drop-tail queue). The sender's own kernel thus does not
 * see the queue, as it does not see a modem's. The pipe's ends are 10.9.0.1 (server) and 10.9.0.2 (router).
 */
import { inside, ipBatch, must } from '../../src/lab/netns.ts';

/** A line; both directions alike. */
export interface GuestLine {
  mbit: number;
  /** One way. */
  delayMs: number;
  lossPercent: number;
}

/** The pipe's ends. */
export const PIPE = { server: '10.9.0.1', router: '10.9.0.2', device: 'pipe0' } as const;
const QUEUE_MS = 60;
const PACKET_BYTES = 1500;
const ETHERNET_BYTES = 14;
const PLACES = ['router', 'core', 'server'] as const;

/** Both addresses of a line, as its ends see them. */
export const routerAddress = (i: number) => `198.51.100.${4 * i + 2}`;
export const serverAddress = (i: number) => `203.0.113.${4 * i + 2}`;

/** Makes the three namespaces and the lines. */
export async function buildLines(lines: readonly GuestLine[]): Promise<void> {
  for (const place of PLACES) {
    await must(['ip', 'netns', 'add', place]);
    await must(inside(place, ['sysctl', '-q', '-w', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.default.disable_ipv6=1']));
  }
  for (const [i, line] of lines.entries()) {
    for (const [place, network] of [
      ['router', '198.51.100'],
      ['server', '203.0.113'],
    ] as const) {
      const [device, other] = [`line${i}`, `${place}${i}`];
      const at = (host: number) => `${network}.${4 * i + host}`;
      await ipBatch('core', [
        `link add ${other} type veth peer name ${device} netns ${place}`,
        `address add ${at(1)}/30 dev ${other}`,
        `link set dev ${other} up`,
      ]);
      const far = place === 'router' ? '203.0.113' : '198.51.100';
      await ipBatch(place, [
        `address add ${at(2)}/30 dev ${device}`,
        `link set dev ${device} up`,
        `route add ${far}.${4 * i}/30 via ${at(1)}`,
      ]);
      await plainPackets(place, device);
      await plainPackets('core', other);
      await must(inside('core', shaping(other, line)));
    }
  }
}

/** Has a line lose everything both ways, or as much as before again; its devices stay up. */
export async function cut(i: number, line: GuestLine, how: 'cut' | 'restore'): Promise<void> {
  const shaped = how === 'cut' ? { ...line, lossPercent: 100 } : line;
  const lines = [`router${i}`, `server${i}`].map((device) => shaping(device, shaped, 'replace').slice(1).join(' '));
  await must(['tc', '-n', 'core', '-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** `tc` of one direction of a line. The queue's limit is in packets and holds those on their way too. */
function shaping(device: string, line: GuestLine, verb = 'add'): string[] {
  const limit = Math.ceil((line.mbit * 1e3 * (line.delayMs + QUEUE_MS)) / (8 * PACKET_BYTES));
  const loss = line.lossPercent > 0 ? ['loss', `${line.lossPercent}%`] : [];
  return [
    ...['tc', 'qdisc', verb, 'dev', device, 'root', 'stab', 'overhead', String(-ETHERNET_BYTES)],
    ...['netem', 'delay', `${line.delayMs}ms`, 'rate', `${line.mbit}mbit`, 'limit', String(limit), ...loss],
  ];
}

/** Has a device carry packets, not the kernel's 64 KB ones. */
export async function plainPackets(place: string, device: string): Promise<void> {
  await must(inside(place, ['ethtool', '-K', device, 'tso', 'off', 'gso', 'off', 'gro', 'off']));
}

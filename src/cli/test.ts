/** `yoke test`: a speed test from the bond's address, against the server, an iperf3 server or a web address. */
import { type AddressBytes, printAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import type { ClientConfig, Config } from '../config/config.ts';
import { nearest } from '../config/suggest.ts';
import { askControl } from '../daemon/control.ts';
import { loadConfig } from '../daemon/load.ts';
import { type Measured, runSpeedTest } from '../daemon/speedtest.ts';
import type { Status } from '../status/status.ts';
import { measureIperf3, measureUrl } from './speed-targets.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** What `yoke test` is given. */
export interface TestOptions extends GlobalOptions {
  /** Default: 10. */
  seconds?: number;
  down?: boolean;
  up?: boolean;
  iperf3?: string;
  url?: string;
  json?: boolean;
  /** Server: against this client. */
  client?: string;
}

type Way = 'down' | 'up';

/** Measures, one way after the other, and prints each as it comes. */
export async function test(options: TestOptions): Promise<number> {
  const config = loadConfig(options.config);
  const { local, remote } = endsOf(config, await clientOf(config, options));
  const { seconds = 10 } = options;
  const target = options.iperf3 ?? options.url ?? printAddress(remote);
  const measure = (way: Way): Promise<Measured> => {
    if (options.iperf3 !== undefined) return measureIperf3(options.iperf3, local, way, seconds);
    if (options.url !== undefined) return measureUrl(options.url, local, seconds);
    return runSpeedTest({ remote, local, way, seconds, port: config.bond.testPort });
  };
  const both = options.down === options.up;
  const ways: Way[] = options.url !== undefined ? ['down'] : both ? ['down', 'up'] : options.down ? ['down'] : ['up'];
  if (!options.json) {
    const from = `${printAddress(local)} (${config.bond.ifname})`;
    process.stdout.write(`from ${from} to ${target}, ${seconds} s each way\n`);
  }
  const results: Partial<Record<Way, Measured & { bps: number }>> = {};
  for (const way of ways) {
    const measured = await measure(way);
    results[way] = { ...measured, bps: rateOf(measured) };
    if (!options.json) process.stdout.write(`${printResult(way, results[way] as Measured & { bps: number })}\n`);
  }
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ local: printAddress(local), target, ...results })}\n`);
  }
  return EXIT_DONE;
}

/** Measures the bond of a router both ways and says how fast it is; a server that cannot now is no error. */
export async function measureBond(config: Config, seconds: number, say: (line: string) => void): Promise<void> {
  const { local, remote } = endsOf(config);
  say(`measuring, ${seconds} s each way …`);
  try {
    for (const way of ['down', 'up'] as const) {
      const measured = await runSpeedTest({ remote, local, way, seconds, port: config.bond.testPort });
      say(printResult(way, { ...measured, bps: rateOf(measured) }));
    }
  } catch (error) {
    say(`not measured: ${(error as Error).message}`);
  }
}

const rateOf = ({ bytes, elapsedMs }: Measured) => (elapsedMs > 0 ? Math.round((bytes * 8000) / elapsedMs) : 0);

/** `down   21.90 Mbit/s  (27.4 MB in 10.0 s)`. */
export function printResult(way: Way, { bps, bytes, elapsedMs }: Measured & { bps: number }): string {
  const rate = `${(bps / 1e6).toFixed(2)} Mbit/s`.padStart(15);
  return `${way.padEnd(4)} ${rate}  (${(bytes / 1e6).toFixed(1)} MB in ${(elapsedMs / 1000).toFixed(1)} s)`;
}

/** The inner addresses of both ends, of one family; the other one is the client, where there is one. @throws YokeError when there are none. */
function endsOf(config: Config, client?: ClientConfig): { local: AddressBytes; remote: AddressBytes } {
  const { place, addresses, remoteAddresses } = config.bond;
  const whole = client?.allowed.filter((p) => p.length === p.bytes.length * 8).map((p) => p.bytes);
  for (const remote of whole ?? remoteAddresses) {
    const local = addresses.find((a) => a.bytes.length === remote.length);
    if (local) return { local: local.bytes, remote };
  }
  const todo = client
    ? `give client '${client.name}' an inner address: option ipaddr`
    : "add: option remote_ipaddr '10.0.0.1', the inner address of the other end";
  throw complain(`${config.file}:${place.line}`, 'the inner addresses of both ends', 'one of them', todo);
}

/** At a server: the client that is named, or the only one. @throws YokeError when there is none, or it is not connected. */
async function clientOf(config: Config, { client: name, runDir }: TestOptions): Promise<ClientConfig | undefined> {
  if (config.role !== 'server' || config.engine !== 'multipath') {
    if (name === undefined) return undefined;
    const todo = 'leave it out: this end has one other end';
    throw complain('--client', 'the server of a bond, engine multipath', `role '${config.role}'`, todo);
  }
  const clients = config.clients.filter((c) => !c.disabled);
  const names = clients.map((c) => c.name);
  const client = name === undefined && clients.length === 1 ? clients[0] : clients.find((c) => c.name === name);
  if (!client) {
    const found = name === undefined ? `${names.length} of them` : `'${name}'`;
    const near = name === undefined ? undefined : nearest(name, names);
    const known = names.length > 0 ? `take one of ${names.join(', ')}` : 'invite one: yoke invite NAME';
    const todo = near ? `did you mean '${near}'?` : name === undefined ? `add: --client NAME; ${known}` : known;
    throw complain('--client', 'the name of a client', found, todo);
  }
  const { bonds } = (await askControl(runDir, 'status')) as Status;
  if (bonds.some((b) => b.peer === client.name && b.established)) return client;
  const todo = 'see yoke status at both ends';
  throw complain(`client '${client.name}'`, 'it to be connected', 'no session with it', todo);
}

function complain(where: string, expected: string, found: string, todo: string): YokeError {
  return new YokeError('config', { where, expected, found, todo });
}

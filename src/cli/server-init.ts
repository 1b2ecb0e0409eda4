/**
 * `yoke server init`: from a fresh machine to a running server with its first invitation. What is there already is kept, so it may be
 * run again.
 *
 *   this machine? ─▶ port free? ─▶ where do routers find it? ─▶ key ─▶ file ─▶ service ─▶ firewall? ─▶ invitation
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { networkOf, type Prefix, parsePrefix, prefixContains, printAddress, printPrefix } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import { printServerConfig } from '../config/compose.ts';
import type { Config } from '../config/config.ts';
import { DEFAULT_PORT } from '../config/ports.ts';
import { readConfig } from '../config/schema.ts';
import { parseUci, printUci } from '../config/uci.ts';
import { deleteOption, findSection, setOption } from '../config/uci-edit.ts';
import { whyNotFree } from '../daemon/check.ts';
import { firewallWarnings } from '../daemon/firewall.ts';
import type { Instance } from '../daemon/instance.ts';
import { ensurePrivateKey } from '../daemon/keys.ts';
import { replaceConfig } from '../daemon/load.ts';
import { checkName } from '../daemon/members.ts';
import { logOf, type Started, startService } from '../daemon/service.ts';
import { readText } from '../host/files.ts';
import { readDevices } from '../host/read.ts';
import { Invitations } from '../setup/invitations.ts';
import { needRoot, wrongMachine } from './as-root.ts';
import { outerPort, printNewInvitation } from './invite.ts';
import { findPlaces, isPlace } from './places.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** What `yoke server init` is given. */
export interface ServerInitOptions extends GlobalOptions {
  publicIp?: string[];
  /** The port that is forwarded to `port`; undefined: the same. */
  publicPort?: number;
  port?: number;
  network?: string;
  name: string;
  qr: boolean;
}

const COMMAND = 'yoke server init';
/** The network inside the bond; the next of its kind when this one is in use here. */
const NETWORKS = Array.from({ length: 16 }, (_, i) => `10.121.${111 + i}.0/24`);
/** How long the first invitation is good. Units: seconds. */
const FIRST_EXPIRES_S = 24 * 3600;

/** Makes this machine a server. */
export async function serverInit(options: ServerInitOptions): Promise<number> {
  needRoot(COMMAND);
  checkName(options.name);
  for (const place of options.publicIp ?? []) {
    if (isPlace(place)) continue;
    const [, host, port] = /^\[?([^\]]+)\]?:(\d+)$/.exec(place) ?? [];
    const todo = host && isPlace(host) ? `write: --public-ip ${host} --public-port ${port}` : 'correct it';
    throw wrongMachine(`--public-ip ${place}`, 'an address or a host name', host ? 'one with a port' : 'neither', todo);
  }
  const say = (text: string) => void process.stdout.write(`${text}\n`);
  const text = readText(options.config) ?? '';
  const hasBond = text !== '' && findSection(parseUci(text, options.config), 'interface', 'bond') >= 0;
  const config = hasBond ? keep(text, options) : await make(text, options);
  const { endpoints = [], listen, addresses } = config.bond;
  say(hasBond ? `kept ${options.config}` : `wrote ${options.config}`);
  const port = outerPort(config);
  const isForwarded = port !== listen[0].port;
  const to = isForwarded ? `, which has to lead to UDP port ${listen[0].port} of this machine` : '';
  say(`routers find this server at ${endpoints.join(', ')}, UDP port ${port}${to}`);
  say(`inside the bond it is ${addresses.map((a) => printAddress(a.bytes)).join(' and ')}`);
  const started = await startService(options, { restart: false });
  say(printStarted(started, options));
  for (const warning of await firewallWarnings(config)) say(warning);
  const where = isForwarded ? 'whatever stands before this machine' : 'the provider of this machine';
  say(`if ${where} has a firewall of its own, open UDP port ${port} there, too\n`);
  const open = new Invitations(options.stateDir).open(Date.now());
  const isFresh = config.clients.length === 0 && open.length === 0;
  if (isFresh) await printNewInvitation(options.name, config, options, { expires: FIRST_EXPIRES_S, qr: options.qr });
  else {
    for (const { name } of open)
      say(`the invitation for ${name} is open still; yoke invite ${name} prints a new one in its place`);
    say('yoke invite NAME invites one more router; yoke peers lists those that are there');
  }
  return EXIT_DONE;
}

/** How the service was started, and what it does at the next boot. */
export function printStarted({ keeper, already }: Started, instance: Instance): string {
  if (already) return 'the service runs already';
  if (keeper === 'systemd') return 'the service runs, and will at every boot (systemctl status yoke)';
  if (keeper === 'procd') return 'the service runs, and will at every boot (/etc/init.d/yoke)';
  return `no service manager here: yoke runs in the background (log: ${logOf(instance)}); have yoke run started at boot`;
}

/** The server that is there already; only its addresses may be others. @throws YokeError when it is none, or an option contradicts it. */
function keep(text: string, options: ServerInitOptions): Config {
  const { config: file, publicIp = [], publicPort, port, network } = options;
  const config = readConfig(text, file);
  if (config.role !== 'server') {
    const todo = `run ${COMMAND} on the server; to make this machine one, move ${file} away first`;
    throw wrongMachine(COMMAND, 'a machine without a bond', 'the router of one', todo);
  }
  if (config.engine !== 'multipath') {
    const todo = `invitations are for engine multipath; to change to it, move ${file} away first`;
    throw wrongMachine(COMMAND, "a server of engine 'multipath'", `one of engine '${config.engine}'`, todo);
  }
  const isPort = config.bond.listen[0].port;
  if (port !== undefined && port !== isPort) {
    const todo = `change option listen_port there, then restart the service`;
    throw wrongMachine(`--port ${port}`, `port ${isPort}, as ${file} says`, 'another', todo);
  }
  const isNetwork = config.bond.addresses.map((a) => printPrefix(networkOf(a)));
  if (network !== undefined && !isNetwork.includes(network)) {
    const todo = 'change option ipaddr there, and each client, then restart the service';
    throw wrongMachine(`--network ${network}`, `${isNetwork.join(', ')}, as ${file} says`, 'another', todo);
  }
  let document = parseUci(text, file);
  const bond = findSection(document, 'interface', 'bond');
  if (publicIp.length > 0) document = setOption(document, bond, 'endpoint', publicIp);
  if (publicPort === isPort) document = deleteOption(document, bond, 'endpoint_port');
  else if (publicPort !== undefined) document = setOption(document, bond, 'endpoint_port', `${publicPort}`);
  const changed = printUci(document);
  const fresh = readConfig(changed, file);
  if (changed !== text) replaceConfig(file, changed);
  return fresh;
}

/** A new server: finds out, then writes. Nothing is written when something is in the way. */
async function make(text: string, options: ServerInitOptions): Promise<Config> {
  const { config: file, stateDir, publicPort } = options;
  const port = options.port ?? DEFAULT_PORT;
  await checkPort(port);
  const endpoints = options.publicIp ?? (await findPlaces(port, 'bond0'));
  const network = await chooseNetwork(options.network);
  const privateKeyFile = join(stateDir, 'private.key');
  const section = printServerConfig({
    ...(port !== DEFAULT_PORT && { port }),
    ipaddr: `${printAddress(first(network))}/${network.length}`,
    ...((await hasIpv6Out()) && { ip6addr: `${uniqueLocal()}::1/64` }),
    privateKeyFile,
    endpoints,
    ...(publicPort !== undefined && publicPort !== port && { endpointPort: publicPort }),
    clients: [],
  });
  const whole = text === '' || text.endsWith('\n\n') ? text + section : `${text.replace(/\n*$/, '\n\n')}${section}`;
  const config = readConfig(whole, file);
  ensurePrivateKey(privateKeyFile);
  replaceConfig(file, whole);
  return config;
}

/** @throws YokeError when another program has the port. */
async function checkPort(port: number): Promise<void> {
  const code = await whyNotFree(new Uint8Array(4), port);
  if (code === undefined) return;
  throw new YokeError('host', {
    where: `UDP port ${port}`,
    expected: 'it to be free',
    found: code === 'EADDRINUSE' ? 'another program at it' : code,
    todo: `choose another: ${COMMAND} --port 1195 (ss -ulpn sport = :${port} tells which program it is)`,
  });
}

async function chooseNetwork(said: string | undefined): Promise<Prefix> {
  const here = (await readDevices()).flatMap((d) =>
    d.addr_info.flatMap((a) => parsePrefix(`${a.local}/${a.prefixlen}`) ?? []),
  );
  const inUse = (p: Prefix) => here.find((h) => prefixContains(p, h.bytes) || prefixContains(h, p.bytes));
  if (said === undefined)
    return NETWORKS.map((n) => parsePrefix(n)!).find((p) => !inUse(p)) ?? parsePrefix(NETWORKS[0])!;
  const network = parsePrefix(said);
  if (network?.bytes.length !== 4 || network.length < 8 || network.length > 29) {
    throw wrongMachine(
      `--network ${said}`,
      'an IPv4 network of length 8 to 29',
      'something else',
      'write 10.121.111.0/24',
    );
  }
  const foe = inUse(network);
  if (foe)
    throw wrongMachine(`--network ${said}`, 'a network that is not in use here', printPrefix(foe), 'choose another');
  return networkOf(network);
}

function first(network: Prefix): Uint8Array {
  const address = network.bytes.slice();
  address[3] += 1;
  return address;
}

/** A network of our own. Source: RFC 4193 §3.2.1. */
function uniqueLocal(): string {
  const hex = randomBytes(5).toString('hex');
  return `fd${hex.slice(0, 2)}:${hex.slice(2, 6)}:${hex.slice(6, 10)}`;
}

/** A bond that carried IPv6 to a server without a way out for it would be the end of the routers' IPv6. */
async function hasIpv6Out(): Promise<boolean> {
  return (await findPlaces(0, 'bond0').catch(() => [])).some((place) => place.includes(':'));
}

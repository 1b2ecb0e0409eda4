/**
 * `yoke join INVITATION`: from a fresh router to a bond that carries traffic.
 *
 *   invitation ─▶ whose file is there? ─▶ links ─▶ "use them?" ─▶ key ─▶ the server's answer ─▶ file ─▶ service ─▶ links stand ─▶ speed
 *
 * Nothing is written before the question was answered; the file only when the server said yes. Without an invitation: the links that a
 * router which has joined lacks are added.
 */
import { copyFileSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { parsePrefix, prefixContains, printAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import type { NewLink } from '../config/compose.ts';
import {
  type Belongs,
  belongsTo,
  joinedText,
  keyFileIn,
  linkInterfaces,
  linkName,
  withLinks,
} from '../config/joined.ts';
import { printKey } from '../config/kinds.ts';
import { MAX_LINKS } from '../config/options.ts';
import { DEFAULT_PORT } from '../config/ports.ts';
import { readConfig } from '../config/schema.ts';
import { askControl } from '../daemon/control.ts';
import { ensurePrivateKey, publicKeyOf } from '../daemon/keys.ts';
import { replaceConfig } from '../daemon/load.ts';
import { lockHolder } from '../daemon/lock.ts';
import { startService } from '../daemon/service.ts';
import { readText } from '../host/files.ts';
import { readDevices } from '../host/read.ts';
import { findWaysOut, lookAtDevice, type Passed } from '../host/ways-out.ts';
import type { LinkFacts } from '../plan/facts.ts';
import { type Invitation, parseInvitation } from '../setup/invitation.ts';
import { askToJoin, type Joined } from '../setup/joining.ts';
import type { InnerAddresses, JoinVerdict } from '../wire/join.ts';
import { confirm, needRoot, wrongMachine } from './as-root.ts';
import { readStdin } from './keys.ts';
import { waitForLinks } from './links-stand.ts';
import { RELOAD_LIMIT_MS } from './reload.ts';
import { printStarted } from './server-init.ts';
import { printTable } from './table.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';
import { measureBond } from './test.ts';

/** What `yoke join` is given. */
export interface JoinOptions extends GlobalOptions {
  yes?: boolean;
  /** Devices named by hand; undefined: found. */
  link?: string[];
  replace?: boolean;
  /** Measure at the end. */
  test: boolean;
}

const COMMAND = 'yoke join';
/** An invitation is shorter, also with line breaks in it. */
const STDIN_LIMIT_BYTES = 4096;
/** Of the measurement at the end, each way. */
const TEST_SECONDS = 5;

const say = (text: string) => void process.stdout.write(`${text}\n`);

/** Makes this machine a router of the bond that it is invited to. */
export async function join(text: string | undefined, options: JoinOptions): Promise<number> {
  // the words of a command can be read by everybody on this machine
  process.title = COMMAND;
  const line = text === '-' ? await readStdin(STDIN_LIMIT_BYTES) : text;
  const invitation = line === undefined ? undefined : parseInvitation(line);
  needRoot(COMMAND);
  const before = readText(options.config) ?? '';
  const changed = invitation ? await joinServer(invitation, before, options) : await addNewLinks(before, options);
  if (changed === 'end') return EXIT_DONE;
  const started = await startService(options, { restart: changed === 'all' });
  if (changed === 'links') await askControl(options.runDir, 'reload', {}, RELOAD_LIMIT_MS);
  else say(printStarted(started, options));
  const config = readConfig(readText(options.config) ?? '', options.config);
  const up = await waitForLinks(config, options.runDir, say);
  if (options.test && up > 0) await measureBond(config, TEST_SECONDS, say);
  if (config.links.length === 1) {
    say('one link only: the bond works, and gets faster with a second; when it is there: yoke join');
  }
  say('yoke status --watch shows the bond at work');
  return EXIT_DONE;
}

/** What was written: the whole bond, links only, nothing because it runs so already; or the end, because there is nothing to do. */
type Changed = 'all' | 'links' | 'nothing' | 'end';

async function joinServer(invitation: Invitation, before: string, options: JoinOptions): Promise<Changed> {
  const { config: file } = options;
  const belongs = before === '' ? 'nobody' : belongsTo(before, file, printKey(invitation.serverKey));
  checkBelongs(belongs, file, options.replace);
  const { links, passed } = await chooseLinks(options.link, bondDevice(before, file), linkInterfaces(before, file));
  if (!(await agreed(links, passed, options))) return 'end';

  const privateKeyFile = keyFileIn(before, file) ?? joinPath(options.stateDir, 'private.key');
  const privateKey = ensurePrivateKey(privateKeyFile);
  say(`asking the server at ${invitation.places.join(', ')}, UDP port ${invitation.port} …`);
  const own = { privateKey, publicKey: publicKeyOf(privateKey) };
  const from = links.flatMap(({ device = '', v4, v6 }) =>
    [v4, v6].flatMap((access) => (access ? [{ device, address: access.address }] : [])),
  );
  const joined = await askToJoin(invitation, own, from);
  const { answer } = joined;
  if (answer.verdict !== 'welcome') throw refused(answer.verdict, belongs);
  await checkInner(answer.v4, bondDevice(before, file));

  const serverOf = (name: string) =>
    placeFor(
      links.find((l) => l.name === name),
      joined,
      invitation,
    );
  const text = joinedText(
    before,
    file,
    {
      links: links.map((l) => ({ ...newLink(l), server: serverOf(l.name) })),
      server: joined.place,
      ...(invitation.port !== DEFAULT_PORT && { port: invitation.port }),
      ...innerOptions(answer.v4, answer.v6),
      privateKeyFile,
      serverPublicKey: printKey(invitation.serverKey),
    },
    serverOf,
  );
  const isWritten = write(file, before, text, belongs === 'other');
  const inner = [answer.v4, answer.v6].flatMap((a) => (a ? printAddress(a.router) : []));
  say(`this router is ${answer.name}, ${inner.join(' and ')} inside the bond`);
  return isWritten || !lockHolder(options.runDir) ? 'all' : 'nothing';
}

async function addNewLinks(before: string, options: JoinOptions): Promise<Changed> {
  const { config: file } = options;
  const isJoined = before !== '' && ['same', 'other'].includes(belongsTo(before, file, ''));
  if (!isJoined) {
    const todo = 'on the server: yoke invite NAME, and here: yoke join INVITATION';
    throw wrongMachine(COMMAND, 'an invitation, or a router that has joined', 'neither', todo);
  }
  const config = readConfig(before, file);
  const known = linkInterfaces(before, file);
  const found = await chooseLinks(options.link, config.bond.ifname, known);
  const links = found.links.filter((l) => !known.includes(l.name));
  if (links.length === 0) {
    for (const p of found.passed) say(`left out: ${p.device}: ${p.why}`);
    say(`no new link: ${known.join(', ')} ${known.length === 1 ? 'is' : 'are'} in ${file} already`);
    return lockHolder(options.runDir) ? 'end' : 'nothing';
  }
  if (!(await agreed(links, found.passed, options))) return 'end';
  const { server, remotePort } = config.links[0];
  write(
    file,
    before,
    withLinks(before, file, {
      links: links.map(newLink),
      server,
      ...(remotePort !== DEFAULT_PORT && { port: remotePort }),
    }),
    false,
  );
  return lockHolder(options.runDir) ? 'links' : 'all';
}

/** @throws YokeError when this file is not to be touched. */
function checkBelongs(belongs: Belongs, file: string, replace: boolean | undefined): void {
  if (belongs === 'server') {
    const todo = `run it on the router; to make this machine one, move ${file} away first`;
    throw wrongMachine(COMMAND, 'a router', 'the server of a bond', todo);
  }
  if (belongs === 'other' && !replace) {
    const todo = 'to leave that bond for this one, add --replace: a copy of the file is kept';
    throw wrongMachine(file, 'no bond, or that of this invitation', 'another bond', todo);
  }
}

const newLink = ({ name }: LinkFacts): NewLink => ({ name: linkName(name), interface: name });

/** The links to take; one that the file has already is called as there. `known`: the interfaces of the file. */
async function chooseLinks(
  named: readonly string[] | undefined,
  except: string,
  known: readonly string[],
): Promise<{ links: LinkFacts[]; passed: Passed[] }> {
  const found =
    named !== undefined
      ? { links: await Promise.all(named.map(lookAtDevice)), passed: [] }
      : await findWaysOut([except]);
  for (const link of found.links) {
    if (link.problem === undefined) continue;
    const todo = 'name another, or bring it up first (ip addr)';
    throw new YokeError('host', {
      where: `--link ${link.name}`,
      expected: 'a device with an address',
      found: link.problem,
      todo,
    });
  }
  const there = await Promise.all(known.map(lookAtDevice));
  const links = found.links.map((l) => ({ ...l, name: there.find((k) => k.device === l.device)?.name ?? l.name }));
  if (links.length > 0) return { ...found, links: links.slice(0, MAX_LINKS) };
  throw new YokeError('host', {
    where: 'this router',
    expected: 'an interface that is up, with an address and a gateway',
    found: 'none',
    todo: 'bring a line up first (ip addr, ip route), or name its device: --link DEVICE',
  });
}

/** Shows the links and asks. */
async function agreed(links: readonly LinkFacts[], passed: readonly Passed[], { yes }: JoinOptions): Promise<boolean> {
  const rows = links.map((l) => {
    const of = (key: 'address' | 'gateway') => [l.v4?.[key], l.v6?.[key]].filter((a) => a !== undefined).join(' ');
    return [l.name === l.device ? l.name : `${l.name} (${l.device})`, of('address'), of('gateway')];
  });
  process.stdout.write(printTable(['link', 'address', 'gateway'], rows));
  for (const p of passed) say(`left out: ${p.device}: ${p.why}`);
  const question = links.length === 1 ? 'Use this link?' : `Use these ${links.length} links?`;
  if (yes || (await confirm(question))) return true;
  say('nothing was changed; --link DEVICE, once for each, names the links by hand');
  return false;
}

const REFUSALS: Record<Exclude<JoinVerdict, 'welcome'>, readonly [found: string, todo: string]> = {
  unknown: ['one that the server does not know', 'ask for a new one: yoke invite NAME on the server'],
  used: ['one that is used up: another router has joined with it', 'ask for a new one: yoke invite NAME on the server'],
  expired: ['one that has expired', 'ask for a new one: yoke invite NAME on the server'],
  failed: [
    'one that the server could not act on',
    'read its log (journalctl -u yoke there), then run the same command again',
  ],
};

function refused(verdict: Exclude<JoinVerdict, 'welcome'>, belongs: Belongs): YokeError {
  const [found, todo] = REFUSALS[verdict];
  const hint =
    verdict === 'used' && belongs === 'same' ? '; this router has joined that bond already, see yoke status' : '';
  return new YokeError('peer', { where: 'the invitation', expected: 'one that is open', found, todo: todo + hint });
}

/** @throws YokeError when the bond's network is one that this router has already. */
async function checkInner(v4: InnerAddresses | undefined, bondName: string): Promise<void> {
  if (v4 === undefined) return;
  const inner = { bytes: v4.router, length: v4.prefixLength };
  for (const { ifname, addr_info } of await readDevices()) {
    if (ifname === bondName) continue;
    const foe = addr_info
      .map((a) => parsePrefix(`${a.local}/${a.prefixlen}`)!)
      .find((p) => prefixContains(inner, p.bytes) || prefixContains(p, v4.router));
    if (!foe) continue;
    throw new YokeError('host', {
      where: `the network inside the bond, ${printAddress(v4.server)}/${v4.prefixLength}`,
      expected: 'one that this router does not use',
      found: `the same on ${ifname}`,
      todo: 'give one of them another network: ipaddr in /etc/config/bonding on the server, of the bond and of its clients, or the network here',
    });
  }
}

/** Where a link finds the server: as this command did, unless its address family has only another place. */
function placeFor(link: LinkFacts | undefined, { place, address }: Joined, { places }: Invitation): string {
  if (link === undefined || place !== address) return place;
  const reaches = (p: string) => (p.includes(':') ? link.v6 !== undefined : link.v4 !== undefined);
  return reaches(place) ? place : (places.find(reaches) ?? place);
}

function innerOptions(v4: InnerAddresses | undefined, v6: InnerAddresses | undefined) {
  return {
    ...(v4 && { ipaddr: `${printAddress(v4.router)}/${v4.prefixLength}`, remoteIpaddr: printAddress(v4.server) }),
    ...(v6 && { ip6addr: `${printAddress(v6.router)}/${v6.prefixLength}`, remoteIp6addr: printAddress(v6.server) }),
  };
}

/** Writes what was checked, and says whether there was anything to write; the file of another bond is kept beside it. */
function write(file: string, before: string, text: string, isOther: boolean): boolean {
  readConfig(text, file);
  if (text === before) return false;
  if (isOther) {
    const copy = `${file}.${new Date().toISOString().slice(0, 19).replaceAll(':', '')}`;
    copyFileSync(file, copy);
    say(`kept the other bond's configuration as ${copy}`);
  }
  replaceConfig(file, text);
  say(`wrote ${file}`);
  return true;
}

/** The device of the bond that may be running here already. */
function bondDevice(text: string, file: string): string {
  try {
    return readConfig(text, file).bond.ifname;
  } catch {
    return 'bond0';
  }
}

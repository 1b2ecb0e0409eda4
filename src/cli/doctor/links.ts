/** Each link to its server, with a few echo packets that are tied to its device: latency, loss, and the largest packet that passes. */

import { type AddressBytes, printAddress } from '../../base/address.ts';
import { YokeError } from '../../base/error.ts';
import type { Config } from '../../config/config.ts';
import { resolveName } from '../../daemon/resolve.ts';
import { accessFor, activeLinks, addressesOf, linkTrouble } from '../../daemon/settings.ts';
import { run } from '../../host/run.ts';
import type { Facts } from '../../plan/facts.ts';

/** Echo packets a link, and the time between two. */
const ECHOES = 5;
const SPACING_S = 0.2;
/** IP and ICMP headers around the bytes of an echo. */
const HEADER_BYTES = { 4: 28, 6: 48 };
/** Every host takes this much. Source: RFC 8200 §5; RFC 791 says less, no line does. */
const LEAST_MTU = 1280;

/** A link as it is now. */
export interface LinkReport {
  name: string;
  device: string;
  /** Why it cannot be used; empty when it can. */
  trouble: string;
  server: string;
  /** The device's. */
  mtu: number;
  /** The largest IP packet that reached the server unfragmented; undefined: not found out. */
  pathMtu?: number;
  /** 0 to 1; undefined: nothing was sent. */
  loss?: number;
  rttMs?: { min: number; avg: number; max: number };
}

/** Looks at all links side by side. */
export function lookAtLinks(config: Config, facts: Facts): Promise<LinkReport[]> {
  return Promise.all(
    activeLinks(config).map(async (link): Promise<LinkReport> => {
      const found = facts.links.find((f) => f.name === link.name);
      const server = await resolveName({ name: link.server, localAddresses: addressesOf(found) });
      const base = { name: link.name, device: found?.device ?? link.interface, mtu: found?.mtu ?? 0 };
      const trouble = linkTrouble(link, found, server);
      const report = { ...base, trouble, server: server ? printAddress(server) : link.server };
      if (trouble !== '' || !server || !found?.device || !accessFor(found, server)) return report;
      return { ...report, ...(await echo(found.device, server, found.mtu)) };
    }),
  );
}

async function echo(device: string, server: AddressBytes, mtu: number): Promise<Partial<LinkReport>> {
  const spaced = ['-c', String(ECHOES), '-i', String(SPACING_S), '-W', '1'];
  const measured = (await ping(device, server, spaced)) ?? (await ping(device, server, ['-c', '3', '-W', '1']));
  if (!measured || measured.loss === 1) return measured ?? {};
  const pathMtu = await findMtu(device, server, mtu);
  return { ...measured, ...(pathMtu !== undefined && { pathMtu }) };
}

/** Undefined: the program did not take these words. */
async function ping(device: string, server: AddressBytes, words: string[]): Promise<Echoes | undefined> {
  const family = server.length === 4 ? '-4' : '-6';
  try {
    const ran = await run(['ping', family, '-n', '-q', '-I', device, ...words, printAddress(server)]);
    return parsePing(ran.stdout);
  } catch (error) {
    if (error instanceof YokeError) return undefined; // no such program, or no end: the findings tell
    throw error;
  }
}

interface Echoes {
  loss: number;
  rttMs?: { min: number; avg: number; max: number };
}

/** Reads the closing lines of iputils' ping or busybox's. */
export function parsePing(text: string): Echoes | undefined {
  const loss = /([\d.]+)% packet loss/.exec(text)?.[1];
  if (loss === undefined) return undefined;
  const times = /(?:rtt|round-trip) min\/avg\/max(?:\/mdev)? = ([\d.]+)\/([\d.]+)\/([\d.]+)/.exec(text);
  return {
    loss: Number(loss) / 100,
    ...(times && { rttMs: { min: Number(times[1]), avg: Number(times[2]), max: Number(times[3]) } }),
  };
}

/** The device's MTU when it passes, else halving; undefined when not even the least passes, or ping cannot forbid fragments. */
async function findMtu(device: string, server: AddressBytes, mtu: number): Promise<number | undefined> {
  const header = HEADER_BYTES[server.length === 4 ? 4 : 6];
  const passes = async (size: number) => {
    const words = ['-M', 'do', '-c', '2', '-i', String(SPACING_S), '-W', '1', '-s', String(size - header)];
    return ((await ping(device, server, words))?.loss ?? 1) < 1;
  };
  const most = Math.min(mtu, 9000);
  if (await passes(most)) return most;
  if (most <= LEAST_MTU || !(await passes(LEAST_MTU))) return undefined;
  let [good, bad] = [LEAST_MTU, most];
  while (bad - good > 4) {
    const middle = (good + bad) >> 1;
    if (await passes(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

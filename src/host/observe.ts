/**
 * Looks at the host: links, our rules and routes, our table, settings, the bond's device. Changes nothing.
 *
 * Cost: six to eight short commands side by side, about 20 ms.
 */
import { readdir, readFile } from 'node:fs/promises';
import type { Facts, Lookout } from '../plan/facts.ts';
import { sysctlKeys } from '../plan/facts.ts';
import type { Entry } from '../plan/plan.ts';
import { slotOf, type Thing } from '../plan/thing.ts';
import { readSlots } from './host.ts';
import { findLink } from './links.ts';
import { hasIpv6, type IpRoute, ipJson, readDevices } from './read.ts';

/** Source: rtnetlink(7), RTPROT_RA. */
const PROTOCOL_RA = '9';
/** Where iproute2 keeps the names of routing tables; later files win. */
const TABLE_NAMES = ['/usr/lib/iproute2', '/usr/share/iproute2', '/etc/iproute2'];

/**
 * Everything that the plan needs to know. Slots of the journal are looked at too, so that what a former configuration left is found.
 *
 * @throws YokeError when a program is missing or fails.
 */
export async function observe(lookout: Lookout, journal: readonly Entry[] = []): Promise<Facts> {
  const ipv6 = await hasIpv6();
  const [devices, defaults4, defaults6, tables] = await Promise.all([
    readDevices(),
    ipJson<IpRoute>('-4', 'route', 'show', 'table', 'all', 'exact', 'default'),
    ipv6 ? ipJson<IpRoute>('-6', 'route', 'show', 'table', 'all', 'exact', 'default') : [],
    readTableNames(lookout.tables),
  ]);
  const around = { devices, defaults: { 4: defaults4, 6: defaults6 } };
  const links = await Promise.all(lookout.links.map((link) => findLink(link, around)));
  const raDevices = [...new Set(defaults6.flatMap((r) => (r.protocol === PROTOCOL_RA && r.dev ? [r.dev] : [])))];
  const linkDevices = links.flatMap((l) => l.device ?? []);
  const keys = sysctlKeys(
    lookout.device,
    linkDevices,
    devices.map((d) => d.ifname),
  );
  const asked: Thing[] = [
    { kind: 'rule', family: 4, priority: 0, table: 0 },
    { kind: 'rule', family: 6, priority: 0, table: 0 },
    { kind: 'route', family: 4, table: 0, type: 'unicast', to: 'default', metric: 0 },
    { kind: 'route', family: 6, table: 0, type: 'unicast', to: 'default', metric: 0 },
    { kind: 'nft', table: lookout.nftTable, mark: '', text: '' },
    { kind: 'up', dev: lookout.device, up: true },
    ...keys.map((key): Thing => ({ kind: 'sysctl', key, value: '' })),
    ...journal.map((e) => e.ours),
  ];
  const { things, devices: names, indexes } = await readSlots(asked, devices);
  const unique = [...new Map(things.map((t) => [slotOf(t), t])).values()];
  return { ipv6, devices: names, indexes, tables, links, raDevices, things: unique };
}

async function readTableNames(names: readonly string[]): Promise<Record<string, number>> {
  const wanted = names.filter((n) => !/^\d+$/.test(n));
  if (wanted.length === 0) return {};
  const known: Record<string, number> = {};
  for (const folder of TABLE_NAMES) {
    const files = [`${folder}/rt_tables`, ...(await extraFiles(`${folder}/rt_tables.d`))];
    for (const file of files) Object.assign(known, parseTableNames(await readFile(file, 'utf8').catch(() => '')));
  }
  return Object.fromEntries(wanted.filter((n) => n in known).map((n) => [n, known[n]]));
}

const extraFiles = (folder: string) =>
  readdir(folder).then(
    (names) => names.filter((n) => n.endsWith('.conf')).map((n) => `${folder}/${n}`),
    (): string[] => [],
  );

/** Reads a file of routing table names: `NUMBER NAME` a line, `#` comments. Source: ip-route(8). */
export function parseTableNames(text: string): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [, number, name] of text.matchAll(/^\s*(0x[0-9a-fA-F]+|\d+)\s+([^\s#]+)/gm)) out[name] = Number(number);
  return out;
}

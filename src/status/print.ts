/**
 * Status for eyes, in the style of `wg show`: a block for the instance, one for each bond, and in it its paths.
 *
 * Pure: the time now and the status before are arguments. With a status before, rates are printed.
 */
import type { BondStatus, LinkStatus, PathStatus, QuotaStatus, Status } from './status.ts';

/** What the printer knows beside the status itself. */
export interface PrintContext {
  /** Milliseconds since 1970, for ages. */
  nowMs: number;
  /** An earlier status of the same instance, and how long ago it was taken. */
  before?: { status: Status; elapsedS: number };
}

/** Prints a whole status, without a newline at the end. */
export function printStatus(status: Status, context: PrintContext): string {
  const lines = [
    `instance: ${status.ifname}`,
    `  role: ${status.role}, engine ${status.engine}, pid ${status.pid}`,
    `  running: ${printAge((context.nowMs - Date.parse(status.startedAt)) / 1000)}, ` +
      `cpu ${status.cpuSeconds.toFixed(1)} s, memory ${printBytes(status.rssBytes)}`,
  ];
  for (const link of status.links.filter((l) => !l.usable)) {
    lines.push(`  link ${link.name}: cannot be used: ${link.reason}`);
  }
  for (const { name, reason } of status.clients ?? []) {
    if (reason !== '') lines.push(`  client ${name}: is not served: ${reason}`);
  }
  const drops = Object.entries(status.drops).filter(([, n]) => n > 0);
  if (drops.length > 0) lines.push(`  refused: ${drops.map(([reason, n]) => `${n} ${reason}`).join(', ')}`);
  for (const c of status.certificates ?? []) {
    lines.push(`  ${c.option}: ${c.file}, until ${c.expiresAt.slice(0, 10)} (${c.daysLeft} days)`);
  }
  for (const warning of status.warnings) lines.push(`  warning: ${warning}`);
  for (const bond of status.bonds) {
    const quota = status.clients?.find((c) => c.name === bond.peer)?.quota;
    lines.push('', ...printBond(bond, status.links, quota, bondBefore(bond, context), context));
  }
  return lines.join('\n');
}

function bondBefore(bond: BondStatus, { before }: PrintContext): BondStatus | undefined {
  return before?.status.bonds.find((b) => b.peer === bond.peer);
}

/** To a router's session that is none. */
const NO_SESSION = '; if that lasts: yoke doctor';

function printBond(
  bond: BondStatus,
  links: readonly LinkStatus[],
  quota: QuotaStatus | undefined,
  before: BondStatus | undefined,
  context: PrintContext,
): string[] {
  const lines = [`bond: ${bond.peer}`];
  if (bond.established) {
    lines.push(`  session: ${bond.cipher}, handshake ${printAge(bond.handshakeAgeS)} ago`);
  } else lines.push(`  session: none${bond.peer === 'server' ? NO_SESSION : ''}`);
  if (quota) lines.push(`  quota: ${printQuota(quota)}`);
  lines.push(`  inner mtu: ${bond.innerMtu}`);
  lines.push(`  transfer: ${printBytes(bond.rxBytes)} received, ${printBytes(bond.txBytes)} sent`);
  lines.push(...printRates(bond, before, context, '  '));
  const trouble = [
    [bond.queuedPackets, 'queued'],
    [bond.heldPackets, 'held for order'],
    [bond.droppedByCodel + bond.droppedByLimit, 'dropped'],
    [bond.skipped, 'lost for good'],
  ] as const;
  const told = trouble.filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}`);
  if (told.length > 0) lines.push(`  packets: ${told.join(', ')}`);
  for (const path of bond.paths) {
    lines.push(
      '',
      ...printPath(
        path,
        links.find((l) => l.name === path.name),
        before?.paths.find((p) => p.id === path.id),
        context,
      ),
    );
  }
  return lines;
}

function printPath(
  path: PathStatus,
  link: LinkStatus | undefined,
  before: PathStatus | undefined,
  context: PrintContext,
): string[] {
  const lines = [
    `  path: ${path.name}`,
    `    state: ${path.state}${path.standby ? ', stands by' : ''}`,
    `    endpoints: ${path.local || '(none)'} → ${path.remote || '(none)'}`,
    ...printWishes(link),
  ];
  if (link?.quota) lines.push(`    quota: ${printQuota(link.quota)}`);
  if (path.srttMs > 0) {
    lines.push(
      `    rtt: ${path.srttMs.toFixed(1)} ms, least ${path.minRttMs.toFixed(1)} ms, of it queue ${path.queueMs.toFixed(1)} ms`,
    );
  }
  lines.push(`    capacity: ${printRateForEyes(path.capacityBps)} up from here, mtu ${path.mtu}`);
  lines.push(`    transfer: ${printBytes(path.rxBytes)} received, ${printBytes(path.txBytes)} sent`);
  lines.push(...printRates(path, before, context, '    '));
  if (path.lostDatagrams > 0) {
    const share = (100 * path.lostDatagrams) / Math.max(1, path.txDatagrams);
    lines.push(
      `    lost: ${path.lostDatagrams} of ${path.txDatagrams} datagrams (${share.toFixed(2)} %), ${path.resentPackets} packets sent again`,
    );
  }
  return lines;
}

/** What was said of a link, where it is not as any other. */
function printWishes({ tier = 0, cost = 0, weight = 1, quota }: Partial<LinkStatus> = {}): string[] {
  const isLast = quota?.state === 'used' && quota.action === 'backup';
  const said = [
    isLast ? 'last of all' : tier > 0 && `backup, tier ${tier}`,
    cost > 0 && `cost ${cost}`,
    weight !== 1 && `weight ${weight}`,
  ].filter(Boolean);
  return said.length > 0 ? [`    mode: ${said.join(', ')}`] : [];
}

/** `3.20 GB of 20.0 GB used (16 %), counts anew on 2026-12-01`. */
export function printQuota({ usedBytes, limitBytes, until, state, slowBps }: QuotaStatus): string {
  const share = Math.floor((100 * usedBytes) / limitBytes);
  const used = `${printAmount(usedBytes)} of ${printAmount(limitBytes)} used (${share} %)`;
  const then = slowBps === undefined ? ', used up' : `, used up, at ${printRateForEyes(slowBps)}`;
  return `${used}${state === 'used' ? then : ''}, counts anew on ${printDay(until)}`;
}

/** The local date of a moment: `2026-12-01`. */
export function printDay(iso: string): string {
  const d = new Date(iso);
  return `${d.getFullYear()}-${`${d.getMonth() + 1}`.padStart(2, '0')}-${`${d.getDate()}`.padStart(2, '0')}`;
}

interface Transfer {
  rxBytes: number;
  txBytes: number;
}

function printRates(now: Transfer, before: Transfer | undefined, context: PrintContext, indent: string): string[] {
  const elapsedS = context.before?.elapsedS ?? 0;
  if (!before || elapsedS <= 0) return [];
  // counters begin anew with a new association: a negative difference is no rate
  const rate = (a: number, b: number) => printRateForEyes((Math.max(0, a - b) * 8) / elapsedS);
  return [`${indent}rate: ${rate(now.rxBytes, before.rxBytes)} in, ${rate(now.txBytes, before.txBytes)} out`];
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** A size with a binary prefix and two decimals, as wg prints it: `1.50 MiB`. */
export function printBytes(bytes: number): string {
  let n = bytes;
  let i = 0;
  while (n >= 1024 && i < SIZES.length - 1) {
    n /= 1024;
    i++;
  }
  return i === 0 ? `${Math.round(n)} B` : `${n.toFixed(2)} ${SIZES[i]}`;
}

/** An amount with an SI prefix and three significant digits, as providers count: `16.4 GB`. */
export function printAmount(bytes: number): string {
  for (const [unit, factor] of [
    ['TB', 1e12],
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    const n = bytes / factor;
    if (n >= 0.9995) return `${n.toFixed(n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

/** A rate with three significant digits: `11.9 Mbit/s`. Not to be read back: see printRate of base/units.ts. */
export function printRateForEyes(bps: number): string {
  if (!Number.isFinite(bps)) return 'unlimited';
  for (const [unit, factor] of [
    ['Gbit/s', 1e9],
    ['Mbit/s', 1e6],
    ['kbit/s', 1e3],
  ] as const) {
    const n = bps / factor;
    if (n >= 0.9995) return `${n.toFixed(n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2)} ${unit}`;
  }
  return `${Math.round(bps)} bit/s`;
}

const AGES = [
  ['day', 86400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
] as const;

/** An age in its two largest units: `2 hours, 5 minutes`. */
export function printAge(seconds: number): string {
  let left = Math.max(0, Math.floor(seconds));
  const parts: string[] = [];
  for (const [name, size] of AGES) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n > 0) parts.push(`${n} ${name}${n === 1 ? '' : 's'}`);
    else if (parts.length > 0) break;
    if (parts.length === 2) break;
  }
  return parts.length > 0 ? parts.join(', ') : '0 seconds';
}

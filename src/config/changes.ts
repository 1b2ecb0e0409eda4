/**
 * What is different between two configurations, in the words of the file: `+ client 'office'`, `~ forward 'web': dest_port 8443 → 8444`.
 * And what of it a running instance cannot take.
 */
import { type Prefix, printAddress, printPrefix } from '../base/address.ts';
import type { Complaint } from '../base/error.ts';
import { printRate, printSize } from '../base/units.ts';
import type { Config } from './config.ts';
import { type PortRange, printKey, printPorts, type Service } from './kinds.ts';

/** Fields that are no option of a file. */
const NOT_OPTIONS = new Set(['place', 'name', 'held', 'limitBps', 'section']);
/** Values that nobody is to read. */
const SECRETS = new Set(['privateKey', 'presharedKey']);
/** Fields that are called otherwise in the file. */
const NAMES: Record<string, string> = {
  addresses: 'ipaddr',
  remoteAddresses: 'remote_ipaddr',
  peerPublicKey: 'public_key',
  ports: 'port',
  to: 'dest_ip',
  allowed: 'allowed_ip',
  downBps: 'down',
  upBps: 'up',
  bonding: "the bonding driver's options",
  routes: 'route',
  endpoints: 'endpoint',
  protocols: 'proto',
  sources: 'src_ip',
  destinations: 'dest_ip',
  sourcePorts: 'src_port',
  destinationPorts: 'dest_port',
  links: 'link',
  limitBytes: '',
  resetDay: 'quota_reset',
  action: 'quota_action',
  slowBps: 'quota_rate',
};
/** Options of the bond that are set once, when device and sockets are opened; the bonding driver's mode is another. */
const AT_START = ['ifname', 'listen', 'fwmark', 'privateKey', 'privateKeyFile'] as const;

/** Every difference, a line each; none: they mean the same. */
export function changesOf(before: Config, after: Config): string[] {
  const lines: string[] = [];
  for (const what of ['role', 'engine'] as const) {
    if (before[what] !== after[what]) lines.push(`~ ${what} ${before[what]} → ${after[what]}`);
  }
  lines.push(...optionLines('bond', before.bond, after.bond));
  lines.push(...sectionLines('link', before.links, after.links));
  lines.push(...sectionLines('policy', before.policies, after.policies));
  const order = (c: Config) => c.policies.map((p) => p.name).join(' ');
  const isSameSet = before.policies.length === after.policies.length && !lines.some((l) => /^[+-] policy/.test(l));
  if (isSameSet && order(before) !== order(after)) lines.push(`~ policies: in the order ${order(after)}`);
  lines.push(...sectionLines('client', before.clients, after.clients));
  lines.push(...sectionLines('forward', before.forwards, after.forwards));
  const openvpn = (c: Config) => JSON.stringify((c.openvpn ?? []).map((s) => s.options.map((o) => [o.name, o.value])));
  if (openvpn(before) !== openvpn(after)) lines.push('~ openvpn: options of the tunnels, which are started anew');
  return lines;
}

/** What of the change a running instance cannot take: a complaint each. */
export function needsRestart(before: Config, after: Config): Complaint[] {
  const complain = (option: string, is: string, said: string): Complaint => ({
    where: `${after.file}:${after.bond.place.line} option ${option}`,
    expected: `'${is}', as it runs`,
    found: `'${said}'`,
    todo: 'restart yoke to change it',
  });
  const out = (['role', 'engine'] as const).flatMap((what) =>
    before[what] === after[what] ? [] : complain(what, before[what], after[what]),
  );
  const [mode, newMode] = [before.bond.bonding?.mode, after.bond.bonding?.mode];
  if (mode && newMode && mode !== newMode) out.push(complain('mode', mode, newMode));
  for (const field of AT_START) {
    const [is, said] = [printValue(field, before.bond[field]), printValue(field, after.bond[field])];
    if (keyOf(before.bond[field]) !== keyOf(after.bond[field])) out.push(complain(nameOf(field), is, said));
  }
  return out;
}

function sectionLines<T extends { name: string }>(kind: string, before: readonly T[], after: readonly T[]): string[] {
  const was = new Map(before.map((s) => [s.name, s]));
  const lines = after.flatMap((s) => {
    const old = was.get(s.name);
    was.delete(s.name);
    return old ? optionLines(`${kind} '${s.name}'`, old, s) : [`+ ${kind} '${s.name}'`];
  });
  return [...lines, ...[...was.keys()].map((name) => `- ${kind} '${name}'`)];
}

function optionLines(what: string, before: object, after: object): string[] {
  const [is, should] = [before, after] as Record<string, unknown>[];
  return [...new Set([...Object.keys(is), ...Object.keys(should)])]
    .filter((field) => !NOT_OPTIONS.has(field) && keyOf(is[field]) !== keyOf(should[field]))
    .map(
      (field) => `~ ${what}: ${nameOf(field)} ${printValue(field, is[field])} → ${printValue(field, should[field])}`,
    );
}

const nameOf = (field: string) => NAMES[field] ?? field.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
const keyOf = (value: unknown) => JSON.stringify(value, (_key, v) => (v instanceof Uint8Array ? [...v].join('.') : v));

function printValue(field: string, value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return 'none';
  if (SECRETS.has(field)) return '(a key)';
  if (field === 'limitBytes') return printSize(value as number);
  if (field.endsWith('Bps')) return printRate(value as number);
  if (Array.isArray(value)) return value.map((v) => printValue(field, v)).join(' ');
  if (value instanceof Uint8Array) return value.length === 32 ? printKey(value) : printAddress(value);
  if (typeof value !== 'object' || value === null) return typeof value === 'boolean' ? (value ? '1' : '0') : `${value}`;
  if ('bytes' in value) return printPrefix(value as Prefix);
  if ('first' in value) return printPorts(value as PortRange);
  if ('proto' in value) return printService(value as Service);
  if ('port' in value) return printPlace(value as { address?: Uint8Array; port: number });
  return Object.entries(value)
    .filter(([, v]) => v !== undefined)
    .map(([name, v]) => `${nameOf(name)} ${printValue(name, v)}`.trim())
    .join(', ');
}

const printService = ({ proto, ports }: Service) => (ports ? `${proto}/${printPorts(ports)}` : proto);
const printPlace = ({ address, port }: { address?: Uint8Array; port: number }) =>
  address ? `${printAddress(address)} port ${port}` : `${port}`;

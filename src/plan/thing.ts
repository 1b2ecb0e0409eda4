/**
 * The host as a value: a set of things, each in its own slot.
 *
 *   slot   where a thing lives: at most one thing can be there (`route 4 1001 default 121`)
 *   thing  what is there: a rule, a route, an nftables table, a sysctl's value, a device's address, MTU, up or down
 *
 * "Is" and "should" are lists of things; a step changes one slot; an undo is what the slot held before.
 */

/** IP version. */
export type Family = 4 | 6;

/** The routing protocol number that rules and routes of ours carry, so that they are told from everybody else's. Source: rtnetlink(7), free above RTPROT_STATIC. */
export const PROTOCOL = 121;
/** Metric of our routes: not 0, so that a route of the user's in the same table is neither replaced nor in our way. */
export const ROUTE_METRIC = 121;
/** Metric of the kill switch: behind every route that could carry the packet. */
export const KILLSWITCH_METRIC = 9999;
/** Number of the main routing table. Source: rtnetlink(7), RT_TABLE_MAIN. */
export const MAIN_TABLE = 254;

/** A policy rule; all its fields together are its identity. */
export interface RuleThing {
  readonly kind: 'rule';
  readonly family: Family;
  readonly priority: number;
  readonly table: number;
  readonly from?: string;
  readonly oif?: string;
  readonly notFwmark?: number;
  readonly fwmark?: number;
  /** `suppress_prefixlength 0`: the table's default routes do not count. */
  readonly suppressDefault?: boolean;
}

/** A route of ours; at most one for a destination and metric in a table. */
export interface RouteThing {
  readonly kind: 'route';
  readonly family: Family;
  readonly table: number;
  readonly type: 'unicast' | 'unreachable';
  /** `default` or `ADDRESS/LENGTH` with no host bits. */
  readonly to: string;
  readonly metric: number;
  readonly via?: string;
  readonly dev?: string;
  readonly onlink?: boolean;
  readonly src?: string;
}

/** An nftables table of the inet family, whole. */
export interface NftThing {
  readonly kind: 'nft';
  readonly table: string;
  /** Tells equal tables from different ones: the kernel prints rules in its own words, so texts cannot be compared. */
  readonly mark: string;
  /** `table inet NAME { … }`. */
  readonly text: string;
}

/** The value of a kernel setting. */
export interface SysctlThing {
  readonly kind: 'sysctl';
  /** Path below /proc/sys (device names may hold dots, so no dots between the parts). */
  readonly key: string;
  readonly value: string;
  /** Settings that the kernel overwrites when this one is written, and that were not what it would write: to be written after it. */
  readonly extras?: readonly (readonly [key: string, value: string])[];
}

/** An address on the bond's device: `10.7.0.2/24`. */
export interface AddressThing {
  readonly kind: 'address';
  readonly family: Family;
  readonly dev: string;
  readonly address: string;
}

/** The MTU of the bond's device. Units: bytes. */
export interface MtuThing {
  readonly kind: 'mtu';
  readonly dev: string;
  readonly mtu: number;
}

/** Whether the bond's device is up. */
export interface UpThing {
  readonly kind: 'up';
  readonly dev: string;
  readonly up: boolean;
}

/** Anything of the host that yoke reads and changes. Plain data: JSON keeps it. */
export type Thing = RuleThing | RouteThing | NftThing | SysctlThing | AddressThing | MtuThing | UpThing;

/** The place a thing takes; two things of one slot cannot be there together. */
export function slotOf(t: Thing): string {
  switch (t.kind) {
    case 'rule':
      return `rule ${t.family} ${t.priority} ${ruleSelector(t)}`;
    case 'route':
      return `route ${t.family} ${t.table} ${t.to} ${t.metric}`;
    case 'nft':
      return `nft ${t.table}`;
    case 'sysctl':
      return `sysctl ${t.key}`;
    case 'address':
      return `address ${t.dev} ${t.address}`;
    default:
      return `${t.kind} ${t.dev}`;
  }
}

function ruleSelector(r: RuleThing): string {
  const from = r.from === undefined ? '' : `from ${r.from} `;
  const oif = r.oif === undefined ? '' : `oif ${r.oif} `;
  const mark =
    r.notFwmark !== undefined ? `not fwmark ${r.notFwmark} ` : r.fwmark !== undefined ? `fwmark ${r.fwmark} ` : '';
  return `${from}${oif}${mark}table ${r.table}${r.suppressDefault ? ' suppress' : ''}`;
}

/** Whether two contents of one slot are the same; undefined is an empty slot. */
export function sameThing(a: Thing | undefined, b: Thing | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return contentOf(a) === contentOf(b);
}

function contentOf(t: Thing): string {
  switch (t.kind) {
    case 'rule':
    case 'address':
      return slotOf(t);
    case 'route':
      return `${slotOf(t)} ${t.type} via ${t.via} dev ${t.dev} src ${t.src} ${t.onlink === true}`;
    case 'nft':
      return `${slotOf(t)} ${t.mark}`;
    case 'sysctl':
      return `${slotOf(t)} ${t.value}`;
    case 'mtu':
      return `${slotOf(t)} ${t.mtu}`;
    case 'up':
      return `${slotOf(t)} ${t.up}`;
  }
}

/** The device without which a thing cannot be; undefined: it needs none. */
export function deviceOf(t: Thing): string | undefined {
  switch (t.kind) {
    case 'rule':
    case 'nft':
      return undefined;
    case 'sysctl': {
      const dev = /\/conf\/([^/]+)\//.exec(t.key)?.[1];
      return dev === 'all' || dev === 'default' ? undefined : dev;
    }
    default:
      return t.dev;
  }
}

/** Whether a thing carries our mark, so that one that is found and not wanted can only be a leftover of ours. */
export function isMarked(t: Thing): boolean {
  return t.kind === 'rule' || t.kind === 'route' || t.kind === 'nft';
}

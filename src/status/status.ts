/** Status: one JSON value, the contract of the command line, the page and the metrics. Rates are computed by readers from two of these. */

import type { PathState } from '../bond/path.ts';
import type { QuotaState } from '../health/quota.ts';
import type { Verdict } from '../health/verdict.ts';

export type { PathState };

/** One path, measured. Counters grow from the start of the association; units are in the names. */
export interface PathStatus {
  /** The link's name at the router; `path N` at the server. */
  name: string;
  id: number;
  state: PathState;
  local: string;
  remote: string;
  srttMs: number;
  minRttMs: number;
  queueMs: number;
  /** What the rate control believes this direction can carry (outer bytes). */
  capacityBps: number;
  pacingBps: number;
  inFlightBytes: number;
  mtu: number;
  txBytes: number;
  rxBytes: number;
  txDatagrams: number;
  rxDatagrams: number;
  lostDatagrams: number;
  resentPackets: number;
  /** It is probed, but carries nothing now: links of a lower tier or cost do. */
  standby?: boolean;
}

/** One bond: at the router the only one, at the server one for each client. */
export interface BondStatus {
  /** `server` at the router, the client's name at the server. */
  peer: string;
  established: boolean;
  cipher: string;
  /** Seconds since the session's handshake; -1 when there is none. */
  handshakeAgeS: number;
  innerMtu: number;
  /** Inner packets and bytes, in order and once. */
  txBytes: number;
  rxBytes: number;
  txPackets: number;
  rxPackets: number;
  queuedPackets: number;
  heldPackets: number;
  droppedByCodel: number;
  droppedByLimit: number;
  reordered: number;
  duplicates: number;
  skipped: number;
  paths: PathStatus[];
}

/** Datagrams that were refused, by reason. */
export type DropCounts = Record<string, number>;

/** One link of a router, as the host sees it. */
export interface LinkStatus {
  name: string;
  device: string;
  usable: boolean;
  /** Why it cannot carry anything now; empty when it can. */
  reason: string;
  /** Its own address and next hop in the family of its server; empty when there is none. */
  address: string;
  gateway: string;
  /** The address it sends to; empty while the name has none. */
  server: string;
  verdict: Verdict;
  /** Engine multipath: as configured, or as changed since by `yoke link`. */
  tier?: number;
  cost?: number;
  weight?: number;
  /** Of a metered link. */
  quota?: QuotaStatus;
}

/** One client of a server, as its file and its quota have it; the bond of the same name says the rest. */
export interface ClientStatus {
  name: string;
  /** Why it is not served now; empty when it is. */
  reason: string;
  quota?: QuotaStatus;
}

/** How much of a link's quota is used, or of a client's. */
export interface QuotaStatus {
  limitBytes: number;
  /** Outer bytes of both ways together since `since`. */
  usedBytes: number;
  since: string;
  /** When the count begins anew. */
  until: string;
  state: QuotaState;
  action: 'backup' | 'slow' | 'off' | 'warn';
  /** What each way has once it is used up, with action `slow`. */
  slowBps?: number;
}

/** One certificate of engine openvpn. */
export interface CertificateStatus {
  file: string;
  /** What the configuration names it as: `ca`, `cert`. */
  option: string;
  state: 'early' | 'good' | 'soon' | 'expired';
  daysLeft: number;
  expiresAt: string;
}

/** The whole of an instance. */
export interface Status {
  version: 1;
  role: 'router' | 'server';
  engine: string;
  ifname: string;
  pid: number;
  startedAt: string;
  cpuSeconds: number;
  rssBytes: number;
  bonds: BondStatus[];
  drops: DropCounts;
  /** Router: every link of the configuration that is not disabled. */
  links: LinkStatus[];
  /** Server, engine multipath: every client of the configuration that is not disabled. */
  clients?: ClientStatus[];
  /** Engine openvpn only. */
  certificates?: CertificateStatus[];
  /** What an operator should know, in whole sentences. */
  warnings: string[];
}

/** Status: one JSON value, the contract of the command line, the page and the metrics. Rates are computed by readers from two of these. */

/** glorytun's lesson: states that an operator understands. */
export type PathState = 'closed' | 'waiting' | 'up' | 'suspect' | 'down';

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
  /** Router: links that cannot carry anything now, and why. */
  links: { name: string; device: string; usable: boolean; reason: string; address: string; gateway: string }[];
  warnings: string[];
}

/** What a run of the lab found: the JSON of `--json`, the limit that shares are of, and the closing table. */
import type { Meter, ProbeReport } from './measure.ts';

/** One line, measured without a bond. Rates are TCP payload. */
export interface LinkResult {
  name: string;
  spec: string;
  downLimitBps: number;
  upLimitBps: number;
  downBps: number;
  upBps: number;
  rttIdleMs: number;
  rttLoadedP95Ms: number;
  retransmits: number;
}

/** One direction of the bond. */
export interface DirectionResult {
  bps: number;
  share: number;
  stallMs: number;
  retransmits: number;
  rttLoadedP95Ms: number;
  /** With a cut: what the thin UDP stream met, and how soon after its return the line carried traffic again. */
  probe?: ProbeReport;
  usedAgainMs?: number;
  /** Datagrams that went over each line in this direction while it was measured, outer bytes. */
  linkBytes: number[];
}

/** The bond, measured. Stalls, retransmits and loaded round trips are the worse of both directions. */
export interface BondResult {
  downBps: number;
  upBps: number;
  downShare: number;
  upShare: number;
  rttIdleMs: number;
  rttLoadedP95Ms: number;
  stallMs: number;
  retransmits: number;
  /** From the router daemon's start to the first answer through the bond. */
  startMs: number;
  down: DirectionResult;
  up: DirectionResult;
}

export interface DaemonResult {
  role: 'router' | 'server';
  cpuSeconds: number;
  peakRssBytes: number;
}

/** A whole run. */
export interface LabResult {
  engine: string;
  seconds: number;
  flows: number;
  measure: Meter;
  cut?: { link: number; fromSeconds: number; toSeconds?: number };
  /** Name and words of what was played. */
  scenario?: { name: string; about: string };
  limit: { downBps: number; upBps: number };
  links: LinkResult[];
  bond?: BondResult;
  daemons: DaemonResult[];
  emulator: { cpuSeconds: number };
}

const OUTER_BYTES = 1500;
/** yoke's header and tag with UDP and IPv4. Source: docs/protocol.md, the datagram. */
const OVERHEAD_BYTES = 56;
const IP_TCP_HEADER_BYTES = 20 + 20;
const TIMESTAMP_OPTION_BYTES = 12;

/** TCP payload in the outer IP bytes of a full datagram: what of the lines' rates a bond can deliver at best. */
export const PAYLOAD_SHARE =
  (OUTER_BYTES - OVERHEAD_BYTES - IP_TCP_HEADER_BYTES - TIMESTAMP_OPTION_BYTES) / OUTER_BYTES;

/** TCP payload in the IP bytes of a full packet without a bond. */
export const PLAIN_SHARE = (OUTER_BYTES - IP_TCP_HEADER_BYTES - TIMESTAMP_OPTION_BYTES) / OUTER_BYTES;

/** Mbit/s for eyes. */
export function mbit(bps: number): string {
  return (bps / 1e6).toFixed(bps < 99.5e6 ? 2 : 1);
}

/** A share for eyes. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

/** The closing table. */
export function closingTable(result: LabResult): string {
  const rows = [['', 'down Mbit/s', 'up Mbit/s', 'of the limit', 'RTT idle', 'RTT loaded p95', 'stall', 'retransmits']];
  for (const link of result.links) {
    const shares = [link.downBps / (link.downLimitBps * PLAIN_SHARE), link.upBps / (link.upLimitBps * PLAIN_SHARE)];
    rows.push([
      `${link.name} alone`,
      mbit(link.downBps),
      mbit(link.upBps),
      shares.map(percent).join(' / '),
      ms(link.rttIdleMs),
      ms(link.rttLoadedP95Ms),
      '',
      String(link.retransmits),
    ]);
  }
  const { bond } = result;
  if (bond) {
    rows.push([
      `bond (${result.engine})`,
      mbit(bond.downBps),
      mbit(bond.upBps),
      `${percent(bond.downShare)} / ${percent(bond.upShare)}`,
      ms(bond.rttIdleMs),
      ms(bond.rttLoadedP95Ms),
      `${bond.stallMs} ms`,
      String(bond.retransmits),
    ]);
  }
  return `${[printTable(rows), ...notes(result)].join('\n')}\n`;
}

function notes(result: LabResult): string[] {
  const out = [''];
  const { bond } = result;
  if (bond) {
    const { downBps, upBps } = result.limit;
    const { scenario } = result;
    if (scenario) out.push(`Played: ${scenario.name}, ${scenario.about}.`);
    out.push(
      `The limit is ${scenario ? 'what the lines could carry meanwhile' : 'the sum of the lines'} × ${(PAYLOAD_SHARE * 100).toFixed(1)} % TCP payload in a full datagram: ` +
        `${mbit(downBps)} down, ${mbit(upBps)} up.`,
      `First answer through the bond ${bond.startMs} ms after the router daemon's start.`,
    );
    for (const [name, direction] of [
      ['down', bond.down],
      ['up', bond.up],
    ] as const) {
      const { probe, usedAgainMs } = direction;
      if (!probe) continue;
      out.push(
        `Cut (${name}): flow stalled ${direction.stallMs} ms; UDP stream of ${probe.sent}: ` +
          `up ${probe.upLost} lost, longest gap ${probe.upGapMs} ms, down ${probe.downLost} lost, ${probe.downGapMs} ms` +
          (usedAgainMs === undefined ? '.' : `; line used again after ${usedAgainMs} ms.`),
      );
    }
  }
  for (const d of result.daemons)
    out.push(`${d.role} daemon: ${d.cpuSeconds.toFixed(2)} s CPU, ${(d.peakRssBytes / 1e6).toFixed(0)} MB at most.`);
  return out;
}

function ms(value: number): string {
  return Number.isFinite(value) ? `${value.toFixed(1)} ms` : '–';
}

function printTable(rows: string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '))
    .map((line) => line.trimEnd())
    .join('\n');
}

/**
 * A scenario in time: what a link is like at an instant, what changes when, and how much the links can carry meanwhile. Time counts from
 * the begin of the measure; cycles have always been running, and one begins there.
 */
import type { Direction } from './emulator.ts';
import type { PlainLinkSettings } from './link.ts';
import { PAYLOAD_SHARE } from './report.ts';
import type { Happening, Scenario, ScenarioLink, Settings, Step } from './scenario.ts';

/** A change of one link: new settings, and whether it is cut. */
export interface LinkChange {
  atUs: number;
  link: number;
  settings: Settings;
  isCut: Record<Direction, boolean>;
}

/** What happens to the rest of the world. */
export type OtherChange = Extract<Happening, { do: OtherDo }>;
type OtherDo = 'rebind' | 'readdress' | 'restart-server' | 'sleep-router';

const DIRECTIONS = ['down', 'up'] as const;

/** Length of the bins in which the capacity is looked for. */
export const COLD_BIN_US = 100_000;
/** It is found when so many bins in a row carry so much of the limit. */
const FOUND_BINS = 3;
const FOUND_SHARE = 0.9;
/** A link that returned has its full share when it carries so much of its rate within so long. Units: microseconds. */
export const FULL_SHARE = 0.9;
export const FULL_SPAN_US = 100_000;

/** Everything that changes on the links from `fromUs` on and before `toUs`; the first of each link says what it is like at `fromUs`. */
export function linkChanges(scenario: Scenario, fromUs: number, toUs: number): LinkChange[] {
  return scenario.links
    .flatMap((link, i) =>
      link.cycle.length > 0 ? cycleOf(link, i, fromUs, toUs) : eventsOf(scenario, i, fromUs, toUs),
    )
    .sort((a, b) => a.atUs - b.atUs);
}

/** What happens beside the links. */
export function otherChanges(scenario: Scenario): OtherChange[] {
  return scenario.events.filter((e): e is OtherChange => e.do !== 'cut' && e.do !== 'restore' && e.do !== 'set');
}

function withStep(settings: Settings, change: Record<Direction, Partial<PlainLinkSettings>>): Settings {
  return { down: { ...settings.down, ...change.down }, up: { ...settings.up, ...change.up } };
}

function cycleOf(link: ScenarioLink, index: number, fromUs: number, toUs: number): LinkChange[] {
  const out: LinkChange[] = [];
  const periodUs = link.cycle.reduce((sum, step) => sum + step.forUs, 0);
  let atUs = Math.floor(fromUs / periodUs) * periodUs;
  for (let i = 0; atUs < toUs; i = (i + 1) % link.cycle.length) {
    const step: Step = link.cycle[i];
    const isCut = { down: step.isCut, up: step.isCut };
    if (atUs + step.forUs > fromUs) {
      out.push({ atUs: Math.max(atUs, fromUs), link: index, settings: withStep(link.settings, step), isCut });
    }
    atUs += step.forUs;
  }
  return out;
}

function eventsOf(scenario: Scenario, index: number, fromUs: number, toUs: number): LinkChange[] {
  let now: LinkChange = {
    atUs: fromUs,
    link: index,
    settings: scenario.links[index].settings,
    isCut: { down: false, up: false },
  };
  const out = [now];
  for (const event of scenario.events) {
    if (event.atUs >= toUs) break;
    if (event.do !== 'cut' && event.do !== 'restore' && event.do !== 'set') continue;
    if (event.link !== index) continue;
    const isCut = { ...now.isCut };
    if (event.do !== 'set') {
      for (const d of DIRECTIONS) if ((event.direction ?? d) === d) isCut[d] = event.do === 'cut';
    }
    const settings = event.do === 'set' ? withStep(now.settings, event) : now.settings;
    now = { atUs: Math.max(event.atUs, fromUs), link: index, settings, isCut };
    out.push(now);
  }
  return out;
}

/** The scenario with one of its links only. */
export function aloneOn(scenario: Scenario, link: number): Scenario {
  const events = scenario.events
    .filter((e) => !('link' in e) || e.link === link)
    .map((e) => ('link' in e ? { ...e, link: 0 } : e));
  return { ...scenario, links: [scenario.links[link]], events };
}

/** IP bytes that the links can carry in a direction between two instants. */
export function capacityBytes(scenario: Scenario, direction: Direction, fromUs: number, toUs: number): number {
  let bytes = 0;
  for (let i = 0; i < scenario.links.length; i++) {
    const changes = linkChanges(aloneOn(scenario, i), Math.min(fromUs, 0), toUs);
    changes.forEach((change, k) => {
      const beginUs = Math.max(change.atUs, fromUs);
      const endUs = Math.min(changes[k + 1]?.atUs ?? toUs, toUs);
      if (change.isCut[direction] || endUs <= beginUs) return;
      const { rateBps, trace } = change.settings[direction];
      if (!trace) bytes += ((rateBps ?? 0) * (endUs - beginUs)) / 8e6;
      else bytes += meanBps(trace) * ((endUs - beginUs) / 8e6);
    });
  }
  return bytes;
}

/** What can be had of it as TCP payload, in bit/s: the limit that shares are of. */
export function limitBps(scenario: Scenario, direction: Direction, fromUs: number, toUs: number): number {
  return (capacityBytes(scenario, direction, fromUs, toUs) * 8e6 * PAYLOAD_SHARE) / (toUs - fromUs);
}

/** What a trace carries over a whole round. */
export function meanBps(trace: readonly number[]): number {
  return (trace.length * 1500 * 8e6) / trace[trace.length - 1];
}

/** When, of payload bytes per bin from `fromUs` on, the capacity was found; NaN: it was not. */
export function foundAfterUs(
  scenario: Scenario,
  direction: Direction,
  fromUs: number,
  bins: readonly number[],
): number {
  let run = 0;
  for (let i = 0; i < bins.length; i++) {
    const beginUs = fromUs + i * COLD_BIN_US;
    const limit = limitBps(scenario, direction, beginUs, beginUs + COLD_BIN_US);
    run = (bins[i] * 8e6) / COLD_BIN_US >= FOUND_SHARE * limit ? run + 1 : 0;
    if (run === FOUND_BINS) return (i + 1) * COLD_BIN_US;
  }
  return Number.NaN;
}

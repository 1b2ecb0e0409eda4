/** What the operator said of links and classes of traffic, as the engine takes it (docs/protocol.md §11). */
import type { Bond } from '../../bond/bond.ts';
import { Rules } from '../../packet/rules.ts';
import { ALL_PATHS, MODE_AGGREGATE, MODE_REDUNDANT, MODE_WEIGHTED, Preferences } from '../../wire/preferences.ts';
import type { BackendSettings } from '../backend.ts';

const MODES = { aggregate: MODE_AGGREGATE, redundant: MODE_REDUNDANT, weighted: MODE_WEIGHTED };

/** Tells the router's bond. */
export function applyPreferences(bond: Bond, settings: BackendSettings, nowUs: number): void {
  const rules = settings.steering?.rules ?? [];
  bond.setPreferences(preferencesOf(settings), rules.length > 0 ? new Rules(rules) : undefined, nowUs);
}

/** The content of the CONFIG that the server is told. */
export function preferencesOf({ links, steering }: BackendSettings): Preferences {
  const said = new Preferences();
  for (const { id, tier, cost, weight, downBps } of links) {
    said.tier[id] = tier ?? 0;
    said.cost[id] = cost ?? 0;
    said.weight[id] = weight ?? 1;
    said.downKbps[id] = downBps === undefined ? 0 : Math.max(1, Math.round(downBps / 1000));
  }
  steering?.classes.forEach(({ mode, links }, c) => {
    said.mode[c] = MODES[mode];
    said.paths[c] = links.length === 0 ? ALL_PATHS : links.reduce((mask, id) => mask | (1 << id), 0);
    said.classes = c + 1;
  });
  return said;
}

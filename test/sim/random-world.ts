/** Worlds by chance, of the kinds that lab/scenarios has by name: for looking where the bond is worst. */
import { type Random, seeded } from '../../src/base/random.ts';
import type { PlainLinkSettings } from '../../src/lab/link.ts';
import { parseScenario, type Scenario, type ScenarioLink, type Step } from '../../src/lab/scenario.ts';

const SECONDS = 4;
/** What the queue of any modem takes: some full packets, however slow the line. */
const LEAST_QUEUE_BITS = 4 * 12_000;

/** Between both, small and large alike. */
function log(random: Random, from: number, to: number): number {
  return from * (to / from) ** random();
}

function oneWay(random: Random, bps: number, delayUs: number, kind: number): PlainLinkSettings {
  const queueUs = Math.max(log(random, 20e3, 1e6), (LEAST_QUEUE_BITS * 1e6) / bps);
  const out: PlainLinkSettings = { rateBps: Math.round(bps), delayUs, queueUs };
  if (kind < 0.25) out.jitterUs = random() * Math.min(40e3, delayUs);
  else if (kind < 0.4) out.lossRate = log(random, 0.001, 0.03);
  else if (kind < 0.5) out.bursts = { enterRate: log(random, 0.0005, 0.01), leaveRate: 0.1, lossRate: 0.5 };
  return out;
}

function cycle(random: Random): Step[] {
  const kind = random();
  const forUs = log(random, 1e6, 5e6);
  const whole = { forUs, isCut: false, down: {}, up: {} };
  if (kind < 0.1) return [whole, { ...whole, isCut: true }];
  if (kind < 0.15) return [whole, { ...whole, forUs: log(random, 50e3, 500e3), isCut: true }];
  return [];
}

function link(random: Random, i: number): ScenarioLink {
  const down = log(random, 1e6, 30e6);
  const delayUs = log(random, 3e3, 120e3);
  const kind = random();
  const settings = {
    down: oneWay(random, down, delayUs, kind),
    up: oneWay(random, down / log(random, 1, 8), delayUs, kind),
  };
  const steps = cycle(random);
  if (steps.length === 0 && random() < 0.15) {
    const forUs = log(random, 1e6, 5e6);
    const slower = (s: PlainLinkSettings) => ({ rateBps: Math.round((s.rateBps ?? 0) / log(random, 1.3, 4)) });
    steps.push({ forUs, isCut: false, down: {}, up: {} });
    steps.push({ forUs, isCut: false, down: slower(settings.down), up: slower(settings.up) });
  }
  return { name: `l${i}`, settings, cycle: steps };
}

/** The world of this seed. */
export function randomWorld(seed: number): Scenario {
  const random = seeded(seed * 104_729);
  const count = random() < 0.7 ? 2 : 3 + Math.floor(random() * 2);
  const base = '{"about":"by chance","links":[{"name":"x","rate":"1mbit","delay":"1ms"}]}';
  return {
    ...parseScenario(base, `random-${seed}`, 'random', () => ''),
    seconds: SECONDS,
    links: Array.from({ length: count }, (_, i) => link(random, i)),
  };
}

/**
 * A scenario: links as they are in the world, what happens to them and when, and what is expected of a bond over them. The format is
 * described in docs/lab.md; the same file runs in the simulation and with real packets.
 *
 *     lab/scenarios/NAME.json ─▶ parseScenario ─▶ Scenario ─▶ timeline.ts says what changes when
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Direction } from './emulator.ts';
import { Field, wrong } from './field.ts';
import { type Bursts, type PlainLinkSettings, parseTrace } from './link.ts';

/** Both directions' settings. */
export type Settings = Record<Direction, PlainLinkSettings>;

/** What a link is for a while; it returns to the first when all are over. */
export interface Step {
  forUs: number;
  isCut: boolean;
  down: Partial<PlainLinkSettings>;
  up: Partial<PlainLinkSettings>;
}

export interface ScenarioLink {
  name: string;
  settings: Settings;
  cycle: Step[];
}

/** What happens once. Times count from the begin of the measure. */
export type Happening =
  | { atUs: number; do: 'cut' | 'restore'; link: number; direction?: Direction }
  | { atUs: number; do: 'set'; link: number; down: Partial<PlainLinkSettings>; up: Partial<PlainLinkSettings> }
  | { atUs: number; do: 'rebind'; link: number }
  | { atUs: number; do: 'readdress'; link: number }
  | { atUs: number; do: 'restart-server' }
  | { atUs: number; do: 'sleep-router'; forUs: number };

/** Traffic beside what is measured, all through the bond. */
export interface Traffic {
  fromUs: number;
  toUs: number;
  direction: Direction;
  /** TCP flows, or a stream of datagrams of `rateBps`. */
  flows: number;
  rateBps: number;
  sizeBytes: number;
}

/** What is judged; a figure without a bar is only told. Figures of bench/worlds.ts have the same names. */
export const BARS = {
  share: 'goodput of the limit, at least',
  best: 'goodput of that over the best link alone, at least',
  many: 'goodput of eight flows of the limit, at least',
  jain: "Jain's fairness of eight flows, at least",
  pingMs: 'round trip of a ping while full, p95 beyond that of idle, at most',
  dnsMs: 'the same of a query that is made once in a while, at most',
  voiceMs: 'the same of a stream of 64 kbit/s, at most',
  voiceGapMs: 'longest gap of the stream, at most',
  reorder: 'share of segments that TCP gets out of order, at most',
  tcpLoss: 'share of segments that TCP does not get, but for those dropped to tell it to slow down, at most',
  coldMs: 'time until 90 % of the limit, at most',
  stallMs: 'longest pause of TCP, at most',
  pingGapMs: 'longest time without an answer to a ping, at most',
  againMs: 'time until a link that has returned carries nine tenths of its rate again, at most',
  slotsMost: 'in simulation: packets held at once by one end, at most',
  memoryMb: 'with real packets: resident memory of the larger daemon at its peak, at most',
} as const;
export type Bar = keyof typeof BARS;

export interface Scenario {
  name: string;
  about: string;
  /** Length of the measure. */
  seconds: number;
  links: ScenarioLink[];
  events: Happening[];
  traffic: Traffic[];
  bars: Partial<Record<Bar, number>>;
}

/** Hold in every world unless the file says otherwise. */
const DEFAULT_BARS: Scenario['bars'] = {
  best: 0.97,
  jain: 0.95,
  pingMs: 20,
  dnsMs: 20,
  voiceMs: 20,
  voiceGapMs: 100,
  reorder: 0.0005,
  coldMs: 2000,
  // What one client may take of the slots, which are there for all (docs/memory.md).
  slotsMost: 4096,
  memoryMb: 128,
};
const DEFAULT_SECONDS = 10;
const SECONDS_LIMIT = 120;
const LINK_LIMIT = 8;

/** Where the files are: beside src/, also when built. */
export const SCENARIO_FOLDER = fileURLToPath(new URL('../../../lab/scenarios/', import.meta.url));

/** The names of all shipped scenarios. */
export function scenarioNames(): string[] {
  return readdirSync(SCENARIO_FOLDER)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();
}

/** Reads a shipped scenario by its name, or a file by its path (which ends in .json). @throws YokeError (config) with every complaint's place. */
export function loadScenario(nameOrPath: string): Scenario {
  const isPath = nameOrPath.endsWith('.json');
  if (!isPath && !scenarioNames().includes(nameOrPath)) {
    throw wrong('scenario', `one of ${scenarioNames().join(' ')}, or a path that ends in .json`, nameOrPath);
  }
  const path = isPath ? nameOrPath : join(SCENARIO_FOLDER, `${nameOrPath}.json`);
  const name = path.replace(/^.*\//, '').slice(0, -'.json'.length);
  return parseScenario(read(path), name, path, (trace) => read(join(path, '..', trace)));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw wrong(path, 'a file that can be read', (error as Error).message.replace(/^(\w+): .*/s, '$1'));
  }
}

/** Reads a scenario. `readTrace` gives the text of a trace by its name. @throws YokeError (config) that names the place. */
export function parseScenario(
  text: string,
  name: string,
  where: string,
  readTrace: (name: string) => string,
): Scenario {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw wrong(where, 'JSON', (error as Error).message);
  }
  const file = new Field(where, json, readTrace);
  file.allow(['about', 'seconds', 'links', 'events', 'traffic', 'bars']);
  const links = file.list('links').map(readLink);
  if (links.length < 1 || links.length > LINK_LIMIT) {
    throw wrong(`${where}: links`, `1 to ${LINK_LIMIT} links`, String(links.length));
  }
  const names = links.map((link) => link.name);
  if (new Set(names).size < names.length) throw wrong(`${where}: links`, 'a name of its own for each', names.join(' '));
  const seconds = file.number('seconds', DEFAULT_SECONDS, 1, SECONDS_LIMIT);
  const events = file.list('events').map((node) => readEvent(node, links));
  return {
    name,
    about: file.text('about'),
    seconds,
    links,
    events: events.sort((a, b) => a.atUs - b.atUs),
    traffic: file.list('traffic').map((node) => readTraffic(node, seconds)),
    bars: readBars(file),
  };
}

const LINK_KEYS = ['rate', 'delay', 'jitter', 'reorder', 'loss', 'bursts', 'queue', 'queueBytes', 'largest', 'trace'];

function readLink(node: Field): ScenarioLink {
  node.allow(['name', 'cycle', ...LINK_KEYS]);
  const name = node.text('name');
  if (!/^[a-z][a-z0-9]{0,9}$/.test(name)) throw wrong(`${node.where}.name`, 'up to ten letters and digits', name);
  const settings = { down: readSettings(node, 'down'), up: readSettings(node, 'up') };
  for (const direction of ['down', 'up'] as const) {
    const { rateBps, trace, delayUs } = settings[direction];
    if (rateBps === undefined && !trace) throw wrong(`${node.where}.rate`, 'a rate or a trace', 'neither');
    if (delayUs === undefined) throw wrong(`${node.where}.delay`, 'a time, e.g. 10ms', 'none');
  }
  const cycle = node.list('cycle').map((step) => {
    step.allow(['for', 'cut', ...LINK_KEYS]);
    const forUs = step.time('for');
    if (forUs <= 0) throw wrong(`${step.where}.for`, 'a time above 0', String(forUs));
    return {
      forUs,
      isCut: step.flag('cut'),
      down: readSettings(step, 'down'),
      up: readSettings(step, 'up'),
    };
  });
  return { name, settings: settings as Settings, cycle };
}

/** The settings that are said, of one direction; every one may be said for both at once or as {"down": …, "up": …}. */
function readSettings(node: Field, direction: Direction): Partial<PlainLinkSettings> {
  const out: Partial<PlainLinkSettings> = {};
  const of = (key: string) => node.of(key, direction);
  if (of('rate').isSaid) out.rateBps = of('rate').asRate();
  if (of('delay').isSaid) out.delayUs = of('delay').asTime();
  if (of('jitter').isSaid) out.jitterUs = of('jitter').asTime();
  if (of('reorder').isSaid) out.reorder = of('reorder').asFlag();
  if (of('loss').isSaid) out.lossRate = of('loss').asShare();
  if (of('bursts').isSaid) out.bursts = readBursts(of('bursts'));
  if (of('queue').isSaid) out.queueUs = of('queue').asTime();
  if (of('queueBytes').isSaid) out.queueBytes = of('queueBytes').asSize();
  if (of('largest').isSaid) out.blackholeOverBytes = of('largest').asSize();
  if (of('trace').isSaid) {
    const trace = parseTrace(node.readTrace(of('trace').asText()));
    if (!trace)
      throw wrong(of('trace').where, 'a trace: a millisecond a line, ascending', 'something else in that file');
    out.trace = [...trace.opportunitiesUs];
    out.rateBps = null;
  }
  return out;
}

function readBursts(node: Field): Bursts {
  node.allow(['enter', 'leave', 'loss']);
  return {
    enterRate: node.child('enter').asShare(),
    leaveRate: node.child('leave').asShare(),
    lossRate: node.child('loss').asShare(),
  };
}

const EVENTS: Record<Happening['do'], string[]> = {
  cut: ['link', 'direction'],
  restore: ['link', 'direction'],
  set: ['link', ...LINK_KEYS],
  rebind: ['link'],
  readdress: ['link'],
  'restart-server': [],
  'sleep-router': ['for'],
};

function readEvent(node: Field, links: readonly ScenarioLink[]): Happening {
  const what = node.text('do') as Happening['do'];
  const keys = EVENTS[what];
  if (!keys) throw wrong(`${node.where}.do`, Object.keys(EVENTS).join(', '), what);
  node.allow(['at', 'do', ...keys]);
  const atUs = node.time('at');
  if (what === 'restart-server') return { atUs, do: what };
  if (what === 'sleep-router') return { atUs, do: what, forUs: node.time('for') };
  const said = node.text('link');
  const link = links.findIndex((l) => l.name === said);
  if (link < 0) throw wrong(`${node.where}.link`, links.map((l) => l.name).join(' or '), said);
  if (what === 'rebind' || what === 'readdress') return { atUs, do: what, link };
  if (links[link].cycle.length > 0) throw wrong(node.where, 'a link without a cycle, which has its own changes', said);
  if (what === 'set') {
    return { atUs, do: what, link, down: readSettings(node, 'down'), up: readSettings(node, 'up') };
  }
  return { atUs, do: what, link, direction: readDirection(node) };
}

function readDirection(node: Field): Direction | undefined {
  const direction = node.child('direction');
  if (!direction.isSaid) return undefined;
  const text = direction.asText();
  if (text !== 'down' && text !== 'up') throw wrong(direction.where, 'down or up', text);
  return text;
}

function readTraffic(node: Field, seconds: number): Traffic {
  node.allow(['from', 'to', 'direction', 'flows', 'rate', 'size']);
  const isTcp = node.child('flows').isSaid;
  if (isTcp === node.child('rate').isSaid)
    throw wrong(node.where, 'flows (of TCP), or a rate (of datagrams)', 'not one');
  return {
    fromUs: node.child('from').isSaid ? node.time('from') : 0,
    toUs: node.child('to').isSaid ? node.time('to') : seconds * 1e6,
    direction: readDirection(node) ?? 'down',
    flows: isTcp ? node.number('flows', 1, 1, 64) : 0,
    rateBps: isTcp ? 0 : node.child('rate').asRate(),
    sizeBytes: node.child('size').isSaid ? node.child('size').asSize() : 1000,
  };
}

/** A bar of null takes a default away. */
function readBars(file: Field): Scenario['bars'] {
  const out = { ...DEFAULT_BARS };
  const node = file.child('bars');
  if (!node.isSaid) return out;
  node.allow(Object.keys(BARS));
  for (const bar of Object.keys(BARS) as Bar[]) {
    const child = node.child(bar);
    if (child.isNull) delete out[bar];
    else if (child.isSaid) out[bar] = child.asNumber(0, Number.MAX_VALUE);
  }
  return out;
}

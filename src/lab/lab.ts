/**
 * `npm run lab`: the main job shown on this machine, in a little internet of namespaces (topology.ts has the drawing).
 *
 *     arguments ─▶ rights ─▶ lab opened ─▶ experiment, with the live view ─▶ table or JSON ─▶ (hold) ─▶ everything removed
 *
 * Whatever ends it – the end, Ctrl-C, SIGTERM, an error – what it made is removed before it ends.
 */
import { Command, InvalidArgumentError } from 'commander';
import { YokeError } from '../base/error.ts';
import { type Cut, openingScene, runExperiment } from './experiment.ts';
import { type LinkSpec, parseLinkSpec } from './linkspec.ts';
import type { Meter } from './measure.ts';
import { labOptionsOf } from './player.ts';
import { closingTable } from './report.ts';
import { withRights } from './rootless.ts';
import { loadScenario, type Scenario } from './scenario.ts';
import { Lab } from './topology.ts';
import { View } from './view.ts';

const DEFAULT_LINKS = ['12mbit/12mbit/5ms', '12mbit/12mbit/5ms'];
const LINK_LIMIT = 8;
const SECONDS = 10;
const SECONDS_LIMIT = 3600;
const EXIT_INTERRUPTED = 130;

interface Arguments {
  link: LinkSpec[];
  scenario?: Scenario;
  seconds: number;
  flows: number;
  measure: Meter;
  engine: string;
  cut?: string;
  json: boolean;
  hold: boolean;
  alone: boolean;
}

/** As they are said. */
interface Options {
  link?: LinkSpec[];
  scenario?: string;
  seconds?: number;
}

function parseArguments(argv: readonly string[]): Arguments {
  const number = (from: number, to: number) => (text: string) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < from || value > to)
      throw new InvalidArgumentError(`expected a whole number from ${from} to ${to}`);
    return value;
  };
  const word = (words: readonly string[]) => (text: string) => {
    if (!words.includes(text)) throw new InvalidArgumentError(`expected ${words.join(' or ')}`);
    return text;
  };
  const link = (text: string, before: LinkSpec[] | undefined) => {
    try {
      return [...(before ?? []), parseLinkSpec(text)];
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
  const program = new Command('npm run lab --')
    .description('Shows two lines becoming one, with the real daemons, in network namespaces on this machine.')
    .option('--link <DOWN/UP/DELAY[/JITTER[/LOSS]]>', 'a line, one-way delay; repeat for more', link)
    .option('--scenario <NAME>', 'links and what happens to them, by a file of lab/scenarios (docs/lab.md)')
    .option(
      '--seconds <N>',
      `length of each measure (default: ${SECONDS}, or as the scenario says)`,
      number(1, SECONDS_LIMIT),
    )
    .option('--flows <N>', 'TCP flows', number(1, 64), 1)
    .option('--measure <NAME>', 'builtin or iperf3', word(['builtin', 'iperf3']), 'builtin')
    .option('--engine <NAME>', 'multipath, openvpn, or none (the lines only)', 'multipath')
    .option('--cut <LINK@SECONDS[-SECONDS]>', 'cut a line silently in mid-transfer, and maybe let it return')
    .option('--json', 'one JSON object on stdout, everything else on stderr', false)
    .option('--hold', 'leave it running and say how to enter each namespace', false)
    .option('--no-alone', 'do not measure each line alone')
    .allowExcessArguments(false)
    .parse(argv, { from: 'user' });
  const options = program.opts<Omit<Arguments, 'link' | 'seconds' | 'scenario'> & Options>();
  const links = options.link ?? DEFAULT_LINKS.map(parseLinkSpec);
  if (links.length > LINK_LIMIT) program.error(`--link: expected at most ${LINK_LIMIT}, found ${links.length}`);
  if (options.scenario !== undefined && (options.link ?? options.cut) !== undefined)
    program.error('--scenario: expected neither --link nor --cut beside it, for it says both itself');
  const scenario = options.scenario === undefined ? undefined : loadScenario(options.scenario);
  return { ...options, link: links, scenario, seconds: options.seconds ?? scenario?.seconds ?? SECONDS };
}

/** `LINK@SECONDS` or `LINK@SECONDS-SECONDS`; a link is said by its number from 0 or by its name. */
function parseCut(text: string, links: number, seconds: number): Cut {
  const m = /^(?:link)?(\d+)@(\d+(?:\.\d+)?)(?:-(\d+(?:\.\d+)?))?$/.exec(text);
  const cut = m && {
    link: Number(m[1]),
    fromSeconds: Number(m[2]),
    toSeconds: m[3] === undefined ? undefined : Number(m[3]),
  };
  if (cut && cut.link < links && cut.fromSeconds < (cut.toSeconds ?? seconds) && (cut.toSeconds ?? 0) < seconds)
    return cut;
  throw new YokeError('config', {
    where: '--cut',
    expected: `LINK@SECONDS[-SECONDS], a link from 0 to ${links - 1} and seconds below ${seconds}`,
    found: `'${text}'`,
    todo: 'say it in that form, e.g. 0@4 or link1@3-6',
  });
}

async function main(): Promise<number> {
  let options: Arguments;
  try {
    options = parseArguments(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof YokeError)) throw error;
    process.stderr.write(`lab: ${error.message}\n`);
    return 1;
  }
  const screen = options.json ? process.stderr : process.stdout;
  let lab: Lab | undefined;
  let interrupted = false;
  const interruption = new Promise<'interrupted'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        interrupted = true;
        resolve('interrupted');
      });
  });
  let bug: unknown;
  const crash = new Promise<'interrupted'>((resolve) => {
    for (const event of ['uncaughtException', 'unhandledRejection'] as const)
      process.on(event, (error: unknown) => {
        bug ??= error;
        resolve('interrupted');
      });
  });
  const scene = openingScene();
  let view: View | undefined;
  try {
    const { engine, seconds, flows, measure: meter, scenario } = options;
    const cut = options.cut === undefined ? undefined : parseCut(options.cut, options.link.length, seconds);
    const status = await withRights();
    if (status !== undefined) return status;
    lab = await Lab.open(scenario ? labOptionsOf(scenario) : { links: options.link });
    view = new View(lab, scene, screen);
    const bondOnly = !options.alone;
    const work = runExperiment(lab, { engine, seconds, flows, meter, cut, scenario, bondOnly }, scene);
    // After an interruption its failure is expected: what it stands on is being removed.
    work.catch(() => {});
    const result = await Promise.race([work, interruption, crash]);
    view.stop();
    if (bug) throw bug;
    if (result === 'interrupted') return EXIT_INTERRUPTED;
    screen.write(`\n${closingTable(result)}`);
    if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
    if (options.hold) {
      screen.write(howToEnter(lab, scene.bond?.router.runDir));
      await interruption;
    }
    return 0;
  } catch (error) {
    if (interrupted) return EXIT_INTERRUPTED;
    if (!(error instanceof YokeError)) throw error;
    process.stderr.write(`lab: ${error.message}\n`);
    return 1;
  } finally {
    view?.stop();
    await lab?.close();
  }
}

function howToEnter(lab: Lab, runDir: string | undefined): string {
  const userNamespace = process.env.YOKE_LAB_UNSHARED
    ? `nsenter -t ${process.pid} -U -n -m --preserve-credentials `
    : '';
  const places = (['client', 'router', 'core', 'server', 'host'] as const).map(
    (place) => `  ${userNamespace}ip netns exec ${lab.namespace(place)} bash`,
  );
  const status = runDir ? `\nThe router daemon's state: node dist/src/main.js status --run-dir ${runDir}\n` : '';
  return `\nIt keeps running until Ctrl-C. To enter:\n${places.join('\n')}\n${status}`;
}

process.exitCode = await main();
// Sockets of programs that were just ended may still be open on our side; nothing is left to wait for.
process.exit();

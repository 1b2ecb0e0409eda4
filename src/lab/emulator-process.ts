/**
 * The emulator's own process: `node emulator-process.js`, started by `emulator.ts` in a namespace of its own.
 *
 *     stdin   line 1: EmulatorStart; then one Command a line; its end ends the process, and the links with it
 *     stdout  `{"ready":true}` when the devices exist; then one answer a command
 *
 * One synchronous loop: deliver what is due, read what has come, sleep. While packets flow it sleeps in steps of GRAIN_US
 * and looks at every device once a step, which costs far less than a wake-up for each packet; a packet's delay is off by
 * at most about one step.
 */
import { readSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import { seeded } from '../base/random.ts';
import { openArena } from '../io/arena.ts';
import { POLLIN, Poller, sharpenTimers } from '../io/poll.ts';
import { openTun } from '../io/tun.ts';
import { CARRIER_BYTES, Carrier } from './carrier.ts';
import type { Answer, Command, EmulatorStart } from './emulator.ts';
import { LinkModel, type PlainLinkSettings, settingsOf } from './link.ts';

const GRAIN_US = 200;
/** With nothing to do, look around this often. */
const IDLE_NS = 100e6;
const STDIN = 0;
const COMMAND_BYTES = 65_536;

const nowUs = (): number => performance.now() * 1000;

const input = Buffer.alloc(COMMAND_BYTES);
let pending = '';

/** The complete lines that have come; undefined at the end of the input. */
function readLines(): string[] | undefined {
  const n = readSync(STDIN, input, 0, input.length, null);
  if (n === 0) return undefined;
  pending += input.toString('utf8', 0, n);
  const lines = pending.split('\n');
  pending = lines.pop() ?? '';
  return lines;
}

function say(answer: Answer): void {
  writeSync(1, `${JSON.stringify(answer)}\n`);
}

function main(): void {
  let lines: string[] | undefined = [];
  while (lines.length === 0) {
    lines = readLines();
    if (!lines) return;
  }
  const start = JSON.parse(lines.shift() ?? '') as EmulatorStart;
  const arena = openArena(start.links.length * 2 * (CARRIER_BYTES + 16_384) + 65_536);
  const poller = new Poller(arena, 2 * start.links.length + 1);
  const napper = new Poller(arena, 1);
  const [stdin, stdinOfNapper] = [poller.add(STDIN, POLLIN), napper.add(STDIN, POLLIN)];
  const links = start.links.map((link, i) => {
    const near = openTun(arena, { name: link.nearDevice, offload: false });
    const far = openTun(arena, { name: link.farDevice, offload: false });
    poller.add(near.fd, POLLIN);
    poller.add(far.fd, POLLIN);
    const model = (plain: PlainLinkSettings, salt: number) =>
      new LinkModel(settingsOf(plain), seeded(start.seed * 31 + 2 * i + salt));
    return {
      up: new Carrier(arena, `${link.name} up`, near, far, model(link.up, 0)),
      down: new Carrier(arena, `${link.name} down`, far, near, model(link.down, 1)),
    };
  });
  const carriers = links.flatMap(({ up, down }) => [up, down]);

  const obey = (command: Command): Answer => {
    if (command.do === 'stats') {
      const now = nowUs();
      const cpu = process.cpuUsage();
      return {
        cpuSeconds: (cpu.user + cpu.system) / 1e6,
        links: links.map(({ up, down }) => ({ up: up.stats(now), down: down.stats(now) })),
      };
    }
    const link = links[command.link];
    const directions = command.direction ? [link[command.direction]] : [link.up, link.down];
    for (const carrier of directions) {
      if (command.do === 'set') carrier.model.set(settingsOf(command.change));
      else if (command.do === 'cut') carrier.cut();
      else carrier.model.restore();
    }
    return { done: true };
  };

  sharpenTimers();
  try {
    setPriority(-15);
  } catch {
    // Not root: the emulator competes with everybody else, and its delays are less exact.
  }
  say({ ready: true });
  for (;;) {
    for (const line of lines) if (line !== '') say(obey(JSON.parse(line) as Command));
    let moved = 0;
    let nextUs = Number.POSITIVE_INFINITY;
    const now = nowUs();
    for (const carrier of carriers) {
      moved += carrier.take(now) + carrier.deliver(now + GRAIN_US / 2);
      nextUs = Math.min(nextUs, carrier.nextUs);
    }
    const restNs = Math.max(0, Math.min(IDLE_NS, (nextUs - nowUs()) * 1000));
    if (moved > 0) napper.wait(GRAIN_US * 1000);
    else poller.wait(Math.round(restNs));
    const hasCommand = moved > 0 ? napper.ready(stdinOfNapper) : poller.ready(stdin);
    lines = hasCommand ? readLines() : [];
    if (!lines) return;
  }
}

main();

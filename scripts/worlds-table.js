/**
 * `node dist/bench/worlds.js … | node scripts/worlds-table.js`: the lines of worlds as a table of Markdown, a row a world; those of one case are told by
 * `--case down.cubic`. With what others reached (in the lab) beside it.
 */
import { readFileSync } from 'node:fs';

const at = process.argv.indexOf('--case');
const only = at < 0 ? undefined : process.argv[at + 1];
const SINGLE = ['down.cubic', 'up.cubic', 'down.bbr', 'up.bbr'];

const lines = readFileSync(0, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('{'))
  .map((line) => JSON.parse(line));

const figure = (f) => (typeof f === 'object' && f !== null ? f.value : f);
const percent = (share) => (share === undefined ? '' : `${(100 * share).toFixed(1)} %`);
const mbit = (value) => (value === undefined ? '' : value.toFixed(1));

/** One case of each world: goodput and shares, the others, round trips. */
function tableOfCase(test) {
  const direction = test.split('.')[0];
  const rows = [['world', 'limit', 'yoke Mbit/s', 'of the limit', 'of its best link alone', 'ping idle → full p95']];
  const others = ['mptcp', 'roundRobin'].filter((name) => lines.some((line) => line[name]?.[test]));
  rows[0].push(...others.map((name) => (name === 'mptcp' ? 'MPTCP Mbit/s' : 'round robin Mbit/s')));
  for (const line of lines) {
    const f = line[test];
    if (!f) continue;
    rows.push([
      `\`${line.world}\``,
      mbit(line.limitMbit[direction]),
      mbit(f.mbit),
      percent(figure(f.share ?? f.many)),
      percent(figure(f.best)),
      `${f.pingIdleMs.toFixed(0)} → ${f.pingP95Ms.toFixed(0)} ms`,
      ...others.map((name) => mbit(line[name]?.[test]?.mbit)),
    ]);
  }
  return rows;
}

/** All cases of each world: their shares of the limit, the least of the shares of the best link alone, the worst ping. */
function tableOfAll() {
  const rows = [
    [
      'world',
      'CUBIC down, up',
      'BBR down, up',
      'eight flows down, up',
      'best link alone',
      'ping: more than idle',
      'bars missed',
    ],
  ];
  for (const line of lines) {
    const share = (test) => percent(figure(line[test]?.share ?? line[test]?.many));
    const all = [...SINGLE, 'down.many', 'up.many'].filter((test) => line[test]);
    const best = SINGLE.map((test) => figure(line[test]?.best)).filter((b) => b !== undefined);
    rows.push([
      `\`${line.world}\``,
      `${share('down.cubic')}, ${share('up.cubic')}`,
      `${share('down.bbr')}, ${share('up.bbr')}`,
      `${share('down.many')}, ${share('up.many')}`,
      best.length > 0 ? `× ${Math.min(...best).toFixed(2)}` : '',
      `${Math.max(...all.map((test) => figure(line[test].pingMs) ?? 0)).toFixed(0)} ms`,
      line.ok ? 'none' : String(line.missed.length),
    ]);
  }
  return rows;
}

const rows = only === undefined ? tableOfAll() : tableOfCase(only);
rows.splice(
  1,
  0,
  rows[0].map(() => '---'),
);
process.stdout.write(`${rows.map((row) => `| ${row.join(' | ')} |`).join('\n')}\n`);
const loads = lines.map((line) => line.load);
process.stdout.write(`\nBy ${lines[0]?.by}, load average ${Math.min(...loads)} to ${Math.max(...loads)}.\n`);

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
/** A share, and behind it, of several seeds, that of the worst. */
const percent = (share) => {
  if (share === undefined) return '';
  const worst = typeof share === 'object' && share.worst !== undefined ? ` (${(100 * share.worst).toFixed(0)})` : '';
  return `${(100 * figure(share)).toFixed(1)}${worst} %`;
};
const mbit = (value) => (value === undefined ? '' : value.toFixed(1));

/** One case of each world: goodput and shares, the others, round trips. */
function tableOfCase(test) {
  const direction = test.split('.')[0];
  const others = ['mptcp', 'roundRobin'].filter((name) => lines.some((line) => line[name]?.[test]));
  const isPinged = (name) => lines.some((line) => line[name]?.[test]?.pingP95Ms !== undefined);
  const columns = others.map((name) => (name === 'mptcp' ? 'MPTCP' : 'round robin'));
  const rows = [
    [
      'world',
      'limit',
      'yoke Mbit/s',
      'of the limit',
      'of its best link alone',
      'ping idle → full p95',
      'CPU of a core',
    ],
  ];
  rows[0].push(...columns.map((name, i) => `${name} Mbit/s${isPinged(others[i]) ? ', ping p95' : ''}`));
  for (const line of lines) {
    const f = line[test];
    if (!f) continue;
    rows.push([
      `\`${line.world}\``,
      mbit(line.limitMbit[direction]),
      mbit(f.mbit),
      percent(f.share ?? f.many),
      percent(f.best),
      `${f.pingIdleMs.toFixed(0)} → ${f.pingP95Ms.toFixed(0)} ms`,
      f.cpuPercent === undefined ? '' : `${f.cpuPercent.toFixed(0)} %`,
      ...others.map((name) => {
        const other = line[name]?.[test];
        return mbit(other?.mbit) + (other?.pingP95Ms === undefined ? '' : `, ${other.pingP95Ms.toFixed(0)} ms`);
      }),
    ]);
  }
  // What was not measured is no column.
  const used = rows[0].map((_, i) => rows.some((row, n) => n > 0 && row[i] !== ''));
  return rows.map((row) => row.filter((_, i) => used[i]));
}

/** All cases of each world: their shares of the limit, the least of the shares of the best link alone, the worst ping, the most memory. */
function tableOfAll() {
  const isLab = lines.some((line) => line.by === 'lab');
  const memory = isLab ? 'memoryMb' : 'slotsMost';
  const rows = [
    [
      'world',
      'CUBIC down, up',
      'BBR down, up',
      'eight flows down, up',
      'best link alone',
      'ping: more than idle',
      isLab ? 'memory' : 'slots',
      'bars missed',
    ],
  ];
  for (const line of lines) {
    const share = (test) => percent(line[test]?.share ?? line[test]?.many);
    const all = [...SINGLE, 'down.many', 'up.many'].filter((test) => line[test]);
    const best = SINGLE.map((test) => line[test]?.best?.worst ?? figure(line[test]?.best)).filter(
      (b) => b !== undefined,
    );
    rows.push([
      `\`${line.world}\``,
      `${share('down.cubic')}, ${share('up.cubic')}`,
      `${share('down.bbr')}, ${share('up.bbr')}`,
      `${share('down.many')}, ${share('up.many')}`,
      best.length > 0 ? `× ${Math.min(...best).toFixed(2)}` : '',
      `${Math.max(...all.map((test) => figure(line[test].pingMs) ?? 0)).toFixed(0)} ms`,
      `${Math.max(...all.map((test) => figure(line[test][memory]) ?? 0)).toFixed(0)}${isLab ? ' MB' : ''}`,
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

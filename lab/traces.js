/**
 * Makes the traces of lab/scenarios/traces: `node lab/traces.js`. They are what a cellular link could have delivered, not what one has: a rate that walks
 * by chance between two limits, drops to nothing now and then, written down as mahimahi does: a line with a millisecond for each 1,500
 * bytes that may leave. The seed is in the table, so the files are always the same.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('./scenarios/traces/', import.meta.url));
const SECONDS = 20;
/** The rate takes a new step this often. */
const STEP_MS = 100;

/** Mbit/s; `swing`: the largest factor of a step; `outages`: how many pauses in a round and how long at most. */
const TRACES = {
  'lte-walk.down': { seed: 11, from: 12, to: 45, swing: 1.15, outages: 0, outageMs: 0 },
  'lte-walk.up': { seed: 12, from: 4, to: 15, swing: 1.15, outages: 0, outageMs: 0 },
  'lte-drive.down': { seed: 21, from: 2, to: 40, swing: 1.35, outages: 3, outageMs: 400 },
  'lte-drive.up': { seed: 22, from: 1, to: 12, swing: 1.35, outages: 3, outageMs: 400 },
  '5g-city.down': { seed: 31, from: 20, to: 120, swing: 1.5, outages: 1, outageMs: 150 },
  '5g-city.up': { seed: 32, from: 8, to: 40, swing: 1.4, outages: 1, outageMs: 150 },
};

/** mulberry32: enough for a trace. */
function chance(seed) {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function trace({ seed, from, to, swing, outages, outageMs }) {
  const random = chance(seed);
  const pauses = Array.from({ length: outages }, () => {
    const at = 1000 + random() * (SECONDS * 1000 - 3000);
    return [at, at + (0.3 + 0.7 * random()) * outageMs];
  });
  let mbit = Math.sqrt(from * to);
  let credit = 0;
  const lines = [];
  for (let ms = 1; ms <= SECONDS * 1000; ms++) {
    if (ms % STEP_MS === 0) mbit = Math.min(to, Math.max(from, mbit * swing ** (2 * random() - 1)));
    if (pauses.some(([begin, end]) => ms >= begin && ms < end)) continue;
    for (credit += (mbit * 1000) / 8 / 1500; credit >= 1; credit--) lines.push(ms);
  }
  // The last line is also the length of a round.
  if (lines.at(-1) !== SECONDS * 1000) lines.push(SECONDS * 1000);
  return `${lines.join('\n')}\n`;
}

for (const [name, settings] of Object.entries(TRACES)) writeFileSync(join(FOLDER, `${name}.trace`), trace(settings));

/** `npm run bench -- CASE…`: bench/lab-cases.ts, built, with the same arguments. */
import { runBuilt } from './built.js';
import { BENCH_PACKAGES, PACKAGES } from './packages.js';

runBuilt('bench/lab-cases.js', { ...PACKAGES, ...BENCH_PACKAGES });

/** `npm run worlds -- [--sim] [WORLD…]`: bench/worlds.ts, built, with the same arguments. */
import { runBuilt } from './built.js';
import { PACKAGES, WORLDS_PACKAGES } from './packages.js';

runBuilt('bench/worlds.js', process.argv.includes('--sim') ? {} : { ...PACKAGES, ...WORLDS_PACKAGES });

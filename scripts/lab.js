/** `npm run lab`: src/lab/lab.ts, built, with the same arguments. */
import { runBuilt } from './built.js';
import { PACKAGES } from './packages.js';

runBuilt('src/lab/lab.js', PACKAGES);

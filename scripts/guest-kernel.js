/** Builds the kernel of our own that test/guest and bench/howto run in, once: `node scripts/guest-kernel.js` (test/guest/kernel-build.ts). */
import { runBuilt } from './built.js';
import { KERNEL_PACKAGES } from './packages.js';

runBuilt('test/guest/kernel-build.js', KERNEL_PACKAGES);

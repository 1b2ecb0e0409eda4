/**
 * `npm run openwrt`: a feed for OpenWrt's build system, in `build/openwrt` (or the folder that is named): packaging/openwrt, and in it the
 * bundles for x86_64 and aarch64.
 */
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeBundle } from './bundle.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** OpenWrt's name of an architecture → Node's. */
const ARCHS = { x86_64: 'x64', aarch64: 'arm64' };

const out = process.argv[2] ?? join(ROOT, 'build', 'openwrt');
rmSync(out, { recursive: true, force: true });
cpSync(join(ROOT, 'packaging', 'openwrt'), out, { recursive: true });
for (const [name, arch] of Object.entries(ARCHS)) await makeBundle({ out: join(out, 'yoke', `bundle-${name}`), arch });
console.log(out);

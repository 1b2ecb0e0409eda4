/**
 * The kernels that a guest can have, both User-Mode Linux:
 *
 *   own      Linux 6.12 with nftables whole and the article's patch of the bonding driver, built once by scripts/guest-kernel.js
 *            from what lies in test/guest/kernel/; everything is built in
 *   debian   Linux 6.1 as Debian's package user-mode-linux has it; modules
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A kernel that is there. */
export interface GuestKernel {
  name: 'own' | 'debian';
  /** The kernel is this program. */
  program: string;
  /** Parent of the folder that bears the kernel's release; undefined: it has no modules. */
  modules?: string;
}

/** What our kernel is made of, beside Debian's source. */
export const SOURCES = {
  config: fileURLToPath(new URL('../../../test/guest/kernel/config', import.meta.url)),
  patch: fileURLToPath(new URL('../../../test/guest/kernel/tun-slaves.patch', import.meta.url)),
};

/** Kernels that were built, a folder each: outside of the tree, for a build takes minutes and a checkout comes and goes. */
export const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'yoke', 'guest-kernel');
/** The kernel in its folder. */
export const BUILT = 'linux';

/** The Debian packages of a guest with Debian's kernel, each with its program. */
const DEBIAN = { 'user-mode-linux': 'linux.uml', kmod: 'modprobe' } as const;
const DEBIAN_MODULES = '/usr/lib/uml/modules';

/** Ends the names of folders in the cache: a kernel of another configuration or patch is another kernel. */
export function sourcesDigest(): string {
  const hash = createHash('sha256');
  for (const path of Object.values(SOURCES)) hash.update(readFileSync(path));
  return hash.digest('hex').slice(0, 12);
}

/** Our own kernel, the one built last; undefined: none is built yet. */
export function ownKernel(): GuestKernel | undefined {
  const digest = sourcesDigest();
  const built = (existsSync(CACHE) ? readdirSync(CACHE) : [])
    .filter((name) => name.endsWith(`-${digest}`))
    .map((name) => join(CACHE, name, BUILT))
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  return built.length === 0 ? undefined : { name: 'own', program: built[0] };
}

/** Debian's kernel; or the packages that it lacks. */
export function debianKernel(): GuestKernel | string[] {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  const find = (program: string) => folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
  const missing = Object.entries(DEBIAN).filter(([, program]) => find(program) === undefined);
  if (missing.length > 0) return missing.map(([name]) => name);
  return { name: 'debian', program: find(DEBIAN['user-mode-linux'])!, modules: DEBIAN_MODULES };
}

/**
 * The Debian packages that the lab and the tests stand on, each with a program that proves it is there.
 *
 * `ensurePackages()` installs as root what is missing; when it cannot, it names the command and ends with status 1.
 * `tryPackages()` does the same for those that one can do without, and returns what is still missing.
 * Everything it says goes to stderr: stdout may be wanted for JSON.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Package → program, or a file by its absolute path. */
export const PACKAGES = {
  iproute2: 'ip',
  nftables: 'nft',
  'iputils-ping': 'ping',
  iperf3: 'iperf3',
  ethtool: 'ethtool',
  procps: 'sysctl',
};

/** For `npm run bench`, which compares. */
export const BENCH_PACKAGES = { openvpn: 'openvpn', openssl: 'openssl' };

/** For bench/worlds in the lab, which compares with MPTCP. */
export const WORLDS_PACKAGES = { mptcpize: 'mptcpize' };

/** For test/guest and bench/howto: a kernel with the bonding driver. Tests that need one are skipped without. */
export const GUEST_PACKAGES = { 'user-mode-linux': 'linux.uml', kmod: 'modprobe', ...BENCH_PACKAGES };

/** For the guest kernel of our own, which is built from source (scripts/guest-kernel.js). */
export const KERNEL_PACKAGES = {
  gcc: 'gcc',
  binutils: 'ld',
  'libc6-dev': '/usr/include/stdio.h',
  make: 'make',
  flex: 'flex',
  bison: 'bison',
  bc: 'bc',
  patch: 'patch',
  'xz-utils': 'xz',
};

/** For the tests of certificates and of the packages, which are skipped without. */
export const TEST_PACKAGES = {
  ...BENCH_PACKAGES,
  'busybox-static': 'busybox',
  chromium: 'chromium',
  shellcheck: 'shellcheck',
  lintian: 'lintian',
  'man-db': 'man',
  mmdebstrap: 'mmdebstrap',
  zsh: 'zsh',
  fish: 'fish',
};

/** Where programs of administrators live, also when a user's PATH leaves them out. */
const SYSTEM_PATHS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Adds the administrators' directories to PATH, for this process and what it starts. */
export function completePath() {
  const paths = (process.env.PATH ?? '').split(delimiter);
  process.env.PATH = [...paths, ...SYSTEM_PATHS.filter((path) => !paths.includes(path))].join(delimiter);
}

/** The packages whose program is not found. */
export function missingPackages(packages = PACKAGES) {
  const may = (path, mode) => {
    try {
      accessSync(path, mode);
      return true;
    } catch {
      return false;
    }
  };
  const has = (program) =>
    program.startsWith('/')
      ? may(program, constants.R_OK)
      : (process.env.PATH ?? '').split(delimiter).some((folder) => may(join(folder, program), constants.X_OK));
  return Object.keys(packages).filter((name) => !has(packages[name]));
}

/** Sees to it that all packages are there, or ends the process. */
export function ensurePackages(packages = PACKAGES) {
  const left = tryPackages(packages);
  if (left.length === 0) return;
  console.error(`Missing Debian packages: ${left.join(' ')}. Install them with: sudo ${install(left).join(' ')}`);
  process.exit(1);
}

/** Installs what is missing, as root; returns what is missing still. */
export function tryPackages(packages) {
  completePath();
  const missing = missingPackages(packages);
  if (missing.length === 0 || process.geteuid?.() !== 0) return missing;
  console.error(`Installing Debian packages: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (argv) => spawnSync(argv[0], argv.slice(1), { env, stdio: ['ignore', 2, 2] }).status === 0;
  // The lists may be absent or old: only when they do not do are they fetched.
  if (!apt(install(missing))) {
    apt(['apt-get', 'update']);
    apt(install(missing));
  }
  return missingPackages(packages);
}

const install = (names) => ['apt-get', 'install', '-y', '--no-install-recommends', ...names];

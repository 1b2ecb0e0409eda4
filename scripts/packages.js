/**
 * The Debian packages that the lab and the tests stand on, each with a program that proves it is there.
 *
 * `ensurePackages()` says what is missing; as root it installs it, otherwise it names the command and ends with status 1.
 * Everything it says goes to stderr: stdout may be wanted for JSON.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Package → program. */
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

/** Where programs of administrators live, also when a user's PATH leaves them out. */
const SYSTEM_PATHS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** Adds the administrators' directories to PATH, for this process and what it starts. */
export function completePath() {
  const paths = (process.env.PATH ?? '').split(delimiter);
  process.env.PATH = [...paths, ...SYSTEM_PATHS.filter((path) => !paths.includes(path))].join(delimiter);
}

/** The packages whose program is not found. */
export function missingPackages(packages = PACKAGES) {
  const has = (program) =>
    (process.env.PATH ?? '').split(delimiter).some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  return Object.keys(packages).filter((name) => !has(packages[name]));
}

/** Sees to it that all packages are there, or ends the process. */
export function ensurePackages(packages = PACKAGES) {
  completePath();
  const missing = missingPackages(packages);
  if (missing.length === 0) return;
  const command = ['apt-get', 'install', '-y', '--no-install-recommends', ...missing];
  if (process.geteuid?.() !== 0) {
    console.error(`Missing Debian packages: ${missing.join(' ')}. Install them with: sudo ${command.join(' ')}`);
    process.exit(1);
  }
  console.error(`Installing Debian packages: ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (argv) => spawnSync(argv[0], argv.slice(1), { env, stdio: ['ignore', 2, 2] }).status === 0;
  // The lists may be absent or old: only when they do not do are they fetched.
  if (!apt(command)) {
    apt(['apt-get', 'update']);
    apt(command);
  }
  const left = missingPackages(packages);
  if (left.length > 0) {
    console.error(`Could not install ${left.join(' ')}. Install them by hand, then try again: ${command.join(' ')}`);
    process.exit(1);
  }
}

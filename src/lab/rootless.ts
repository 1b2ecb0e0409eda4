/**
 * The lab as an ordinary user: in a user namespace where we are root, with network and mount namespaces of our own.
 *
 *     node lab.js ─▶ unshare -Urnm --map-root-user ─▶ node lab.js again, with a tmpfs on /run
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { YokeError } from '../base/error.ts';

const MARK = 'YOKE_LAB_UNSHARED';
const TUN = '/dev/net/tun';

/**
 * Sees to it that this process may make namespaces. Returns undefined when it may; otherwise the lab ran in a process with the
 * right to, and this is its exit status.
 * @throws YokeError (host) that says what to do when neither is possible.
 */
export async function withRights(): Promise<number | undefined> {
  if (process.env[MARK]) {
    prepareRun();
    return undefined;
  }
  if (process.geteuid?.() === 0) return undefined;
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK);
  } catch {
    throw noRights(
      `${TUN} that this user may open`,
      'none',
      `run as root, or let the user have it (chmod 0666 ${TUN})`,
    );
  }
  if (spawnSync('unshare', ['-Urnm', '--map-root-user', 'true']).status !== 0)
    throw noRights(
      'user namespaces (unshare -Urnm)',
      'a kernel that refuses them',
      'run as root, or allow them (sysctl kernel.unprivileged_userns_clone=1)',
    );
  const argv = ['-Urnm', '--map-root-user', process.execPath, ...process.argv.slice(1)];
  const child = spawn('unshare', argv, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  // Ctrl-C reaches the child by the terminal; a signal sent to us alone is passed on.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
}

/** `ip netns` keeps its names in /run, which belongs to the real root. */
function prepareRun(): void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', '/run'], { encoding: 'utf8' });
  if (status !== 0) throw noRights('a tmpfs on /run', stderr.trim(), 'run as root');
}

function noRights(expected: string, found: string, todo: string): YokeError {
  return new YokeError('host', { where: 'lab', expected, found, todo });
}

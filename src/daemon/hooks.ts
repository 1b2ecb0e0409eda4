/**
 * The article's hooks: programs that run, if they are there, before and after the bond comes and goes.
 *
 *   bonding-preup → the bond is made → bonding-up … bonding-predown → the bond is taken away → bonding-down
 *
 * They are told of the bond by their environment. One that fails or takes too long is told of in the log, and stops nothing.
 */
import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { printAddress, printPrefix } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import type { Log } from './log.ts';

/** Where the article has them. */
export const HOOKS = '/etc/bonding';
/** Longest that a hook may run; then it is ended. Units: milliseconds. */
export const HOOK_LIMIT_MS = 10_000;

/** The moments that have a hook. */
export type HookName = 'preup' | 'up' | 'predown' | 'down';

/** Runs a hook, if there is one; never throws. */
export type Hooks = (name: HookName, config: Config, log: Log) => Promise<void>;

/** The hooks of a folder: `bonding-NAME.sh`, or without the ending. */
export function hooksIn(folder: string, limitMs = HOOK_LIMIT_MS): Hooks {
  return async (name, config, log) => {
    for (const file of [`bonding-${name}.sh`, `bonding-${name}`].map((f) => join(folder, f))) {
      const stat = statSync(file, { throwIfNoEntry: false });
      if (!stat?.isFile()) continue;
      const trouble = troubleOf(stat.mode, stat.uid);
      if (trouble !== undefined) log('warn', `hook ${file}: not run: ${trouble}`);
      else await runHook(file, environmentOf(name, config), limitMs, log);
    }
  };
}

/** Why a file is not run with our rights. */
function troubleOf(mode: number, uid: number): string | undefined {
  if ((mode & 0o111) === 0) return 'it may not be executed (chmod 755)';
  if ((mode & 0o022) !== 0) return 'others may write it (chmod 755)';
  if (uid !== 0 && uid !== process.getuid?.()) return 'it belongs to another user';
  return undefined;
}

/** The bond's facts, as a hook finds them. */
export function environmentOf(name: HookName, config: Config): Record<string, string> {
  const links = config.links.filter((l) => !l.disabled);
  return {
    YOKE_HOOK: name,
    YOKE_ROLE: config.role,
    YOKE_ENGINE: config.engine,
    YOKE_CONFIG: config.file,
    YOKE_IFNAME: config.bond.ifname,
    YOKE_ADDRESSES: config.bond.addresses.map(printPrefix).join(' '),
    YOKE_REMOTE_ADDRESSES: config.bond.remoteAddresses.map(printAddress).join(' '),
    YOKE_LINKS: links.map((l) => l.name).join(' '),
    YOKE_INTERFACES: links.map((l) => l.interface).join(' '),
    YOKE_TUNNELS: links.flatMap((l) => l.tunnel ?? []).join(' '),
  };
}

function runHook(file: string, facts: Record<string, string>, limitMs: number, log: Log): Promise<void> {
  log('info', `hook ${file}`);
  const env = { ...process.env, ...facts };
  return new Promise((resolve) => {
    execFile(file, [], { env, timeout: limitMs, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      for (const line of `${stdout}${stderr}`.split('\n').filter(Boolean)) log('info', `hook ${file}: ${line}`);
      if (error?.killed) log('warn', `hook ${file}: ended, for it took more than ${limitMs / 1000} s`);
      else if (error) log('warn', `hook ${file}: failed: ${error.code ?? error.signal ?? error.message}`);
      resolve();
    });
  });
}

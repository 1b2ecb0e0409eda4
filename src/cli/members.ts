/** `yoke revoke NAME`, `yoke rename OLD NEW`: changes to a server's set of routers, live. */
import { changeMembers } from '../daemon/admission.ts';
import { askControl, type ControlParams } from '../daemon/control.ts';
import type { Instance } from '../daemon/instance.ts';
import { lockHolder, takeLock } from '../daemon/lock.ts';
import { Members } from '../daemon/members.ts';
import { loadServer, needRoot } from './as-root.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** Lets a router go: its session ends at once. */
export async function revoke(name: string, options: GlobalOptions): Promise<number> {
  needRoot('yoke revoke');
  loadServer(options.config, 'yoke revoke');
  await tellMembers(options, 'revoke', { name });
  process.stdout.write(`${name} is gone: its key and its invitation are worth nothing any more\n`);
  return EXIT_DONE;
}

/** Gives a router another name; nothing else changes. */
export async function rename(name: string, to: string, options: GlobalOptions): Promise<number> {
  needRoot('yoke rename');
  loadServer(options.config, 'yoke rename');
  await tellMembers(options, 'rename', { name, to });
  process.stdout.write(`${name} is called ${to} now\n`);
  return EXIT_DONE;
}

/** Changes the set of routers: through the running instance, or in its place where none runs. @throws YokeError when it cannot be. */
export async function tellMembers(
  instance: Instance,
  method: 'invite' | 'revoke' | 'rename',
  params: ControlParams,
): Promise<void> {
  const { config, runDir, stateDir } = instance;
  if (lockHolder(runDir)) {
    await askControl(runDir, method, params);
    return;
  }
  const lock = takeLock(runDir);
  try {
    changeMembers(new Members(config, stateDir), method, params, Date.now());
  } finally {
    lock.release();
  }
}

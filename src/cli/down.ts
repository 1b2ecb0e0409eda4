/** `yoke down`: ends a running instance in order; takes back what a killed one left. */
import { leftovers, removeBond } from '../backend/openvpn/bond-device.ts';
import { ownerOf } from '../backend/openvpn/openvpn.ts';
import { YokeError } from '../base/error.ts';
import { askControl } from '../daemon/control.ts';
import { linuxMachine } from '../daemon/linux.ts';
import { lockHolder, takeLock } from '../daemon/lock.ts';
import { revert } from '../plan/apply.ts';
import { commandsOf, printCommand } from '../plan/command.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** How long an instance may take to end. */
const END_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 50;

/** Afterwards nothing runs and the host is as it was. */
export async function down(options: GlobalOptions): Promise<number> {
  const { runDir } = options;
  const holder = lockHolder(runDir);
  if (holder) {
    await askControl(runDir, 'stop');
    await ended(runDir, holder.pid);
    process.stdout.write(`ended pid ${holder.pid}\n`);
  }
  const devices = await leftovers(ownerOf(runDir));
  for (const device of devices) {
    await removeBond(device);
    process.stdout.write(`[#] ip link del dev ${device}\n`);
  }
  const { host, store } = linuxMachine(runDir);
  // without a journal there may not even be a directory, and none is made
  if ((await store.load()) === undefined) {
    if (!holder && devices.length === 0) process.stdout.write('nothing runs, nothing to take back\n');
    return EXIT_DONE;
  }
  const lock = takeLock(runDir);
  try {
    const steps = await revert(host, store, (step) => {
      for (const c of commandsOf(step)) process.stdout.write(`[#] ${printCommand(c).split('\n')[0]}\n`);
    });
    process.stdout.write(`took back ${steps.length} change${steps.length === 1 ? '' : 's'}\n`);
  } finally {
    lock.release();
  }
  return EXIT_DONE;
}

async function ended(runDir: string, pid: number): Promise<void> {
  for (let waited = 0; waited < END_LIMIT_MS; waited += LOOK_EVERY_MS) {
    if (lockHolder(runDir)?.pid !== pid) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw new YokeError('host', {
    where: `pid ${pid}`,
    expected: `its end within ${END_LIMIT_MS / 1000} s`,
    found: 'it still runs',
    todo: `kill -9 ${pid}, then yoke down again`,
  });
}

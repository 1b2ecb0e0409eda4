/** `yoke run`: the instance in the foreground; what systemd and procd start. */
import type { Backend } from '../backend/backend.ts';
import { YokeError } from '../base/error.ts';
import type { Config, EngineName } from '../config/config.ts';
import { Daemon, type Ending } from '../daemon/daemon.ts';
import { HOOKS, hooksIn } from '../daemon/hooks.ts';
import { linesOf } from '../daemon/keeper.ts';
import { readKeys } from '../daemon/keys.ts';
import { loadWithText } from '../daemon/load.ts';
import { stderrLog } from '../daemon/log.ts';
import type { Machine } from '../daemon/machine.ts';
import { resolveName } from '../daemon/resolve.ts';
import { startOrPutBack } from '../daemon/trial.ts';
import { serviceOf } from './service.ts';
import { EXIT_BUG, EXIT_DONE, EXIT_ERROR, type GlobalOptions } from './terms.ts';
import { version } from './version.ts';

/** Taking back takes a fraction of a second; what takes longer than this hangs. */
const STOP_LIMIT_MS = 15_000;

/** Runs until it is told to end, and ends the process. */
export async function run(options: GlobalOptions): Promise<number> {
  return runWith(options, async (config) => {
    const { linuxMachine } = await import('../daemon/linux.ts');
    return { backend: await makeBackend(config.engine, options.runDir), machine: linuxMachine(options.runDir) };
  });
}

/** The backend of an engine; only what is used is loaded. */
async function makeBackend(engine: EngineName, runDir: string): Promise<Backend> {
  if (engine === 'openvpn') return new (await import('../backend/openvpn/openvpn.ts')).OpenvpnBackend({ runDir });
  return new (await import('../backend/multipath/multipath.ts')).MultipathBackend();
}

/** The same with a backend and a machine of the caller's: tests give theirs. */
export async function runWith(
  options: GlobalOptions,
  make: (config: Config) => Promise<{ backend: Backend; machine: Machine }>,
): Promise<number> {
  const log = stderrLog();
  const service = await serviceOf(process.env);
  const prepare = async () => {
    const { config, text } = loadWithText(options.config);
    return new Daemon({
      config,
      text,
      keys: readKeys(config),
      runDir: options.runDir,
      stateDir: options.stateDir,
      version: version(),
      ...(await make(config)),
      hooks: hooksIn(HOOKS),
      resolve: resolveName,
      log,
      // the plain path of system calls, for kernels whose offloads misbehave
      offload: process.env.YOKE_OFFLOAD !== '0',
    });
  };

  let daemon: Daemon | undefined;
  let bug: unknown;
  const signalled = new Promise<Ending>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve({ kind: 'stopped' }));
    for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
      process.on(event, (error) => {
        bug ??= error;
        log('error', `this is a bug in yoke ${version()}: ${(error as Error)?.stack ?? error}`);
        resolve({ kind: 'failed', error: error as Error });
      });
    }
  });
  process.on('SIGHUP', () => {
    daemon?.reread().then(
      () => log('info', 'took the configuration again'),
      (error) => log('error', linesOf(error)),
    );
  });

  const starting = startOrPutBack(options.config, options.runDir, log, async () => {
    const fresh = await prepare();
    daemon = fresh;
    await fresh.start();
    return fresh;
  });
  // a signal during the start ends it when it can be ended
  await Promise.race([starting, signalled.then(() => starting.catch(() => {}))]);
  const running = await starting;
  service.ready(() => running.status());
  const ending = await Promise.race([running.ended, signalled]);
  service.stopping();
  const clean = await stopInTime(running, log);
  log('info', 'ended');
  process.exit(bug !== undefined ? EXIT_BUG : ending.kind === 'failed' || !clean ? EXIT_ERROR : EXIT_DONE);
}

async function stopInTime(daemon: Daemon, log: (level: 'error', text: string) => void): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new YokeError('host', {
            where: 'the end',
            expected: `it within ${STOP_LIMIT_MS / 1000} s`,
            found: 'something that hangs',
            todo: 'run yoke down: the journal knows what is left',
          }),
        ),
      STOP_LIMIT_MS,
    );
  });
  try {
    await Promise.race([daemon.stop(), late]);
    return true;
  } catch (error) {
    log('error', linesOf(error));
    return false;
  } finally {
    clearTimeout(timer);
  }
}

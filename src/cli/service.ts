/**
 * What `yoke run` tells the service manager that started it (sd_notify): that it is ready, how it is, that it still lives.
 *
 * "Lives" means that the main thread and the packet path both answered a question for the status: one that hangs is not reported, and
 * the manager's watchdog ends the process. Without NOTIFY_SOCKET in the environment nothing is told and nothing loaded.
 */
import { printStatusLine } from '../status/line.ts';
import type { Status } from '../status/status.ts';

/** Status is told this often; more often where a watchdog wants it. */
const TELL_EVERY_MS = 10_000;

/** A service manager, or nobody. */
export interface Service {
  /** The bond is there; from now on its status is told again and again. */
  ready(status: () => Promise<Status>): void;
  stopping(): void;
}

/**
 * The service manager of the environment. Owns: NOTIFY_SOCKET and WATCHDOG_…, which are taken out of the environment, or programs
 * that are started (OpenVPN is one) would speak for us.
 */
export async function serviceOf(env: NodeJS.ProcessEnv): Promise<Service> {
  const { NOTIFY_SOCKET: name, WATCHDOG_USEC: watchdogUs, WATCHDOG_PID: watched } = env;
  for (const key of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete env[key];
  const notifier = name ? (await import('../io/notify.ts')).openNotifier(name) : undefined;
  if (!notifier) return { ready: () => {}, stopping: () => {} };
  const guarded = Number(watchdogUs) > 0 && (watched === undefined || Number(watched) === process.pid);
  const everyMs = guarded ? Math.min(TELL_EVERY_MS, Number(watchdogUs) / 3000) : TELL_EVERY_MS;
  let timer: NodeJS.Timeout | undefined;
  return {
    ready(status) {
      const tell = () =>
        status().then(
          (value) => notifier.tell(`WATCHDOG=1\nSTATUS=${printStatusLine(value).replaceAll('\n', ' ')}`),
          // a backend that is just being restarted answers with an error, but it answers
          () => notifier.tell('WATCHDOG=1'),
        );
      notifier.tell('READY=1\nSTATUS=running');
      timer = setInterval(tell, everyMs).unref();
      tell();
    },
    stopping() {
      clearInterval(timer);
      notifier.tell('STOPPING=1\nSTATUS=taking back what was changed on this host');
    },
  };
}

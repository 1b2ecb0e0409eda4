/** An instance: where its files are, and who keeps it running. */
import { existsSync } from 'node:fs';

/** Who keeps services here. */
export type Keeper = 'systemd' | 'procd' | 'none';

/** What an instance is started with: the global options. */
export interface Instance {
  config: string;
  runDir: string;
  stateDir: string;
}

/** Where things are when no option says otherwise: a service that a manager keeps knows nothing else. */
export const DEFAULT_INSTANCE: Instance = { config: '/etc/config/bonding', runDir: '/run/yoke', stateDir: '/etc/yoke' };

/** OpenWrt's. */
export const INIT_SCRIPT = '/etc/init.d/yoke';
/** OpenWrt's init script has its run directory where OpenWrt has such things. */
const PROCD_RUN_DIR = '/var/run/yoke';

/** The instance that the options mean: where procd keeps the service, it chose the run directory. */
export function instanceOf({ config, runDir, stateDir }: Instance): Instance {
  const instance = { config, runDir, stateDir };
  return keeperOf(instance) === 'procd' ? { ...instance, runDir: PROCD_RUN_DIR } : instance;
}

/** Who would keep the service of this instance. */
export function keeperOf(instance: Instance): Keeper {
  const { config, runDir, stateDir } = DEFAULT_INSTANCE;
  if (instance.config !== config || instance.stateDir !== stateDir) return 'none';
  if (instance.runDir === runDir && existsSync('/run/systemd/system')) return 'systemd';
  const isProcd = existsSync('/sbin/procd') && existsSync(INIT_SCRIPT);
  return isProcd && [runDir, PROCD_RUN_DIR].includes(instance.runDir) ? 'procd' : 'none';
}

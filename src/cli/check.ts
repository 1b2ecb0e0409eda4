/** `yoke check`: every error of the configuration, its key files and this host, at once; changes nothing. */

import { YokeError } from '../base/error.ts';
import { certificatesOf } from '../daemon/certificates.ts';
import { checkHost } from '../daemon/check.ts';
import { askControl } from '../daemon/control.ts';
import { firewallWarnings } from '../daemon/firewall.ts';
import { readKeys } from '../daemon/keys.ts';
import { loadConfig } from '../daemon/load.ts';
import { lockHolder } from '../daemon/lock.ts';
import { openvpnSettings } from '../daemon/settings.ts';
import { unequalLinks } from '../health/unequal.ts';
import type { Status } from '../status/status.ts';
import { EXIT_DONE, EXIT_ERROR, type GlobalOptions } from './terms.ts';

/** Prints `FILE: good`, or one line on stderr for each complaint. */
export async function check(options: GlobalOptions): Promise<number> {
  const config = loadConfig(options.config);
  const running = lockHolder(options.runDir) !== undefined;
  const complaints: string[] = [];
  for (const look of [
    () => readKeys(config),
    () => checkHost(config, { starting: !running, runDir: options.runDir }),
  ]) {
    try {
      await look();
    } catch (error) {
      if (!(error instanceof YokeError)) throw error;
      complaints.push(error.message);
    }
  }
  if (complaints.length > 0) {
    process.stderr.write(`${complaints.join('\n')}\n`);
    return EXIT_ERROR;
  }
  for (const text of await firewallWarnings(config)) process.stdout.write(`warning: ${text}\n`);
  if (config.engine === 'openvpn') {
    for (const text of openvpnSettings(config).remarks) process.stdout.write(`${text}\n`);
    // a running instance tells of its certificates, too, and has measured the links; before that there is only what the file says of them
    const measured = running ? await statusWarnings(options.runDir) : undefined;
    const active = config.links.filter((l) => !l.disabled);
    const said = () => [...certificatesOf(config, Date.now()).warnings, ...unequalLinks(active)];
    for (const text of measured ?? said()) process.stdout.write(`warning: ${text}\n`);
  }
  const links =
    config.role === 'router' || config.engine === 'openvpn'
      ? `${config.links.length} links`
      : `${config.clients.length} clients`;
  process.stdout.write(`${options.config}: good (${config.role}, ${links}, device ${config.bond.ifname})\n`);
  return EXIT_DONE;
}

async function statusWarnings(runDir: string): Promise<string[] | undefined> {
  try {
    return ((await askControl(runDir, 'status')) as Status).warnings;
  } catch {
    return undefined; // it is starting or ending
  }
}

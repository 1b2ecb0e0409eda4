/** The dry run of engine openvpn: the bonding device and its tunnels, which come and go with the process, as the commands that one could type. */
import { join } from 'node:path';
import { addCommands, makeCommands, takesTun } from '../backend/openvpn/bond-device.ts';
import { innerMtu, tunnelName } from '../backend/openvpn/conf.ts';
import { ownerOf } from '../backend/openvpn/openvpn.ts';
import { parseAddress } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import { printCommand } from '../plan/command.ts';
import type { Facts } from '../plan/facts.ts';
import { readKeys } from './keys.ts';
import { activeLinks, assignIds, backendSettings } from './settings.ts';

/** What the OpenVPN backend would do and undo, as lines of the dry run; a server that is a name is left to the start. */
export async function openvpnPlan(
  config: Config,
  facts: Facts,
  runDir: string,
): Promise<{ up: string[]; down: string[]; innerMtu: number }> {
  const links = activeLinks(config);
  const servers = new Map(links.map((l) => [l.name, parseAddress(l.server) ?? new Uint8Array(4)]));
  const ids = assignIds(links, new Map());
  const settings = backendSettings({ config, keys: readKeys(config), facts, servers, ids, offload: false });
  const { mode, devType: asked } = settings.openvpn!;
  const devType = asked === 'tun' && (await takesTun(mode)) ? 'tun' : 'tap';
  const line = (argv: readonly string[]) => `[#] ${printCommand({ run: [...argv] })}\n`;
  const usable = settings.links.filter((l) => l.usable);
  return {
    up: [
      ...makeCommands(settings, devType, ownerOf(runDir)).map(line),
      ...usable.map((l) => line(['openvpn', '--config', join(runDir, 'openvpn', `t${l.id}.conf`)])),
      ...usable.flatMap((l) => [
        `# once the tunnel of ${l.name} stands; out of the bond while it does not\n`,
        ...addCommands(settings, tunnelName(settings, l)).map(line),
      ]),
    ],
    down: ['# the tunnels end, and their devices with them\n', line(['ip', 'link', 'del', 'dev', settings.ifname])],
    innerMtu: innerMtu(settings),
  };
}

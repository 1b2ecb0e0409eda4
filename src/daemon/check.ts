/**
 * What the host must have before anything is done to it: rights, programs, /dev/net/tun, a free device name, free ports.
 *
 * Looks only; `yoke check` tells all of it at once, and a start refuses with the same words before its first change.
 */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { DRIVER_MISSING, hasDriver, holderOf } from '../backend/openvpn/bond-device.ts';
import { checkFiles } from '../backend/openvpn/files.ts';
import { ownerOf } from '../backend/openvpn/openvpn.ts';
import { type AddressBytes, printAddress } from '../base/address.ts';
import { type Complaint, YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { forwardTroubles } from './firewall.ts';
import { listenAddresses, openvpnSettings, waitingTunnels } from './settings.ts';

/** Bit of the capability to change network settings. Source: linux/capability.h. */
const CAP_NET_ADMIN = 12n;
/** Major and minor number of the TUN device. Source: Linux Documentation/admin-guide/devices.txt. */
const TUN_DEVICE = { major: 10, minor: 200 };

/** Programs and the Debian packages that bring them. */
const PROGRAMS = { ip: 'iproute2', nft: 'nftables', ping: 'iputils-ping', openvpn: 'openvpn' } as const;

/** What to look at. */
export interface CheckOptions {
  /** The instance is about to start: its device name must be free. Otherwise one may be running. */
  starting: boolean;
  /** Of the instance: a device that a killed one left there is no obstacle. */
  runDir: string;
}

/** @throws YokeError `host` with everything that is missing. */
export async function checkHost(config: Config, { starting, runDir }: CheckOptions): Promise<void> {
  const complaints: Complaint[] = [...checkRights(), ...checkTun(), ...checkPrograms(config)];
  if (config.engine === 'openvpn') complaints.push(...(await checkOpenvpn(config, starting)));
  complaints.push(...forwardTroubles(config));
  if (starting) {
    const free = config.engine === 'openvpn' && (await holderOf(config.bond.ifname, ownerOf(runDir))) !== 'somebody';
    if (!free) complaints.push(...checkName(config));
    complaints.push(...(await checkPorts(config)));
  }
  if (complaints.length > 0) throw new YokeError('host', complaints);
}

/** The bonding driver, the files that OpenVPN is told of; and, for a start, the tunnels' names and the server's ports. */
async function checkOpenvpn(config: Config, starting: boolean): Promise<Complaint[]> {
  const complaints = checkFiles(openvpnSettings(config).files);
  if (findProgram('ip') !== undefined && (await hasDriver()) === false) complaints.push(DRIVER_MISSING);
  if (!starting) return complaints;
  for (const { tunnel, name, place } of config.links.filter((l) => !l.disabled)) {
    if (tunnel === undefined || !existsSync(`/sys/class/net/${tunnel}`)) continue;
    complaints.push({
      where: `${place.file}:${place.line} link '${name}': option tunnel`,
      expected: 'a device name that is free',
      found: `${tunnel}, which exists`,
      todo: `choose another name, or remove that device (ip link del ${tunnel})`,
    });
  }
  return complaints;
}

function checkRights(): Complaint[] {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  if ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) return [];
  return [
    {
      where: `user ${process.getuid?.() ?? '?'}`,
      expected: 'the right to change network settings (CAP_NET_ADMIN)',
      found: 'none',
      todo: 'run yoke as root',
    },
  ];
}

function checkTun(): Complaint[] {
  const where = '/dev/net/tun';
  const make = `modprobe tun; mkdir -p /dev/net; mknod ${where} c ${TUN_DEVICE.major} ${TUN_DEVICE.minor}`;
  try {
    if (!statSync(where).isCharacterDevice()) {
      return [{ where, expected: 'a character device', found: 'something else', todo: make }];
    }
    accessSync(where, constants.R_OK | constants.W_OK);
    return [];
  } catch (error) {
    const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    return absent
      ? [{ where, expected: 'the TUN device', found: 'nothing there', todo: make }]
      : [{ where, expected: 'a device that may be opened', found: 'no permission', todo: 'run yoke as root' }];
  }
}

function checkPrograms(config: Config): Complaint[] {
  const needed: (keyof typeof PROGRAMS)[] = ['ip', 'nft'];
  if (config.bond.watchdog) needed.push('ping');
  if (config.engine === 'openvpn') needed.push('openvpn');
  return needed
    .filter((name) => findProgram(name) === undefined)
    .map((name) => ({
      where: `program ${name}`,
      expected: 'it in PATH',
      found: 'none',
      todo: `install it (Debian: apt-get install ${PROGRAMS[name]})`,
    }));
}

/** Where a program is, or undefined. */
export function findProgram(name: string): string | undefined {
  // a service manager's PATH may lack the system's own folders
  const folders = `${process.env.PATH ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`.split(delimiter);
  return folders
    .filter((f) => f !== '')
    .map((f) => join(f, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return statSync(path).isFile();
      } catch {
        return false;
      }
    });
}

function checkName(config: Config): Complaint[] {
  const { ifname, place } = config.bond;
  // /proc is that of this process's network namespace, /sys that of whoever mounted it
  const devices = readFileSync('/proc/self/net/dev', 'latin1');
  if (!devices.split('\n').some((line) => line.trim().startsWith(`${ifname}:`))) return [];
  return [
    {
      where: `${place.file}:${place.line} option ifname`,
      expected: 'a device name that is free',
      found: `${ifname}, which exists`,
      todo: `choose another name, or remove that device (ip link del ${ifname})`,
    },
  ];
}

async function checkPorts(config: Config): Promise<Complaint[]> {
  if (config.role !== 'server') return [];
  const ipv6 = existsSync('/proc/net/if_inet6');
  const places =
    config.engine === 'openvpn'
      ? waitingTunnels(config).map((l) => ({ address: l.serverAddress, port: l.localPort }))
      : listenAddresses(config, ipv6);
  const tries = places.map(async ({ address, port }): Promise<Complaint | undefined> => {
    const text = printAddress(address);
    const code = await whyNotFree(address, port);
    if (code === undefined) return undefined;
    const { file, line } = config.bond.place;
    return {
      where: `${file}:${line} option ${config.engine === 'openvpn' ? 'local_port' : 'listen'}`,
      expected: `UDP port ${port} of ${text} to be free`,
      found: code === 'EADDRINUSE' ? 'another program there' : code,
      todo: code === 'EADDRINUSE' ? `see which (ss -ulpn sport = :${port}), or choose another port` : 'correct it',
    };
  });
  return (await Promise.all(tries)).filter((c) => c !== undefined);
}

/** Why a UDP port of an address cannot be had now, in the kernel's word; undefined: it can. */
export async function whyNotFree(address: AddressBytes, port: number): Promise<string | undefined> {
  const { createSocket } = await import('node:dgram');
  const socket = createSocket({ type: address.length === 4 ? 'udp4' : 'udp6', ipv6Only: address.length === 16 });
  const code = await new Promise<string | undefined>((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.bind({ port, address: printAddress(address), exclusive: true }, () => resolve(undefined));
  });
  socket.close();
  return code;
}

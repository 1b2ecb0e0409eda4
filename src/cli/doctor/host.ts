/** This host as far as yoke needs it: programs, kernel features, clock, and what may be in its way. Looks only. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { YokeError } from '../../base/error.ts';
import type { Config } from '../../config/config.ts';
import { checkHost, findProgram } from '../../daemon/check.ts';
import { firewallWarnings } from '../../daemon/firewall.ts';
import { lockHolder } from '../../daemon/lock.ts';
import { readRules } from '../../host/read.ts';
import { run } from '../../host/run.ts';
import { desiredNft } from '../../plan/nft.ts';

/** Something that was looked at. */
export interface Finding {
  /** `bad`: yoke cannot run, or not well, until it is seen to. `note`: worth knowing. */
  level: 'good' | 'note' | 'bad';
  about: string;
  text: string;
}

/** Programs that manage default routes or bonds themselves, by the name of their process. */
const RIVALS: Record<string, string> = {
  mwan3track: 'mwan3 chooses among default routes too',
  mwan3rtmon: 'mwan3 chooses among default routes too',
  glorytun: 'another bonding tunnel',
  mlvpn: 'another bonding tunnel',
  ubond: 'another bonding tunnel',
  watchcat: 'it restarts links or the router by itself',
};
/** The kernel that brought UDP segmentation offload in both directions. Source: Linux 5.0. */
const OFFLOAD_KERNEL = [5, 0];

/** Everything about the host. `config` is undefined when it could not be read. */
export async function lookAtHost(config: Config | undefined, runDir: string): Promise<Finding[]> {
  const running = lockHolder(runDir);
  return [
    ...(config ? await requirements(config, running !== undefined, runDir) : []),
    ...programs(config),
    ...(await kernel(config)),
    clock(),
    ...(await rivals(running?.pid)),
    ...(config ? await firewalls(config) : []),
  ];
}

/** What a start would refuse: rights, /dev/net/tun, names and ports that are taken. */
async function requirements(config: Config, running: boolean, runDir: string): Promise<Finding[]> {
  try {
    await checkHost(config, { starting: !running, runDir });
    const text = running ? 'an instance runs' : 'an instance can start: rights, device names and ports are free';
    return [{ level: 'good', about: 'start', text }];
  } catch (error) {
    if (!(error instanceof YokeError)) throw error;
    return error.message.split('\n').map((text) => ({ level: 'bad', about: 'start', text }));
  }
}

function programs(config: Config | undefined): Finding[] {
  const wanted: [name: string, why: string, level: 'bad' | 'note'][] = [
    ['ip', 'iproute2: routes and devices', 'bad'],
    ['nft', 'nftables: address translation', 'bad'],
    ['ping', 'iputils-ping: watchdog and this command', 'note'],
    ['iperf3', 'for yoke test --iperf3', 'note'],
  ];
  if (config?.engine === 'openvpn') wanted.push(['openvpn', 'the tunnels of this engine', 'bad']);
  const missing = wanted.filter(([name]) => findProgram(name) === undefined);
  if (missing.length === 0) {
    return [{ level: 'good', about: 'programs', text: `${wanted.map(([name]) => name).join(', ')}: all there` }];
  }
  return missing.map(([name, why, level]) => ({ level, about: 'programs', text: `${name} is missing (${why})` }));
}

async function kernel(config: Config | undefined): Promise<Finding[]> {
  const [major, minor] = release().split('.').map(Number);
  const offload = major > OFFLOAD_KERNEL[0] || (major === OFFLOAD_KERNEL[0] && minor >= OFFLOAD_KERNEL[1]);
  const bonding = bondingDriver();
  const out: Finding[] = [
    { level: existsSync('/dev/net/tun') ? 'good' : 'bad', about: 'kernel', text: tunText() },
    {
      level: offload ? 'good' : 'note',
      about: 'kernel',
      text: `${release()}: UDP segmentation offload ${offload ? 'is there' : 'is not; the plain path is several times as slow'}`,
    },
    {
      level: bonding !== 'none' ? 'good' : config?.engine === 'openvpn' ? 'bad' : 'note',
      about: 'kernel',
      text: `bonding driver: ${bonding}${bonding === 'none' ? " (engine 'openvpn' needs it)" : ''}`,
    },
  ];
  if (!existsSync('/proc/sys/net/ipv6')) out.push({ level: 'note', about: 'kernel', text: 'no IPv6' });
  out.push(await nftables(config));
  return out;
}

const tunText = () =>
  existsSync('/dev/net/tun') ? '/dev/net/tun is there' : '/dev/net/tun is missing: modprobe tun, or ask the provider';

/** Whether the driver is in use, can be loaded, or is nowhere. */
export function bondingDriver(): 'loaded' | 'can be loaded' | 'none' {
  if (existsSync('/sys/module/bonding') || existsSync('/sys/class/net/bonding_masters')) return 'loaded';
  const modules = `/lib/modules/${release()}`;
  for (const list of ['modules.dep', 'modules.builtin']) {
    try {
      if (/\/bonding\.ko/.test(readFileSync(`${modules}/${list}`, 'utf8'))) return 'can be loaded';
    } catch {
      // no such list
    }
  }
  // OpenWrt keeps its modules flat
  return existsSync(`${modules}/bonding.ko`) ? 'can be loaded' : 'none';
}

/** The table that the configuration asks for, or one like ours, checked by the kernel and not made. */
async function nftables(config: Config | undefined): Promise<Finding> {
  const sample = `table inet yoke_doctor {
    chain nat {
      type nat hook postrouting priority srcnat
      oifname "none" masquerade
    }
    chain mss {
      type filter hook forward priority mangle
      tcp flags syn tcp option maxseg size set rt mtu
    }
  }
`;
  try {
    const text = config ? desiredNft(config).text.replace(/^table inet \S+/, 'table inet yoke_doctor') : sample;
    const { status, stderr } = await run(['nft', '-c', '-f', '-'], text);
    if (status === 0) return { level: 'good', about: 'kernel', text: 'nftables takes a table like ours' };
    const rights = /permitted|permission/i.test(stderr);
    const why = stderr.trim().split('\n')[0];
    if (rights) return { level: 'note', about: 'kernel', text: 'nftables could not be tried without root' };
    return { level: 'bad', about: 'kernel', text: `nftables refuses a table like ours: ${why}` };
  } catch (error) {
    if (!(error instanceof YokeError)) throw error;
    return { level: 'bad', about: 'kernel', text: 'nftables could not be tried: nft is missing' };
  }
}

/** Certificates and time stamps of handshakes need a clock that is not years behind. */
function clock(): Finding {
  const installedMs = statSync(fileURLToPath(import.meta.url)).mtimeMs;
  const now = new Date();
  const text = now.toISOString().slice(0, 16);
  if (now.getTime() < installedMs - 60_000) {
    return { level: 'bad', about: 'clock', text: `${text}Z is before this program was installed: set the clock (NTP)` };
  }
  const synchronized = existsSync('/run/systemd/timesync/synchronized');
  const known = synchronized ? ', kept by NTP' : '';
  return { level: 'good', about: 'clock', text: `${text}Z${known}` };
}

/** Other firewalls that close what yoke needs. */
async function firewalls(config: Config): Promise<Finding[]> {
  const warnings = await firewallWarnings(config);
  return warnings.map((text) => ({ level: 'note', about: 'firewall', text }));
}

/** Other programs that do what yoke does. */
async function rivals(ownPid: number | undefined): Promise<Finding[]> {
  const out: Finding[] = [];
  for (const { pid, comm, parent } of processes()) {
    const why = RIVALS[comm];
    if (why) out.push({ level: 'note', about: 'others', text: `${comm} runs (pid ${pid}): ${why}` });
    if (comm === 'openvpn' && (ownPid === undefined || parent !== ownPid)) {
      const text = `an OpenVPN that is not ours runs (pid ${pid}): its ports and routes may be those of this bond`;
      out.push({ level: 'note', about: 'others', text });
    }
  }
  if (ownPid === undefined) {
    const rules = await readRules(4).catch(() => []);
    if (rules.length > 0) {
      const text = `${rules.length} routing rules of yoke are there, but no instance in this run directory: another instance, or one that was killed (yoke down takes its changes back)`;
      out.push({ level: 'note', about: 'others', text });
    }
  }
  if (out.length === 0) out.push({ level: 'good', about: 'others', text: 'no other program of the kind runs' });
  return out;
}

function processes(): { pid: number; comm: string; parent: number }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const m = /^\d+ \((.*)\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'));
        return m ? [{ pid: Number(pid), comm: m[1], parent: Number(m[2]) }] : [];
      } catch {
        return []; // ended meanwhile
      }
    });
}

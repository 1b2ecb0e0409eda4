/**
 * A throw-away network namespace for a test file: the file runs itself again inside `unshare`, so nothing has to be removed afterwards.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

/** Runs `inside` in a namespace of its own; outside it, declares one test that stands for the whole file. */
export function inNamespace(file: string, inside: () => void): void {
  if (process.env.YKH_INSIDE === '1') {
    sh('ip link set lo up');
    inside();
    return;
  }
  test('in a network namespace', (t) => {
    const flags = process.getuid?.() === 0 ? ['-n'] : ['-rn'];
    if (spawnSync('unshare', [...flags, 'true']).status !== 0) return t.skip('no namespaces for this user');
    const env: NodeJS.ProcessEnv = { ...process.env, YKH_INSIDE: '1' };
    delete env.NODE_TEST_CONTEXT;
    const child = spawnSync('unshare', [...flags, process.execPath, file], { env, encoding: 'utf8', timeout: 120_000 });
    if (child.status !== 0) throw new Error(`${child.stdout}\n${child.stderr}`);
  });
}

/** Runs words separated by blanks (no quoting) and returns what they print. */
export function sh(line: string): string {
  const [program, ...args] = line.split(' ');
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A device without a link-local address of its own, its far end beside it. */
export function addDevice(name: string): void {
  sh(`ip link add ${name} type veth peer name ${name}-far`);
  for (const end of [name, `${name}-far`]) sh(`ip link set ${end} addrgenmode none`);
  sh(`ip link set ${name}-far up`);
}

/** What `ip addr` says of a device's far end and of its queue; it follows from up and down, some with a delay. */
const VOLATILE = /(?<=<)NO-CARRIER,|,LOWER_UP(?=[,>])|,M-DOWN(?=[,>])| qdisc \w+| state \w+/g;

/** Everything of this namespace that yoke could touch, as text and settings. */
export function snapshot(): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const family of ['-4', '-6']) {
    out[`rules ${family}`] = sh(`ip ${family} rule`);
    const routes = sh(`ip ${family} route show table all`).split('\n');
    out[`routes ${family}`] = routes.filter((r) => !r.includes('proto kernel')).sort();
  }
  out.addresses = sh('ip addr').replaceAll(VOLATILE, '');
  out.nft = sh('nft -s list ruleset');
  for (const version of ['ipv4', 'ipv6']) {
    for (const path of readdirSync(`/proc/sys/net/${version}`, { recursive: true, encoding: 'utf8' })) {
      if (!/^(conf\/|ip_forward$)/.test(path)) continue;
      try {
        out[`${version}/${path}`] = readFileSync(`/proc/sys/net/${version}/${path}`, 'utf8').trim();
      } catch {
        // A folder, or a setting that cannot be read before it was written.
      }
    }
  }
  return out;
}

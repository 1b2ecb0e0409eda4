/** The real host, in a throw-away network namespace, keeps the contract of hosts. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LinuxHost } from '../../src/host/host.ts';
import { hostContract } from '../host/contract.ts';
import { addDevice, inNamespace, sh, snapshot } from '../host/namespace.ts';

inNamespace(fileURLToPath(import.meta.url), () => {
  const gone = new Set<string>();
  const remove = (name: string) => {
    if (!gone.has(name)) sh(`ip link del ${name}`);
    gone.add(name);
  };
  hostContract('real host', async () => {
    gone.clear();
    for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']) writeFileSync(`/proc/sys/net/${key}`, '0');
    addDevice('lan0');
    sh('ip addr add 192.0.2.10/24 dev lan0');
    sh('ip addr add 2001:db8::10/64 dev lan0 nodad');
    sh('ip link set lan0 up');
    addDevice('tun7');
    return {
      host: new LinuxHost(),
      removeDevice: async (name) => remove(name),
      setSetting: async (key, value) => writeFileSync(`/proc/sys/${key}`, value),
      snapshot: async () => snapshot(),
      close: async () => {
        for (const name of ['lan0', 'tun7']) remove(name);
        for (const family of ['-4', '-6']) {
          sh(`ip ${family} rule flush protocol 121`);
          sh(`ip ${family} route flush table all proto 121`);
        }
        sh('nft flush ruleset');
      },
    };
  });
});

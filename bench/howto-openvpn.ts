/** The article's tunnels in today's words: for each line a point-to-point OpenVPN with a TAP, TLS, UDP, AES-256-GCM. */
import type { ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { must, spawnInside } from '../src/lab/netns.ts';
import { routerAddress, serverAddress } from './howto-lines.ts';

const PORT = 1194;

/** Starts both ends of `count` tunnels, `tap0`, `tap1`, …; the folder is for their keys. Owns: the processes go to the caller. */
export async function startTunnels(folder: string, count: number): Promise<ChildProcess[]> {
  const fingerprints: Record<string, string> = {};
  for (const end of ['router', 'server']) {
    const [key, crt] = [join(folder, `${end}.key`), join(folder, `${end}.crt`)];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    await must(['openssl', 'req', '-x509', ...curve, '-keyout', key, '-out', crt, '-days', '2', '-subj', `/CN=${end}`]);
    const text = await must(['openssl', 'x509', '-in', crt, '-noout', '-fingerprint', '-sha256']);
    fingerprints[end] = text.trim().replace(/^.*=/, '');
  }
  const children: ChildProcess[] = [];
  const start = (end: 'router' | 'server', i: number, ...more: string[]) => {
    const argv = ['openvpn', '--dev', `tap${i}`, '--dev-type', 'tap', '--proto', 'udp', '--verb', '1'];
    argv.push('--cert', join(folder, `${end}.crt`), '--key', join(folder, `${end}.key`));
    argv.push('--data-ciphers', 'AES-256-GCM', '--fast-io', '--mssfix', '0', '--persist-tun', '--txqueuelen', '1000');
    children.push(spawnInside(end, [...argv, ...more], { stdio: ['ignore', 'ignore', 'inherit'] }));
  };
  for (let i = 0; i < count; i++) {
    const at = ['--local', serverAddress(i), '--port', String(PORT)];
    start('server', i, '--tls-server', '--dh', 'none', '--peer-fingerprint', fingerprints.router, ...at);
  }
  for (let i = 0; i < count; i++) {
    const to = ['--local', routerAddress(i), '--port', String(PORT), '--remote', serverAddress(i), String(PORT)];
    start('router', i, '--tls-client', '--peer-fingerprint', fingerprints.server, ...to);
  }
  await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      for (const end of ['router', 'server']) {
        const there = async () => (await must(['ip', '-n', end, '-br', 'link'])).includes(`tap${i} `);
        while (!(await there())) await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }),
  );
  return children;
}

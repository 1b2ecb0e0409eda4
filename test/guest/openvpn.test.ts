/** The backend contract, run against OpenVPN under the kernel's bonding driver: both ends in one guest, over its loopback. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OpenvpnBackend } from '../../src/backend/openvpn/openvpn.ts';
import { makeCertificates, pairOf } from '../backend/openvpn-samples.ts';
import { backendContract } from '../contract/backend.ts';
import { sh } from '../host/namespace.ts';
import { inGuest, insideKernel } from './guest.ts';

const PORT = 21_194;

if (insideKernel !== undefined) {
  sh('ip link set lo up');
  const { dir } = await makeCertificates();
  inGuest(process.argv[1], () => {
    backendContract('openvpn', {
      make: () => new OpenvpnBackend({ runDir: mkdtempSync(join(tmpdir(), 'yko-')) }),
      settings: () =>
        pairOf(
          dir,
          [0, 1].map((i) => ({ device: 'lo', local: `127.0.1.${i + 1}`, server: '127.0.0.1', port: PORT + i })),
          { router: 'yko-router', server: 'yko-server' },
        ),
      occupy: async (what, { ifname }) => {
        if (what === 'device') {
          sh(`ip link add ${ifname} type veth peer name yko-other`);
          return async () => void sh(`ip link del ${ifname}`);
        }
        const socket = createSocket('udp4').bind(PORT, '127.0.0.1');
        await once(socket, 'listening');
        return async () => void (await new Promise<void>((done) => socket.close(done)));
      },
    });
  });
} else inGuest(process.argv[1], () => {}, { timeoutMs: 180_000 });

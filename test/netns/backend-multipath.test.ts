/** The backend contract, run against the multipath engine: both ends in one namespace, over two pairs of veth devices' addresses on lo. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import type { BackendSettings } from '../../src/backend/backend.ts';
import { MultipathBackend } from '../../src/backend/multipath/multipath.ts';
import { parseAddress, parsePrefix } from '../../src/base/address.ts';
import { nodeHandshakeCrypto } from '../../src/io/crypto.ts';
import { backendContract } from '../contract/backend.ts';
import { inNamespace, sh } from '../host/namespace.ts';

const PORT = 21194;

inNamespace(process.argv[1], () => {
  const serverKeys = nodeHandshakeCrypto.generateKeyPair();
  const routerKeys = nodeHandshakeCrypto.generateKeyPair();
  const base = { fwmark: 0, offload: true, carriesIpv6: true };
  const address = parseAddress('127.0.0.1');
  if (address === undefined) throw new Error('an address');

  const settings = (): { server: BackendSettings; router: BackendSettings } => ({
    server: {
      ...base,
      role: 'server',
      ifname: 'ykc-server',
      privateKey: serverKeys.privateKey,
      peers: [{ name: 'one', publicKey: routerKeys.publicKey, allowed: [prefix('10.99.0.2/32')] }],
      links: [],
      listen: [{ port: PORT }],
    },
    router: {
      ...base,
      role: 'router',
      ifname: 'ykc-router',
      privateKey: routerKeys.privateKey,
      peers: [{ name: 'server', publicKey: serverKeys.publicKey, allowed: [prefix('0.0.0.0/0')] }],
      links: [0, 1].map((id) => ({
        id,
        name: `link${id}`,
        device: 'lo',
        usable: true,
        localPort: 0,
        serverAddress: address,
        serverPort: PORT,
        mtu: 1500,
      })),
      listen: [],
    },
  });

  backendContract('multipath', {
    make: () => new MultipathBackend(),
    settings,
    occupy: async (what, { ifname }) => {
      if (what === 'device') {
        sh(`ip link add ${ifname} type veth peer name ykc-other`);
        return async () => void sh(`ip link del ${ifname}`);
      }
      const socket = createSocket('udp4').bind(PORT);
      await once(socket, 'listening');
      return async () => void (await new Promise<void>((done) => socket.close(done)));
    },
  });
});

function prefix(text: string) {
  const p = parsePrefix(text);
  if (p === undefined) throw new Error(text);
  return p;
}

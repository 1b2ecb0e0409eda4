/** One end of engine multipath in bench/howto's guest: told what to do by JSON on stdin, says a line when its device is there. */
import { readFileSync } from 'node:fs';
import type { BackendEvent, BackendSettings } from '../src/backend/backend.ts';
import { MultipathBackend } from '../src/backend/multipath/multipath.ts';
import { parseAddress, parsePrefix } from '../src/base/address.ts';
import { must } from '../src/lab/netns.ts';
import { PIPE, serverAddress } from '../test/guest/lines.ts';

const PORT = 21194;

/** Keys are in hexadecimal, addresses as text. */
export interface EndJob {
  role: 'router' | 'server';
  privateKey: string;
  peerKey: string;
  lines: number;
}

function settingsOf(job: EndJob): BackendSettings {
  const atRouter = job.role === 'router';
  return {
    role: job.role,
    ifname: PIPE.device,
    privateKey: Buffer.from(job.privateKey, 'hex'),
    peers: [
      {
        name: atRouter ? 'server' : 'router',
        publicKey: Buffer.from(job.peerKey, 'hex'),
        allowed: [parsePrefix(atRouter ? '0.0.0.0/0' : `${PIPE.router}/32`)!],
      },
    ],
    links: Array.from({ length: atRouter ? job.lines : 0 }, (_, id) => ({
      id,
      name: `line${id}`,
      device: `line${id}`,
      usable: true,
      localPort: 0,
      serverAddress: parseAddress(serverAddress(id))!,
      serverPort: PORT,
      mtu: 1500,
    })),
    listen: atRouter ? [] : [{ port: PORT }],
    fwmark: 0,
    offload: true,
    carriesIpv6: true,
  };
}

async function main(): Promise<void> {
  const job = JSON.parse(readFileSync(0, 'utf8')) as EndJob;
  const backend = new MultipathBackend();
  const ip = (...argv: string[]) => must(['ip', ...argv]);
  await backend.start(settingsOf(job), (event: BackendEvent) => {
    if (event.kind === 'mtu') void ip('link', 'set', 'dev', PIPE.device, 'mtu', String(event.innerMtu));
    if (event.kind === 'failed') throw event.error;
  });
  await ip('address', 'add', `${PIPE[job.role]}/24`, 'dev', PIPE.device);
  await ip('link', 'set', 'dev', PIPE.device, 'up');
  process.once('SIGTERM', () => void backend.stop().then(() => process.exit(0)));
  process.stdout.write('ready\n');
}

await main();

/** `yoke invite NAME`: one line that makes a fresh router one of this server's, once and for a while. */
import { randomBytes } from 'node:crypto';
import { encode } from 'uqr';
import type { Config } from '../config/config.ts';
import type { Instance } from '../daemon/instance.ts';
import { readKeys } from '../daemon/keys.ts';
import { lockHolder } from '../daemon/lock.ts';
import { PLACES_LIMIT, printInvitation } from '../setup/invitation.ts';
import { hashOfSecret } from '../setup/invitations.ts';
import { loadServer, needRoot } from './as-root.ts';
import { tellMembers } from './members.ts';
import { findPlaces } from './places.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** What `yoke invite` is given. */
export interface InviteOptions extends GlobalOptions {
  /** Units: seconds. */
  expires: number;
  qr: boolean;
}

/** Prints an invitation. */
export async function invite(name: string, options: InviteOptions): Promise<number> {
  needRoot('yoke invite');
  const config = loadServer(options.config, 'yoke invite');
  await printNewInvitation(name, config, options, options);
  if (lockHolder(options.runDir) === undefined) {
    process.stderr.write('the service does not run, so nobody can join yet; start it: yoke server init\n');
  }
  return EXIT_DONE;
}

/** Registers an invitation and prints it: a line, and a QR code where people look on. */
export async function printNewInvitation(
  name: string,
  config: Config,
  instance: Instance,
  { expires, qr }: { expires: number; qr: boolean },
): Promise<void> {
  const { endpoints, ifname, listen } = config.bond;
  const places = endpoints?.slice(0, PLACES_LIMIT) ?? (await findPlaces(listen[0].port, ifname));
  const secret = Uint8Array.from(randomBytes(16));
  const expiresAt = new Date(Date.now() + expires * 1000);
  const params = { name, hash: hashOfSecret(secret), expiresAt: expiresAt.toISOString() };
  await tellMembers(instance, 'invite', params);
  const serverKey = readKeys(config).publicKey;
  const line = printInvitation({ places, port: outerPort(config), serverKey, secret });
  const until = `${expiresAt.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  process.stdout.write(`invitation for ${name}, good once, until ${until}; on the router, as root:\n\n`);
  process.stdout.write(`  yoke join ${line}\n\n`);
  if (qr && process.stdout.isTTY) process.stdout.write(`${printQr(line)}\n`);
}

/** The UDP port that routers reach a server at. */
export const outerPort = ({ bond }: Config): number => bond.endpointPort ?? bond.listen[0].port;

/** Black on white whatever the terminal's colours are; two rows of the code are one line. */
export function printQr(text: string): string {
  const { data, size } = encode(text, { ecc: 'L', border: 4 });
  const lines: string[] = [];
  for (let y = 0; y < size; y += 2) {
    const row = data[y].map((top, x) => {
      const bottom = data[y + 1]?.[x] ?? false;
      return top ? (bottom ? '█' : '▀') : bottom ? '▄' : ' ';
    });
    lines.push(`\u001b[30;107m${row.join('')}\u001b[0m`);
  }
  return `${lines.join('\n')}\n`;
}

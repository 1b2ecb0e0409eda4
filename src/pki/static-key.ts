/** The key that all ends share, for OpenVPN's `tls-auth` and `tls-crypt`: 2048 random bits in the program's own text form. */
import { randomBytes } from 'node:crypto';

/** Source: openvpn(8), `--genkey secret`: four keys of 512 bits. */
const KEY_BYTES = 256;
const BYTES_PER_LINE = 16;

/** A new static key as the text of a file. */
export function makeStaticKey(random: (size: number) => Uint8Array = randomBytes): string {
  const hex = Buffer.from(random(KEY_BYTES)).toString('hex');
  const lines = hex.match(new RegExp(`.{${2 * BYTES_PER_LINE}}`, 'g')) ?? [];
  const head = '#\n# 2048 bit OpenVPN static key\n#\n-----BEGIN OpenVPN Static key V1-----\n';
  return `${head}${lines.join('\n')}\n-----END OpenVPN Static key V1-----\n`;
}

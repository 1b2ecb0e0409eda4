/** `yoke keygen`, `yoke pubkey`, `yoke genpsk`: keys on stdin and stdout, as `wg` has them. */
import { YokeError } from '../base/error.ts';
import { parseKey, printKey } from '../config/kinds.ts';
import { generatePresharedKey, generatePrivateKey, publicKeyOf } from '../daemon/keys.ts';

/** Nobody's key is longer; what is, is not a key. */
const STDIN_LIMIT_BYTES = 4096;

/** Prints a new private key. */
export async function keygen(): Promise<number> {
  process.stdout.write(`${printKey(generatePrivateKey())}\n`);
  return 0;
}

/** Prints a new pre-shared key. */
export async function genpsk(): Promise<number> {
  process.stdout.write(`${printKey(generatePresharedKey())}\n`);
  return 0;
}

/** Reads a private key, prints its public key. */
export async function pubkey(): Promise<number> {
  const key = parseKey((await readStdin(STDIN_LIMIT_BYTES)).trim());
  if (!key) {
    throw new YokeError('config', {
      where: 'stdin',
      expected: 'a private key: 32 bytes in base64',
      found: 'something else',
      todo: 'make one with yoke keygen',
    });
  }
  process.stdout.write(`${printKey(publicKeyOf(key))}\n`);
  return 0;
}

/** All of stdin, as far as it is not longer than what is expected there. */
export async function readStdin(limitBytes: number): Promise<string> {
  let text = '';
  process.stdin.setEncoding('latin1');
  for await (const chunk of process.stdin) {
    text += chunk;
    if (text.length > limitBytes) break;
  }
  return text;
}

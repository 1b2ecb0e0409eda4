/**
 * Keys: made, and read from files, as `wg` has them (32 bytes, base64, one line).
 *
 * A key file that others may read is refused: a secret that leaked quietly is worse than a start that fails loudly.
 */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { type Complaint, YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { parseKey, printKey } from '../config/kinds.ts';
import { SECRET_MODE, writeWhole } from '../host/files.ts';

/** The bytes before a raw X25519 private key in PKCS #8. Source: RFC 8410 §7. */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** Longest key file that is read: a key has 44 characters; the rest is room for a newline. */
const KEY_FILE_LIMIT = 256;

/** 32 random bytes, clamped as X25519 wants its private keys. Source: RFC 7748 §5. */
export function generatePrivateKey(): Uint8Array {
  const key = randomBytes(32);
  key[0] &= 248;
  key[31] = (key[31] & 127) | 64;
  return key;
}

/** 32 random bytes for both ends. */
export function generatePresharedKey(): Uint8Array {
  return randomBytes(32);
}

/** The X25519 public key of a private key. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519, privateKey]), format: 'der', type: 'pkcs8' });
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.from(jwk.x as string, 'base64url');
}

/**
 * The private key in a file, made (mode 0600) when there is none.
 *
 * @throws YokeError when there is something else, or it is open to others.
 */
export function ensurePrivateKey(file: string): Uint8Array {
  if (existsSync(file)) {
    const complaints: Complaint[] = [];
    const key = readKeyFile(file, file, complaints);
    if (!key || complaints.length > 0) throw new YokeError('config', complaints);
    return key;
  }
  const key = generatePrivateKey();
  writeWhole(file, `${printKey(key)}\n`, SECRET_MODE);
  return key;
}

/** The secrets of a configuration, wherever they were kept. */
export interface Keys {
  privateKey: Uint8Array;
  publicKey: Uint8Array;
  /** Router's. */
  presharedKey?: Uint8Array;
  /** Server's: by client name. */
  clientPresharedKeys: Map<string, Uint8Array>;
}

/**
 * Reads every key that the configuration names.
 *
 * @throws YokeError `config` with every complaint at once; no message holds a byte of a key.
 */
export function readKeys(config: Config): Keys {
  // OpenVPN reads its own.
  if (config.engine === 'openvpn') {
    return { privateKey: new Uint8Array(0), publicKey: new Uint8Array(0), clientPresharedKeys: new Map() };
  }
  const complaints: Complaint[] = [];
  const read = (inline: Uint8Array | undefined, file: string | undefined, line: number) =>
    inline ?? (file === undefined ? undefined : readKeyFile(file, `${config.file}:${line}`, complaints));

  const { bond } = config;
  checkInlineKeys(config, complaints);
  const privateKey = read(bond.privateKey, bond.privateKeyFile, bond.place.line);
  if (!privateKey && complaints.length === 0) {
    complaints.push({
      where: `${config.file}:${bond.place.line}`,
      expected: 'option private_key_file',
      found: 'none',
      todo: 'make a key: (umask 077; yoke keygen > /etc/yoke.key), and name the file',
    });
  }
  const presharedKey = read(bond.presharedKey, bond.presharedKeyFile, bond.place.line);
  const clientPresharedKeys = new Map<string, Uint8Array>();
  for (const client of config.clients) {
    const key = read(client.presharedKey, client.presharedKeyFile, client.place.line);
    if (key) clientPresharedKeys.set(client.name, key);
  }
  if (complaints.length > 0 || !privateKey) throw new YokeError('config', complaints);
  return { privateKey, publicKey: publicKeyOf(privateKey), presharedKey, clientPresharedKeys };
}

/** A configuration that holds keys is a key file itself. */
function checkInlineKeys(config: Config, complaints: Complaint[]): void {
  const holds = [config.bond.privateKey, config.bond.presharedKey, ...config.clients.map((c) => c.presharedKey)];
  if (holds.every((key) => key === undefined)) return;
  const mode = statSync(config.file, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & 0o007) === 0) return;
  complaints.push({
    where: config.file,
    expected: 'a file that is closed to others, for it holds a key',
    found: `mode ${(mode & 0o777).toString(8)}`,
    todo: `chmod 600 ${config.file}, or keep the key in a file of its own`,
  });
}

function readKeyFile(file: string, said: string, complaints: Complaint[]): Uint8Array | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(file, 'r');
    const stat = fstatSync(fd);
    if (!stat.isFile() || stat.size > KEY_FILE_LIMIT) {
      complaints.push({
        where: said,
        expected: 'a file with one key of 44 characters',
        found: stat.isFile() ? `${file} of ${stat.size} bytes` : `${file}, which is not a file`,
        todo: 'make one: (umask 077; yoke keygen > FILE)',
      });
      return undefined;
    }
    if ((stat.mode & 0o007) !== 0) {
      complaints.push({
        where: said,
        expected: 'a key file that is closed to others',
        found: `${file} with mode ${(stat.mode & 0o777).toString(8)}`,
        todo: `chmod 600 ${file}`,
      });
      return undefined;
    }
    const key = parseKey(readFileSync(fd, 'latin1').trim());
    if (!key) {
      complaints.push({
        where: said,
        expected: 'a key: 32 bytes in base64',
        found: `${file} with something else in it`,
        todo: 'make one: (umask 077; yoke keygen > FILE)',
      });
    }
    return key;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    complaints.push({
      where: said,
      expected: 'a readable key file',
      found: code === 'ENOENT' ? `no file ${file}` : `${file}: ${code ?? 'unreadable'}`,
      todo: code === 'ENOENT' ? `make it: (umask 077; yoke keygen > ${file})` : 'make it readable for yoke',
    });
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Keys: the X25519 vectors, files that are refused, and that no message holds a key. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import type { Config } from '../../src/config/config.ts';
import { parseKey, printKey } from '../../src/config/kinds.ts';
import { generatePresharedKey, generatePrivateKey, publicKeyOf, readKeys } from '../../src/daemon/keys.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-keys-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('the public key is that of RFC 7748 §6.1', () => {
  const bob = Buffer.from('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb', 'hex');
  assert.equal(
    Buffer.from(publicKeyOf(bob)).toString('hex'),
    'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
  );
});

test('keys made here are clamped, printed and read back', () => {
  const key = generatePrivateKey();
  assert.equal(key[0] & 7, 0);
  assert.equal(key[31] & 0xc0, 0x40);
  assert.deepEqual(Buffer.from(parseKey(printKey(key))!), Buffer.from(key));
  assert.equal(generatePresharedKey().length, 32);
});

function config(bond: Partial<Config['bond']>, clients: Partial<Config['clients'][number]>[] = []): Config {
  const place = { file: join(dir, 'conf'), line: 7 };
  return {
    file: place.file,
    role: 'router',
    engine: 'multipath',
    bond: { place, ...bond },
    links: [],
    clients: clients.map((c, i) => ({ name: `c${i}`, place: { ...place, line: 20 + i }, ...c })),
  } as unknown as Config;
}

function keyFile(name: string, text: string, mode = 0o600): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test('keys come from the file or the configuration', () => {
  const mine = generatePrivateKey();
  const psk = generatePresharedKey();
  const keys = readKeys(
    config({ privateKeyFile: keyFile('key', printKey(mine)), presharedKey: psk }, [
      { presharedKeyFile: keyFile('psk', printKey(psk)) },
      {},
    ]),
  );
  assert.deepEqual(Buffer.from(keys.privateKey), Buffer.from(mine));
  assert.deepEqual(keys.publicKey, publicKeyOf(mine));
  assert.deepEqual(keys.presharedKey, psk);
  assert.deepEqual([...keys.clientPresharedKeys], [['c0', new Uint8Array(psk)]]);
});

test('every bad key file is told, at once, with its line and without its bytes', () => {
  const secret = printKey(generatePrivateKey());
  assert.throws(
    () =>
      readKeys(
        config({ privateKeyFile: 'none', presharedKeyFile: keyFile('open', secret, 0o604) }, [
          { presharedKeyFile: keyFile('bad', secret.slice(2)) },
          { presharedKeyFile: dir },
          { presharedKeyFile: keyFile('long', secret.repeat(9)) },
        ]),
      ),
    (error: Error) => {
      const lines = error.message.split('\n');
      assert.equal(lines.length, 5);
      assert.match(lines[0], /conf:7: expected a readable key file, found no file .*none; make it: /);
      assert.match(
        lines[1],
        /conf:7: expected a key file that is closed to others, found .*open with mode 604; chmod 600/,
      );
      assert.match(lines[2], /conf:20: expected a key: 32 bytes in base64/);
      assert.match(lines[3], /conf:21: .* which is not a file/);
      assert.match(lines[4], /conf:22: .* of 396 bytes/);
      assert.ok(!error.message.includes(secret.slice(4, 30)));
      return true;
    },
  );
});

test('a configuration without a private key says how to make one', () => {
  assert.throws(() => readKeys(config({})), /conf:7: expected option private_key_file, found none; make a key/);
});

test('a configuration that holds a key is a key file itself', () => {
  const privateKey = generatePrivateKey();
  keyFile('conf', '', 0o644);
  assert.throws(
    () => readKeys(config({ privateKey })),
    /conf: expected a file that is closed to others.* mode 644; chmod 600/,
  );
  chmodSync(join(dir, 'conf'), 0o640);
  assert.deepEqual(readKeys(config({ privateKey })).privateKey, privateKey);
});

/** The authority in a folder: its files, what the openssl program says of them, and an authority of easy-rsa's shape. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { YokeError } from '../../src/base/error.ts';
import { readRevocationList } from '../../src/pki/certificate.ts';
import { expiryOf } from '../../src/pki/expiry.ts';
import { Pki } from '../../src/pki/pki.ts';

const DAY_MS = 86_400_000;
const NOW = new Date('2026-11-23T12:00:00Z');

const skip = spawnSync('openssl', ['version']).error && 'no openssl';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-pki-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const open = (now = NOW, more: { dir?: string; passphrase?: string } = {}) =>
  new Pki({ dir: join(dir, 'a'), now, ...more });
const at = (...parts: string[]) => join(dir, 'a', ...parts);
const read = (...parts: string[]) => readFileSync(at(...parts), 'utf8');

function openssl(...argv: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync('openssl', argv, { encoding: 'utf8' });
  return { status, text: `${stdout}${stderr}` };
}

/** Verified as of a moment, with the revocation list. */
function verify(certificate: string, purpose: 'sslserver' | 'sslclient', now = NOW) {
  const when = ['-attime', String(now.getTime() / 1000)];
  return openssl(
    'verify',
    '-purpose',
    purpose,
    ...when,
    '-crl_check',
    '-CRLfile',
    at('crl.pem'),
    '-CAfile',
    at('ca.crt'),
    certificate,
  );
}

async function refused(work: Promise<unknown>, words: RegExp): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof YokeError, String(error));
    assert.match(error.message, words);
    return true;
  });
}

test('what init makes: closed secrets, a list that lives as long as the authority; a second init keeps all of it', {
  skip,
}, async () => {
  const made = await open().init('home');
  assert.deepEqual(
    made.map((o) => o.did),
    ['made', 'made', 'made', 'made'],
  );
  const mode = (path: string) => statSync(path).mode & 0o777;
  assert.equal(mode(at()), 0o700);
  assert.equal(mode(at('private')), 0o700);
  for (const secret of [at('private', 'ca.key'), at('ta.key')]) assert.equal(mode(secret), 0o600);
  const before = made.map((o) => readFileSync(o.path, 'utf8'));
  const again = await open().init('other');
  assert.ok(again.every((o) => o.did === 'kept'));
  assert.deepEqual(
    again.map((o) => readFileSync(o.path, 'utf8')),
    before,
  );
  const end = (words: string[]) => openssl(...words, '-noout', '-dateopt', 'iso_8601').text.match(/=(20.+Z)/)?.[1];
  const caEnd = end(['x509', '-in', at('ca.crt'), '-enddate']);
  assert.equal(caEnd, '2036-11-20 12:00:00Z');
  assert.equal(end(['crl', '-in', at('crl.pem'), '-nextupdate']), caEnd);
});

test('the shared key has the form that OpenVPN reads: 16 lines of 16 bytes', { skip }, async () => {
  await open().init('home');
  const lines = read('ta.key').split('\n');
  assert.equal(lines.filter((l) => /^[0-9a-f]{32}$/.test(l)).length, 16);
  assert.ok(new Set(lines.filter((l) => /^[0-9a-f]{32}$/.test(l))).size === 16);
  assert.equal(lines.at(3), '-----BEGIN OpenVPN Static key V1-----');
  assert.equal(lines.at(-2), '-----END OpenVPN Static key V1-----');
});

test('each certificate is good for its own side and for nothing else', { skip }, async () => {
  await open().init('home');
  await open().issue('dc', 'server');
  await open().issue('router', 'router');
  const [server, router] = [at('issued', 'dc.crt'), at('issued', 'router.crt')];
  assert.equal(verify(server, 'sslserver').status, 0);
  assert.notEqual(verify(server, 'sslclient').status, 0);
  assert.equal(verify(router, 'sslclient').status, 0);
  assert.notEqual(verify(router, 'sslserver').status, 0);
  // the sets of bits that OpenVPN before 2.4.3 asks for
  const usage = (file: string) => openssl('x509', '-in', file, '-noout', '-ext', 'keyUsage').text;
  assert.match(usage(server), /critical\s+Digital Signature, Key Agreement\s*$/);
  assert.match(usage(router), /critical\s+Digital Signature\s*$/);
  for (const name of ['dc', 'router']) {
    assert.equal(statSync(at('private', `${name}.key`)).mode & 0o777, 0o600);
    const ofKey = openssl('pkey', '-in', at('private', `${name}.key`), '-pubout').text;
    assert.equal(openssl('x509', '-in', at('issued', `${name}.crt`), '-noout', '-pubkey').text, ofKey);
  }
});

test('a revoked one is refused, also its renewed forerunner; the name can be used again', { skip }, async () => {
  await open().init('home');
  await open().issue('r', 'router');
  await open().issue('other', 'router');
  await open().renew('r');
  const forerunner = join(at('renewed'), readdirSync(at('renewed'))[0]);
  assert.equal(verify(forerunner, 'sslclient').status, 0);
  writeFileSync(join(dir, 'r.crt'), read('issued', 'r.crt'));
  await open().revoke('r');
  for (const gone of [forerunner, join(dir, 'r.crt')]) {
    const { status, text } = verify(gone, 'sslclient');
    assert.notEqual(status, 0);
    assert.match(text, /certificate revoked/);
  }
  assert.equal(verify(at('issued', 'other.crt'), 'sslclient').status, 0);
  assert.ok(!existsSync(at('private', 'r.key')));
  assert.equal(readRevocationList(read('crl.pem')).number, 2);
  await open().issue('r', 'router');
  assert.equal(verify(at('issued', 'r.crt'), 'sslclient').status, 0);
  const states = open()
    .list()
    .map((c) => `${c.name} ${c.purpose} ${c.revokedMs === undefined ? 'good' : 'revoked'}`);
  assert.deepEqual(states, [
    'home ca good',
    'other router good',
    'r router good',
    'r other revoked',
    'r other revoked',
  ]);
});

test('renewal keeps the key, or makes a new one; the authority renewed still vouches for what it signed', {
  skip,
}, async () => {
  await open().init('home', 100);
  await open().issue('dc', 'server');
  const serverEnd = expiryOf(read('issued', 'dc.crt'), NOW.getTime());
  assert.equal(serverEnd.notAfterMs, NOW.getTime() + 100 * DAY_MS, 'no longer than the authority');
  const key = read('private', 'dc.key');
  const first = read('issued', 'dc.crt');
  await open().renew('dc');
  assert.equal(read('private', 'dc.key'), key);
  assert.notEqual(read('issued', 'dc.crt'), first);
  await open().renew('dc', { newKey: true });
  assert.notEqual(read('private', 'dc.key'), key);
  assert.equal(verify(at('issued', 'dc.crt'), 'sslserver').status, 0);
  const later = new Date(NOW.getTime() + 101 * DAY_MS);
  await refused(
    open(later).issue('x', 'router'),
    /expected an authority that is valid, found an expired one; .*renew ca/,
  );
  const middle = new Date(NOW.getTime() + 50 * DAY_MS);
  await open(middle).renew('ca');
  assert.ok(expiryOf(read('ca.crt'), middle.getTime()).daysLeft > 3600);
  assert.equal(verify(at('issued', 'dc.crt'), 'sslserver', middle).status, 0);
  await open(later).issue('x', 'router');
  await open(new Date(NOW.getTime() + 4000 * DAY_MS)).renew('ca');
});

test('names that are no file names, names that are taken, folders without an authority', { skip }, async () => {
  await refused(open().issue('x', 'router'), /ca\.crt: expected an authority, found none; .*yoke pki init/);
  await open().init('home');
  for (const name of ['', 'ca', '../x', 'a/b', '-x', 'a\nb', 'x'.repeat(65)]) {
    await refused(open().issue(name, 'router'), /^name "/);
  }
  await open().issue('x', 'router');
  await refused(open().issue('x', 'server'), /expected a name that is free/);
  await refused(open().revoke('nobody'), /expected a certificate to revoke, found none/);
  await refused(open().renew('nobody'), /expected a certificate, found none/);
  rmSync(at('private', 'ca.key'));
  await refused(open().init('home'), /ca\.key: expected the authority, whole or not at all, found half of it/);
});

test("another authority's key is not taken for this one's", { skip }, async () => {
  await open().init('home');
  await new Pki({ dir: join(dir, 'b'), now: NOW }).init('b');
  writeFileSync(at('private', 'ca.key'), readFileSync(join(dir, 'b', 'private', 'ca.key')));
  await refused(open().issue('x', 'router'), /ca\.key: expected the key of .*ca\.crt, found another key/);
});

test("an authority of easy-rsa's shape: RSA, encrypted, certificates with text before them, its own index", {
  skip,
}, async () => {
  const pki = join(dir, 'a', 'pki');
  for (const folder of ['private', 'issued']) mkdirSync(join(pki, folder), { recursive: true });
  const [key, ca] = [join(pki, 'private', 'ca.key'), join(pki, 'ca.crt')];
  const run = (...argv: string[]) => execFileSync('openssl', argv, { stdio: 'pipe' });
  run(
    'genpkey',
    '-algorithm',
    'RSA',
    '-pkeyopt',
    'rsa_keygen_bits:2048',
    '-aes256',
    '-pass',
    'pass:secret',
    '-out',
    key,
  );
  const subject = ['-subj', '/CN=Easy-RSA CA', '-days', '3000', '-passin', 'pass:secret'];
  run('req', '-x509', '-new', '-key', key, '-out', ca, ...subject, '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  const old = join(pki, 'issued', 'old.crt');
  run(
    'req',
    '-new',
    '-nodes',
    '-newkey',
    'rsa:2048',
    '-keyout',
    join(pki, 'private', 'old.key'),
    '-out',
    join(dir, 'old.csr'),
    '-subj',
    '/CN=old',
  );
  writeFileSync(join(dir, 'ext'), 'extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n');
  run(
    'x509',
    '-req',
    '-in',
    join(dir, 'old.csr'),
    '-CA',
    ca,
    '-CAkey',
    key,
    '-passin',
    'pass:secret',
    '-set_serial',
    '0x0A',
    '-days',
    '90',
    '-extfile',
    join(dir, 'ext'),
    '-out',
    old,
  );
  writeFileSync(old, `Certificate:\n    Data: as text\n${readFileSync(old, 'utf8')}`);
  writeFileSync(join(pki, 'index.txt'), 'R\t270101000000Z\t260101000000Z,keyCompromise\t0B\tunknown\t/C=DE/CN=gone\n');

  // made a moment ago by a clock that is not NOW's
  const now = new Date(Date.now() + 1000);
  await refused(open(now).issue('dc', 'server'), /ca\.key: expected a key that can be opened, found an encrypted one/);
  await refused(open(now, { passphrase: 'no' }).issue('dc', 'server'), /that this passphrase does not open/);
  const easy = () => open(now, { passphrase: 'secret' });
  await easy().init('unused');
  await easy().issue('dc', 'server');
  await easy().renew('old');
  const list = join(pki, 'crl.pem');
  const check = (file: string, purpose: string) =>
    openssl('verify', '-purpose', purpose, '-crl_check', '-CRLfile', list, '-CAfile', ca, file).status;
  assert.equal(check(join(pki, 'issued', 'dc.crt'), 'sslserver'), 0);
  assert.equal(check(old, 'sslclient'), 0);
  const oldRsaUse = openssl('x509', '-in', old, '-noout', '-text').text;
  assert.match(oldRsaUse, /RSA Public-Key|Public-Key: \(2048 bit\)/);
  writeFileSync(join(dir, 'kept.crt'), readFileSync(old));
  await easy().revoke('old');
  assert.notEqual(check(join(dir, 'kept.crt'), 'sslclient'), 0);
  const serials = readRevocationList(readFileSync(list, 'utf8')).revoked.map((r) => r.serial.toUpperCase());
  assert.ok(serials.includes('0A') && serials.includes('0B') && serials.length === 3, serials.join(' '));
  assert.match(
    readFileSync(join(pki, 'index.txt'), 'utf8'),
    /^R\t270101000000Z\t260101000000Z,keyCompromise\t0B\tunknown\t\/C=DE\/CN=gone$/m,
  );
});

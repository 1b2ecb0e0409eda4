/**
 * A certificate authority in a folder, for the tunnels of engine openvpn.
 *
 * The folder has easy-rsa's shape, so that a tree which is there already can be used, and what is made here can be handed to easy-rsa:
 *
 *   ca.crt             private/ca.key       the authority
 *   issued/NAME.crt    private/NAME.key     a server or a router
 *   index.txt          what was issued, what was revoked (register.ts)
 *   crl.pem            the same for OpenVPN (`crl-verify`); revoked/ keeps the files of what was revoked
 *   ta.key             the key that all ends share (`tls-auth`, `tls-crypt`)
 *
 * A revocation list that is too old makes OpenVPN refuse everybody, so ours is good for as long as the authority.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { YokeError } from '../base/error.ts';
import { moveAway, PUBLIC_MODE, readText, SECRET_MODE, writeWhole } from '../host/files.ts';
import {
  type About,
  type Authority,
  belongTogether,
  isKnownKey,
  issue,
  makeAuthority,
  makeRevocationList,
  type Purpose,
  readCertificate,
  readRevocationList,
  renewAuthority,
} from './certificate.ts';
import { evenHex, type Issued, parseRegister, printRegister } from './register.ts';
import { makeStaticKey } from './static-key.ts';

const DAY_MS = 86_400_000;
/** Days that certificates are good for unless told. Source: easy-rsa's, which people know. */
export const AUTHORITY_DAYS = 3650;
export const LEAF_DAYS = 825;
/** A clock that is behind by less than this takes a fresh certificate: small routers have no battery. */
const BACKDATE_MS = DAY_MS;
/** Names are file names and end up in configurations and logs. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Where an authority lives and what time it is there. */
export interface PkiOptions {
  dir: string;
  now: Date;
  /** Opens the authority's key where it is encrypted. */
  passphrase?: string;
}

/** A file that was made, or found and kept. */
export interface Outcome {
  path: string;
  did: 'made' | 'kept' | 'moved';
}

/** One certificate of the list. */
export interface Listed extends About {
  file: string;
  revokedMs?: number;
}

export class Pki {
  readonly #dir: string;
  readonly #now: Date;
  readonly #passphrase: string | undefined;

  /** Nothing is read or made yet. A folder that holds easy-rsa's `pki` folder stands for that. */
  constructor({ dir, now, passphrase }: PkiOptions) {
    const inner = join(dir, 'pki');
    this.#dir = !existsSync(join(dir, 'ca.crt')) && existsSync(join(inner, 'ca.crt')) ? inner : dir;
    this.#now = now;
    this.#passphrase = passphrase;
  }

  /** Makes what is missing of authority, shared key and revocation list; what is there stays. @throws YokeError. */
  async init(name: string, days = AUTHORITY_DAYS): Promise<Outcome[]> {
    const paths = [this.#at('ca.crt'), this.#at('private', 'ca.key')];
    const there = paths.map((p) => existsSync(p));
    if (there[0] !== there[1]) {
      throw complain(
        paths[there[0] ? 1 : 0],
        'the authority, whole or not at all',
        'half of it',
        'put the other half back',
      );
    }
    if (!there[0]) {
      const made = await makeAuthority(name, this.#period(days));
      writeWhole(paths[1], made.keyPem, SECRET_MODE);
      writeWhole(paths[0], made.certificatePem, PUBLIC_MODE);
    }
    const out: Outcome[] = paths.map((path) => ({ path, did: there[0] ? 'kept' : 'made' }));
    const authority = this.#authority();
    out.push(this.#unless(this.#at('ta.key'), SECRET_MODE, makeStaticKey()));
    const list = this.#at('crl.pem');
    if (existsSync(list)) return [...out, { path: list, did: 'kept' }];
    await this.#writeRevocations(authority, this.#register());
    return [...out, { path: list, did: 'made' }];
  }

  /** Issues a certificate and its key for a server or a router. @throws YokeError. */
  async issue(name: string, purpose: Purpose, days = LEAF_DAYS): Promise<Outcome[]> {
    const authority = this.#authority();
    const [certificate, key] = this.#leaf(name);
    for (const path of [certificate, key]) {
      if (existsSync(path)) {
        throw complain(path, 'a name that is free', 'this file', `choose another name, or yoke pki renew ${name}`);
      }
    }
    const made = await issue(authority, name, purpose, this.#period(days, authority));
    // the register first: what it does not know of could not be revoked
    this.#enter(made.certificatePem, name);
    writeWhole(key, made.keyPem, SECRET_MODE);
    writeWhole(certificate, made.certificatePem, PUBLIC_MODE);
    return [
      { path: certificate, did: 'made' },
      { path: key, did: 'made' },
    ];
  }

  /**
   * A new certificate in place of the old one, for the same key unless `newKey`; `ca` is the authority itself.
   * The old one stays good until its own end; `revoke` knows both.
   * @throws YokeError.
   */
  async renew(name: string, { days, newKey = false }: { days?: number; newKey?: boolean } = {}): Promise<Outcome[]> {
    const authority = this.#authority(name === 'ca');
    if (name === 'ca') return this.#renewAuthority(authority, days ?? AUTHORITY_DAYS);
    const [certificate, key] = this.#leaf(name);
    const old = this.#about(certificate);
    if (old.purpose !== 'server' && old.purpose !== 'router') {
      throw complain(certificate, 'the certificate of a server or a router', 'another kind', 'make a new one');
    }
    const ownKey = newKey ? undefined : this.#privateKey(key);
    if (ownKey && !belongTogether(readText(certificate)!, ownKey)) {
      throw complain(key, 'the key of this certificate', 'another key', `yoke pki renew ${name} --new-key`);
    }
    const made = await issue(authority, name, old.purpose, this.#period(days ?? LEAF_DAYS, authority), ownKey);
    this.#enter(made.certificatePem, name);
    const aside = this.#at('renewed', `${name}-${evenHex(old.serial)}.crt`);
    moveAway(certificate, aside);
    if (newKey) writeWhole(key, made.keyPem, SECRET_MODE);
    writeWhole(certificate, made.certificatePem, PUBLIC_MODE);
    return [
      { path: aside, did: 'moved' },
      { path: certificate, did: 'made' },
      { path: key, did: newKey ? 'made' : 'kept' },
    ];
  }

  /** Revokes every certificate of a name, and signs the list anew. @throws YokeError. */
  async revoke(name: string): Promise<Outcome[]> {
    const authority = this.#authority();
    const [certificate, key] = this.#leaf(name);
    const register = this.#register();
    const mine = register.filter((c) => c.name === name);
    if (mine.length === 0)
      throw complain(certificate, 'a certificate to revoke', 'none', 'yoke pki list tells the names');
    const nowMs = Math.floor(this.#now.getTime() / 1000) * 1000;
    const after = register.map((c) =>
      c.name === name && c.revokedMs === undefined ? { ...c, revokedMs: nowMs, reason: undefined } : c,
    );
    writeWhole(this.#at('index.txt'), printRegister(after), SECRET_MODE);
    await this.#writeRevocations(authority, after);
    const serial = existsSync(certificate) ? evenHex(this.#about(certificate).serial) : mine.at(-1)!.serial;
    moveAway(certificate, this.#at('revoked', 'certs_by_serial', `${serial}.crt`));
    moveAway(key, this.#at('revoked', 'private_by_serial', `${serial}.key`));
    return [{ path: this.#at('crl.pem'), did: 'made' }];
  }

  /** Every certificate that is in use, the authority first, and what was revoked. @throws YokeError. */
  list(): Listed[] {
    const ca = this.#at('ca.crt');
    const register = this.#register();
    const names = this.#issuedNames();
    const current = [ca, ...names.map((n) => this.#at('issued', `${n}.crt`))].map((file): Listed => {
      const about = this.#about(file);
      const entry = register.find((c) => c.serial === evenHex(about.serial));
      return { ...about, file, ...(entry?.revokedMs !== undefined && { revokedMs: entry.revokedMs }) };
    });
    const known = new Set(current.map((c) => evenHex(c.serial)));
    const gone = register
      .filter((c) => c.revokedMs !== undefined && !known.has(c.serial))
      .map(
        ({ name, serial, notAfterMs, revokedMs }): Listed => ({
          ...{ name, serial, notAfterMs, revokedMs },
          ...{ purpose: 'other', notBeforeMs: 0, file: '' },
        }),
      );
    return [...current, ...gone];
  }

  #at(...parts: string[]): string {
    return join(this.#dir, ...parts);
  }

  #leaf(name: string): [certificate: string, key: string] {
    if (!NAME.test(name) || name === 'ca') {
      const todo = 'choose a plain one, such as the host name';
      throw complain(`name ${JSON.stringify(name)}`, 'letters, digits, dots, dashes; not ca', 'another', todo);
    }
    return [this.#at('issued', `${name}.crt`), this.#at('private', `${name}.key`)];
  }

  #unless(path: string, mode: number, text: string): Outcome {
    if (existsSync(path)) return { path, did: 'kept' };
    writeWhole(path, text, mode);
    return { path, did: 'made' };
  }

  /** No certificate outlives the one that signed it. */
  #period(days: number, authority?: Authority): { notBefore: Date; notAfter: Date } {
    const nowMs = this.#now.getTime();
    const end = nowMs + days * DAY_MS;
    if (!authority) return { notBefore: new Date(nowMs - BACKDATE_MS), notAfter: new Date(end) };
    const ca = readCertificate(authority.certificatePem);
    const start = Math.max(nowMs - BACKDATE_MS, ca.notBeforeMs);
    return { notBefore: new Date(start), notAfter: new Date(Math.min(end, ca.notAfterMs)) };
  }

  #authority(evenExpired = false): Authority {
    const path = this.#at('ca.crt');
    const certificatePem = readText(path);
    if (certificatePem === undefined) {
      throw complain(path, 'an authority', 'none', 'make one with yoke pki init, or name its folder with --dir');
    }
    const about = this.#about(path);
    if (about.purpose !== 'ca') throw complain(path, 'the certificate of an authority', 'another kind', 'put it there');
    const keyPath = this.#at('private', 'ca.key');
    const key = this.#privateKey(keyPath);
    if (!belongTogether(certificatePem, key)) {
      throw complain(keyPath, `the key of ${path}`, 'another key', 'put the right one there');
    }
    if (!evenExpired && about.notAfterMs <= this.#now.getTime()) {
      throw complain(
        path,
        'an authority that is valid',
        'an expired one',
        'yoke pki renew ca, then hand out the new ca.crt',
      );
    }
    return { certificatePem, key };
  }

  #privateKey(path: string): KeyObject {
    const key = readText(path);
    if (key === undefined) throw complain(path, 'a private key', 'none', 'put it there');
    try {
      const opened = createPrivateKey({ key, ...(this.#passphrase !== undefined && { passphrase: this.#passphrase }) });
      if (isKnownKey(opened)) return opened;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const locked = code === 'ERR_MISSING_PASSPHRASE' || /ENCRYPTED/.test(key);
      if (locked) {
        const found = this.#passphrase === undefined ? 'an encrypted one' : 'one that this passphrase does not open';
        throw complain(path, 'a key that can be opened', found, 'name a file with its passphrase: --passphrase-file');
      }
    }
    throw complain(path, 'an RSA, EC or Ed25519 key', 'something else', 'make a new authority in another --dir');
  }

  #about(path: string): About {
    const pem = readText(path);
    if (pem === undefined) throw complain(path, 'a certificate', 'none', 'yoke pki list tells the names');
    try {
      return readCertificate(pem);
    } catch {
      throw complain(path, 'a certificate', 'something else', 'put the right file there');
    }
  }

  #issuedNames(): string[] {
    try {
      const files = readdirSync(this.#at('issued')).filter((f) => f.endsWith('.crt'));
      return files.map((f) => f.slice(0, -'.crt'.length)).sort();
    } catch {
      return [];
    }
  }

  /** index.txt, and what lies in issued/ or stands in crl.pem without being in it. */
  #register(): Issued[] {
    const entries = parseRegister(readText(this.#at('index.txt')) ?? '');
    const known = new Set(entries.map((e) => e.serial));
    for (const name of this.#issuedNames()) {
      const about = this.#about(this.#at('issued', `${name}.crt`));
      const serial = evenHex(about.serial);
      if (!known.has(serial)) entries.push({ serial, name, notAfterMs: about.notAfterMs });
    }
    for (const { serial, atMs } of this.#revocations().revoked) {
      const entry = entries.find((e) => e.serial === evenHex(serial));
      if (entry) entry.revokedMs ??= atMs;
      else entries.push({ serial: evenHex(serial), name: `serial-${evenHex(serial)}`, notAfterMs: 0, revokedMs: atMs });
    }
    return entries;
  }

  #enter(certificatePem: string, name: string): void {
    const { serial, notAfterMs } = readCertificate(certificatePem);
    const entries = [...this.#register(), { serial: evenHex(serial), name, notAfterMs }];
    writeWhole(this.#at('index.txt'), printRegister(entries), SECRET_MODE);
  }

  #revocations(): ReturnType<typeof readRevocationList> {
    const path = this.#at('crl.pem');
    const pem = readText(path);
    if (pem === undefined) return { number: 0, revoked: [] };
    try {
      return readRevocationList(pem);
    } catch {
      throw complain(path, 'a revocation list', 'something else', 'remove it: index.txt knows what was revoked');
    }
  }

  async #writeRevocations(authority: Authority, register: readonly Issued[]): Promise<void> {
    const revoked = register.flatMap((c) => (c.revokedMs === undefined ? [] : { serial: c.serial, atMs: c.revokedMs }));
    const { notAfterMs } = readCertificate(authority.certificatePem);
    const period = { notBefore: new Date(this.#now.getTime() - BACKDATE_MS), notAfter: new Date(notAfterMs) };
    const text = await makeRevocationList(authority, revoked, this.#revocations().number + 1, period);
    writeWhole(this.#at('crl.pem'), text, PUBLIC_MODE);
  }

  async #renewAuthority(authority: Authority, days: number): Promise<Outcome[]> {
    const path = this.#at('ca.crt');
    const aside = this.#at('renewed', `ca-${evenHex(readCertificate(authority.certificatePem).serial)}.crt`);
    const certificatePem = await renewAuthority(authority, this.#period(days));
    moveAway(path, aside);
    writeWhole(path, certificatePem, PUBLIC_MODE);
    await this.#writeRevocations({ ...authority, certificatePem }, this.#register());
    return [
      { path: aside, did: 'moved' },
      { path, did: 'made' },
      { path: this.#at('crl.pem'), did: 'made' },
    ];
  }
}

function complain(where: string, expected: string, found: string, todo: string): YokeError {
  return new YokeError('host', { where, expected, found, todo });
}

/**
 * Certificates and revocation lists: made, renewed and signed. In and out go PEM texts; what makes them stays in this file.
 *
 * Keys are ECDSA P-256: quick on a small router, and every OpenVPN since 2.4 takes them. An authority that was there before may have
 * an RSA, EC or Ed25519 key. What a certificate may be used for is what `remote-cert-tls` looks at, in the strict form of OpenVPN
 * before 2.4.3: keyUsage 88 or a0 for a server, 80, 08 or 88 for a client.
 */
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

x509.cryptoProvider.set(webcrypto);

/** What a certificate is for. */
export type Purpose = 'server' | 'router';

/** An authority that can sign. */
export interface Authority {
  readonly certificatePem: string;
  readonly key: KeyObject;
}

/** From when until when. */
export interface Period {
  notBefore: Date;
  notAfter: Date;
}

/** A certificate and the key it was made for. */
export interface Made {
  certificatePem: string;
  /** PKCS #8. A secret. */
  keyPem: string;
}

const OWN_KEYS = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const CURVES: Record<string, string> = { prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' };
/** A serial number: positive, 126 random bits behind a one. Source: RFC 5280 §4.1.2.2 wants at most 20 octets. */
const SERIAL_BYTES = 16;
const CRL_NUMBER = '2.5.29.20';

/** A new authority: its key and a certificate that it signed itself. */
export async function makeAuthority(name: string, period: Period): Promise<Made> {
  const keys = await webcrypto.subtle.generateKey(OWN_KEYS, true, ['sign', 'verify']);
  const key = await exportKey(keys.privateKey);
  return { certificatePem: await signAuthority([{ CN: [name] }], key, period), keyPem: pemOf(key) };
}

/** The same authority for a longer time: same name, same key, so that what it signed stays good. */
export function renewAuthority(authority: Authority, period: Period): Promise<string> {
  const old = parseCertificate(authority.certificatePem);
  return signAuthority(old.subjectName, authority.key, period);
}

async function signAuthority(name: x509.Name | x509.JsonName, key: KeyObject, period: Period): Promise<string> {
  const privateKey = await importPrivate(key);
  const publicKey = await importPublic(key);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    // the generator takes every form of a name, its types know two
    name: name as unknown as x509.JsonName,
    serialNumber: newSerial(),
    ...period,
    keys: { privateKey, publicKey },
    signingAlgorithm: algorithmOf(key),
    extensions: [
      new x509.BasicConstraintsExtension(true, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
    ],
  });
  return printPem('CERTIFICATE', certificate.rawData);
}

/** Issues a certificate; for the key at hand, or for a new one. */
export async function issue(
  authority: Authority,
  name: string,
  purpose: Purpose,
  period: Period,
  ownKey?: KeyObject,
): Promise<Made> {
  const ca = parseCertificate(authority.certificatePem);
  const key = ownKey ?? (await exportKey((await webcrypto.subtle.generateKey(OWN_KEYS, true, ['sign'])).privateKey));
  const publicKey = await importPublic(key);
  const signingKey = await importPrivate(authority.key);
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const { digitalSignature, keyAgreement, keyEncipherment } = x509.KeyUsageFlags;
  const serverUse = digitalSignature | (key.asymmetricKeyType === 'rsa' ? keyEncipherment : keyAgreement);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [name] }],
    issuer: ca.subjectName,
    serialNumber: newSerial(),
    ...period,
    publicKey,
    signingKey,
    signingAlgorithm: algorithmOf(authority.key),
    extensions: [
      new x509.BasicConstraintsExtension(false),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await keyIdOf(ca),
      new x509.ExtendedKeyUsageExtension([purpose === 'server' ? serverAuth : clientAuth]),
      new x509.KeyUsagesExtension(purpose === 'server' ? serverUse : digitalSignature, true),
    ],
  });
  return { certificatePem: printPem('CERTIFICATE', certificate.rawData), keyPem: pemOf(key) };
}

/** One line of a revocation list. */
export interface Revoked {
  serial: string;
  atMs: number;
}

/** Signs a list of what is revoked; `number` grows from list to list. */
export async function makeRevocationList(
  authority: Authority,
  revoked: readonly Revoked[],
  number: number,
  period: Period,
): Promise<string> {
  const ca = parseCertificate(authority.certificatePem);
  const signingKey = await importPrivate(authority.key);
  const list = await x509.X509CrlGenerator.create({
    issuer: ca.subjectName as unknown as x509.JsonName,
    thisUpdate: period.notBefore,
    nextUpdate: period.notAfter,
    signingKey,
    signingAlgorithm: algorithmOf(authority.key),
    entries: revoked.map(({ serial, atMs }) => ({ serialNumber: serial, revocationDate: new Date(atMs) })),
    extensions: [await keyIdOf(ca), new x509.Extension(CRL_NUMBER, false, derInteger(number))],
  });
  // OpenSSL knows this tag, and not the shorter one that the library writes
  return printPem('X509 CRL', list.rawData);
}

/** What stands in a revocation list. @throws Error when the text is none. */
export function readRevocationList(pem: string): { number: number; revoked: Revoked[] } {
  const list = new x509.X509Crl(parsePem(pem));
  const extension = list.extensions.find((e) => e.type === CRL_NUMBER);
  return {
    number: extension ? Number(BigInt(`0x0${Buffer.from(extension.value).subarray(2).toString('hex')}`)) : 0,
    revoked: list.entries.map((e) => ({ serial: e.serialNumber, atMs: e.revocationDate.getTime() })),
  };
}

/** What a certificate says of itself. @throws Error when the text is none. */
export interface About {
  name: string;
  /** Hex, as the certificate has it. */
  serial: string;
  purpose: Purpose | 'ca' | 'other';
  notBeforeMs: number;
  notAfterMs: number;
}

/** Reads a certificate; text before it is passed over. @throws Error when there is none. */
export function readCertificate(pem: string): About {
  const c = parseCertificate(pem);
  const usages = c.getExtension(x509.ExtendedKeyUsageExtension)?.usages ?? [];
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const leaf = usages.includes(serverAuth) ? 'server' : usages.includes(clientAuth) ? 'router' : 'other';
  return {
    name: c.subjectName.getField('CN')[0] ?? c.subject,
    serial: c.serialNumber,
    purpose: c.getExtension(x509.BasicConstraintsExtension)?.ca ? 'ca' : leaf,
    notBeforeMs: c.notBefore.getTime(),
    notAfterMs: c.notAfter.getTime(),
  };
}

/** Whether a private key is the one that a certificate was made for. */
export function belongTogether(certificatePem: string, key: KeyObject): boolean {
  const own = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return Buffer.from(parseCertificate(certificatePem).publicKey.rawData).equals(own);
}

/** The authority's key identifier as it says it itself: another program may have computed it in another way. */
async function keyIdOf(ca: x509.X509Certificate): Promise<x509.AuthorityKeyIdentifierExtension> {
  const said = ca.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId;
  return said
    ? new x509.AuthorityKeyIdentifierExtension(said)
    : x509.AuthorityKeyIdentifierExtension.create(ca.publicKey);
}

const parseCertificate = (pem: string) => new x509.X509Certificate(parsePem(pem));

function newSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = (bytes[0] & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function algorithmOf(key: KeyObject): { name: string; hash: string; namedCurve?: string } {
  switch (key.asymmetricKeyType) {
    case 'rsa':
      return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
    case 'ed25519':
      return { name: 'Ed25519', hash: '' };
    default:
      return { name: 'ECDSA', namedCurve: CURVES[key.asymmetricKeyDetails?.namedCurve ?? ''], hash: 'SHA-256' };
  }
}

/** Whether this kind of key can be used here. */
export function isKnownKey(key: KeyObject): boolean {
  if (key.asymmetricKeyType === 'rsa' || key.asymmetricKeyType === 'ed25519') return true;
  return key.asymmetricKeyType === 'ec' && (key.asymmetricKeyDetails?.namedCurve ?? '') in CURVES;
}

function importPrivate(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, algorithmOf(key), false, ['sign']);
}

function importPublic(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return webcrypto.subtle.importKey('spki', der, algorithmOf(key), true, ['verify']);
}

async function exportKey(key: webcrypto.CryptoKey): Promise<KeyObject> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

const pemOf = (key: KeyObject) => key.export({ format: 'pem', type: 'pkcs8' }) as string;

function printPem(tag: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${tag}-----\n${lines.join('\n')}\n-----END ${tag}-----\n`;
}

function parsePem(text: string): Uint8Array<ArrayBuffer> {
  const body = /-----BEGIN (?:CERTIFICATE|X509 CRL)-----([A-Za-z0-9+/=\s]+)-----END /.exec(text)?.[1];
  if (body === undefined) throw new Error('no PEM text');
  return new Uint8Array(Buffer.from(body, 'base64'));
}

/** A small whole number in DER. Source: X.690 §8.3. */
function derInteger(n: number): Uint8Array<ArrayBuffer> {
  let hex = n.toString(16);
  if (hex.length % 2) hex = `0${hex}`;
  if (Number.parseInt(hex.slice(0, 2), 16) >= 0x80) hex = `00${hex}`;
  return new Uint8Array(Buffer.from(`02${(hex.length / 2).toString(16).padStart(2, '0')}${hex}`, 'hex'));
}

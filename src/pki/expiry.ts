/**
 * How long a certificate is still good for: read by `yoke pki list`, by the checks before a start, and by status, which warns in time.
 *
 * Only the runtime's own parser is used here, so that a running instance need not load what makes certificates.
 */
import { X509Certificate } from 'node:crypto';

/** Warn so long before the end: time enough for somebody who looks in once a fortnight. Units: days. */
export const WARN_DAYS = 30;
const DAY_MS = 86_400_000;

/** What the dates of a certificate mean at one moment. */
export interface Expiry {
  /** Units: milliseconds since 1970. */
  notBeforeMs: number;
  notAfterMs: number;
  /** Whole days that are left; negative: since when it is over. */
  daysLeft: number;
  /** `early`: not valid yet, which mostly means that this machine's clock is wrong. */
  state: 'early' | 'good' | 'soon' | 'expired';
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/**
 * The time in which every certificate of a PEM text is good, as seen at `nowMs`. Text around them (as easy-rsa writes it) is passed over.
 *
 * @throws Error when there is no certificate in it, or one that cannot be read.
 */
export function expiryOf(pem: string, nowMs: number): Expiry {
  const certificates = (pem.match(CERTIFICATE) ?? []).map((block) => new X509Certificate(block));
  if (certificates.length === 0) throw new Error('no certificate in it');
  const notBeforeMs = Math.max(...certificates.map((c) => Date.parse(c.validFrom)));
  const notAfterMs = Math.min(...certificates.map((c) => Date.parse(c.validTo)));
  return { notBeforeMs, notAfterMs, ...judge(notBeforeMs, notAfterMs, nowMs) };
}

/** The verdict on two dates at one moment. */
export function judge(notBeforeMs: number, notAfterMs: number, nowMs: number): Pick<Expiry, 'daysLeft' | 'state'> {
  const daysLeft = Math.floor((notAfterMs - nowMs) / DAY_MS);
  if (nowMs >= notAfterMs) return { daysLeft, state: 'expired' };
  if (nowMs < notBeforeMs) return { daysLeft, state: 'early' };
  return { daysLeft, state: daysLeft < WARN_DAYS ? 'soon' : 'good' };
}

/** One sentence for the warnings of a status; undefined when there is nothing to say. `what` names the file. */
export function expiryWarning(what: string, expiry: Expiry): string | undefined {
  const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
  switch (expiry.state) {
    case 'good':
      return undefined;
    case 'soon':
      return `${what} expires on ${day(expiry.notAfterMs)} (${expiry.daysLeft} days left): renew it with yoke pki renew`;
    case 'expired':
      return `${what} expired on ${day(expiry.notAfterMs)}: renew it with yoke pki renew`;
    case 'early':
      return `${what} is valid from ${day(expiry.notBeforeMs)} on: is the clock of this machine right?`;
  }
}

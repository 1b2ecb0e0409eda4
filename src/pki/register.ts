/**
 * index.txt: what was issued and what was revoked, in the form that the openssl program and easy-rsa keep it, a line each:
 *
 *   V|R|E  TAB  expiry  TAB  revocation[,reason] or nothing  TAB  serial in hex  TAB  unknown  TAB  /CN=NAME
 *
 * The dates are ASN.1 times: two digits of the year below 2050, four above. Source: openssl-ca(1), RFC 5280 §4.1.2.5.
 */

/** One certificate that was issued. */
export interface Issued {
  /** Upper-case hex, an even number of digits. */
  serial: string;
  name: string;
  /** Units: milliseconds since 1970. */
  notAfterMs: number;
  /** Undefined: not revoked. */
  revokedMs?: number;
  /** The word behind the revocation's date, kept as it is. */
  reason?: string;
  /** The subject as the line has it, when it is more than `/CN=NAME`. */
  subject?: string;
}

/** Reads an index; lines that are none are left out. */
export function parseRegister(text: string): Issued[] {
  return text.split('\n').flatMap((line) => {
    const [state, expiry, revocation, serial, , subject] = line.split('\t');
    if (!/^[VRE]$/.test(state) || subject === undefined || !/^[0-9A-F]+$/i.test(serial)) return [];
    const notAfterMs = parseTime(expiry);
    const [when, reason] = revocation.split(',');
    const revokedMs = state === 'R' ? parseTime(when) : undefined;
    if (notAfterMs === undefined || (state === 'R' && revokedMs === undefined)) return [];
    const name = /\/CN=([^/]*)/.exec(subject)?.[1] ?? subject;
    return [
      {
        serial: evenHex(serial),
        name,
        notAfterMs,
        ...(revokedMs !== undefined && { revokedMs }),
        ...(reason && { reason }),
        ...(subject !== `/CN=${name}` && { subject }),
      },
    ];
  });
}

/** Prints an index. Invariant: `parseRegister` reads the same back. */
export function printRegister(all: readonly Issued[]): string {
  return all
    .map((c) => {
      const revoked =
        c.revokedMs === undefined ? '' : `${printTime(c.revokedMs)}${c.reason === undefined ? '' : `,${c.reason}`}`;
      const fields = [c.revokedMs === undefined ? 'V' : 'R', printTime(c.notAfterMs), revoked, c.serial, 'unknown'];
      return `${[...fields, c.subject ?? `/CN=${c.name}`].join('\t')}\n`;
    })
    .join('');
}

/** A serial number as the index writes it. */
export function evenHex(serial: string): string {
  const digits = serial.toUpperCase().replace(/^0+(?=.)/, '');
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

function parseTime(text: string): number | undefined {
  const m = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (!m) return undefined;
  const [year, month, day, hour, minute, second] = m.slice(1).map(Number);
  const whole = m[1].length === 4 ? year : year + (year < 50 ? 2000 : 1900);
  return Date.UTC(whole, month - 1, day, hour, minute, second);
}

function printTime(ms: number): string {
  const all = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '');
  return Number(all.slice(0, 4)) < 2050 ? all.slice(2) : all;
}

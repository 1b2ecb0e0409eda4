/**
 * An invitation: what a new router needs to find its server and to be taken in once, as one line.
 *
 *   YOKE:AE5QJK…      base32 of   version · length · port · server's public key · secret · places · checksum
 *
 * The length tells a line that was cut off from one with a wrong letter. Source: docs/setup.md, "The invitation".
 */
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { parseAddress, printAddress } from '../base/address.ts';
import { assert, type Complaint, YokeError } from '../base/error.ts';

/** What an invitation says. */
export interface Invitation {
  /** Where the server is: addresses and host names, 1 to 4. */
  places: string[];
  /** UDP port. */
  port: number;
  /** 32 bytes. */
  serverKey: Uint8Array;
  /** 16 bytes. */
  secret: Uint8Array;
}

/** Most places in an invitation. */
export const PLACES_LIMIT = 4;
/** Longest host name in an invitation. Units: ASCII characters. */
export const HOST_LIMIT = 100;

const VERSION = 1;
const PREFIX = 'YOKE:';
const KEY_AT = 4;
const SECRET_AT = 36;
const COUNT_AT = 52;
const CHECKSUM_BYTES = 4;
const LEAST_BYTES = COUNT_AT + 1 + 2 + CHECKSUM_BYTES;
/** RFC 4648 §6. */
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
/** Longest text that is looked at: whoever pastes a whole file gets an answer, too. */
const TEXT_LIMIT = 4096;

/** Prints an invitation as the line that is handed over. */
export function printInvitation({ places, port, serverKey, secret }: Invitation): string {
  assert(serverKey.length === 32 && secret.length === 16, 'key and secret have their lengths');
  assert(places.length >= 1 && places.length <= PLACES_LIMIT, 'one to four places');
  const parts = places.flatMap((place) => {
    const address = parseAddress(place);
    if (address) return [address.length === 4 ? 4 : 6, ...address];
    assert(place.length <= HOST_LIMIT, 'the host name fits');
    return [0, place.length, ...Buffer.from(place, 'latin1')];
  });
  const length = COUNT_AT + 1 + parts.length + CHECKSUM_BYTES;
  assert(length <= 255, 'the places fit');
  const body = Uint8Array.from([
    VERSION,
    length,
    port >> 8,
    port & 255,
    ...serverKey,
    ...secret,
    places.length,
    ...parts,
  ]);
  return PREFIX + base32(Uint8Array.from([...body, ...checksum(body)]));
}

/** Reads an invitation. @throws YokeError `config` that says what is wrong with it, without a letter of it. */
export function parseInvitation(text: string): Invitation {
  // Terminals wrap, mail programs break lines, people type in lower case.
  const line = text
    .slice(0, TEXT_LIMIT)
    .replace(/[\s'"-]/g, '')
    .toUpperCase();
  const again = 'copy the whole line that yoke invite printed, from YOKE: to its end';
  if (!line.startsWith(PREFIX)) throw complain('a line that begins with YOKE:', 'another text', again);
  const bytes = unbase32(line.slice(PREFIX.length));
  if (bytes === undefined) throw complain('the letters A to Z and the digits 2 to 7', 'others among them', again);
  if (bytes.length > 0 && bytes[0] !== VERSION) {
    const todo = bytes[0] > VERSION ? 'install that version here' : again;
    throw complain(`version ${VERSION}`, `version ${bytes[0]}, of ${bytes[0] > VERSION ? 'a newer' : 'no'} yoke`, todo);
  }
  if (bytes.length < Math.max(LEAST_BYTES, bytes[1] ?? 0)) {
    throw complain('a whole invitation', 'one that is cut off', again);
  }
  if (bytes.length > bytes[1]) throw complain('one invitation', 'more behind its end', again);
  const body = bytes.subarray(0, bytes.length - CHECKSUM_BYTES);
  const sum = checksum(body);
  const places = sum.every((b, i) => b === bytes[body.length + i]) ? readPlaces(body) : undefined;
  const port = (bytes[2] << 8) | bytes[3];
  if (places === undefined || port === 0)
    throw complain('a sound invitation', 'a damaged one: a letter is wrong', again);
  return { places, port, serverKey: bytes.slice(KEY_AT, SECRET_AT), secret: bytes.slice(SECRET_AT, COUNT_AT) };
}

/** Whether a host name can stand in an invitation and in a configuration. */
export function isHostName(text: string): boolean {
  return text.length <= HOST_LIMIT && isIP(text) === 0 && /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text);
}

function readPlaces(body: Uint8Array): string[] | undefined {
  const places: string[] = [];
  let at = COUNT_AT + 1;
  for (let i = 0; i < body[COUNT_AT]; i++) {
    const kind = body[at++];
    const size = kind === 4 ? 4 : kind === 6 ? 16 : kind === 0 ? body[at++] : undefined;
    if (size === undefined || at + size > body.length) return undefined;
    const bytes = body.slice(at, at + size);
    const place = kind === 0 ? Buffer.from(bytes).toString('latin1') : printAddress(bytes);
    if (kind === 0 && !isHostName(place)) return undefined;
    places.push(place);
    at += size;
  }
  return at === body.length && places.length >= 1 && places.length <= PLACES_LIMIT ? places : undefined;
}

function checksum(body: Uint8Array): Uint8Array {
  return createHash('sha256').update('yoke invitation').update(body).digest().subarray(0, CHECKSUM_BYTES);
}

function base32(bytes: Uint8Array): string {
  let out = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) out += LETTERS[(held >> (bits - 5)) & 31];
    held &= 255;
  }
  return bits > 0 ? out + LETTERS[(held << (5 - bits)) & 31] : out;
}

/** Bits that do not fill a byte are left out: a line that was cut off has some. */
function unbase32(text: string): Uint8Array | undefined {
  const out: number[] = [];
  let bits = 0;
  let held = 0;
  for (const letter of text) {
    const value = LETTERS.indexOf(letter);
    if (value < 0) return undefined;
    held = (held << 5) | value;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    out.push((held >> bits) & 255);
    held &= (1 << bits) - 1;
  }
  return Uint8Array.from(out);
}

function complain(expected: string, found: string, todo: string): YokeError {
  const complaint: Complaint = { where: 'the invitation', expected, found, todo };
  return new YokeError('config', complaint);
}

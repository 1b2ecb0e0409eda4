/** Where a server is found: what it can tell of its own addresses, and what may stand in an invitation. */
import { parseAddress, parsePrefix, prefixContains } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import { findWaysOut } from '../host/ways-out.ts';
import { isHostName } from '../setup/invitation.ts';

/**
 * Where routers reach this machine, as far as it can tell by itself: the addresses of the interface that leads out.
 *
 * @throws YokeError when that is a private one, or there is none.
 */
export async function findPlaces(port: number, ifname: string): Promise<string[]> {
  const { links } = await findWaysOut([ifname]);
  const v4 = links.find((l) => l.v4 !== undefined)?.v4?.address;
  const v6 = links.find((l) => l.v6 !== undefined)?.v6?.address;
  if (v4 !== undefined && !isPublic(v4)) {
    throw new YokeError('host', {
      where: "this server's address",
      expected: 'a public one',
      found: `${v4}, a private one, so a router or a provider's NAT stands before it`,
      todo: `forward UDP port ${port} to ${v4} there, and name the public address: yoke server init --public-ip ADDRESS (and --public-port PORT, where another port is forwarded)`,
    });
  }
  const places = [v4, v6].filter((a) => a !== undefined && isPublic(a)) as string[];
  if (places.length > 0) return places;
  throw new YokeError('host', {
    where: "this server's address",
    expected: 'an interface that leads to the internet',
    found: 'none',
    todo: 'name the public address: yoke server init --public-ip ADDRESS',
  });
}

/** Addresses that are nobody's on the internet. Source: RFC 1918, 6598, 3927, 4193, 4291. */
const PRIVATE = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '127.0.0.0/8',
  'fc00::/7',
  'fe80::/10',
  '::1/128',
].map((p) => parsePrefix(p)!);

/** Whether an address can be reached from the internet, by its looks. */
export function isPublic(address: string): boolean {
  const bytes = parseAddress(address);
  return bytes !== undefined && !PRIVATE.some((p) => prefixContains(p, bytes));
}

/** Whether a text can stand as a place in an invitation. */
export const isPlace = (text: string) => parseAddress(text) !== undefined || isHostName(text);

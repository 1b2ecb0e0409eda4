/**
 * The router's half of joining: presents an invitation's secret to the server, and learns what this router is from now on.
 *
 *   every address of the invitation ─▶ a socket for each link ─▶ a request every second or two ─▶ the first answer wins
 *
 * Source: docs/protocol.md §10.
 */
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { parseAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import { openArena } from '../io/arena.ts';
import { nodeHandshakeCrypto as crypto } from '../io/crypto.ts';
import { openSocket, SOCKET_SCRATCH_BYTES } from '../io/socket.ts';
import type { KeyPair } from '../wire/crypto.ts';
import { COOKIE_REPLY_BYTES } from '../wire/header.ts';
import { type JoinAnswer, JoinAsker } from '../wire/join.ts';
import type { Invitation } from './invitation.ts';

/** How long it is asked before nobody is there. */
const ASK_LIMIT_MS = 12_000;
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 2000;
/** A machine that says there is nothing, or a kernel that knows no way, is believed after so many tries. */
const TRIES_OF_TROUBLE = 4;
/** Requests and answers are small, and few. */
const SOCKET_BUFFER_BYTES = 65_536;
/** Tries whose answer is still taken. */
const TRIES_KEPT = 8;

/** A server's answer, and under which address it was reached. */
export interface Joined {
  answer: JoinAnswer;
  address: string;
  /** As the invitation says it: the address, or the name that has it. */
  place: string;
}

/** An address of a link, and the link's device. */
export interface Outlet {
  device: string;
  address: string;
}

/**
 * Asks to be taken in, by each of these links at once: what is sent by a socket of a link leaves by its device, also where the main table's
 * default route, or that of a bond which runs here, leads nowhere any more.
 *
 * @throws YokeError when nobody answers, with what was seen of the way there.
 */
export async function askToJoin(
  invitation: Invitation,
  own: KeyPair,
  from: readonly Outlet[],
  limitMs = ASK_LIMIT_MS,
): Promise<Joined> {
  const targets = await resolvePlaces(invitation.places);
  const sockets = new Map<Socket, { address: string; place: string }>();
  const troubles = new Map<Socket, string>();
  let timer: NodeJS.Timeout | undefined;
  let end: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Joined>((resolve, reject) => {
      const tries: JoinAsker[] = [];
      const hear = (socket: Socket, bytes: Uint8Array) => {
        for (const asker of tries) {
          if (bytes.length === COOKIE_REPLY_BYTES) {
            const cookie = asker.handleCookie(bytes);
            if (typeof cookie !== 'string') socket.send(asker.request(cookie), () => {});
            continue;
          }
          const answer = asker.handleAnswer(bytes);
          if (typeof answer !== 'string') resolve({ answer, ...sockets.get(socket)! });
        }
      };
      for (const target of targets) {
        const family = isIP(target.address);
        // without an address of that family the kernel says itself that there is no way
        const ours = from.filter(({ address }) => isIP(address) === family);
        for (const outlet of ours.length > 0 ? ours : [undefined]) {
          const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
          sockets.set(socket, target);
          socket.on('error', (error: NodeJS.ErrnoException) => troubles.set(socket, error.code ?? error.message));
          socket.on('message', (bytes) => hear(socket, Uint8Array.from(bytes)));
          socket.bind(outlet ? { fd: tiedSocket(outlet) } : { port: 0 }, () =>
            socket.connect(invitation.port, target.address),
          );
        }
      }
      let pauseMs = RETRY_FIRST_MS;
      let asked = 0;
      const giveUp = () => {
        const codes = [...sockets.keys()].map((s) => troubles.get(s));
        reject(nobody(invitation, targets, codes, limitMs));
      };
      const ask = () => {
        if (asked++ >= TRIES_OF_TROUBLE && [...sockets.keys()].every((s) => troubles.has(s))) return giveUp();
        const index = crypto.random(3).reduce((n, b) => n * 256 + b, 0);
        const { serverKey, secret } = invitation;
        const asker = new JoinAsker({ crypto, own, serverKey, secret, index });
        tries.push(asker);
        if (tries.length > TRIES_KEPT) tries.shift();
        for (const socket of sockets.keys()) send(socket, asker.request(), (code) => troubles.set(socket, code));
        timer = setTimeout(ask, pauseMs);
        pauseMs = Math.min(RETRY_MOST_MS, pauseMs * 2);
      };
      // a socket is bound and connected in the next turns of the loop
      timer = setTimeout(ask, 20);
      end = setTimeout(giveUp, limitMs);
    });
  } finally {
    clearTimeout(timer);
    clearTimeout(end);
    for (const socket of sockets.keys()) socket.close();
  }
}

/** A socket at this address, tied to the device. Owns: nothing; the caller closes it. @throws YokeError when the two are not there any more. */
function tiedSocket({ device, address }: Outlet): number {
  const arena = openArena(SOCKET_SCRATCH_BYTES);
  const bytes = parseAddress(address);
  return openSocket(arena, arena.take('socket', SOCKET_SCRATCH_BYTES), {
    number: 0,
    family: bytes?.length === 16 ? 6 : 4,
    port: 0,
    ...(bytes && { address: bytes }),
    device,
    bufferBytes: SOCKET_BUFFER_BYTES,
    segmentation: false,
    gro: false,
  }).fd;
}

function send(socket: Socket, bytes: Uint8Array, onTrouble: (code: string) => void): void {
  try {
    socket.send(bytes, (error) => {
      if (error) onTrouble((error as NodeJS.ErrnoException).code ?? error.message);
    });
  } catch (error) {
    onTrouble((error as NodeJS.ErrnoException).code ?? (error as Error).message);
  }
}

async function resolvePlaces(places: readonly string[]): Promise<{ address: string; place: string }[]> {
  const found = await Promise.all(
    places.map(async (place) => {
      if (isIP(place) !== 0) return [{ address: place, place }];
      const addresses = await lookup(place, { all: true }).catch(() => []);
      return addresses.map(({ address }) => ({ address, place }));
    }),
  );
  const targets = found.flat();
  if (targets.length > 0) return targets;
  throw new YokeError('host', {
    where: places.join(', '),
    expected: "the server's address",
    found: 'no answer from the name service',
    todo: 'see that this router is on the internet and can look up names, then run the same command again',
  });
}

/** What the troubles of all addresses come to. */
function nobody(
  { port }: Invitation,
  targets: readonly { address: string }[],
  codes: readonly (string | undefined)[],
  limitMs: number,
): YokeError {
  const where = `the server at ${targets.map((t) => t.address).join(', ')}, UDP port ${port}`;
  const again = 'then run the same command again: the invitation is still good';
  if (codes.every((c) => c === 'ENETUNREACH' || c === 'EHOSTUNREACH' || c === 'EADDRNOTAVAIL')) {
    const todo = `see that this router is on the internet, ${again}`;
    return new YokeError('peer', { where, expected: 'a way there', found: 'none', todo });
  }
  if (codes.some((c) => c === 'ECONNREFUSED')) {
    const todo = `start yoke there (see yoke status on the server) or correct the forwarding of that port, ${again}`;
    return new YokeError('peer', { where, expected: 'a running yoke', found: 'a machine where nothing listens', todo });
  }
  if (codes.every((c) => c === 'EPERM' || c === 'EACCES')) {
    const todo = `let UDP port ${port} out there (nft list ruleset), ${again}`;
    const found = "a firewall of this router's that forbids it";
    return new YokeError('peer', { where, expected: 'a way there', found, todo });
  }
  const expected = `an answer within ${Math.round(limitMs / 1000)} s`;
  const todo = `see that yoke runs there (yoke status) and that UDP port ${port} is open on it, at its provider and outwards here, ${again}, unless that server was set up anew`;
  return new YokeError('peer', { where, expected, found: 'none', todo });
}

/**
 * What bonding is without an engine: packets of a TUN device leave by the links in turn, weighted by their rates, and are delivered as they
 * come. One end: `node wrr.js '{"device":"wrr0",…}'`; prints `ready`. Nothing is encrypted, ordered, sent again or measured.
 *
 *     TUN ─▶ smooth weighted round robin ─▶ [link number 1][packet] in a datagram of that link ─▶ other end's TUN
 */
import { parseAddress } from '../src/base/address.ts';
import { openArena } from '../src/io/arena.ts';
import { ENDPOINT_BYTES, writeEndpoint } from '../src/io/endpoint.ts';
import { POLLIN, Poller, sharpenTimers } from '../src/io/poll.ts';
import type { UdpSocket } from '../src/io/socket.ts';
import { openTun } from '../src/io/tun.ts';
import { UdpIo } from '../src/io/udp.ts';

/** What an end is told. With `server` it speaks first, from each of its devices; without it waits to be spoken to. */
export interface WrrOptions {
  device: string;
  port: number;
  /** One a link, of what this end sends. */
  weights: number[];
  server?: string;
  devices?: string[];
}

const READS = 64;
const PACKET_BYTES = 2048;
const FRONT_BYTES = 16;
const HELLO_MS = 200;

const options = JSON.parse(process.argv[2]) as WrrOptions;
const { weights, server, devices } = options;
const arena = openArena(8 << 20);
const { bytes, view } = arena;
const tun = openTun(arena, { name: options.device, offload: false });
const udp = new UdpIo(arena, { messages: 64, messageBytes: PACKET_BYTES });
const port = server === undefined ? options.port : 0;
const plain = { number: 0, family: 4, segmentation: false, gro: false } as const;
const sockets: UdpSocket[] = (devices ?? [undefined]).map((device) => udp.open({ ...plain, port, device }));
const socketOf = (link: number): UdpSocket => sockets[Math.min(link, sockets.length - 1)];
const peers = weights.map((_, i) => arena.take(`peer ${i}`, ENDPOINT_BYTES));
const isKnown = weights.map(() => server !== undefined);
const slot = arena.take('packet', FRONT_BYTES + PACKET_BYTES, 4096);
const credit = weights.map(() => 0);
const poller = new Poller(arena);
const tunIndex = poller.add(tun.fd, POLLIN);
const socketIndexes = sockets.map((socket) => poller.add(socket.fd, POLLIN));
let helloMs = 0;
sharpenTimers();

if (server !== undefined) {
  const address = parseAddress(server) as Uint8Array;
  for (const peer of peers) writeEndpoint(view, peer, { address, port: options.port, socket: 0 });
}

function send(link: number, at: number, length: number): void {
  bytes[at] = link;
  udp.send(socketOf(link), peers[link], at, length, length);
}

/** The link with the most credit; each gets its weight a turn, the chosen one pays for all. */
function choose(): number {
  let best = -1;
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    if (!isKnown[i]) continue;
    sum += weights[i];
    credit[i] += weights[i];
    if (best < 0 || credit[i] > credit[best]) best = i;
  }
  if (best >= 0) credit[best] -= sum;
  return best;
}

function fromTun(): void {
  for (let r = 0; r < READS; r++) {
    const n = tun.read(slot + FRONT_BYTES, PACKET_BYTES);
    if (n < 0) return;
    const link = choose();
    if (link >= 0) send(link, slot + FRONT_BYTES - 1, n + 1);
  }
}

function fromUdp(socket: UdpSocket): void {
  const n = udp.receive(socket);
  for (let i = 0; i < n; i++) {
    const at = udp.offset[i];
    const link = bytes[at];
    if (udp.length[i] === 0 || link >= weights.length) continue;
    if (server === undefined) {
      bytes.copyWithin(peers[link], udp.endpoint[i], udp.endpoint[i] + ENDPOINT_BYTES);
      isKnown[link] = true;
    }
    if (udp.length[i] > 1) tun.write(at + 1, udp.length[i] - 1);
  }
}

process.stdout.write('ready\n');

/** Some rounds of the loop, then a turn of node's own loop so that signals are seen. */
function rounds(): void {
  if (server !== undefined && performance.now() - helloMs > HELLO_MS) {
    helloMs = performance.now();
    for (let i = 0; i < weights.length; i++) send(i, slot, 1);
  }
  for (let i = 0; i < 64; i++) {
    if (poller.wait(50_000_000) <= 0) break;
    sockets.forEach((socket, s) => {
      if (poller.ready(socketIndexes[s])) fromUdp(socket);
    });
    if (poller.ready(tunIndex)) fromTun();
  }
  setImmediate(rounds);
}
rounds();

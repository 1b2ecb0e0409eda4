/**
 * The smallest tunnel that the packet path can make: TUN → segments → (seal) → UDP runs, and back. No order, no recovery, no rate: it is the
 * ceiling for the real pump, and the means by which the system-call layer is tested against the real kernel.
 *
 *   node io-pump.js '{"name":"yki0","local":"10.9.0.1","remote":"10.9.0.2","port":7000,"offload":true,…}'
 *
 * A datagram: packet number (8; the nonce and the additional data), flags (4; bit 0 checksum partial), inner packet, tag (16). The key is
 * constant: this is a bench. Prints `ready` when the device exists; ends on SIGTERM and prints its counters as one JSON line.
 */
import { parseAddress } from '../src/base/address.ts';
import { openAead } from '../src/io/aead.ts';
import { openArena } from '../src/io/arena.ts';
import { ENDPOINT_BYTES, writeEndpoint } from '../src/io/endpoint.ts';
import { POLLIN, Poller, sharpenTimers } from '../src/io/poll.ts';
import { openTun, TUN_READ_BYTES } from '../src/io/tun.ts';
import { MAX_RUN_BYTES, MAX_RUN_DATAGRAMS, UdpIo } from '../src/io/udp.ts';
import { ACCEPTED, COALESCE_SCRATCH_BYTES, Coalescer, NO_RUN } from '../src/packet/coalesce.ts';
import { Segmenter } from '../src/packet/offload.ts';

/** What one end of the tunnel is told; see the file's comment. */
export interface PumpOptions {
  readonly name: string;
  readonly local: string;
  readonly remote: string;
  readonly port: number;
  readonly offload: boolean;
  readonly segmentation: boolean;
  readonly gro: boolean;
  readonly crypto: boolean;
}

const options = JSON.parse(process.argv[2]) as PumpOptions;
const HEADER_BYTES = 8;
const DATA_HEADER_BYTES = 4;
const FRONT_BYTES = HEADER_BYTES + DATA_HEADER_BYTES;
const TAG_BYTES = 16;
const READS_PER_ROUND = 8;

const arena = openArena(16 << 20);
const { view } = arena;
const tun = openTun(arena, { name: options.name, offload: options.offload });
const udp = new UdpIo(arena, options.gro ? {} : { messages: 64, messageBytes: 16_384 });
const address = parseAddress(options.local) as Uint8Array;
const socket = udp.open({
  number: 0,
  family: address.length === 4 ? 4 : 6,
  port: options.port,
  address,
  segmentation: options.segmentation,
  gro: options.gro,
});
const peer = arena.take('peer', ENDPOINT_BYTES);
writeEndpoint(view, peer, { address: parseAddress(options.remote) as Uint8Array, port: options.port, socket: 0 });
const giant = arena.take('giant', TUN_READ_BYTES, 4096);
const run = arena.take('run', MAX_RUN_BYTES + 2048, 4096);
const key = openAead(arena).create('aes-256-gcm', new Uint8Array(32).fill(7));
const segmenter = new Segmenter(arena, tun.vnetHeaderBytes);
const coalescer = new Coalescer(arena, arena.take('coalesce', COALESCE_SCRATCH_BYTES), tun.offload);
const poller = new Poller(arena);
const tunIndex = poller.add(tun.fd, POLLIN);
const udpIndex = poller.add(socket.fd, POLLIN);
sharpenTimers();

const counters = {
  offload: tun.offload,
  gro: socket.gro,
  segmentation: socket.segmentation,
  reads: 0,
  packetsOut: 0,
  sends: 0,
  sendErrors: 0,
  receives: 0,
  messages: 0,
  packetsIn: 0,
  forged: 0,
  writes: 0,
  writeErrors: 0,
};
let packetNumber = 0;
let runBytes = 0;
let runCount = 0;
let datagramBytes = 0;

function sendRun(): void {
  if (runCount === 0) return;
  const sent = udp.send(socket, peer, run, runBytes, datagramBytes);
  counters.sends++;
  if (sent !== runBytes) counters.sendErrors++;
  runBytes = 0;
  runCount = 0;
}

function fromTun(): void {
  for (let r = 0; r < READS_PER_ROUND; r++) {
    const n = tun.read(giant, TUN_READ_BYTES);
    if (n < 0) break;
    counters.reads++;
    const count = segmenter.begin(giant, n);
    for (let i = 0; i < count; i++) {
      const size = FRONT_BYTES + segmenter.segmentLength(i) + TAG_BYTES;
      if (runCount > 0 && (size > datagramBytes || runCount === MAX_RUN_DATAGRAMS || runBytes + size > MAX_RUN_BYTES))
        sendRun();
      if (runCount === 0) datagramBytes = size;
      const at = run + runBytes;
      view.setUint32(at, 0);
      view.setUint32(at + 4, ++packetNumber);
      view.setUint32(at + HEADER_BYTES, segmenter.partial ? 1 : 0);
      const length = segmenter.writeSegment(i, at + FRONT_BYTES);
      if (options.crypto)
        key.seal(0, packetNumber, at, HEADER_BYTES, at + HEADER_BYTES, DATA_HEADER_BYTES + length, at + HEADER_BYTES);
      runBytes += size;
      runCount++;
      counters.packetsOut++;
      if (size < datagramBytes) sendRun();
    }
  }
  sendRun();
}

function writeRun(number: number): void {
  const count = coalescer.gather(number);
  for (let i = 0; i < count; i++) tun.add(coalescer.fragmentOffset[i], coalescer.fragmentLength[i]);
  counters.writes++;
  if (tun.flush() < 0) counters.writeErrors++;
}

function fromUdp(): void {
  const n = udp.receive(socket);
  if (n <= 0) return;
  counters.receives++;
  counters.messages += n;
  for (let m = 0; m < n; m++) {
    const start = udp.offset[m];
    const end = start + udp.length[m];
    const step = udp.segment[m];
    for (let at = start; at < end; at += step) {
      const size = Math.min(step, end - at);
      const sealed = size - HEADER_BYTES - TAG_BYTES;
      if (sealed < DATA_HEADER_BYTES + 20) continue;
      const body = at + HEADER_BYTES;
      if (options.crypto && !key.open(0, view.getUint32(at + 4), at, HEADER_BYTES, body, sealed, body)) {
        counters.forged++;
        continue;
      }
      counters.packetsIn++;
      const partial = (view.getUint32(body) & 1) === 1;
      const packet = body + DATA_HEADER_BYTES;
      for (;;) {
        const full = coalescer.offer(packet, sealed - DATA_HEADER_BYTES, partial);
        if (full === ACCEPTED) break;
        writeRun(full);
      }
    }
  }
  for (let number = coalescer.next(); number !== NO_RUN; number = coalescer.next()) writeRun(number);
}

let stopped = false;
process.on('SIGTERM', () => {
  stopped = true;
});
process.stdout.write('ready\n');

/** Some rounds of the loop, then a turn of node's own loop so that the signal is seen. */
function rounds(): void {
  for (let i = 0; i < 64 && !stopped; i++) {
    if (poller.wait(50_000_000) <= 0) break;
    if (poller.ready(udpIndex)) fromUdp();
    if (poller.ready(tunIndex)) fromTun();
  }
  if (!stopped) setImmediate(rounds);
  else
    process.stdout.write(
      `${JSON.stringify({ ...counters, cpuSeconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6, refused: socket.segmentationRefused })}\n`,
      () => process.exit(0),
    );
}
rounds();

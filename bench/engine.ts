/**
 * What the engine costs a packet, without I/O and without encryption: two endpoints, handed each other's datagrams. `node dist/bench/engine.js`.
 *
 * One JSON line a case: nanoseconds a packet for both ends together (sending, receiving, acknowledging, reordering), and the packets/s of
 * one core that do both ends' work.
 */
import { heapMemory, type Memory } from '../src/base/memory.ts';
import { Endpoint } from '../src/bond/endpoint.ts';
import type { Peer } from '../src/bond/peer.ts';
import { NONE, SLOT_BYTES } from '../src/bond/pool.ts';
import { Transmit } from '../src/bond/transmit.ts';
import { nodeHandshakeCrypto } from '../src/io/crypto.ts';
import { ENDPOINT_BYTES, writeEndpoint } from '../src/io/endpoint.ts';
import { openNullAead } from '../test/sim/aead.ts';

const RUN_BYTES = 65_536;
const POOL_SLOTS = 8192;
const QUEUED = 256;
const RESERVED = 256;
/** Datagrams under way at the most. */
const WIRE = 16_384;

interface Side {
  endpoint: Endpoint;
  peer: Peer;
  memory: Memory;
  runAt: number;
  inAt: number;
  fromAt: number;
  /** Endpoint records, one for each path. */
  records: number[];
  out: Transmit;
}

function makeSide(role: 'router' | 'server', own: Uint8Array, other: Uint8Array): Side {
  const memory = heapMemory(POOL_SLOTS * SLOT_BYTES + 512 * 1024);
  let allocated = 0;
  const allocate = (bytes: number): number => {
    const at = allocated;
    allocated += (bytes + 63) & ~63;
    return at;
  };
  const endpoint = new Endpoint({
    memory,
    allocate,
    aead: openNullAead(memory),
    crypto: nodeHandshakeCrypto,
    privateKey: own,
    role,
    poolSlots: POOL_SLOTS,
    hasAes: true,
    wallOffsetUs: 1.7e15,
    markCe: () => false,
  });
  const peer = endpoint.addPeer('peer', other, undefined);
  return {
    endpoint,
    peer,
    memory,
    runAt: allocate(RUN_BYTES),
    inAt: allocate(2048),
    fromAt: allocate(ENDPOINT_BYTES),
    records: [0, 1, 2, 3].map((i) => {
      const at = allocate(ENDPOINT_BYTES);
      // The port tells the paths apart.
      writeEndpoint(memory.view, at, { address: Uint8Array.of(192, 0, 2, 1), port: 30 + i, socket: i });
      return at;
    }),
    out: new Transmit(),
  };
}

/** `paths` paths, `flows` flows of packets of `bytes`; every `lossEvery`-th datagram is lost; one way takes `delayTurns` × 100 µs. */
function run(
  name: string,
  paths: number,
  flows: number,
  bytes: number,
  lossEvery: number,
  delayTurns: number,
  packets: number,
): void {
  const routerKeys = nodeHandshakeCrypto.generateKeyPair();
  const serverKeys = nodeHandshakeCrypto.generateKeyPair();
  const router = makeSide('router', routerKeys.privateKey, serverKeys.publicKey);
  const server = makeSide('server', serverKeys.privateKey, routerKeys.publicKey);
  let now = 1e6;
  let datagrams = 0;
  for (let i = 0; i < paths; i++) {
    writeEndpoint(router.memory.view, router.fromAt, { address: Uint8Array.of(192, 0, 2, 1), port: 4500, socket: i });
    router.peer.bond.setPath(i, true, router.fromAt, 1500, undefined, now);
  }
  // What is under way: datagrams in the order in which they were sent, each with the turn in which it arrives.
  const wire = {
    bytes: new Uint8Array(WIRE * 1536),
    length: new Uint16Array(WIRE),
    path: new Uint8Array(WIRE),
    turn: new Float64Array(WIRE),
  };
  const wires = [
    wire,
    {
      ...wire,
      bytes: new Uint8Array(WIRE * 1536),
      length: new Uint16Array(WIRE),
      path: new Uint8Array(WIRE),
      turn: new Float64Array(WIRE),
    },
  ];
  const heads = [0, 0];
  const tails = [0, 0];
  let turns = 0;
  const flush = (from: Side, to: Side): void => {
    const w = from === router ? 0 : 1;
    const { bytes: data, length, path: paths, turn } = wires[w];
    while (from.endpoint.pollTransmit(from.out, from.runAt, now)) {
      const { at, totalBytes, segmentBytes, endpointAt } = from.out;
      const path = from === router ? from.memory.bytes[endpointAt + 45] : from.memory.bytes[endpointAt + 3] - 30;
      for (let off = 0; off < totalBytes; off += segmentBytes) {
        const size = Math.min(segmentBytes, totalBytes - off);
        datagrams++;
        if (lossEvery !== 0 && datagrams % lossEvery === 0) continue;
        const i = tails[w]++ % WIRE;
        data.set(from.memory.bytes.subarray(at + off, at + off + size), i * 1536);
        length[i] = size;
        paths[i] = path;
        turn[i] = turns + delayTurns;
      }
    }
    while (heads[w] < tails[w] && turn[heads[w] % WIRE] <= turns) {
      const i = heads[w]++ % WIRE;
      to.memory.bytes.set(data.subarray(i * 1536, i * 1536 + length[i]), to.inAt);
      to.endpoint.handleDatagram(to.inAt, length[i], to.records[paths[i]], now);
    }
  };
  let delivered = 0;
  const drain = (side: Side): void => {
    const { pool } = side.endpoint;
    for (let slot = side.endpoint.pollDelivered(); slot !== NONE; slot = side.endpoint.pollDelivered()) {
      delivered++;
      pool.give(slot);
    }
  };
  const turn = (): void => {
    now += 100;
    turns++;
    for (const side of [router, server]) if (side.endpoint.pollTimeout() <= now) side.endpoint.handleTimeout(now);
    flush(router, server);
    flush(server, router);
    drain(server);
    drain(router);
  };
  let offered = 0;
  const offer = (side: Side, count: number): void => {
    const { pool } = side.endpoint;
    for (let i = 0; i < count && side.peer.bond.lanes.packets < QUEUED && pool.free > RESERVED; i++) {
      const slot = pool.take();
      if (slot === NONE) return;
      pool.length[slot] = bytes;
      pool.bucket[slot] = offered++ % flows;
      side.endpoint.handlePacket(side.peer, slot, now);
    }
  };
  const work = (count: number): void => {
    const end = delivered + count;
    while (delivered < end) {
      offer(router, 64);
      turn();
    }
  };
  for (let i = 0; i < 20_000; i++) turn();
  work(packets / 4);
  const from = delivered;
  const start = process.cpuUsage();
  work(packets);
  const used = process.cpuUsage(start);
  const ns = ((used.user + used.system) * 1e3) / (delivered - from);
  console.log(JSON.stringify({ case: name, nsAPacket: Math.round(ns), packetsASecond: Math.round(1e9 / ns) }));
}

const count = Number(process.argv[2] ?? 1_000_000);
run('1 path, 1 flow, 1400 bytes', 1, 1, 1400, 0, 5, count);
run('2 paths, 1 flow, 1400 bytes', 2, 1, 1400, 0, 5, count);
run('2 paths, 16 flows, 1400 bytes', 2, 16, 1400, 0, 5, count);
run('2 paths, 1 flow, 1 % lost', 2, 1, 1400, 100, 5, count);
run('2 paths, 1 flow, 1 % lost, RTT 20 ms', 2, 1, 1400, 100, 100, count);
run('2 paths, 16 flows, 100 bytes', 2, 16, 100, 0, 5, count);

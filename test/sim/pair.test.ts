/** A pair of engines over simulated links: what an association lives through, from the first handshake to the end of a process. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LEAST_INNER_IPV4, LEAST_INNER_IPV6 } from '../../src/bond/tuning.ts';
import { openNodeAead } from '../../src/io/aead-node.ts';
import { nodeHandshakeCrypto } from '../../src/io/crypto.ts';
import { writeEndpoint } from '../../src/io/endpoint.ts';
import type { LinkSettings } from '../../src/lab/link.ts';
import { CIPHER_AES_256_GCM, Initiator } from '../../src/wire/handshake.ts';
import { openCheapAead } from './aead.ts';
import { Ping, UdpStream } from './apps.ts';
import { type End, Pair, type SimLink } from './pair.ts';
import { TcpFlow } from './tcp.ts';

const SECOND = 1e6;
const MINUTE = 60 * SECOND;

function link(mbit: number, delayMs: number, more?: Partial<LinkSettings>): SimLink {
  const one: LinkSettings = { rateBps: mbit * 1e6, delayUs: delayMs * 1e3, ...more };
  return { down: one, up: one };
}

const TWO = [link(20, 10), link(20, 10)];

function connect(pair: Pair): void {
  pair.runUntil(() => pair.isUp, 2 * SECOND);
}

/** Lets everything under way arrive. Streams must have been stopped. */
function settle(pair: Pair): void {
  pair.run(pair.nowUs + 3 * SECOND);
  assert.ok(pair.isQuiet, 'every slot is free again');
}

function kinds(end: End, kind: string): number {
  return end.events.filter((e) => e.kind === kind).length;
}

for (const [name, hasAes, cipher] of [
  ['both with AES instructions', [true, true], 'aes-256-gcm'],
  ['one without', [false, true], 'chacha20-poly1305'],
] as const) {
  test(`real ciphers, ${name}: packets arrive intact, both ways, over both links`, () => {
    const pair = new Pair({ links: TWO, aead: (memory) => openNodeAead(memory.bytes), hasAes: [...hasAes] });
    connect(pair);
    assert.deepEqual(
      pair.server.events.filter((e) => e.kind === 'established'),
      [{ kind: 'established', peer: 'router', cipher, again: false }],
    );
    const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 1200, 320));
    pair.run(pair.nowUs + SECOND / 2);
    for (const s of streams) s.stop();
    settle(pair);
    for (const s of streams) {
      assert.ok(s.sent > 1500);
      assert.deepEqual([s.received, s.damaged, s.repeated, s.outOfOrder], [s.sent, 0, 0, 0]);
    }
    for (const model of [...pair.up, ...pair.down]) assert.ok(model.counters.acceptedPackets > 100);
    assert.equal(pair.router.peer.bond.innerMtu, 1500 - 56);
    assert.equal(pair.server.peer.bond.innerMtu, 1500 - 56);
  });
}

test('the first packet is through within three round trips', () => {
  const pair = new Pair({ links: TWO });
  const ping = new Ping(pair, 1, 1, 10_000);
  pair.runUntil(() => ping.rttUs.values.length > 0, SECOND);
  assert.ok(pair.nowUs < 100_000, `${pair.nowUs} µs`);
});

test('two hours: a new session every two minutes, no packet lost or late, no nonce used twice', () => {
  const newest = new Map<string, number>();
  const pair = new Pair({
    links: [link(20, 10), link(20, 15)],
    drift: 50e-6,
    aead: (memory) =>
      openCheapAead(memory, (key, hi, lo) => {
        const name = `${Buffer.from(key).toString('hex')} ${hi}`;
        assert.ok(lo > (newest.get(name) ?? -1), 'packet numbers of a path under a key only grow');
        newest.set(name, lo);
      }),
  });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 300, 230_000));
  pair.run(120 * MINUTE);
  for (const s of streams) s.stop();
  settle(pair);
  const sessions = kinds(pair.router, 'established');
  assert.ok(sessions >= 59 && sessions <= 61, `${sessions} sessions`);
  assert.equal(kinds(pair.server, 'established'), sessions);
  assert.ok(pair.router.events.every((e) => e.kind !== 'path' || e.state === 'waiting' || e.state === 'up'));
  for (const s of streams) {
    assert.equal(s.received, s.sent);
    assert.ok(s.delaysUs.quantile(1) < 25_000, `slowest ${s.delaysUs.quantile(1)} µs`);
  }
});

test('a day without traffic costs few datagrams and the bond still stands', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const before = pair.router.transmitted;
  pair.run(24 * 60 * MINUTE);
  assert.ok(pair.isUp);
  // A ping and an answer each 15 s a path and direction, and 720 handshakes.
  const each = (pair.router.transmitted - before) / (24 * 3600);
  assert.ok(each < 1, `${each} datagrams/s`);
  const ping = new Ping(pair, 1, 1, 100_000);
  pair.run(pair.nowUs + SECOND);
  assert.ok(ping.rttUs.values.length >= 9);
});

test('the server is restarted in mid-flow: traffic goes on with a new association', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  // More than a replay window both ways, so that the old numbers would refuse the new ones.
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 100, 200));
  pair.run(pair.nowUs + 4 * SECOND);
  const before = streams.map((s) => s.received);
  assert.ok(before[0] > 18_000 && before[1] > 18_000);
  pair.restartServer();
  const restartedUs = pair.nowUs;
  pair.runUntil(() => streams.every((s, i) => s.received > before[i] + 1000), 3 * SECOND);
  assert.ok(pair.nowUs - restartedUs < 2 * SECOND, `${pair.nowUs - restartedUs} µs`);
  assert.equal(pair.server.events.find((e) => e.kind === 'established')?.again, false);
  for (const s of streams) s.stop();
  settle(pair);
  // Data sequences began at 0 again, at both ends: nobody waited for a number that never comes.
  assert.equal(pair.server.peer.bond.reorder.skipped, 0);
  assert.equal(pair.router.peer.bond.reorder.skipped, 0);
});

test('the router is restarted in mid-flow: the server follows', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 500, 10_000));
  pair.run(pair.nowUs + SECOND);
  const before = streams.map((s) => s.received);
  pair.restartRouter();
  pair.runUntil(() => streams.every((s, i) => s.received > before[i] + 10), SECOND);
  for (const s of streams) {
    s.stop();
    assert.deepEqual([s.repeated, s.damaged], [0, 0]);
  }
  settle(pair);
});

test('the router says goodbye: the server keeps nothing and stays silent; a new association follows', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  pair.router.peer.bond.setClosing();
  pair.router.dirty = true;
  pair.run(pair.nowUs + SECOND);
  assert.equal(kinds(pair.server, 'closed'), 1);
  assert.ok(!pair.server.peer.bond.isUp);
  const sent = pair.server.transmitted;
  pair.run(pair.nowUs + 10 * SECOND);
  assert.equal(pair.server.transmitted, sent);
  pair.restartRouter();
  connect(pair);
});

test('a NAT that gives the router another address and port in mid-flow loses nothing of the flow up', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 500, 5_000));
  for (let k = 0; k < 10; k++) {
    pair.run(pair.nowUs + SECOND / 2);
    pair.publicAddress[k % 2] = { host: 100 + k, port: 40_000 + k };
  }
  pair.run(pair.nowUs + SECOND / 2);
  for (const s of streams) s.stop();
  settle(pair);
  assert.equal(streams[0].received, streams[0].sent);
  // Down, what was sent to an address that is no longer ours is sent again by the other path.
  assert.equal(streams[1].received, streams[1].sent);
  assert.ok(streams[1].longestGapUs < 300_000, `${streams[1].longestGapUs} µs`);
});

test('what is not authentic moves no address and gets no answer', () => {
  const pair = new Pair({ links: TWO });
  const seen: Uint8Array[] = [];
  pair.tamper = (_link, isUp, bytes) => {
    if (isUp) seen.push(bytes);
    return [bytes];
  };
  connect(pair);
  const stream = new UdpStream(pair, true, 1, 1, 500, 5_000);
  pair.run(pair.nowUs + SECOND);
  stream.stop();
  settle(pair);
  const { server } = pair;
  // Not in the middle of a keep-alive, whose answer would look like one to a forgery.
  const isDue = (end: End) => end.simUs(end.endpoint.pollTimeout()) < pair.nowUs + 60_000;
  for (let i = 0; i < 100 && (isDue(server) || isDue(pair.router)); i++) pair.run(pair.nowUs + 20_000);
  const { view, bytes } = server.memory;
  const sent = server.transmitted;
  const { received } = stream;
  const endpoints = server.peer.bond.paths.flatMap((p) =>
    p === undefined ? [] : [Buffer.from(bytes.slice(p.endpointAt, p.endpointAt + 48)).toString('hex')],
  );
  for (const datagram of seen) {
    // The same bytes again, from elsewhere; and the same with one bit changed.
    for (const changed of [false, true]) {
      if (changed) datagram[Math.floor(pair.random() * datagram.length)] ^= 1 << Math.floor(pair.random() * 8);
      writeEndpoint(view, server.fromAt, { address: Uint8Array.of(203, 0, 113, 9), port: 666, socket: 0 });
      bytes.set(datagram, server.inAt);
      server.endpoint.handleDatagram(server.inAt, datagram.length, server.fromAt, server.localUs(pair.nowUs));
    }
  }
  server.dirty = true;
  pair.run(pair.nowUs + 10_000);
  assert.equal(server.transmitted, sent, 'silence');
  assert.equal(stream.received, received);
  assert.deepEqual(
    server.peer.bond.paths.flatMap((p) =>
      p === undefined ? [] : [Buffer.from(bytes.slice(p.endpointAt, p.endpointAt + 48)).toString('hex')],
    ),
    endpoints,
  );
  assert.ok(pair.isUp && pair.isQuiet);
});

test('garbage of every length, with every first byte, is dropped and counted', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  pair.run(pair.nowUs + SECOND);
  const { server } = pair;
  const sent = server.transmitted;
  let count = 0;
  for (let first = 0; first < 256; first++) {
    for (const length of [1, 4, 8, 23, 24, 25, 28, 29, 64, 100, 101, 156, 500, 2000]) {
      for (let i = 0; i < length; i++) server.memory.bytes[server.inAt + i] = Math.floor(pair.random() * 256);
      server.memory.bytes[server.inAt] = first;
      server.endpoint.handleDatagram(server.inAt, length, server.fromAt, server.localUs(pair.nowUs));
      count++;
    }
  }
  server.dirty = true;
  pair.run(pair.nowUs + 1_000);
  assert.equal(server.transmitted, sent, 'silence');
  assert.equal(Object.values(server.endpoint.drops).reduce((a, b) => a + b, 0) >= count, true);
  assert.ok(pair.isUp && pair.isQuiet);
});

test('every datagram arrives three times: each packet is delivered once', () => {
  const pair = new Pair({ links: TWO });
  pair.tamper = (_link, _isUp, bytes) => [bytes, bytes, bytes];
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 500, 5_000));
  pair.run(pair.nowUs + 2 * SECOND);
  for (const s of streams) s.stop();
  settle(pair);
  for (const s of streams) assert.deepEqual([s.received, s.repeated], [s.sent, 0]);
  assert.ok(pair.server.endpoint.drops.repeated > 100);
});

test('one datagram in twenty is damaged: it counts as lost and is sent again', () => {
  const pair = new Pair({ links: TWO });
  pair.tamper = (_link, _isUp, bytes) => {
    if (pair.random() < 0.05) bytes[Math.floor(pair.random() * bytes.length)] ^= 0x10;
    return [bytes];
  };
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 500, 5_000));
  pair.run(pair.nowUs + 5 * SECOND);
  for (const s of streams) s.stop();
  settle(pair);
  for (const s of streams) {
    assert.deepEqual([s.damaged, s.repeated, s.outOfOrder], [0, 0, 0]);
    assert.ok(s.received >= s.sent - 1, `${s.sent - s.received} lost`);
  }
});

test('a router whose key the server does not know hears nothing', () => {
  const pair = new Pair({ links: TWO, stranger: true });
  pair.run(5 * SECOND);
  assert.ok(kinds(pair.server, 'unknown-peer') >= 3);
  assert.equal(pair.server.transmitted, 0);
  assert.equal(pair.router.peer.current, undefined);
});

test('pre-shared keys that differ give no session', () => {
  const pair = new Pair({ links: TWO, psk: [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] });
  pair.run(5 * SECOND);
  assert.equal(pair.router.peer.current, undefined);
  assert.equal(pair.server.peer.current, undefined);
});

test('a flood of initiations: the server asks for cookies, and the router gets in all the same', () => {
  const pair = new Pair({ links: TWO });
  const { server } = pair;
  const strangers = Array.from(
    { length: 8 },
    () =>
      new Initiator({
        crypto: nodeHandshakeCrypto,
        privateKey: nodeHandshakeCrypto.generateKeyPair().privateKey,
        peerPublicKey: pair.serverKeys.publicKey,
      }),
  );
  let flooded = 0;
  const flood = (): void => {
    const id = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
    const message = strangers[flooded % 8].begin(flooded, 1.8e15 + flooded, id, CIPHER_AES_256_GCM, CIPHER_AES_256_GCM);
    server.memory.bytes.set(message, server.inAt);
    writeEndpoint(server.memory.view, server.fromAt, { address: Uint8Array.of(203, 0, 113, 9), port: 666, socket: 0 });
    server.endpoint.handleDatagram(server.inAt, message.length, server.fromAt, server.localUs(pair.nowUs));
    server.dirty = true;
    if (++flooded < 500) pair.events.after(5_000, flood);
  };
  pair.dropPath(0);
  pair.dropPath(1);
  pair.events.after(0, flood);
  pair.run(SECOND);
  pair.usePath(0);
  pair.usePath(1);
  const asked = server.endpoint.drops['under-load'] ?? 0;
  assert.ok(asked > 50);
  pair.runUntil(() => pair.isUp, SECOND);
  assert.ok(flooded < 500, 'while the flood goes on');
  assert.ok((server.endpoint.drops['unknown-peer'] ?? 0) <= 70, 'no X25519 for those without a cookie');
});

test('a link is cut and comes back, again and again: a call loses nothing and never waits 300 ms', () => {
  const pair = new Pair({ links: [link(20, 10), link(20, 20)], seed: 3 });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 200, 20_000));
  const tcp = new TcpFlow(pair, { isUp: false, flow: 3, bucket: 3, startUs: pair.nowUs });
  for (let k = 0; k < 6; k++) {
    pair.run(pair.nowUs + 3 * SECOND);
    pair.cut(k % 2);
    pair.run(pair.nowUs + 2 * SECOND);
    pair.restore(k % 2);
    const backUs = pair.nowUs;
    pair.runUntil(() => pair.isUp, 2 * SECOND);
    assert.ok(pair.nowUs - backUs < SECOND);
  }
  for (const s of streams) s.stop();
  const { goodputBytes } = tcp;
  assert.ok(goodputBytes > 30 * 2e6, `${goodputBytes}`);
  pair.run(pair.nowUs + SECOND);
  for (const s of streams) {
    assert.deepEqual([s.received, s.repeated, s.damaged], [s.sent, 0, 0]);
    assert.ok(s.longestGapUs < 300_000, `${s.longestGapUs} µs`);
  }
});

test('all links are cut and come back: traffic goes on within two seconds, in the same association', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const stream = new UdpStream(pair, false, 1, 1, 500, 20_000);
  pair.run(pair.nowUs + SECOND);
  for (const outage of [1, 10, 100, 400]) {
    pair.cut(0);
    pair.cut(1);
    pair.run(pair.nowUs + outage * SECOND);
    pair.restore(0);
    pair.restore(1);
    const { received } = stream;
    pair.runUntil(() => stream.received > received + 20, 3 * SECOND);
  }
  stream.stop();
  assert.ok(
    pair.router.events.every(
      (e) => e.kind !== 'established' || e.again || e === pair.router.events.find((x) => x.kind === 'established'),
    ),
  );
  settle(pair);
});

test('an outage of three seconds: what was sent before it is not delivered after it', () => {
  const pair = new Pair({ links: [link(20, 10)] });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 1000, 2_000));
  pair.run(pair.nowUs + SECOND);
  pair.cut(0);
  pair.run(pair.nowUs + 3 * SECOND);
  pair.restore(0);
  pair.runUntil(() => pair.isUp, 2 * SECOND);
  pair.run(pair.nowUs + SECOND);
  for (const s of streams) {
    s.stop();
    assert.ok(s.delaysUs.quantile(1) < 1.2 * SECOND, `${s.delaysUs.quantile(1)} µs`);
    assert.ok(s.received < s.sent - 500);
  }
  settle(pair);
});

test('with all slots in use acknowledgements are heard, and free them', () => {
  const pair = new Pair({ links: TWO, poolSlots: 1024 });
  connect(pair);
  const { pool } = pair.router.endpoint;
  const stream = new UdpStream(pair, true, 1, 1, 1000, 100);
  pair.run(pair.nowUs + 50_000);
  const taken: number[] = [];
  for (let slot = pool.take(); slot !== -1; slot = pool.take()) taken.push(slot);
  assert.equal(pool.free, 0);
  assert.ok((pair.router.peer.bond.paths[0]?.inFlightBytes ?? 0) > 0);
  pair.run(pair.nowUs + 100_000);
  assert.ok(pool.free > 100, `${pool.free} free`);
  assert.ok(pair.isUp);
  for (const slot of taken) pool.give(slot);
  stream.stop();
  settle(pair);
});

test('a link that the router gives up is given up by the server without a pause', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 1000, 1_000));
  pair.run(pair.nowUs + SECOND);
  pair.dropPath(0);
  pair.cut(0);
  pair.run(pair.nowUs + 50_000);
  assert.equal(pair.server.peer.bond.paths[0]?.state, 'closed');
  pair.run(pair.nowUs + SECOND);
  for (const s of streams) s.stop();
  settle(pair);
  for (const s of streams) {
    assert.equal(s.received, s.sent);
    assert.ok(s.longestGapUs < 120_000, `${s.longestGapUs} µs`);
  }
  pair.restore(0);
  pair.usePath(0);
  pair.runUntil(() => pair.isUp, SECOND);
});

/** Whether IPv6 is carried inside, which asks for 1,280 bytes there. */
function carryIpv6(pair: Pair, isCarried: boolean): void {
  for (const end of [pair.router, pair.server])
    end.peer.bond.sender.leastInnerMtu = isCarried ? LEAST_INNER_IPV6 : LEAST_INNER_IPV4;
}

test('the path MTU is found, whatever it is', () => {
  const sizes = [1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1440, 1460, 1480, 1492, 1500];
  for (const mtu of [1280, 1290, 1300, 1359, 1360, 1380, 1400, 1420, 1459, 1460, 1480, 1492, 1499, 1500]) {
    const pair = new Pair({ links: [link(20, 10, { blackholeOverBytes: mtu }), link(20, 10)] });
    carryIpv6(pair, mtu >= 1359);
    connect(pair);
    pair.run(10 * SECOND);
    const expected = Math.max(...sizes.filter((s) => s <= mtu));
    assert.equal(pair.router.peer.bond.paths[0]?.mtu.bytes, expected);
    assert.equal(pair.server.peer.bond.innerMtu, expected - 56);
    assert.equal(pair.router.peer.bond.innerMtu, expected - 56);
  }
});

test('a path too narrow for IPv6 inside carries small packets and does not narrow the others; without IPv6 it carries all', () => {
  for (const isCarried of [true, false]) {
    const pair = new Pair({ links: [link(20, 10, { blackholeOverBytes: 1310 }), link(20, 10)] });
    carryIpv6(pair, isCarried);
    connect(pair);
    pair.run(6 * SECOND);
    assert.equal(pair.router.peer.bond.innerMtu, (isCarried ? 1500 : 1300) - 56);
    const tcp = new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1, startUs: pair.nowUs });
    pair.run(11 * SECOND);
    const mbit = (tcp.goodputBytes * 8) / 5e6;
    assert.ok(isCarried ? mbit > 16 : mbit > 31, `${mbit} Mbit/s`);
    assert.equal(pair.server.peer.bond.sender.tooLarge, 0);
  }
});

test('a path MTU that shrinks in mid-flow: large packets go by the other path, then by both in the new size', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const tcp = new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1, startUs: pair.nowUs });
  pair.run(pair.nowUs + 3 * SECOND);
  pair.down[0].set({ blackholeOverBytes: 1420 });
  pair.run(pair.nowUs + 10 * SECOND);
  assert.equal(pair.server.peer.bond.paths[0]?.mtu.bytes, 1420);
  assert.equal(pair.router.peer.bond.innerMtu, 1420 - 56);
  assert.equal(pair.server.peer.bond.innerMtu, 1420 - 56);
  assert.ok(tcp.goodputBytes > 10 * 1.5e6);
});

test('both path MTUs shrink: packets that nobody can carry do not block the others', () => {
  const pair = new Pair({ links: TWO });
  connect(pair);
  const large = new UdpStream(pair, false, 1, 1, 1444, 2_000);
  const small = new UdpStream(pair, false, 2, 2, 1000, 2_000);
  pair.run(pair.nowUs + SECOND);
  for (const model of pair.down) model.set({ blackholeOverBytes: 1400 });
  pair.run(pair.nowUs + 5 * SECOND);
  small.sinceUs = pair.nowUs;
  const { received } = small;
  pair.run(pair.nowUs + 5 * SECOND);
  assert.ok(small.received > received + 2450, `${small.received - received}`);
  assert.ok(pair.server.peer.bond.sender.tooLarge > 1000);
  large.stop();
  small.stop();
  settle(pair);
});

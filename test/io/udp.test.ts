/** UDP runs over loopback: IPv4 and IPv6, with the kernel's offloads and without. Loopback alone: no root, no namespace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../src/base/address.ts';
import { YokeError } from '../../src/base/error.ts';
import { openArena } from '../../src/io/arena.ts';
import { ENDPOINT_BYTES, ENDPOINT_LOCAL, readEndpoint, writeEndpoint } from '../../src/io/endpoint.ts';
import { EAGAIN, EMSGSIZE } from '../../src/io/libc.ts';
import { POLLIN, Poller } from '../../src/io/poll.ts';
import { closeSocket, type UdpSocket } from '../../src/io/socket.ts';
import { VNET_HEADER_BYTES } from '../../src/io/tun.ts';
import { UdpIo } from '../../src/io/udp.ts';
import { VNET_BYTES } from '../../src/packet/vnet.ts';

const arena = openArena(8 << 20);
const io = new UdpIo(arena);
const plainIo = new UdpIo(arena, { messages: 64, messageBytes: 16_384 });
const poller = new Poller(arena, 1);
const peer = arena.take('peer', ENDPOINT_BYTES);
const text = arena.take('text', 1 << 18);
for (let i = 0; i < 1 << 18; i++) arena.bytes[text + i] = (i * 31) ^ (i >> 8);
const LOOPBACK = { 4: parseAddress('127.0.0.1') as Uint8Array, 6: parseAddress('::1') as Uint8Array };

/** All datagrams that arrive until `count` are there; each as [offset of its text, length]. */
function collect(batch: UdpIo, socket: UdpSocket, count: number): Uint8Array[] {
  const got: Uint8Array[] = [];
  poller.clear();
  poller.add(socket.fd, POLLIN);
  while (got.length < count) {
    assert.equal(poller.wait(5e9), 1, `${got.length} of ${count} datagrams arrived`);
    const n = batch.receive(socket);
    assert.ok(n > 0);
    for (let m = 0; m < n; m++)
      for (let at = 0; at < batch.length[m]; at += batch.segment[m])
        got.push(
          arena.bytes.slice(batch.offset[m] + at, batch.offset[m] + Math.min(at + batch.segment[m], batch.length[m])),
        );
  }
  return got;
}

for (const family of [4, 6] as const)
  for (const [name, batch, settings] of [
    ['with offloads', io, {}],
    ['plain', plainIo, { segmentation: false, gro: false }],
  ] as const)
    test(`IPv${family} ${name}: runs of any shape arrive as they were, and answers leave from the address that was asked`, () => {
      const a = batch.open({ number: 1, family, port: 0, ...settings });
      const b = batch.open({ number: 2, family, port: 0, ...settings });
      try {
        fc.assert(
          fc.property(fc.integer({ min: 1, max: 1472 }), fc.integer({ min: 1, max: 100_000 }), (size, wanted) => {
            const length = Math.min(wanted, 120 * size);
            writeEndpoint(arena.view, peer, { address: LOOPBACK[family], port: b.port, socket: 1 });
            assert.equal(batch.send(a, peer, text, length, size), length);
            const count = Math.ceil(length / size);
            const got = collect(batch, b, count);
            assert.equal(got.length, count);
            got.forEach((datagram, i) => {
              const from = text + i * size;
              assert.deepEqual(datagram, arena.bytes.slice(from, Math.min(from + size, text + length)));
            });
            assert.equal(batch.receive(b), -EAGAIN);
          }),
          { numRuns: 40 },
        );
        assert.equal(a.segmentationRefused, 0);

        assert.equal(batch.send(a, peer, text, 10, 10), 10);
        poller.clear();
        poller.add(b.fd, POLLIN);
        poller.wait(5e9);
        assert.equal(batch.receive(b), 1);
        const asked = readEndpoint(arena.view, batch.endpoint[0]);
        assert.deepEqual(asked, {
          address: LOOPBACK[family],
          port: a.port,
          local: LOOPBACK[family],
          socket: 2,
          scope: 0,
        });
        assert.ok(batch.send(b, batch.endpoint[0], text, 3000, 1000) === 3000);
        assert.equal(collect(batch, a, 3).length, 3);
      } finally {
        closeSocket(a);
        closeSocket(b);
      }
    });

test('an answer leaves from the very address that was asked, not from the kernel’s choice', () => {
  const a = io.open({ number: 1, family: 4, port: 0 });
  const b = io.open({ number: 2, family: 4, port: 0 });
  const asked = parseAddress('127.9.8.7') as Uint8Array;
  writeEndpoint(arena.view, peer, { address: asked, port: b.port, socket: 1 });
  io.send(a, peer, text, 5, 5);
  poller.clear();
  poller.add(b.fd, POLLIN);
  poller.wait(5e9);
  assert.equal(io.receive(b), 1);
  assert.deepEqual(readEndpoint(arena.view, io.endpoint[0]).local, asked);
  io.send(b, io.endpoint[0], text, 5, 5);
  poller.clear();
  poller.add(a.fd, POLLIN);
  poller.wait(5e9);
  assert.equal(io.receive(a), 1);
  assert.deepEqual(readEndpoint(arena.view, io.endpoint[0]).address, asked);
  closeSocket(a);
  closeSocket(b);
});

test('a record is overwritten whole: nothing of an IPv6 address is left behind an IPv4 one', () => {
  const six = io.open({ number: 6, family: 6, port: 0 });
  const four = io.open({ number: 4, family: 4, port: 0 });
  const oneTo = (socket: UdpSocket, family: 4 | 6) => {
    writeEndpoint(arena.view, peer, { address: LOOPBACK[family], port: socket.port, socket: 0 });
    io.send(socket, peer, text, 1, 1);
    poller.clear();
    poller.add(socket.fd, POLLIN);
    poller.wait(5e9);
    assert.equal(io.receive(socket), 1);
    return arena.bytes.slice(io.endpoint[0], io.endpoint[0] + ENDPOINT_BYTES);
  };
  const first = oneTo(four, 4);
  oneTo(six, 6);
  assert.deepEqual(readEndpoint(arena.view, io.endpoint[0]).address, LOOPBACK[6]);
  assert.deepEqual(oneTo(four, 4), first);
  assert.ok(first.subarray(ENDPOINT_LOCAL + 4, 44).every((x) => x === 0));
  closeSocket(six);
  closeSocket(four);
});

test('errors are values: too large, no way', () => {
  const a = io.open({ number: 1, family: 4, port: 0 });
  writeEndpoint(arena.view, peer, { address: LOOPBACK[4], port: a.port, socket: 1 });
  assert.equal(io.send(a, peer, text, 66_000, 66_000), -EMSGSIZE);
  writeEndpoint(arena.view, peer, {
    address: LOOPBACK[4],
    local: parseAddress('203.0.113.1'),
    port: a.port,
    socket: 1,
  });
  assert.ok(io.send(a, peer, text, 5000, 1000) < 0, 'a local address that is not ours');
  assert.equal(a.plainRuns, 0, 'which is no reason to give up UDP_SEGMENT');
  closeSocket(a);
});

test('a port in use, a device that is not there, an address that is not ours: said in one line', () => {
  const a = io.open({ number: 1, family: 4, port: 0 });
  const complaint = (options: Partial<Parameters<UdpIo['open']>[0]>): YokeError => {
    try {
      closeSocket(io.open({ number: 1, family: 4, port: 0, ...options }));
    } catch (error) {
      assert.ok(error instanceof YokeError);
      return error;
    }
    return assert.fail('it opened');
  };
  assert.match(complaint({ port: a.port }).message, new RegExp(`UDP \\*:${a.port}: .*port in use`));
  const gone = complaint({ device: 'yki-nowhere' });
  assert.match(gone.message, /device yki-nowhere, found no such device/);
  assert.ok(gone.retryable);
  assert.match(
    complaint({ address: parseAddress('203.0.113.1') }).message,
    /203\.0\.113\.1.*an address of this machine/,
  );
  closeSocket(a);
});

test('endpoint records: read inverts write', () => {
  const address = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });
  const nonZero = (size: number) => address(size).filter((a) => a.some((b) => b !== 0));
  const endpoint = (size: 4 | 16) =>
    fc.record(
      {
        address: address(size),
        port: fc.integer({ min: 0, max: 65535 }),
        local: fc.option(nonZero(size), { nil: undefined }),
        socket: fc.integer({ min: 0, max: 255 }),
        scope: size === 4 ? fc.constant(0) : fc.nat(),
      },
      { noNullPrototype: true },
    );
  fc.assert(
    fc.property(fc.oneof(endpoint(4), endpoint(16)), (e) => {
      arena.bytes.fill(0xff, peer, peer + ENDPOINT_BYTES);
      writeEndpoint(arena.view, peer, e);
      assert.deepEqual(readEndpoint(arena.view, peer), e);
    }),
  );
});

test('the two layers agree on the virtio header’s size', () => {
  assert.equal(VNET_HEADER_BYTES, VNET_BYTES);
});

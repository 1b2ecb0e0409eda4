/** The carrier with devices made of arrays: what goes in comes out once, unharmed, in order and not before its time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seeded } from '../../src/base/random.ts';
import { type Arena, openArena } from '../../src/io/arena.ts';
import { EAGAIN } from '../../src/io/libc.ts';
import type { Tun } from '../../src/io/tun.ts';
import { CARRIER_BYTES, Carrier } from '../../src/lab/carrier.ts';
import { LinkModel, type LinkSettings } from '../../src/lab/link.ts';

/** A device whose far side is two arrays. */
class ArrayTun {
  readonly toRead: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  refuses = false;
  readonly #arena: Arena;

  constructor(arena: Arena) {
    this.#arena = arena;
  }

  read(offset: number): number {
    const packet = this.toRead.shift();
    if (!packet) return -EAGAIN;
    this.#arena.bytes.set(packet, offset);
    return packet.length;
  }

  write(offset: number, length: number): number {
    if (this.refuses) return -EAGAIN;
    this.written.push(this.#arena.bytes.slice(offset, offset + length));
    return length;
  }
}

const arena = openArena(40 * (CARRIER_BYTES + 4096));

function carrierOf(settings: LinkSettings): { carrier: Carrier; from: ArrayTun; to: ArrayTun } {
  const [from, to] = [new ArrayTun(arena), new ArrayTun(arena)];
  const model = new LinkModel(settings, seeded(1));
  return { carrier: new Carrier(arena, 'test', from as unknown as Tun, to as unknown as Tun, model), from, to };
}

/** A packet that tells its number. */
function packet(number: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes).fill(number);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

const numberOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

test('packets come out unharmed, once, in the order of their delivery times, never early', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ sizeBytes: fc.integer({ min: 20, max: 1500 }), gapUs: fc.nat(3000) }), { maxLength: 100 }),
      fc.boolean(),
      (plan, reorder) => {
        const settings = { rateBps: 20e6, delayUs: 5000, jitterUs: 4000, reorder, queueUs: 1e9 };
        const { carrier, from, to } = carrierOf(settings);
        const twin = new LinkModel(settings, seeded(1));
        const expected: { dueUs: number; number: number }[] = [];
        let now = 0;
        plan.forEach(({ sizeBytes, gapUs }, number) => {
          now += gapUs;
          from.toRead.push(packet(number, sizeBytes));
          expected.push({ dueUs: twin.offer(sizeBytes, now), number });
          carrier.take(now);
        });
        expected.sort((a, b) => a.dueUs - b.dueUs);
        expected.forEach(({ dueUs }, i) => {
          assert.equal(carrier.nextUs, dueUs);
          carrier.deliver(dueUs - 0.001);
          assert.ok(to.written.length <= i || expected[i - 1]?.dueUs === dueUs, 'too early');
          carrier.deliver(dueUs);
        });
        assert.equal(carrier.nextUs, Number.POSITIVE_INFINITY);
        assert.deepEqual(
          to.written.map(numberOf),
          expected.map((e) => e.number),
        );
        for (const bytes of to.written)
          assert.deepEqual(bytes, packet(numberOf(bytes), plan[numberOf(bytes)].sizeBytes));
      },
    ),
    { numRuns: 15 },
  );
});

test('slots come back: it carries many times what it can hold, and beyond that it drops and counts', () => {
  const { carrier, from, to } = carrierOf({ rateBps: 1e12, delayUs: 1000, queueUs: 1e9 });
  let now = 0;
  for (let round = 0; round < 400; round++) {
    for (let i = 0; i < 60; i++) from.toRead.push(packet(round * 60 + i, 40));
    carrier.take(now);
    now += 2000;
    carrier.deliver(now);
  }
  assert.equal(to.written.length, 400 * 60);
  for (let i = 0; i < 9000; i++) from.toRead.push(packet(i, 40));
  while (carrier.take(now) > 0);
  carrier.deliver(now + 2000);
  assert.equal(from.toRead.length, 0);
  const { carrierDrops, deliveredPackets } = carrier.stats(now);
  assert.ok(carrierDrops > 0);
  assert.equal(deliveredPackets + carrierDrops, 400 * 60 + 9000);
});

test('a cut loses what is held and counts it, and after it everything works again', () => {
  const { carrier, from, to } = carrierOf({ rateBps: 8e6, delayUs: 10_000 });
  for (let i = 0; i < 5; i++) from.toRead.push(packet(i, 1000));
  carrier.take(0);
  carrier.cut();
  from.toRead.push(packet(5, 1000));
  carrier.take(100);
  carrier.deliver(1e6);
  assert.equal(to.written.length, 0);
  assert.equal(carrier.stats(0).cutDrops, 6);
  carrier.model.restore();
  from.toRead.push(packet(6, 1000));
  carrier.take(2e6);
  carrier.deliver(3e6);
  assert.deepEqual(to.written.map(numberOf), [6]);
});

test('what the far end refuses is counted', () => {
  const { carrier, from, to } = carrierOf({ rateBps: 8e6, delayUs: 0 });
  to.refuses = true;
  from.toRead.push(packet(0, 100));
  carrier.take(0);
  carrier.deliver(1e6);
  const { carrierDrops, deliveredPackets } = carrier.stats(0);
  assert.deepEqual([carrierDrops, deliveredPackets], [1, 0]);
});

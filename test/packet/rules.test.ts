/** Rules agree with a slow reading of what they say, with and without the memory of flows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Prefix, prefixContains } from '../../src/base/address.ts';
import { heapMemory } from '../../src/base/memory.ts';
import { InnerPacket } from '../../src/packet/inner.ts';
import { type Rule, Rules } from '../../src/packet/rules.ts';
import { slowAddress, slowTcp, type TcpPacket } from '../twin/packet.ts';
import { tcpPacket } from './arbitrary.ts';

const memory = heapMemory(4096);

function parsed(p: TcpPacket): InnerPacket {
  const bytes = slowTcp(p);
  memory.bytes.set(bytes, 64);
  const packet = new InnerPacket();
  assert.ok(packet.parse(memory, 64, bytes.length));
  return packet;
}

/** Few values, so that rules and packets meet. */
const few = fc.constantFrom(0, 1, 2, 255, 256);
const packetOfFew: fc.Arbitrary<TcpPacket> = fc
  .tuple(tcpPacket(20), few, few, few, few, fc.constantFrom(0, 0xb8, 0xb9, 0x20))
  .map(([p, source, destination, sourcePort, destinationPort, tos]) => ({
    ...p,
    ...{ source, destination, sourcePort, destinationPort, tos },
  }));
const prefix: fc.Arbitrary<Prefix> = fc
  .tuple(fc.constantFrom(4 as const, 6 as const), few, fc.constantFrom(0, 7, 8, 24, 31, 32, 33, 64, 96, 127, 128))
  .map(([version, n, length]) => {
    const bytes = Uint8Array.from(slowAddress(version, n));
    return { bytes, length: Math.min(length, 8 * bytes.length) };
  });
const range = fc.tuple(few, few).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const some = <T>(one: fc.Arbitrary<T>) => fc.oneof(fc.constant([]), fc.array(one, { maxLength: 3 }));
const rule: fc.Arbitrary<Rule> = fc.record({
  protocols: some(fc.constantFrom(6, 17)),
  sources: some(prefix),
  destinations: some(prefix),
  sourcePorts: some(range),
  destinationPorts: some(range),
  dscp: some(fc.constantFrom(0, 8, 46)),
  klass: fc.integer({ min: 0, max: 7 }),
});

const contains = (p: Prefix, address: number[]) =>
  p.bytes.length === address.length && prefixContains(p, Uint8Array.from(address));
const oneOf = <T>(all: readonly T[], fits: (value: T) => boolean) => all.length === 0 || all.some(fits);

function slowClass(rules: readonly Rule[], p: TcpPacket): number {
  const match = rules.find(
    (r) =>
      oneOf(r.protocols, (n) => n === 6) &&
      oneOf(r.sources, (s) => contains(s, slowAddress(p.version, p.source))) &&
      oneOf(r.destinations, (d) => contains(d, slowAddress(p.version, p.destination))) &&
      oneOf(r.sourcePorts, ({ first, last }) => first <= p.sourcePort && p.sourcePort <= last) &&
      oneOf(r.destinationPorts, ({ first, last }) => first <= p.destinationPort && p.destinationPort <= last) &&
      oneOf(r.dscp, (d) => d === p.tos >> 2),
  );
  return match?.klass ?? 0;
}

test('the first rule that matches wins, for flows that are new and for those that are known', () => {
  fc.assert(
    fc.property(fc.array(rule, { maxLength: 5 }), fc.array(packetOfFew, { maxLength: 12 }), (rules, packets) => {
      const fast = new Rules(rules);
      for (const p of [...packets, ...packets]) {
        const packet = parsed(p);
        assert.equal(fast.classOf(memory, packet, packet.flowHash(memory, 7)), slowClass(rules, p));
      }
    }),
    { numRuns: 500 },
  );
});

test('a fragment has no ports, the first one too: all of a datagram are of one class', () => {
  const nothing = { protocols: [], sources: [], destinations: [], sourcePorts: [], destinationPorts: [], dscp: [] };
  const rules = new Rules([{ ...nothing, destinationPorts: [{ first: 0, last: 65535 }], klass: 3 }]);
  const sample = fc.sample(packetOfFew, { numRuns: 50, seed: 1 }).find((p) => p.version === 4) as TcpPacket;
  const packet = parsed(sample);
  assert.equal(rules.classOf(memory, packet, 1), 3);
  memory.view.setUint16(64 + 6, 0x2000);
  assert.ok(packet.parse(memory, 64, packet.totalBytes));
  assert.equal(packet.fragment && packet.hasPorts, true);
  assert.equal(rules.classOf(memory, packet, 2), 0);
});

test('the answer of a packet has its answerHash', () => {
  fc.assert(
    fc.property(tcpPacket(20), fc.integer(), (p, seed) => {
      const answer = {
        ...p,
        source: p.destination,
        destination: p.source,
        sourcePort: p.destinationPort,
        destinationPort: p.sourcePort,
      };
      const hash = parsed(p).answerHash(memory, seed);
      assert.equal(hash, parsed(answer).flowHash(memory, seed));
    }),
  );
});

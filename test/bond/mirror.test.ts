/** The server's memory of the classes that flows come with. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heapMemory } from '../../src/base/memory.ts';
import { Mirror } from '../../src/bond/mirror.ts';
import { InnerPacket } from '../../src/packet/inner.ts';

const SECOND = 1e6;
const memory = heapMemory(256);

/** A UDP packet over IPv4 at offset 0: hosts 10.0.0.n. Returns its length. */
function udp(from: number, to: number, fromPort: number, toPort: number): number {
  memory.bytes.fill(0);
  memory.bytes.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
  memory.view.setUint16(20, fromPort);
  memory.view.setUint16(22, toPort);
  return 28;
}

const hashOf = (length: number): number => {
  const packet = new InnerPacket();
  assert.ok(packet.parse(memory, 0, length));
  return packet.flowHash(memory, 5);
};

test('answers have the class of what they answer, for a minute after its last packet', () => {
  const mirror = new Mirror(memory, 5);
  mirror.learn(0, udp(1, 2, 4000, 53), 3, 0);
  assert.equal(mirror.classOf(hashOf(udp(2, 1, 53, 4000)), SECOND), 3);
  assert.equal(mirror.classOf(hashOf(udp(1, 2, 4000, 53)), SECOND), 0, 'not the way it came');
  assert.equal(mirror.classOf(hashOf(udp(2, 1, 53, 4001)), SECOND), 0, 'another flow');
  mirror.learn(0, udp(1, 2, 4000, 53), 3, 50 * SECOND);
  assert.equal(mirror.classOf(hashOf(udp(2, 1, 53, 4000)), 109 * SECOND), 3);
  assert.equal(mirror.classOf(hashOf(udp(2, 1, 53, 4000)), 111 * SECOND), 0);
});

test('what is no packet is not remembered; other classes begin with an empty memory', () => {
  const mirror = new Mirror(memory, 5);
  const length = udp(1, 2, 4000, 53);
  memory.bytes[0] = 0x55;
  mirror.learn(0, length, 3, 0);
  mirror.learn(0, udp(1, 2, 4000, 53), 2, 0);
  mirror.clear();
  assert.equal(mirror.classOf(hashOf(udp(2, 1, 53, 4000)), SECOND), 0);
});

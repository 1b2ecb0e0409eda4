/** What a TCP flow sends again is known by its sequence numbers, across their wrap and beside other flows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import { Repeats } from '../../src/bond/repeats.ts';
import { InnerPacket } from '../../src/packet/inner.ts';
import { tcpPacket } from '../packet/arbitrary.ts';
import { slowTcp, type TcpPacket } from '../twin/packet.ts';

const memory = heapMemory(4096);
const packet = new InnerPacket();
/** Of a flow; as large as a hash may be. */
const HASH = 0xfedc_ba98;

function note(repeats: Repeats, p: TcpPacket, hash = HASH, bucket = 7): boolean {
  const bytes = slowTcp(p);
  memory.bytes.set(bytes, 100);
  assert.ok(packet.parse(memory, 100, bytes.length));
  return repeats.note(packet, hash, bucket);
}

test('only what lies before the flow’s end so far is sent again', () => {
  fc.assert(
    fc.property(
      tcpPacket(),
      fc.array(fc.record({ back: fc.nat(20), bytes: fc.nat(1400) }), { minLength: 1, maxLength: 60 }),
      (p, list) => {
        const repeats = new Repeats(memory);
        // The end so far, as a number that does not wrap.
        let end = Number.NaN;
        let next = p.sequence;
        for (const { back, bytes } of list) {
          const at = back < 15 ? next : next - back * 100;
          const isRepeat = note(repeats, {
            ...p,
            sequence: ((at % 2 ** 32) + 2 ** 32) % 2 ** 32,
            payload: new Uint8Array(bytes),
          });
          assert.equal(isRepeat, bytes > 0 && at < end, `${at} ${end}`);
          if (bytes > 0 && !isRepeat) {
            end = at + bytes;
            next = end;
          }
        }
      },
    ),
  );
});

test('flows that share a bucket are not taken for each other, nor what is no TCP', () => {
  fc.assert(
    fc.property(tcpPacket(), (p) => {
      const repeats = new Repeats(memory);
      const whole = { ...p, payload: new Uint8Array(100) };
      const before = { ...whole, sequence: (whole.sequence + 2 ** 32 - 5000) % 2 ** 32 };
      assert.equal(note(repeats, whole, 1), false);
      assert.equal(note(repeats, before, 2), false, 'another flow');
      assert.equal(note(repeats, { ...whole, payload: new Uint8Array(0) }, 2), false, 'an acknowledgement');
      assert.equal(note(repeats, before, 3, 8), false, 'another bucket');
      assert.equal(note(repeats, whole, 3, 8), false);
      assert.equal(note(repeats, before, 3, 8), true);
    }),
  );
});

/** Arbitrary packets for the properties of this folder. */
import fc from 'fast-check';
import type { TcpPacket } from '../twin/packet.ts';

/** Any TCP packet with up to `maxPayload` bytes of payload. */
export function tcpPacket(maxPayload = 300): fc.Arbitrary<TcpPacket> {
  const word = fc.integer({ min: 0, max: 0xffff });
  const long = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0xffffff00, max: 0xffffffff }));
  return fc
    .record(
      {
        version: fc.constantFrom(4 as const, 6 as const),
        source: word,
        destination: word,
        sourcePort: word,
        destinationPort: word,
        sequence: long,
        acknowledgement: long,
        flags: fc.oneof(fc.constantFrom(0x10, 0x18), fc.integer({ min: 0, max: 255 })),
        window: word,
        options: fc
          .uint8Array({ maxLength: 10 })
          .map((a) => [...a].flatMap((b) => [1, 1, b, b]))
          .map((o) => o.slice(0, 40)),
        tos: fc.integer({ min: 0, max: 255 }),
        ttl: fc.integer({ min: 1, max: 255 }),
        id: word,
        df: fc.boolean(),
        payload: fc.uint8Array({ maxLength: maxPayload }),
      },
      { noNullPrototype: true },
    )
    .map((p) => (p.version === 6 ? { ...p, id: 0, df: true } : p));
}

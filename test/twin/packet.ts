/**
 * The slow twin of src/packet: packets as values, built and taken apart byte by byte, with no thought for speed and nothing shared
 * with the code under test.
 */

/** A TCP packet in words. */
export interface TcpPacket {
  readonly version: 4 | 6;
  readonly source: number;
  readonly destination: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  /** A multiple of 4 bytes. */
  readonly options: readonly number[];
  readonly tos: number;
  readonly ttl: number;
  readonly id: number;
  readonly df: boolean;
  readonly payload: readonly number[] | Uint8Array;
}

const u16 = (n: number) => [(n >> 8) & 0xff, n & 0xff];
const u32 = (n: number) => [(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];

/** The internet checksum over big integers: no overflow, no tricks. */
export function slowSum(bytes: ArrayLike<number>): number {
  let sum = 0n;
  for (let i = 0; i < bytes.length; i += 2) sum += BigInt(bytes[i]) * 256n + BigInt(bytes[i + 1] ?? 0);
  while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n);
  return Number(sum);
}

const slowChecksum = (bytes: ArrayLike<number>) => ~slowSum(bytes) & 0xffff;

/** Address number n of a family. */
export function slowAddress(version: 4 | 6, n: number): number[] {
  return version === 4 ? [10, 0, (n >> 8) & 0xff, n & 0xff] : [0xfd, 0, ...new Array(10).fill(0), ...u32(n)];
}

/** Pseudo header of a transport of `length` bytes. */
export function slowPseudo(version: 4 | 6, source: number[], destination: number[], protocol: number, length: number) {
  return version === 4
    ? [...source, ...destination, 0, protocol, ...u16(length)]
    : [...source, ...destination, ...u32(length), 0, 0, 0, protocol];
}

/** An IP packet around a transport. */
export function slowIp(p: TcpPacket, protocol: number, transport: readonly number[]): Uint8Array {
  const source = slowAddress(p.version, p.source);
  const destination = slowAddress(p.version, p.destination);
  if (p.version === 6) {
    const word = [0x60 | (p.tos >> 4), ((p.tos & 0xf) << 4) | 1, 2, 3];
    return Uint8Array.from([
      ...word,
      ...u16(transport.length),
      protocol,
      p.ttl,
      ...source,
      ...destination,
      ...transport,
    ]);
  }
  const header = [
    0x45,
    p.tos,
    ...u16(20 + transport.length),
    ...u16(p.id),
    ...u16(p.df ? 0x4000 : 0),
    p.ttl,
    protocol,
    0,
    0,
    ...source,
    ...destination,
  ];
  header.splice(10, 2, ...u16(slowChecksum(header)));
  return Uint8Array.from([...header, ...transport]);
}

/** The packet's bytes; `partial` leaves the pseudo sum in the checksum field. */
export function slowTcp(p: TcpPacket, partial = false): Uint8Array {
  const tcp = [
    ...u16(p.sourcePort),
    ...u16(p.destinationPort),
    ...u32(p.sequence),
    ...u32(p.acknowledgement),
    ((20 + p.options.length) / 4) << 4,
    p.flags,
    ...u16(p.window),
    0,
    0,
    0,
    0,
    ...p.options,
    ...p.payload,
  ];
  const pseudo = slowPseudo(
    p.version,
    slowAddress(p.version, p.source),
    slowAddress(p.version, p.destination),
    6,
    tcp.length,
  );
  const sum = partial ? slowSum(pseudo) : slowChecksum([...pseudo, ...tcp]) || 0xffff;
  tcp.splice(16, 2, ...u16(sum));
  return slowIp(p, 6, tcp);
}

/** What a network card would make of a giant: segments of `mss` bytes of payload. Source: virtio 1.2 §5.1.6.2. */
export function slowSegments(p: TcpPacket, mss: number): TcpPacket[] {
  const count = Math.max(1, Math.ceil(p.payload.length / mss));
  return Array.from({ length: count }, (_, i) => ({
    ...p,
    id: (p.id + i) & 0xffff,
    sequence: (p.sequence + i * mss) >>> 0,
    flags: p.flags & ~(i > 0 ? 0x80 : 0) & ~(i < count - 1 ? 0x09 : 0),
    payload: p.payload.slice(i * mss, (i + 1) * mss),
  }));
}

/** Takes the bytes of a TCP packet made by `slowTcp` apart again; the checksums are dropped. */
export function slowParse(bytes: Uint8Array): TcpPacket {
  const version = (bytes[0] >> 4) as 4 | 6;
  const header = version === 4 ? 20 : 40;
  const at16 = (i: number) => bytes[i] * 256 + bytes[i + 1];
  const at32 = (i: number) => at16(i) * 65536 + at16(i + 2);
  const data = header + (bytes[header + 12] >> 4) * 4;
  const end = version === 4 ? at16(2) : 40 + at16(4);
  return {
    version,
    source: at16(version === 4 ? 14 : 22),
    destination: at16(version === 4 ? 18 : 38),
    sourcePort: at16(header),
    destinationPort: at16(header + 2),
    sequence: at32(header + 4),
    acknowledgement: at32(header + 8),
    flags: bytes[header + 13],
    window: at16(header + 14),
    options: [...bytes.subarray(header + 20, data)],
    tos: version === 4 ? bytes[1] : ((bytes[0] & 0xf) << 4) | (bytes[1] >> 4),
    ttl: bytes[version === 4 ? 8 : 7],
    id: version === 4 ? at16(4) : 0,
    df: version === 4 ? (bytes[6] & 0x40) !== 0 : true,
    payload: [...bytes.subarray(data, end)],
  };
}

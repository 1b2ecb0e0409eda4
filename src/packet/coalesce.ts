/**
 * From packets of the path to TUN writes: consecutive TCP segments of a flow are gathered into one giant, as the kernel's own receive
 * offload would, so that one system call delivers up to 64 KB. Nothing is copied but one header per giant.
 *
 *   offer(off, length, partial)   → the number of a run that must be written first, or ACCEPTED
 *   next()                        → the oldest run, at the end of a batch
 *   gather(run)                   → fragments: [virtio header + patched IP/TCP header] [payload] [payload] …
 *
 * Up to 8 runs are open at a time, one a flow; packets of a flow never overtake each other. A run ends at: a gap, a segment shorter than
 * the first one, PSH, any flag but ACK and PSH, any difference in acknowledgement, window, options, TOS, TTL or flow label, 64 segments,
 * 64 KB. Only packets with a partial checksum are gathered: those were guarded by the AEAD since their sender's kernel vouched for them.
 * A full checksum would have to be verified byte by byte first, so such packets are written alone (their sender's kernel
 * had no offload, or forwards them from a wire unverified).
 */
import type { Memory } from '../base/memory.ts';
import {
  checksumFieldOf,
  completeChecksum,
  foldSum,
  setIpv4Checksum,
  sumBytes,
  TCP_CHECKSUM_OFFSET,
} from './checksum.ts';
import { InnerPacket, PROTO_TCP, TCP_ACK, TCP_PSH } from './inner.ts';
import { VNET_BYTES, VNET_GSO_NONE, VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_NEEDS_CSUM, writeVnet } from './vnet.ts';

/** `offer` took the packet. */
export const ACCEPTED = -1;
/** `next` has nothing. */
export const NO_RUN = -1;
/** Runs open at a time; at the limit the oldest is to be written. */
export const MAX_RUNS = 8;
/** Segments of one giant. */
export const MAX_SEGMENTS = 64;
/** Bytes of memory that a `Coalescer` needs for the header that it is writing: 10 virtio, 40 IPv6, 60 TCP. */
export const COALESCE_SCRATCH_BYTES = 128;
const MAX_PACKET_BYTES = 65_535;

/** One run: the packets that will be one TUN write. A plain record; there are MAX_RUNS of them, made once. */
interface Run {
  readonly offs: Int32Array;
  count: number;
  /** No further packet may join. */
  closed: boolean;
  /** TCP, so that later packets of the flow must not overtake it. */
  keyed: boolean;
  partial: boolean;
  version: number;
  ipBytes: number;
  tcpBytes: number;
  length: number;
  lastLength: number;
  /** Payload of all but the last segment. */
  mss: number;
  nextSequence: number;
}

/** Gathers packets for one TUN device. Owns nothing: offered packets must stay until their run is written. */
export class Coalescer {
  /** Filled by `gather`. Shape: arena offsets and bytes, `fragmentCount` of them. */
  readonly fragmentOffset = new Int32Array(MAX_SEGMENTS + 1);
  readonly fragmentLength = new Int32Array(MAX_SEGMENTS + 1);
  fragmentCount = 0;
  readonly #memory: Memory;
  readonly #scratch: number;
  readonly #offload: boolean;
  readonly #packet = new InnerPacket();
  readonly #runs: Run[];
  /** Numbers of the runs in use, oldest first. */
  readonly #order = new Uint8Array(MAX_RUNS);
  #used = 0;

  /** `offload` says whether the device takes virtio headers; without, packets are written one by one with finished checksums. */
  constructor(memory: Memory, scratch: number, offload: boolean) {
    this.#memory = memory;
    this.#scratch = scratch;
    this.#offload = offload;
    this.#runs = Array.from({ length: MAX_RUNS }, newRun);
    for (let i = 0; i < MAX_RUNS; i++) this.#order[i] = i;
  }

  /**
   * Takes a packet, or names the run that must be gathered and written before it is offered again.
   * Cost: some 40 ns a segment of a bulk flow.
   */
  offer(off: number, length: number, partial: boolean): number {
    const memory = this.#memory;
    const packet = this.#packet;
    const ok = packet.parse(memory, off, length) && packet.totalBytes === length;
    const tcp = ok && packet.tcpHeaderBytes > 0;
    if (tcp) {
      for (let k = this.#used - 1; k >= 0; k--) {
        const number = this.#order[k];
        const run = this.#runs[number];
        if (!run.keyed || !this.#sameFlow(run)) continue;
        if (partial && this.#follows(run)) {
          this.#append(run, off, length);
          return ACCEPTED;
        }
        return number;
      }
    }
    if (this.#used === MAX_RUNS) return this.#order[0];
    this.#start(this.#runs[this.#order[this.#used++]], off, length, partial, ok, tcp);
    return ACCEPTED;
  }

  /** The oldest run that waits to be written, or NO_RUN. */
  next(): number {
    return this.#used === 0 ? NO_RUN : this.#order[0];
  }

  #sameFlow(run: Run): boolean {
    const view = this.#memory.view;
    const packet = this.#packet;
    if (packet.version !== run.version || packet.headerBytes !== run.ipBytes) return false;
    const a = packet.offset;
    const b = run.offs[0];
    if (view.getInt32(a + run.ipBytes) !== view.getInt32(b + run.ipBytes)) return false;
    const end = run.version === 4 ? 20 : 40;
    for (let at = run.version === 4 ? 12 : 8; at < end; at += 4)
      if (view.getInt32(a + at) !== view.getInt32(b + at)) return false;
    return true;
  }

  /** Whether the parsed packet continues the run of its flow. */
  #follows(run: Run): boolean {
    const view = this.#memory.view;
    const packet = this.#packet;
    const payload = packet.totalBytes - run.ipBytes - packet.tcpHeaderBytes;
    if (run.closed || packet.tcpHeaderBytes !== run.tcpBytes || payload === 0 || payload > run.mss) return false;
    if (run.count === MAX_SEGMENTS || run.length + payload > MAX_PACKET_BYTES) return false;
    const a = packet.offset;
    const b = run.offs[0];
    const ta = a + run.ipBytes;
    const tb = b + run.ipBytes;
    if (view.getUint32(ta + 4) !== run.nextSequence) return false;
    if ((view.getUint8(ta + 13) & ~TCP_PSH) !== TCP_ACK) return false;
    if (view.getInt32(ta + 8) !== view.getInt32(tb + 8) || view.getUint16(ta + 14) !== view.getUint16(tb + 14))
      return false;
    // Version, TOS or traffic class, flow label; then fragment bits, TTL or hop limit.
    if (run.version === 4) {
      if (view.getUint16(a) !== view.getUint16(b) || view.getUint16(a + 6) !== view.getUint16(b + 6)) return false;
      if (view.getUint8(a + 8) !== view.getUint8(b + 8)) return false;
    } else if (view.getInt32(a) !== view.getInt32(b) || view.getUint8(a + 7) !== view.getUint8(b + 7)) return false;
    for (let at = 20; at < run.tcpBytes; at += 4) if (view.getInt32(ta + at) !== view.getInt32(tb + at)) return false;
    return true;
  }

  #append(run: Run, off: number, length: number): void {
    const payload = length - run.ipBytes - run.tcpBytes;
    run.offs[run.count++] = off;
    run.lastLength = length;
    run.length += payload;
    run.nextSequence = (run.nextSequence + payload) >>> 0;
    if (payload < run.mss || this.#memory.view.getUint8(off + run.ipBytes + 13) & TCP_PSH) run.closed = true;
  }

  #start(run: Run, off: number, length: number, partial: boolean, ok: boolean, tcp: boolean): void {
    const packet = this.#packet;
    const view = this.#memory.view;
    run.offs[0] = off;
    run.count = 1;
    run.partial = partial;
    run.keyed = tcp;
    run.length = length;
    run.lastLength = length;
    run.closed = true;
    run.version = ok ? packet.version : 0;
    run.ipBytes = ok ? packet.headerBytes : 0;
    if (!tcp) return;
    run.tcpBytes = packet.tcpHeaderBytes;
    run.mss = length - run.ipBytes - run.tcpBytes;
    run.nextSequence = (view.getUint32(off + run.ipBytes + 4) + run.mss) >>> 0;
    // IP options and extension headers never take part: their checks would cost more than they win.
    run.closed =
      !partial ||
      !this.#offload ||
      packet.fragment ||
      run.mss === 0 ||
      run.ipBytes !== (run.version === 4 ? 20 : 40) ||
      view.getUint8(off + run.ipBytes + 13) !== TCP_ACK;
  }

  /**
   * Forgets the run and leaves its packet in `fragmentOffset` and `fragmentLength`, ready for one `writev`; returns `fragmentCount`.
   * They hold until the next `gather`.
   */
  gather(number: number): number {
    const run = this.#runs[number];
    this.#forget(number);
    const vnet = this.#offload ? VNET_BYTES : 0;
    if (run.count === 1) return this.#gatherOne(run, vnet);
    const memory = this.#memory;
    const { bytes, view } = memory;
    const headerBytes = run.ipBytes + run.tcpBytes;
    const ip = this.#scratch + vnet;
    const tcp = ip + run.ipBytes;
    const last = run.offs[run.count - 1];
    const v4 = run.version === 4;
    writeVnet(
      memory,
      this.#scratch,
      VNET_NEEDS_CSUM,
      v4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6,
      headerBytes,
      run.mss,
      run.ipBytes,
      TCP_CHECKSUM_OFFSET,
    );
    bytes.copyWithin(ip, run.offs[0], run.offs[0] + headerBytes);
    if (v4) {
      view.setUint16(ip + 2, run.length);
      setIpv4Checksum(memory, ip, run.ipBytes);
    } else view.setUint16(ip + 4, run.length - run.ipBytes);
    view.setUint8(tcp + 13, view.getUint8(last + run.ipBytes + 13));
    const addresses = sumBytes(memory, ip + (v4 ? 12 : 8), v4 ? 8 : 32);
    view.setUint16(tcp + TCP_CHECKSUM_OFFSET, foldSum(addresses + PROTO_TCP + run.length - run.ipBytes));

    this.fragmentOffset[0] = this.#scratch;
    this.fragmentLength[0] = vnet + headerBytes;
    for (let i = 0; i < run.count; i++) {
      this.fragmentOffset[i + 1] = run.offs[i] + headerBytes;
      this.fragmentLength[i + 1] = run.mss;
    }
    this.fragmentLength[run.count] = run.lastLength - headerBytes;
    this.fragmentCount = run.count + 1;
    return this.fragmentCount;
  }

  #gatherOne(run: Run, vnet: number): number {
    const memory = this.#memory;
    const packet = this.#packet;
    const off = run.offs[0];
    const field = run.partial && packet.parse(memory, off, run.length) ? checksumFieldOf(packet) : 0;
    let n = 0;
    if (vnet > 0) {
      const flags = field === 0 ? 0 : VNET_NEEDS_CSUM;
      const start = field === 0 ? 0 : packet.headerBytes;
      writeVnet(memory, this.#scratch, flags, VNET_GSO_NONE, 0, 0, start, field);
      this.fragmentOffset[n] = this.#scratch;
      this.fragmentLength[n++] = vnet;
    } else if (field !== 0) completeChecksum(memory, packet);
    this.fragmentOffset[n] = off;
    this.fragmentLength[n++] = run.length;
    this.fragmentCount = n;
    return n;
  }

  /** Moves the run's number behind those in use. */
  #forget(number: number): void {
    const order = this.#order;
    let k = 0;
    while (order[k] !== number) k++;
    this.#used--;
    for (; k < this.#used; k++) order[k] = order[k + 1];
    order[this.#used] = number;
  }
}

function newRun(): Run {
  return {
    offs: new Int32Array(MAX_SEGMENTS),
    count: 0,
    closed: true,
    keyed: false,
    partial: false,
    version: 0,
    ipBytes: 0,
    tcpBytes: 0,
    length: 0,
    lastLength: 0,
    mss: 0,
    nextSequence: 0,
  };
}

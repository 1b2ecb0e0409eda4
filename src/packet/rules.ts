/**
 * Rules on inner packets: which class of traffic a packet belongs to. The first rule that matches wins; without one it is class 0.
 *
 *   flow hash (and DSCP) ─▶ known? ─▶ class            else every rule in turn, and the answer is kept
 *
 * Nothing is allocated per packet. The hash is seeded, so that no stranger can choose two flows that are taken for one.
 */
import type { Prefix } from '../base/address.ts';
import type { Memory } from '../base/memory.ts';
import type { InnerPacket } from './inner.ts';

/** What a packet must be; an empty list: anything. Of several values one must fit. */
export interface Rule {
  protocols: readonly number[];
  sources: readonly Prefix[];
  destinations: readonly Prefix[];
  sourcePorts: readonly { first: number; last: number }[];
  destinationPorts: readonly { first: number; last: number }[];
  dscp: readonly number[];
  klass: number;
}

/** Flows whose class is remembered; more share a place, and are looked at again. */
const CACHE = 4096;

/** Prefixes of one family as words and masks, one after the other. */
interface Words {
  v4: Int32Array;
  v6: Int32Array;
  any: boolean;
}

interface Compiled {
  protocols: Uint8Array | undefined;
  dscp: Uint8Array | undefined;
  sources: Words;
  destinations: Words;
  sourcePorts: Uint16Array;
  destinationPorts: Uint16Array;
  klass: number;
}

/** Cost: a look-up for a flow that is known, else a step a rule. */
export class Rules {
  private readonly rules: Compiled[];
  private readonly usesDscp: boolean;
  private readonly keys = new Uint32Array(CACHE);
  /** Class + 1; 0: nothing is known. */
  private readonly known = new Uint8Array(CACHE);

  constructor(rules: readonly Rule[]) {
    this.rules = rules.map(compile);
    this.usesDscp = rules.some((r) => r.dscp.length > 0);
  }

  /** The class of a packet that was parsed. `hash`: its flow's. */
  classOf(memory: Memory, packet: InnerPacket, hash: number): number {
    const dscp = this.usesDscp ? packet.dscp(memory) : 0;
    const key = (hash ^ Math.imul(dscp, 0x9e3779b1)) >>> 0;
    const place = key & (CACHE - 1);
    const known = this.known[place];
    if (known !== 0 && this.keys[place] === key) return known - 1;
    const klass = this.find(memory, packet, dscp);
    this.keys[place] = key;
    this.known[place] = klass + 1;
    return klass;
  }

  private find(memory: Memory, packet: InnerPacket, dscp: number): number {
    const hasPorts = packet.hasPorts && !packet.fragment;
    const ports = hasPorts ? packet.ports(memory) : 0;
    for (const r of this.rules) {
      if (r.protocols !== undefined && r.protocols[packet.protocol] === 0) continue;
      if (r.dscp !== undefined && r.dscp[dscp] === 0) continue;
      if (!isIn(r.sources, memory.view, packet.sourceOffset, packet.version)) continue;
      if (!isIn(r.destinations, memory.view, packet.destinationOffset, packet.version)) continue;
      if (!isPort(r.sourcePorts, ports >>> 16, hasPorts)) continue;
      if (!isPort(r.destinationPorts, ports & 0xffff, hasPorts)) continue;
      return r.klass;
    }
    return 0;
  }
}

function isPort(ranges: Uint16Array, port: number, hasPorts: boolean): boolean {
  if (ranges.length === 0) return true;
  if (!hasPorts) return false;
  for (let i = 0; i < ranges.length; i += 2) if (port >= ranges[i] && port <= ranges[i + 1]) return true;
  return false;
}

function isIn({ any, v4, v6 }: Words, view: DataView, at: number, version: number): boolean {
  if (any) return true;
  const words = version === 4 ? v4 : v6;
  const each = version === 4 ? 1 : 4;
  for (let i = 0; i < words.length; i += 2 * each) {
    let k = 0;
    while (k < each && (view.getInt32(at + 4 * k) & words[i + each + k]) === words[i + k]) k++;
    if (k === each) return true;
  }
  return false;
}

function compile(rule: Rule): Compiled {
  const set = (values: readonly number[], size: number) => {
    if (values.length === 0) return undefined;
    const bits = new Uint8Array(size);
    for (const v of values) bits[v] = 1;
    return bits;
  };
  const ranges = (all: Rule['sourcePorts']) => Uint16Array.from(all.flatMap(({ first, last }) => [first, last]));
  return {
    protocols: set(rule.protocols, 256),
    dscp: set(rule.dscp, 64),
    sources: wordsOf(rule.sources),
    destinations: wordsOf(rule.destinations),
    sourcePorts: ranges(rule.sourcePorts),
    destinationPorts: ranges(rule.destinationPorts),
    klass: rule.klass,
  };
}

/** Each prefix as its words and then its masks. */
function wordsOf(prefixes: readonly Prefix[]): Words {
  const of = (bytes: number) =>
    Int32Array.from(
      prefixes
        .filter((p) => p.bytes.length === bytes)
        .flatMap((p) => {
          const masks = Array.from({ length: bytes / 4 }, (_, i) => {
            const bits = Math.max(0, Math.min(32, p.length - 32 * i));
            return bits === 0 ? 0 : -1 << (32 - bits);
          });
          const view = new DataView(p.bytes.buffer, p.bytes.byteOffset, bytes);
          return [...masks.map((mask, i) => view.getInt32(4 * i) & mask), ...masks];
        }),
    );
  return { v4: of(4), v6: of(16), any: prefixes.length === 0 };
}

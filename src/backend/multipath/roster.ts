/** Who the peers are, and whose an inner packet is: from the TUN by its destination, from a peer by its source (cryptokey routing). */
import type { Memory } from '../../base/memory.ts';
import type { Endpoint } from '../../bond/endpoint.ts';
import type { Peer } from '../../bond/peer.ts';
import { LEAST_INNER_IPV4, LEAST_INNER_IPV6 } from '../../bond/tuning.ts';
import type { InnerPacket } from '../../packet/inner.ts';
import type { BackendSettings, PeerSettings } from '../backend.ts';
import { Limits } from './limits.ts';
import { NO_PEER, Routes } from './routes.ts';

/** The peers of an endpoint, and the prefixes that are theirs. */
export class Roster {
  private readonly memory: Memory;
  private readonly endpoint: Endpoint;
  private readonly limits = new Limits();
  private routes = new Routes();
  private role: BackendSettings['role'] = 'router';

  constructor(memory: Memory, endpoint: Endpoint) {
    this.memory = memory;
    this.endpoint = endpoint;
  }

  /** The names, in the order of the endpoint's peers. */
  get names(): string[] {
    return this.endpoint.peers.map((p) => p.name);
  }

  /** The peers that `apply` would remove: they can be told. */
  gone(settings: BackendSettings): Peer[] {
    const wanted = new Set(served(settings).map(idOf));
    return this.endpoint.peers.filter((peer) => !wanted.has(idOf(peer)));
  }

  /** Adds the peers that are new, removes those that are gone; the others keep their sessions, also under another name. */
  apply(settings: BackendSettings, now: number): void {
    const { endpoint } = this;
    this.role = settings.role;
    const wanted = new Map(served(settings).map((p) => [idOf(p), p]));
    for (const peer of [...endpoint.peers]) {
      const found = wanted.get(idOf(peer));
      wanted.delete(idOf(peer));
      if (found === undefined) endpoint.removePeer(peer, now);
      else peer.name = found.name;
    }
    for (const p of wanted.values()) endpoint.addPeer(p.name, p.publicKey, p.presharedKey);
    this.routes = new Routes();
    endpoint.peers.forEach((peer, number) => {
      const { allowed, limitBps } = settings.peers.find((p) => p.name === peer.name)!;
      for (const prefix of allowed) this.routes.add(prefix, number);
      this.limits.set(peer.bond, limitBps);
      peer.bond.sender.leastInnerMtu = settings.carriesIpv6 ? LEAST_INNER_IPV6 : LEAST_INNER_IPV4;
      if (settings.role === 'server') peer.bond.allows = (at, length) => this.isAllowed(number, at, length);
    });
  }

  /** What has to be seen to a few times a second. */
  tick(): void {
    this.limits.tick(this.endpoint);
  }

  /** Whom a packet from the TUN is for; undefined: nobody. */
  find(packet: InnerPacket): Peer | undefined {
    const first = this.memory.bytes[packet.destinationOffset];
    if (packet.version === 6 ? first === 0xff : first >= 224) return undefined;
    if (this.role === 'router') return this.endpoint.peers[0];
    const number = this.routes.find(this.memory, packet.destinationOffset, packet.version);
    return number === NO_PEER ? undefined : this.endpoint.peers[number];
  }

  /** A client may send only from its own addresses. */
  private isAllowed(peer: number, at: number, length: number): boolean {
    const version = this.memory.bytes[at] >> 4;
    if (version === 4 ? length < 20 : version !== 6 || length < 40) return false;
    return this.routes.find(this.memory, at + (version === 4 ? 12 : 8), version) === peer;
  }
}

const served = ({ peers }: BackendSettings): PeerSettings[] => peers.filter((p) => p.isServed !== false);

/** What makes two peers the same: their keys; a name is only a name. */
function idOf({ publicKey, presharedKey }: { publicKey: Uint8Array; presharedKey?: Uint8Array | undefined }): string {
  const key = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('base64');
  return `${key(publicKey)} ${key(presharedKey)}`;
}

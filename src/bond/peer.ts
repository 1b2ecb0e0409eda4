/**
 * A peer and its sessions, and the table of all sessions by the index that the other ends put into their datagrams.
 */
import { assert } from '../base/error.ts';
import type { AeadProvider } from '../wire/aead.ts';
import type { HandshakeCrypto } from '../wire/crypto.ts';
import { cipherName, type Initiator, type SessionKeys } from '../wire/handshake.ts';
import { MAX_PATHS } from '../wire/header.ts';
import type { Bond } from './bond.ts';
import { Session } from './session.ts';

/** Wait before a handshake is begun again, at first. Source: docs/protocol.md §3.4. */
export const RETRY_FIRST_US = 500_000;
const PLACES = 1 << 14;

/** One peer: its keys, its bond, its sessions. */
export class Peer {
  /** May change: nothing on the wire knows it. */
  name: string;
  readonly publicKey: Uint8Array;
  readonly presharedKey: Uint8Array | undefined;
  readonly bond: Bond;
  /** Router only. */
  initiator: Initiator | undefined;
  current: Session | undefined;
  previous: Session | undefined;
  /** Responder: made, but no datagram has come under it yet. */
  next: Session | undefined;
  nextAssociation: Uint8Array | undefined;
  remoteAssociation: Uint8Array | undefined;
  /** The latest accepted initiation's. */
  timestampUs = 0;
  retryAtUs = 0;
  retryUs = RETRY_FIRST_US;
  downSinceUs = 0;
  readonly cookies: ({ value: Uint8Array; sinceUs: number } | undefined)[] = new Array(MAX_PATHS).fill(undefined);

  constructor(name: string, publicKey: Uint8Array, presharedKey: Uint8Array | undefined, bond: Bond) {
    this.name = name;
    this.publicKey = publicKey;
    this.presharedKey = presharedKey;
    this.bond = bond;
  }

  /** Whether the association that its packet numbers count in is this one. */
  isOfAssociation(id: Uint8Array | undefined): boolean {
    const own = this.remoteAssociation;
    return id !== undefined && own !== undefined && id.length === own.length && id.every((x, i) => x === own[i]);
  }
}

/** Every session by its local index: 14 bits of place, 10 of chance, so that what is left of an old one finds nothing. */
export class SessionTable {
  private readonly aead: AeadProvider;
  private readonly crypto: HandshakeCrypto;
  private readonly sessions: (Session | undefined)[] = [];
  private readonly peers: (Peer | undefined)[] = [];
  /** The place that a peer's handshake under way holds; freed when another one begins. */
  private readonly reserved = new Map<Peer, number>();

  constructor(aead: AeadProvider, crypto: HandshakeCrypto) {
    this.aead = aead;
    this.crypto = crypto;
  }

  /** The session of exactly this index. */
  find(index: number): Session | undefined {
    const session = this.sessions[index & (PLACES - 1)];
    return session?.localIndex === index ? session : undefined;
  }

  /** Whose place it is, be it of a session or of a handshake under way. */
  peerOf(index: number): Peer | undefined {
    return this.peers[index & (PLACES - 1)];
  }

  /** Nothing is taken under this session any more; its place stays its own. */
  mute(session: Session): void {
    this.sessions[session.localIndex & (PLACES - 1)] = undefined;
  }

  /** A local index for a session of this peer: 14 bits of place, 10 of chance. */
  reserve(peer: Peer): number {
    const unused = this.reserved.get(peer);
    if (unused !== undefined) this.peers[unused] = undefined;
    let place = 0;
    while (this.peers[place] !== undefined) place++;
    assert(place < PLACES, 'fewer sessions than places');
    const chance = this.crypto.random(2);
    this.peers[place] = peer;
    this.sessions[place] = undefined;
    this.reserved.set(peer, place);
    return (((chance[0] << 8) | chance[1]) & 0x3ff) * PLACES + place;
  }

  /** The handshake that held the place of `localIndex` is done: its session. */
  install(
    peer: Peer,
    cipher: number,
    keys: SessionKeys,
    localIndex: number,
    peerIndex: number,
    nowUs: number,
  ): Session {
    const name = cipherName(cipher);
    assert(name !== undefined, 'the handshake lets only known ciphers pass');
    const session = new Session(this.aead, name, keys, localIndex, peerIndex, nowUs);
    this.sessions[localIndex & (PLACES - 1)] = session;
    this.reserved.delete(peer);
    return session;
  }

  /** The place is free again. */
  forget(session: Session): undefined {
    const place = session.localIndex & (PLACES - 1);
    this.sessions[place] = undefined;
    this.peers[place] = undefined;
    session.free();
    return undefined;
  }
}

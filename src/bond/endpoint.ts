/**
 * All bonds of one process: sessions and handshakes (docs/protocol.md §3), the datagram's way to its bond, timers, transmits.
 *
 *   datagram ─▶ handleDatagram ─┬─ 1, 2, 3: handshake ─▶ peer ─▶ new session
 *                               └─ 4, 5: receiver index ─▶ session ─▶ peer's Bond ─▶ pollDelivered
 *   handleTimeout ─▶ every bond, handshakes due          pollTransmit ─▶ handshake messages, then the bonds in turn
 */
import { assert } from '../base/error.ts';
import type { Memory } from '../base/memory.ts';
import type { AeadProvider } from '../wire/aead.ts';
import { COOKIE_LIFETIME_US, CookieJar, LoadMeter } from '../wire/cookie.ts';
import type { HandshakeCrypto } from '../wire/crypto.ts';
import {
  ASSOCIATION_ID_BYTES,
  CIPHER_AES_256_GCM,
  CIPHER_CHACHA20_POLY1305,
  chooseCipher,
  Initiator,
  Responder,
} from '../wire/handshake.ts';
import {
  datagramType,
  HEADER_BYTES,
  MAX_PATHS,
  readIndex,
  readPacketNumberLow,
  readPath,
  TAG_BYTES,
  TYPE_CONTROL,
  TYPE_COOKIE_REPLY,
  TYPE_DATA,
  TYPE_INITIATION,
  TYPE_JOIN_REQUEST,
  TYPE_RESPONSE,
} from '../wire/header.ts';
import { type JoinAnswer, JoinDoor } from '../wire/join.ts';
import { Bond, type BondOwner, type DatagramDrop } from './bond.ts';
import { JoinDesk } from './joins.ts';
import { Outbox } from './outbox.ts';
import { ENDPOINT_BYTES, type Path, type PathState } from './path.ts';
import { Peer, RETRY_FIRST_US, SessionTable } from './peer.ts';
import { DATA_HEADER_AT, MAX_PACKET_BYTES, NONE, PacketPool, SLOT_BYTES } from './pool.ts';
import type { Session } from './session.ts';
import type { Transmit } from './transmit.ts';

/** Source: docs/protocol.md §3.4. */
const RETRY_MOST_US = 2_000_000;
/** Without a path for so long, a new handshake is tried: the server may have been restarted. */
const ALL_DOWN_US = 300_000;
/** Events that nobody fetched; later ones are dropped. */
const EVENTS_LIMIT = 256;
const REMOTE_BYTES = 28;

/** What happened, for the log; rare. */
export type EndpointEvent =
  | { kind: 'path'; peer: string; path: number; state: PathState }
  | { kind: 'established'; peer: string; cipher: string; again: boolean }
  | { kind: 'closed'; peer: string }
  | { kind: 'unknown-peer'; publicKey: Uint8Array; fromAt: number }
  /** Server: somebody asks to be taken in; `answerJoin` answers. */
  | { kind: 'join'; id: number; publicKey: Uint8Array; secret: Uint8Array; endpoint: Uint8Array };

export interface EndpointOptions {
  memory: Memory;
  /** Takes bytes of the memory for good. */
  allocate: (sizeBytes: number) => number;
  aead: AeadProvider;
  crypto: HandshakeCrypto;
  privateKey: Uint8Array;
  role: 'router' | 'server';
  /** Inner packets held at once by all bonds. */
  poolSlots: number;
  /** Whether this CPU has AES instructions. */
  hasAes: boolean;
  /** Microseconds since 1970 at `nowUs` = 0. */
  wallOffsetUs: number;
  /** Of the flow hashes that `Bond.bucketOf` is asked with; 0 unless told. */
  flowSeed?: number;
  /** Sets ECN CE on an inner packet; says whether it could. */
  markCe: (offset: number, length: number) => boolean;
}

export class Endpoint implements BondOwner {
  readonly pool: PacketPool;
  readonly peers: Peer[] = [];
  /** Datagrams dropped, by reason. */
  readonly drops: Record<string, number> = {};
  readonly events: EndpointEvent[] = [];

  private readonly o: EndpointOptions;
  private readonly memory: Memory;
  private readonly publicKey: Uint8Array;
  private readonly responder: Responder;
  private readonly jar: CookieJar;
  private readonly joins: JoinDesk;
  private readonly load = new LoadMeter();
  private readonly association: Uint8Array;
  private readonly sessions: SessionTable;
  private readonly outbox: Outbox;
  /** The slot that the next datagram is opened into. */
  private spare: number;
  private readonly delivered: Int32Array;
  private deliveredHead = 0;
  private deliveredTail = 0;
  private turn = 0;
  /** Records of peers that are gone, for the next ones. */
  private readonly freeEndpoints: number[] = [];
  private readonly cipherMask = CIPHER_AES_256_GCM | CIPHER_CHACHA20_POLY1305;
  private readonly preferred: number;

  constructor(options: EndpointOptions) {
    this.o = options;
    this.memory = options.memory;
    this.pool = new PacketPool(options.memory, options.allocate(options.poolSlots * SLOT_BYTES), options.poolSlots);
    this.spare = this.pool.take();
    this.publicKey = options.crypto.publicKey(options.privateKey);
    this.responder = new Responder({
      crypto: options.crypto,
      privateKey: options.privateKey,
      publicKey: this.publicKey,
    });
    this.jar = new CookieJar(options.crypto, this.publicKey);
    const door = new JoinDoor(options.crypto, { publicKey: this.publicKey, privateKey: options.privateKey });
    this.joins = new JoinDesk(door);
    this.sessions = new SessionTable(options.aead, options.crypto);
    this.association = options.crypto.random(ASSOCIATION_ID_BYTES);
    this.outbox = new Outbox(options.memory, options.allocate(ENDPOINT_BYTES));
    this.delivered = new Int32Array(options.poolSlots + 1);
    this.preferred = options.hasAes ? CIPHER_AES_256_GCM : CIPHER_CHACHA20_POLY1305;
  }

  /** A peer to serve, or at the router the server. */
  addPeer(name: string, publicKey: Uint8Array, presharedKey: Uint8Array | undefined): Peer {
    const bond = new Bond({
      name,
      memory: this.memory,
      pool: this.pool,
      owner: this,
      endpointsAt: this.freeEndpoints.pop() ?? this.o.allocate(MAX_PATHS * ENDPOINT_BYTES),
      opensPaths: this.o.role === 'server',
      flowSeed: this.o.flowSeed ?? 0,
      markCe: this.o.markCe,
    });
    const peer = new Peer(name, publicKey, presharedKey, bond);
    if (this.o.role === 'router') {
      peer.initiator = new Initiator({
        crypto: this.o.crypto,
        privateKey: this.o.privateKey,
        peerPublicKey: publicKey,
        presharedKey,
      });
    }
    this.peers.push(peer);
    return peer;
  }

  removePeer(peer: Peer, nowUs: number): void {
    this.dropSessions(peer);
    peer.bond.free(nowUs);
    this.freeEndpoints.push(peer.bond.endpointsAt);
    this.peers.splice(this.peers.indexOf(peer), 1);
  }

  /** Router: the next `handleTimeout` begins a handshake, whatever the back-off was. */
  setHandshakeDue(peer: Peer, nowUs: number): void {
    peer.retryAtUs = nowUs;
    peer.retryUs = RETRY_FIRST_US;
  }

  /** An inner packet for a peer, in a slot of the pool with bucket, length and flags set. Takes ownership. */
  handlePacket(peer: Peer, slot: number, nowUs: number): void {
    peer.bond.handlePacket(slot, nowUs);
  }

  /** A datagram: `length` bytes at `at`, from the endpoint record at `fromAt`. Nothing in it is believed before it is authenticated. */
  handleDatagram(at: number, length: number, fromAt: number, nowUs: number): void {
    const { view } = this.memory;
    switch (datagramType(view, at, length)) {
      case TYPE_DATA:
      case TYPE_CONTROL: {
        const index = readIndex(view, at);
        const session = this.sessions.find(index);
        if (session === undefined || session.isExpired(nowUs)) this.drop('no-session');
        else this.handleTransport(session, at, length, fromAt, nowUs);
        break;
      }
      case TYPE_INITIATION:
        this.handleInitiation(this.copy(at, length), fromAt, nowUs);
        break;
      case TYPE_RESPONSE:
        this.handleResponse(this.copy(at, length), nowUs);
        break;
      case TYPE_COOKIE_REPLY:
        this.handleCookieReply(this.copy(at, length), fromAt, nowUs);
        break;
      case TYPE_JOIN_REQUEST:
        this.handleJoinRequest(this.copy(at, length), fromAt, nowUs);
        break;
      default:
        this.drop('bad-form');
    }
  }

  /** The next inner packet in order, or NONE. The caller owns the slot and gives it back to the pool. */
  pollDelivered(): number {
    if (this.deliveredHead === this.deliveredTail) return NONE;
    const slot = this.delivered[this.deliveredHead];
    this.deliveredHead = (this.deliveredHead + 1) % this.delivered.length;
    return slot;
  }

  /** When `handleTimeout` wants to be called. */
  pollTimeout(): number {
    let t = Number.POSITIVE_INFINITY;
    for (const peer of this.peers) {
      t = Math.min(t, peer.bond.pollTimeout());
      if (peer.initiator !== undefined) t = Math.min(t, this.handshakeAt(peer));
    }
    return t;
  }

  handleTimeout(nowUs: number): void {
    for (const peer of this.peers) {
      peer.bond.handleTimeout(nowUs);
      if (peer.initiator !== undefined && nowUs >= this.handshakeAt(peer)) this.initiate(peer, nowUs);
      if (peer.previous?.isExpired(nowUs)) peer.previous = this.sessions.forget(peer.previous);
      if (peer.next?.isExpired(nowUs)) peer.next = this.sessions.forget(peer.next);
      if (peer.current?.isExpired(nowUs)) {
        peer.current = this.sessions.forget(peer.current);
        peer.bond.session = undefined;
      }
    }
  }

  /** The next run to send, made in 64 KB at `bufferAt`; false when there is none. */
  pollTransmit(out: Transmit, bufferAt: number, nowUs: number): boolean {
    if (this.outbox.pollTransmit(out, bufferAt)) return true;
    const n = this.peers.length;
    for (let i = 0; i < n; i++) {
      const peer = this.peers[(this.turn + i) % n];
      if (peer.bond.pollTransmit(out, bufferAt, nowUs)) {
        this.transmitting = peer.bond;
        // A bond keeps its turn for one run, so that many clients share the wake-up evenly.
        this.turn = (this.turn + i + 1) % n;
        return true;
      }
    }
    return false;
  }

  /** Whose run `pollTransmit` made last. */
  transmitting: Bond | undefined;

  deliver(_bond: Bond, slot: number): void {
    this.delivered[this.deliveredTail] = slot;
    this.deliveredTail = (this.deliveredTail + 1) % this.delivered.length;
  }

  handlePathState(bond: Bond, path: Path, state: PathState, nowUs: number): void {
    const peer = this.peers.find((p) => p.bond === bond);
    if (peer === undefined) return;
    if (!bond.isUp && (state === 'suspect' || state === 'down' || state === 'closed')) peer.downSinceUs = nowUs;
    this.say({ kind: 'path', peer: peer.name, path: path.id, state });
  }

  /** The peer stops: nothing of it is kept but its keys. */
  handleClose(bond: Bond, nowUs: number): void {
    const peer = this.peers.find((p) => p.bond === bond);
    if (peer === undefined) return;
    // The session's keys are in use by the datagram that said so: they are freed when the timer finds them expired. Until then nothing finds them.
    for (const s of [peer.current, peer.previous, peer.next]) {
      if (s !== undefined) this.sessions.mute(s);
    }
    for (const path of bond.paths) if (this.o.role === 'server') path?.close(nowUs);
    bond.session = undefined;
    peer.remoteAssociation = undefined;
    peer.retryAtUs = nowUs + RETRY_FIRST_US;
    this.say({ kind: 'closed', peer: peer.name });
  }

  private handleTransport(session: Session, at: number, length: number, fromAt: number, nowUs: number): void {
    const peer = this.sessions.peerOf(session.localIndex);
    if (peer === undefined) {
      this.drop('no-session');
      return;
    }
    // An inner packet needs a slot; an acknowledgement must get through even then, for it is what makes slots free.
    if (this.pool.free === 0 && this.memory.bytes[at] >>> 4 === TYPE_DATA) {
      this.drop('no-slot');
      return;
    }
    if (session === peer.next && !this.confirm(peer, session, at, length, this.spare, nowUs)) {
      this.drop('not-authentic');
      return;
    }
    const { bond } = peer;
    bond.kept = false;
    const result: DatagramDrop = bond.handleDatagram(session, at, length, fromAt, this.spare, nowUs);
    if (bond.kept) this.spare = this.pool.take();
    if (result !== 'ok') this.drop(result);
  }

  /** Responder: the first datagram under a new session proves that the initiator has it. Only now does the old one step back. */
  private confirm(peer: Peer, session: Session, at: number, length: number, slot: number, nowUs: number): boolean {
    const { view } = this.memory;
    const isNewAssociation = !peer.isOfAssociation(peer.nextAssociation);
    if (isNewAssociation) {
      // Its packet numbers begin at 0, which the window of the old association would refuse: so it is opened here first.
      const plainBytes = length - HEADER_BYTES - TAG_BYTES;
      if (plainBytes > MAX_PACKET_BYTES) return false;
      const id = readPath(view, at);
      const plainAt = this.pool.at(slot) + DATA_HEADER_AT;
      const pn = readPacketNumberLow(view, at);
      if (!session.openKey.open(id, pn, at, HEADER_BYTES, at + HEADER_BYTES, plainBytes, plainAt)) return false;
      peer.bond.reset(nowUs);
    }
    peer.remoteAssociation = peer.nextAssociation;
    peer.next = undefined;
    this.promote(peer, session, !isNewAssociation);
    return true;
  }

  private promote(peer: Peer, session: Session, again: boolean): void {
    if (peer.previous !== undefined) this.sessions.forget(peer.previous);
    peer.previous = peer.current;
    peer.current = session;
    peer.bond.session = session;
    for (const path of peer.bond.paths) if (path !== undefined && path.state !== 'closed') path.pingDue = true;
    this.say({ kind: 'established', peer: peer.name, cipher: session.cipher, again });
  }

  private handshakeAt(peer: Peer): number {
    const { current, bond } = peer;
    if (!bond.paths.some((p) => p !== undefined && p.state !== 'closed')) return Number.POSITIVE_INFINITY;
    if (current === undefined || bond.session === undefined) return peer.retryAtUs;
    if (!bond.isUp) return Math.max(peer.retryAtUs, Math.max(peer.downSinceUs, current.createdUs) + ALL_DOWN_US);
    return Math.max(peer.retryAtUs, current.rekeyAtUs);
  }

  private initiate(peer: Peer, nowUs: number): void {
    const { initiator } = peer;
    assert(initiator !== undefined, 'the router initiates');
    if (peer.next !== undefined) peer.next = this.sessions.forget(peer.next);
    const index = this.sessions.reserve(peer);
    const timestampUs = Math.max(Math.floor(nowUs + this.o.wallOffsetUs), peer.timestampUs + 1);
    peer.timestampUs = timestampUs;
    const message = initiator.begin(index, timestampUs, this.association, this.cipherMask, this.preferred);
    for (const path of peer.bond.paths) {
      if (path === undefined || path.state === 'closed' || !path.hasEndpoint) continue;
      const cookie = peer.cookies[path.id];
      const stamped = message.slice();
      initiator.stamp(stamped, cookie && nowUs - cookie.sinceUs < COOKIE_LIFETIME_US ? cookie.value : undefined);
      this.post(stamped, path.endpointAt);
    }
    const jitter = 0.8 + (0.4 * this.o.crypto.random(1)[0]) / 255;
    peer.retryAtUs = nowUs + peer.retryUs * jitter;
    peer.retryUs = Math.min(RETRY_MOST_US, peer.retryUs * 2);
  }

  private handleInitiation(bytes: Uint8Array, fromAt: number, nowUs: number): void {
    if (this.o.role !== 'server') {
      this.drop('not-expected');
      return;
    }
    if (!this.responder.checkMac1(bytes)) {
      this.drop('bad-mac1');
      return;
    }
    if (!this.isWorthTheWork(bytes, fromAt, nowUs)) return;
    const opened = this.responder.open(bytes);
    if (typeof opened === 'string') {
      this.drop(opened);
      return;
    }
    const peer = this.peers.find((p) => this.o.crypto.equal(p.publicKey, opened.peerStatic));
    if (peer === undefined) {
      this.say({ kind: 'unknown-peer', publicKey: opened.peerStatic, fromAt });
      this.drop('unknown-peer');
      return;
    }
    if (opened.timestampUs <= peer.timestampUs) {
      this.drop('old-initiation');
      return;
    }
    const cipher = chooseCipher(this.cipherMask, this.preferred, opened.cipherMask, opened.preferred);
    if (cipher === 0) {
      this.drop('no-cipher');
      return;
    }
    peer.timestampUs = opened.timestampUs;
    if (peer.next !== undefined) peer.next = this.sessions.forget(peer.next);
    const index = this.sessions.reserve(peer);
    const answer = this.responder.respond(opened, peer.presharedKey, index, this.association, cipher);
    peer.next = this.sessions.install(peer, cipher, answer.sessionKeys, index, opened.senderIndex, nowUs);
    peer.nextAssociation = opened.associationId;
    this.post(answer.message, fromAt);
  }

  /** Under load, only who can be answered at the address it sends from (docs/protocol.md §3.3); the others get a cookie. */
  private isWorthTheWork(bytes: Uint8Array, fromAt: number, nowUs: number): boolean {
    if (!this.load.count(nowUs)) return true;
    const source = this.copy(fromAt, REMOTE_BYTES);
    if (this.jar.checkMac2(bytes, source, nowUs)) return true;
    this.post(this.jar.cookieReply(bytes, source, nowUs), fromAt);
    this.drop('under-load');
    return false;
  }

  private handleJoinRequest(bytes: Uint8Array, fromAt: number, nowUs: number): void {
    if (this.o.role !== 'server') {
      this.drop('not-expected');
      return;
    }
    if (!this.joins.door.checkMac1(bytes)) {
      this.drop('bad-mac1');
      return;
    }
    if (!this.isWorthTheWork(bytes, fromAt, nowUs)) return;
    const taken = this.joins.take(bytes, this.copy(fromAt, ENDPOINT_BYTES), nowUs);
    if (typeof taken === 'string') this.drop(taken);
    else this.say({ kind: 'join', ...taken });
  }

  /** Server: the answer to a `join` event; nothing when it was forgotten meanwhile. */
  answerJoin(id: number, answer: JoinAnswer, nowUs: number): void {
    const message = this.joins.answer(id, answer, nowUs);
    if (message === undefined) this.drop('join-too-late');
    else if (!this.outbox.offer(message)) this.drop('outbox-full');
  }

  private handleResponse(bytes: Uint8Array, nowUs: number): void {
    const index = (bytes[4] << 16) | (bytes[5] << 8) | bytes[6];
    const peer = this.sessions.peerOf(index);
    if (peer?.initiator === undefined) {
      this.drop('not-expected');
      return;
    }
    const result = peer.initiator.handleResponse(bytes);
    if (typeof result === 'string') {
      this.drop(result);
      return;
    }
    const again = peer.isOfAssociation(result.associationId);
    if (!again) peer.bond.reset(nowUs);
    peer.remoteAssociation = result.associationId;
    const session = this.sessions.install(peer, result.cipher, result.sessionKeys, index, result.peerIndex, nowUs);
    peer.retryUs = RETRY_FIRST_US;
    peer.retryAtUs = nowUs;
    this.promote(peer, session, again);
  }

  private handleCookieReply(bytes: Uint8Array, fromAt: number, nowUs: number): void {
    const index = readIndexOf(bytes);
    const peer = this.sessions.peerOf(index);
    if (peer?.initiator === undefined) {
      this.drop('not-expected');
      return;
    }
    const cookie = peer.initiator.handleCookie(bytes);
    if (typeof cookie === 'string') {
      this.drop(cookie);
      return;
    }
    // The reply names no path; the socket that it came in by does.
    const socket = this.memory.bytes[fromAt + 45];
    for (const path of peer.bond.paths) {
      if (path?.hasEndpoint && this.memory.bytes[path.endpointAt + 45] === socket) {
        peer.cookies[path.id] = { value: cookie, sinceUs: nowUs };
      }
    }
  }

  private dropSessions(peer: Peer): void {
    for (const s of [peer.current, peer.previous, peer.next]) if (s !== undefined) this.sessions.forget(s);
    peer.current = undefined;
    peer.previous = undefined;
    peer.next = undefined;
    peer.bond.session = undefined;
  }

  private post(bytes: Uint8Array, endpointAt: number): void {
    if (!this.outbox.offer({ bytes, endpoint: this.copy(endpointAt, ENDPOINT_BYTES) })) this.drop('outbox-full');
  }

  private copy(at: number, length: number): Uint8Array {
    return this.memory.bytes.slice(at, at + length);
  }

  private say(event: EndpointEvent): void {
    if (this.events.length < EVENTS_LIMIT) this.events.push(event);
  }

  private drop(reason: string): void {
    this.drops[reason] = (this.drops[reason] ?? 0) + 1;
  }
}

function readIndexOf(bytes: Uint8Array): number {
  return (bytes[1] << 16) | (bytes[2] << 8) | bytes[3];
}

/**
 * What the pump tells the main thread by itself, a few times a second: counters on the board, and messages for what is rare (events of the
 * engine, another inner MTU, drops, addresses).
 */
import { printAddress } from '../../base/address.ts';
import type { Endpoint, EndpointEvent } from '../../bond/endpoint.ts';
import type { Path } from '../../bond/path.ts';
import type { Peer } from '../../bond/peer.ts';
import type { Arena } from '../../io/arena.ts';
import { readEndpoint } from '../../io/endpoint.ts';
import type { BackendSettings } from '../backend.ts';
import { type Board, STATES } from './board.ts';
import type { FromPump } from './message.ts';

const DROPS_EVERY_US = 1_000_000;
/** A stranger's handshakes are worth a log line so often. */
const STRANGER_LOG_US = 10_000_000;

export class Report {
  /** Drops of the pump's own, by reason; those of the engine are added. */
  readonly counts: Record<string, number> = {};

  private readonly arena: Arena;
  private readonly endpoint: Endpoint;
  private readonly board: Board;
  private readonly say: (message: FromPump) => void;
  private innerMtu = 0;
  private strangerUs = Number.NEGATIVE_INFINITY;
  private dropsUs = 0;
  private lastDrops = '';
  private roster = 0;
  private readonly lastAddresses = new Map<string, string>();

  constructor(arena: Arena, endpoint: Endpoint, board: Board, say: (message: FromPump) => void) {
    this.arena = arena;
    this.endpoint = endpoint;
    this.board = board;
    this.say = say;
  }

  /** Counts something that the pump refused. */
  count(reason: string): void {
    this.counts[reason] = (this.counts[reason] ?? 0) + 1;
  }

  /** The peers are others: what was said of addresses by their numbers is void. */
  tellRoster(peers: string[]): void {
    this.lastAddresses.clear();
    this.say({ kind: 'roster', number: ++this.roster, peers });
  }

  tick(settings: BackendSettings, now: number): void {
    const { endpoint } = this;
    for (const event of endpoint.events.splice(0)) this.tellEvent(event, settings, now);
    let mtu = 0;
    for (const { bond } of endpoint.peers) {
      const own = bond.innerMtu;
      if (own !== 0 && (mtu === 0 || own < mtu)) mtu = own;
    }
    if (settings.mtu !== undefined && mtu !== 0) mtu = Math.min(mtu, settings.mtu);
    if (mtu !== 0 && mtu !== this.innerMtu) {
      this.innerMtu = mtu;
      this.say({ kind: 'mtu', innerMtu: mtu });
    }
    this.publish(now);
    if (now - this.dropsUs > DROPS_EVERY_US) {
      this.dropsUs = now;
      const counts = { ...endpoint.drops, ...this.counts };
      const text = JSON.stringify(counts);
      if (text !== this.lastDrops) this.say({ kind: 'drops', counts });
      this.lastDrops = text;
    }
  }

  private tellEvent(event: EndpointEvent, { peers }: BackendSettings, now: number): void {
    switch (event.kind) {
      case 'path':
        this.say({ kind: 'path', peer: event.peer, path: event.path, state: event.state });
        break;
      case 'established':
        if (!event.again) this.say({ kind: 'established', peer: event.peer });
        break;
      case 'closed':
        this.say({ kind: 'log', level: 'info', text: `${event.peer} has said goodbye` });
        break;
      case 'join': {
        const { id, publicKey, secret, endpoint } = event;
        const from = printRemote(new DataView(endpoint.buffer), 0);
        this.say({ kind: 'join', id, publicKey, secret, from });
        break;
      }
      case 'unknown-peer': {
        if (now - this.strangerUs <= STRANGER_LOG_US) return;
        // a client that is disabled, or whose quota is used up, is none
        if (peers.some((p) => Buffer.from(p.publicKey).equals(event.publicKey))) return;
        this.strangerUs = now;
        const key = Buffer.from(event.publicKey).toString('base64');
        const text = `handshake: expected the public key of a client, found ${key}; add a client section with it or correct the router's private key`;
        this.say({ kind: 'log', level: 'warn', text });
      }
    }
  }

  private publish(now: number): void {
    const { board, endpoint } = this;
    board.begin(endpoint.peers.length, this.roster);
    endpoint.peers.forEach((peer, i) => {
      this.putBond(peer, now);
      peer.bond.paths.forEach((p, id) => {
        if (p === undefined) {
          board.skipPath();
          return;
        }
        this.putPath(p, peer.bond.session !== undefined);
        this.sayAddresses(i, id, p.endpointAt, p.hasEndpoint);
      });
    });
    board.end();
  }

  /** In the order of BOND_FIELDS. */
  private putBond({ bond, current }: Peer, now: number): void {
    const { board } = this;
    board.put(bond.isUp ? 1 : 0);
    board.put(current === undefined ? 0 : current.cipher === 'aes-256-gcm' ? 1 : 2);
    board.put(current === undefined ? -1 : (now - current.createdUs) / 1e6);
    board.put(bond.innerMtu);
    board.put(bond.counters.txBytes);
    board.put(bond.counters.rxBytes);
    board.put(bond.counters.txPackets);
    board.put(bond.counters.rxPackets);
    board.put(bond.lanes.packets);
    board.put(bond.reorder.held);
    board.put(bond.lanes.droppedByCodel);
    board.put(bond.lanes.droppedByLimit);
    board.put(bond.reorder.reordered);
    board.put(bond.reorder.duplicates);
    board.put(bond.reorder.skipped);
  }

  /** In the order of PATH_FIELDS. */
  private putPath(p: Path, hasSession: boolean): void {
    const { board } = this;
    // without a session nothing can be sent to find out that a path is not up any more
    board.put(STATES.indexOf(p.isUp && !hasSession ? 'waiting' : p.state));
    board.put(p.srttUs / 1000);
    board.put(Number.isFinite(p.minRttUs) ? p.minRttUs / 1000 : 0);
    board.put(p.rate.queueUs / 1000);
    board.put(p.rate.capacity * 8e6);
    board.put(p.rate.pacing * 8e6);
    board.put(p.inFlightBytes);
    board.put(p.mtu.bytes);
    board.put(p.txBytes);
    board.put(p.rxBytes);
    board.put(p.txDatagrams);
    board.put(p.rxDatagrams);
    board.put(p.lostDatagrams);
    board.put(p.resentPackets);
    board.put(p.standby ? 1 : 0);
  }

  private sayAddresses(bond: number, path: number, at: number, known: boolean): void {
    const e = known ? readEndpoint(this.arena.view, at) : undefined;
    const remote = e ? printRemote(this.arena.view, at) : '';
    const local = e?.local ? printAddress(e.local) : '';
    const text = `${local} ${remote}`;
    const key = `${bond}/${path}`;
    if (this.lastAddresses.get(key) === text) return;
    this.lastAddresses.set(key, text);
    this.say({ kind: 'addresses', bond, path, local, remote });
  }
}

/** Address and port of an endpoint record. */
function printRemote(view: DataView, at: number): string {
  const { address, port } = readEndpoint(view, at);
  const host = printAddress(address);
  return `${address.length === 4 ? host : `[${host}]`}:${port}`;
}

/**
 * The doors of the pump: the UDP sockets by which its datagrams leave and come. A router has one for each link that can be used, tied to the
 * link's device; a server has one for each address that it listens at.
 *
 *   settings ─▶ listen (server), apply (router: what changed is opened and closed, the rest is not disturbed) ─▶ all, byNumber
 */
import type { AddressBytes } from '../../base/address.ts';
import type { Endpoint } from '../../bond/endpoint.ts';
import type { Arena } from '../../io/arena.ts';
import { ENDPOINT_BYTES, writeEndpoint } from '../../io/endpoint.ts';
import { closeSocket, type UdpSocket } from '../../io/socket.ts';
import type { UdpIo } from '../../io/udp.ts';
import type { BackendSettings, LinkSettings } from '../backend.ts';

/** Sockets by number and in the order of opening. Owns: the sockets. */
export class Doors {
  all: UdpSocket[] = [];
  readonly byNumber: (UdpSocket | undefined)[] = new Array(256).fill(undefined);

  private readonly arena: Arena;
  private readonly udp: UdpIo;
  private readonly endpoint: Endpoint;
  private readonly onTrouble: (error: unknown) => void;
  private readonly record: number;
  private settings: BackendSettings;

  /** `onTrouble` is told of a link that cannot be opened later on; the others go on. */
  constructor(
    arena: Arena,
    udp: UdpIo,
    endpoint: Endpoint,
    settings: BackendSettings,
    onTrouble: (error: unknown) => void,
  ) {
    this.arena = arena;
    this.udp = udp;
    this.endpoint = endpoint;
    this.settings = settings;
    this.onTrouble = onTrouble;
    this.record = arena.take('record', ENDPOINT_BYTES);
  }

  /** Opens everything. @throws YokeError when a port is taken. */
  open(now: number): void {
    if (this.settings.role === 'server') this.listen();
    for (const link of this.settings.links) {
      if (link.usable) this.openLink(link, now);
    }
  }

  /** Takes other links; those that are as they were are not disturbed. */
  apply(settings: BackendSettings, now: number): void {
    const before = new Map(this.settings.links.map((l) => [l.id, l]));
    this.settings = settings;
    for (const link of settings.links) {
      const old = before.get(link.id);
      before.delete(link.id);
      if (old !== undefined && sameLink(old, link)) {
        if (link.usable) this.endpoint.peers[0].bond.setLimit(link.id, link.upBps);
        continue;
      }
      if (old?.usable)
        this.closeLink(old, now, link.usable && old.device === link.device && old.localPort === link.localPort);
      if (!link.usable) continue;
      try {
        this.openLink(link, now);
      } catch (error) {
        // The next change tries again.
        this.onTrouble(error);
      }
    }
    for (const gone of before.values()) if (gone.usable) this.closeLink(gone, now, false);
  }

  close(): void {
    for (const socket of this.all) closeSocket(socket);
  }

  private listen(): void {
    this.settings.listen.forEach(({ address, port }, number) => {
      const family = address === undefined || address.length === 4 ? 4 : 6;
      this.add(this.udp.open({ number, family, port, address, mark: this.settings.fwmark, ...this.offloads() }));
    });
  }

  private openLink(link: LinkSettings, now: number): void {
    const family = link.serverAddress.length === 4 ? 4 : 6;
    if (this.byNumber[link.id] === undefined) {
      const { device, localPort, id } = link;
      const mark = this.settings.fwmark;
      this.add(this.udp.open({ number: id, family, port: localPort, device, mark, ...this.offloads() }));
    }
    writeEndpoint(this.arena.view, this.record, {
      address: link.serverAddress,
      port: link.serverPort,
      local: sameFamily(link.localAddress, link.serverAddress),
      socket: link.id,
    });
    const peer = this.endpoint.peers[0];
    peer.bond.setPath(link.id, true, this.record, link.mtu, link.upBps, now);
    if (!peer.bond.isUp) this.endpoint.setHandshakeDue(peer, now);
  }

  private closeLink(link: LinkSettings, now: number, keepSocket: boolean): void {
    const socket = this.byNumber[link.id];
    if (!keepSocket) {
      this.endpoint.peers[0].bond.setPath(link.id, false, 0, link.mtu, undefined, now);
      if (socket !== undefined) {
        closeSocket(socket);
        this.byNumber[link.id] = undefined;
        this.all = this.all.filter((s) => s !== socket);
      }
    }
  }

  private offloads(): { segmentation: boolean; gro: boolean } {
    return { segmentation: this.settings.offload, gro: this.settings.offload };
  }

  private add(socket: UdpSocket): void {
    this.byNumber[socket.number] = socket;
    this.all.push(socket);
  }
}

function sameFamily(a: AddressBytes | undefined, b: AddressBytes): AddressBytes | undefined {
  return a !== undefined && a.length === b.length ? a : undefined;
}

function sameLink(a: LinkSettings, b: LinkSettings): boolean {
  return JSON.stringify(plain(a)) === JSON.stringify(plain(b));
}

function plain(l: LinkSettings): unknown {
  // What is only told to the engine opens and closes nothing.
  const { tier, cost, weight, downBps, upBps, ...rest } = l;
  return { ...rest, localAddress: l.localAddress && [...l.localAddress], serverAddress: [...l.serverAddress] };
}

/** What lies between the ends of a simulated TCP flow (tcp.ts). */
import type { Random } from '../../src/base/random.ts';
import type { Events } from './events.ts';
import type { PacketHandler } from './pair.ts';

/** One side of what lies between the ends of a flow. */
export interface Host {
  /** Larger packets are refused; TCP hears of it (RFC 1191) and sends smaller ones. */
  readonly mtu: number;
  readonly handlers: Map<number, PacketHandler>;
  /** Called when what came at once has been handed over. */
  readonly afterBatch: (() => void)[];
  /** Whether it was taken; `write` puts the flow's own words behind the headers. */
  send(flow: number, bucket: number, length: number, write: (view: DataView, at: number) => void): boolean;
}

/** What lies between: two engines and their links (pair.ts), or something plainer. */
export interface Net {
  readonly events: Events;
  readonly nowUs: number;
  readonly random: Random;
  readonly router: Host;
  readonly server: Host;
}

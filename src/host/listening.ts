/** What listens on this machine: sockets of /proc/net. Source: proc_net_tcp.txt of the kernel; addresses are words in the machine's byte order. */
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import type { AddressBytes } from '../base/address.ts';

/** A socket that waits for strangers. */
export interface Listener {
  proto: 'tcp' | 'udp';
  /** All zero: every address of the family; of IPv6, mostly IPv4's too. */
  address: AddressBytes;
  port: number;
}

/** TCP_LISTEN, and of UDP what is connected to nobody. */
const WAITING = { tcp: '0A', udp: '07' } as const;

/** Every listener in this process's network namespace; none where /proc cannot be read. */
export function readListeners(): Listener[] {
  return (['tcp', 'udp'] as const).flatMap((proto) =>
    ['', '6'].flatMap((family) => {
      try {
        return parseListeners(readFileSync(`/proc/self/net/${proto}${family}`, 'latin1'), proto);
      } catch {
        return [];
      }
    }),
  );
}

/** Reads one such file. */
export function parseListeners(text: string, proto: 'tcp' | 'udp'): Listener[] {
  const out: Listener[] = [];
  for (const [, address, port, far, state] of text.matchAll(
    /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F:]+) ([0-9A-F]{2}) /gm,
  )) {
    if (state === WAITING[proto] && /^0+:0000$/.test(far)) {
      out.push({ proto, address: bytesOf(address), port: Number.parseInt(port, 16) });
    }
  }
  return out;
}

function bytesOf(hex: string): AddressBytes {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  return new Uint8Array(bytes);
}

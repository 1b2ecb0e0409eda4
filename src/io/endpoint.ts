/**
 * Endpoint records: where a datagram came from and which of our addresses it asked for, as 48 bytes that can be copied, compared
 * and handed back to `sendmsg` as they are.
 *
 *    0 ┌──────────────────────────────────────────────┐
 *      │ remote sockaddr_in or sockaddr_in6, zero     │  the kernel's own layout: msg_name points here
 *   28 ├──────────────────────────────────────────────┤
 *      │ local address (IPv4 in the first 4 bytes);   │  what the answer leaves from
 *      │ all zero: the kernel chooses                 │
 *   44 ├──────┬────────┬──────────────────────────────┤
 *      │ 4|6  │ socket │ 0 0                          │  family, the small number of the socket
 *   48 └──────┴────────┴──────────────────────────────┘
 */
import type { AddressBytes } from '../base/address.ts';

/** Bytes of a record. */
export const ENDPOINT_BYTES = 48;
/** Offset of the local address in a record. */
export const ENDPOINT_LOCAL = 28;
/** Offset of the family (4 or 6) in a record. */
export const ENDPOINT_FAMILY = 44;
/** Offset of the socket's number in a record. */
export const ENDPOINT_SOCKET = 45;

/** Address families as the kernel numbers them. */
export const AF_INET = 2;
export const AF_INET6 = 10;
/** Bytes of the kernel's two socket addresses. */
export const SOCKADDR_IN_BYTES = 16;
export const SOCKADDR_IN6_BYTES = 28;

/** A record in words, for status and tests. */
export interface Endpoint {
  readonly address: AddressBytes;
  readonly port: number;
  /** Our address, or undefined when the kernel chooses. */
  readonly local?: AddressBytes;
  readonly socket: number;
  /** Interface index of a link-local IPv6 address; 0 otherwise. */
  readonly scope?: number;
}

/** Writes a record at `off`, all 48 bytes of it. */
export function writeEndpoint(view: DataView, off: number, endpoint: Endpoint): void {
  for (let i = 0; i < ENDPOINT_BYTES; i += 4) view.setUint32(off + i, 0);
  const v4 = endpoint.address.length === 4;
  view.setUint16(off, v4 ? AF_INET : AF_INET6, true);
  view.setUint16(off + 2, endpoint.port);
  endpoint.address.forEach((b, i) => {
    view.setUint8(off + (v4 ? 4 : 8) + i, b);
  });
  if (!v4) view.setUint32(off + 24, endpoint.scope ?? 0, true);
  endpoint.local?.forEach((b, i) => {
    view.setUint8(off + ENDPOINT_LOCAL + i, b);
  });
  view.setUint8(off + ENDPOINT_FAMILY, v4 ? 4 : 6);
  view.setUint8(off + ENDPOINT_SOCKET, endpoint.socket);
}

/** Reads a record; the inverse of `writeEndpoint`. */
export function readEndpoint(view: DataView, off: number): Endpoint {
  const v4 = view.getUint8(off + ENDPOINT_FAMILY) === 4;
  const size = v4 ? 4 : 16;
  const bytesAt = (at: number) => Uint8Array.from({ length: size }, (_, i) => view.getUint8(at + i));
  const local = bytesAt(off + ENDPOINT_LOCAL);
  return {
    address: bytesAt(off + (v4 ? 4 : 8)),
    port: view.getUint16(off + 2),
    local: local.some((b) => b !== 0) ? local : undefined,
    socket: view.getUint8(off + ENDPOINT_SOCKET),
    scope: v4 ? 0 : view.getUint32(off + 24, true),
  };
}

/**
 * Messages to the service manager: datagrams to the UNIX socket that it named. Node has streams of that family only.
 *
 *    0 ┌────────────────────┐
 *      │ sockaddr_un        │  family, path; a name that begins with @ is an abstract one: a zero byte in its place
 *  128 ├────────────────────┤
 *      │ msghdr             │  name → 0, one iovec → 192
 *  192 ├────────────────────┤
 *      │ iovec              │
 *  256 ├────────────────────┤
 *      │ the words          │
 *      └────────────────────┘
 *
 * Source: sd_notify(3), unix(7); struct msghdr as in socket.h of 64-bit Linux.
 */
import { type Arena, openArena } from './arena.ts';
import { libc, must } from './libc.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0x800 | 0x80000;
const MSG_NOSIGNAL = 0x4000;
/** Room of a path in sockaddr_un. */
const PATH_BYTES = 108;
const HEADER = 128;
const VECTOR = 192;
const TEXT = 256;
const ARENA_BYTES = 4096;

/** A service manager that can be told something. */
export interface Notifier {
  /** Sends lines like `READY=1`; whether it went out. What is longer than 3 KB is cut off. */
  tell(lines: string): boolean;
  close(): void;
}

/**
 * Opens a socket for the name in NOTIFY_SOCKET; undefined for a name that is none of this family.
 * @throws YokeError (host) when there are no descriptors left.
 */
export function openNotifier(name: string): Notifier | undefined {
  const path = Buffer.from(name);
  if (!/^[/@]./.test(name) || path.length >= PATH_BYTES) return undefined;
  const arena = openArena(ARENA_BYTES);
  arena.view.setUint16(0, AF_UNIX, true);
  arena.bytes.set(path, 2);
  if (name.startsWith('@')) arena.bytes[2] = 0;
  arena.setWord(HEADER, arena.base);
  // an abstract name is as long as it is said to be; a path ends with a zero byte
  arena.view.setUint32(HEADER + 8, 2 + path.length + (name.startsWith('@') ? 0 : 1), true);
  arena.setWord(HEADER + 16, arena.base + VECTOR);
  arena.setWord(HEADER + 24, 1);
  arena.setWord(VECTOR, arena.base + TEXT);
  const fd = must(
    libc.socket(AF_UNIX, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0) as number,
    'the service manager',
    'a socket to tell it how we are',
    'raise the limit of open files',
  );
  return { tell: (lines) => send(arena, fd, lines), close: () => void libc.close(fd) };
}

function send(arena: Arena, fd: number, lines: string): boolean {
  const { written } = new TextEncoder().encodeInto(lines, arena.bytes.subarray(TEXT));
  arena.setWord(VECTOR + 8, written);
  return (libc.sendmsg(fd, arena.base + HEADER, MSG_NOSIGNAL) as number) >= 0;
}

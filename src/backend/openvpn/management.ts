/**
 * What OpenVPN says by its management interface and on its standard output, parsed. Source: OpenVPN 2.6 doc/management-notes.txt. Pure.
 *
 *   >HOLD:Waiting for hold release:0                                       it waits for us
 *   >STATE:1700000000,CONNECTED,SUCCESS,,192.0.2.1,1194,192.0.2.2,1194       time, state, detail, inner address, remote, port, local, port
 *   >BYTECOUNT:2011,1985                                                   received, sent, outer bytes
 *   1700000000.968478 40 WARNING: …                                        log: time, flags in hex, text
 */

/** A line of the management interface. */
export type ManagementEvent =
  | { kind: 'hold' }
  | { kind: 'state'; state: string; detail: string; remote: string; local: string }
  | { kind: 'bytes'; rxBytes: number; txBytes: number }
  | { kind: 'other' };

/** Reads one line of the management interface. */
export function parseManagement(line: string): ManagementEvent {
  if (line.startsWith('>HOLD:')) return { kind: 'hold' };
  if (line.startsWith('>STATE:')) {
    const [, state = '', detail = '', , ...ends] = line.slice(7).split(',');
    return { kind: 'state', state, detail, remote: endpoint(ends[0], ends[1]), local: endpoint(ends[2], ends[3]) };
  }
  const bytes = /^>BYTECOUNT:(\d+),(\d+)$/.exec(line);
  if (bytes) return { kind: 'bytes', rxBytes: Number(bytes[1]), txBytes: Number(bytes[2]) };
  return { kind: 'other' };
}

function endpoint(address: string | undefined, port: string | undefined): string {
  if (!address) return '';
  return address.includes(':') ? `[${address}]:${port ?? ''}` : `${address}:${port ?? ''}`;
}

/** Flags of a log line. Source: OpenVPN 2.6 src/openvpn/error.h. */
const FATAL = 0x10;
const NONFATAL = 0x20;
const WARNING = 0x40;

/** Reads one line of the log. */
export function parseLog(line: string): { level: 'info' | 'warn' | 'error'; text: string } {
  const marked = /^\d+\.\d+ ([0-9a-f]+) (.*)$/.exec(line);
  if (!marked) return { level: /error/i.test(line) ? 'error' : 'info', text: line };
  const flags = Number.parseInt(marked[1], 16);
  const level = flags & FATAL ? 'error' : flags & (NONFATAL | WARNING) ? 'warn' : 'info';
  return { level, text: marked[2] };
}

/** Cuts a stream of text into lines. Owns: the piece that waits for its end. */
export class Lines {
  #rest = '';

  /** The lines that are whole now. */
  take(text: string): string[] {
    const parts = (this.#rest + text).split(/\r?\n/);
    this.#rest = parts.pop() ?? '';
    return parts.filter((line) => line !== '');
  }
}

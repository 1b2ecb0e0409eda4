/** The log: one line per event on stderr. Never a key, never per packet. */
import { fstatSync } from 'node:fs';

export type LogLevel = 'info' | 'warn' | 'error';

/** Writes one event; text with newlines becomes one line for each. */
export type Log = (level: LogLevel, text: string) => void;

/** Where lines go and what stands before them. */
export interface LogSink {
  write(line: string): void;
  /** Undefined: the reader adds the time (systemd's journal). */
  now?: () => Date;
  /** Whether the reader takes a level from `<N>` at a line's start, and filters by it. Source: sd-daemon(3). */
  numbered?: boolean;
}

/** A log that writes `TIME LEVEL text`, or `LEVEL text` when the sink has no clock. */
export function openLog(sink: LogSink): Log {
  return (level, text) => {
    const time = sink.now ? `${sink.now().toISOString()} ` : '';
    const number = sink.numbered ? `<${JOURNAL_LEVELS[level]}>` : '';
    for (const line of text.split('\n')) sink.write(`${number}${time}${level} ${line}\n`);
  };
}

const JOURNAL_LEVELS: Record<LogLevel, number> = { error: 3, warn: 4, info: 6 };

/** The log of a process: stderr; the journal of systemd has times and levels of its own. */
export function stderrLog(): Log {
  const journal = isJournal(process.env.JOURNAL_STREAM);
  return openLog({
    write: (line) => process.stderr.write(line),
    now: journal ? undefined : () => new Date(),
    numbered: journal,
  });
}

/** The variable is inherited, also by programs whose stderr goes elsewhere. Source: systemd.exec(5), JOURNAL_STREAM. */
function isJournal(stream: string | undefined): boolean {
  if (!stream) return false;
  const { dev, ino } = fstatSync(2);
  return stream === `${dev}:${ino}`;
}

/** The log: one line per event on stderr. Never a key, never per packet. */

export type LogLevel = 'info' | 'warn' | 'error';

/** Writes one event; text with newlines becomes one line for each. */
export type Log = (level: LogLevel, text: string) => void;

/** Where lines go and what stands before them. */
export interface LogSink {
  write(line: string): void;
  /** Undefined: the reader adds the time (systemd's journal). */
  now?: () => Date;
}

/** A log that writes `TIME LEVEL text`, or `LEVEL text` when the sink has no clock. */
export function openLog(sink: LogSink): Log {
  return (level, text) => {
    const time = sink.now ? `${sink.now().toISOString()} ` : '';
    for (const line of text.split('\n')) sink.write(`${time}${level} ${line}\n`);
  };
}

/** The log of a process: stderr, without times under systemd, which has its own. */
export function stderrLog(): Log {
  return openLog({
    write: (line) => process.stderr.write(line),
    now: process.env.JOURNAL_STREAM ? undefined : () => new Date(),
  });
}

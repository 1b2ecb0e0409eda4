/** What the two halves of the backend say to each other: rare things only; packets never, counters through the board. */
import type { Complaint, ErrorKind } from '../../base/error.ts';
import { YokeError } from '../../base/error.ts';
import type { JoinAnswer } from '../../wire/join.ts';
import type { BackendSettings } from '../backend.ts';

/** What the worker is born with. */
export interface PumpData {
  board: SharedArrayBuffer;
  /** eventfd that ends the pump's wait when a message lies on the port. */
  wakeFd: number;
}

export type ToPump =
  | { kind: 'start'; settings: BackendSettings }
  | { kind: 'set'; settings: BackendSettings }
  | { kind: 'answer-join'; id: number; answer: JoinAnswer }
  | { kind: 'stop' };

export interface PlainError {
  kind: ErrorKind | 'bug';
  complaints: readonly Complaint[];
  retryable: boolean;
  text: string;
}

export type FromPump =
  | { kind: 'started'; offload: boolean }
  | { kind: 'refused'; error: PlainError }
  | { kind: 'set' }
  | { kind: 'stopped' }
  /** Names of the board's bonds, from the edition on that has this number. */
  | { kind: 'roster'; number: number; peers: string[] }
  | { kind: 'addresses'; bond: number; path: number; local: string; remote: string }
  | { kind: 'drops'; counts: Record<string, number> }
  | { kind: 'path'; peer: string; path: number; state: string }
  | { kind: 'established'; peer: string }
  | { kind: 'mtu'; innerMtu: number }
  | { kind: 'join'; id: number; publicKey: Uint8Array; secret: Uint8Array; from: string }
  | { kind: 'log'; level: 'info' | 'warn' | 'error'; text: string };

/** An error as something that passes between threads. */
export function printError(error: unknown): PlainError {
  if (error instanceof YokeError) {
    return { kind: error.kind, complaints: error.complaints, retryable: error.retryable, text: error.message };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { kind: 'bug', complaints: [], retryable: false, text };
}

/** The inverse of `printError`. */
export function parseError(error: PlainError): Error {
  return error.kind === 'bug' ? new Error(error.text) : new YokeError(error.kind, error.complaints, error.retryable);
}

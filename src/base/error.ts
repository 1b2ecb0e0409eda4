/**
 * Errors of the three kinds that somebody can act on. Bugs are not among them: those are assertions.
 */
export type ErrorKind = 'config' | 'host' | 'peer';

/** What an error message always says: where, what was expected, what was found, what to do. */
export interface Complaint {
  /** File and line, device, program, address: the place the reader should look at. */
  where: string;
  expected: string;
  found: string;
  /** An instruction, not a diagnosis. */
  todo: string;
}

/** The one line an operator reads: `where: expected X, found Y; do Z`. */
export function printComplaint(c: Complaint): string {
  return `${c.where}: expected ${c.expected}, found ${c.found}; ${c.todo}`;
}

/** An operating error: somebody can act on it, so it says how. Several complaints may come at once (one per line). */
export class YokeError extends Error {
  readonly kind: ErrorKind;
  readonly complaints: readonly Complaint[];
  /** True when trying the same again later may succeed without anybody's action. */
  readonly retryable: boolean;

  constructor(kind: ErrorKind, complaints: Complaint | readonly Complaint[], retryable = false) {
    const all = Array.isArray(complaints) ? (complaints as readonly Complaint[]) : [complaints as Complaint];
    super(all.map(printComplaint).join('\n'));
    this.name = 'YokeError';
    this.kind = kind;
    this.complaints = all;
    this.retryable = retryable;
  }
}

/** A broken promise of our own code; crashes loudly and is never caught to go on. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

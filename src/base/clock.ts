/**
 * The one notion of time below the line: pure code is handed `now`, it never asks.
 *
 * Units: microseconds since an arbitrary origin, as a double (exact to a fraction of a microsecond for centuries).
 */
export interface Clock {
  nowUs(): number;
}

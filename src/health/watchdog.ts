/**
 * The watchdog of the configuration, as a value: when to ping, and when the silence has lasted long enough to act.
 *
 *      links ready            no reply for timeout
 *   idle ─────────▶ watching ─────────────────────▶ acted ──▶ idle (until the links are ready again)
 *     ▲  links gone    │ ▲ reply: silence begins anew
 *     ╰────────────────╯ ╰──────╯
 *
 * Without a link there is nothing that a restart could mend, so nothing is counted then.
 */

/** Times in microseconds, of any clock that only grows. */
export interface WatchdogTimes {
  periodUs: number;
  timeoutUs: number;
}

export type WatchdogAction = 'nothing' | 'ping' | 'act';

/** Counts silence; the caller pings and acts. */
export class Watchdog {
  readonly #times: WatchdogTimes;
  /** When the silence began; undefined: not watching. */
  #silentSinceUs: number | undefined;
  #nextPingUs = 0;

  constructor(times: WatchdogTimes) {
    this.#times = times;
  }

  get watching(): boolean {
    return this.#silentSinceUs !== undefined;
  }

  /** The bond can carry packets now, or cannot. */
  handleLinks(ready: boolean, nowUs: number): void {
    if (!ready) this.#silentSinceUs = undefined;
    else if (this.#silentSinceUs === undefined) {
      this.#silentSinceUs = nowUs;
      this.#nextPingUs = nowUs;
    }
  }

  /** A reply came. */
  handleReply(nowUs: number): void {
    if (this.#silentSinceUs !== undefined) this.#silentSinceUs = Math.max(this.#silentSinceUs, nowUs);
  }

  /** What to do now. `act` is said once; counting begins again with the next `handleLinks(true)`. */
  poll(nowUs: number): WatchdogAction {
    if (this.#silentSinceUs === undefined) return 'nothing';
    if (nowUs - this.#silentSinceUs >= this.#times.timeoutUs) {
      this.#silentSinceUs = undefined;
      return 'act';
    }
    if (nowUs < this.#nextPingUs) return 'nothing';
    this.#nextPingUs = nowUs + this.#times.periodUs;
    return 'ping';
  }

  /** When to poll next; Infinity while not watching. */
  pollTimeout(): number {
    if (this.#silentSinceUs === undefined) return Number.POSITIVE_INFINITY;
    return Math.min(this.#nextPingUs, this.#silentSinceUs + this.#times.timeoutUs);
  }
}

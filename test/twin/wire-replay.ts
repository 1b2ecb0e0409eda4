/** The slow twin of `ReplayWindow`: remembers every number for ever and states the rule of the window in words of sets. */
export class SlowReplayWindow {
  readonly #size: number;
  readonly #seen = new Set<number>();
  #largest = -1;

  constructor(size: number) {
    this.#size = size;
  }

  mayAccept(packetNumber: number): boolean {
    const oldest = this.#largest - this.#size + 1;
    return packetNumber >= oldest && !this.#seen.has(packetNumber);
  }

  accept(packetNumber: number): boolean {
    if (!this.mayAccept(packetNumber)) return false;
    this.#seen.add(packetNumber);
    this.#largest = Math.max(this.#largest, packetNumber);
    return true;
  }
}

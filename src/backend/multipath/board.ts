/**
 * Counters through shared memory: the pump writes them a few times a second, anybody in the process reads them without disturbing it.
 *
 *   [0] edition: odd while the pump writes   [1] bonds   [2] roster   then one record a bond: fields, then MAX_PATHS × path fields
 *
 * Everything is a double, so that a reader needs no lock: a torn edition is read again.
 */
import { MAX_PATHS } from '../../wire/header.ts';

/** Bonds that the board has room for; further ones run, but are not shown. */
export const BOARD_BONDS = 1024;

/** Numbers of a bond, in the order of its record. */
export const BOND_FIELDS = [
  'established',
  'cipher',
  'handshakeAgeS',
  'innerMtu',
  'txBytes',
  'rxBytes',
  'txPackets',
  'rxPackets',
  'queuedPackets',
  'heldPackets',
  'droppedByCodel',
  'droppedByLimit',
  'reordered',
  'duplicates',
  'skipped',
] as const;

/** Numbers of a path, in the order of its record. */
export const PATH_FIELDS = [
  'state',
  'srttMs',
  'minRttMs',
  'queueMs',
  'capacityBps',
  'pacingBps',
  'inFlightBytes',
  'mtu',
  'txBytes',
  'rxBytes',
  'txDatagrams',
  'rxDatagrams',
  'lostDatagrams',
  'resentPackets',
  'standby',
] as const;

/** Path states by number; 0 stands for a path that does not exist. */
export const STATES = ['', 'closed', 'waiting', 'up', 'suspect', 'down', 'lossy'] as const;

const HEAD = 3;
const RECORD = BOND_FIELDS.length + MAX_PATHS * PATH_FIELDS.length;

export type BondNumbers = Record<(typeof BOND_FIELDS)[number], number>;
export type PathNumbers = Record<(typeof PATH_FIELDS)[number], number>;

/** The board over a SharedArrayBuffer; both threads make one over the same buffer. */
export class Board {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Float64Array;
  private at = 0;
  /** Reader: the last edition that was read whole. */
  private whole = new Float64Array(HEAD);

  constructor(buffer = new SharedArrayBuffer((HEAD + BOARD_BONDS * RECORD) * 8)) {
    this.buffer = buffer;
    this.words = new Float64Array(buffer);
  }

  /** Writer: everything up to `end` is one edition. `roster`: the number of the list that names these bonds. */
  begin(bonds: number, roster: number): void {
    this.words[0]++;
    this.words[1] = Math.min(bonds, BOARD_BONDS);
    this.words[2] = roster;
    this.at = HEAD;
  }

  /** Writer: the next number, in the order of the fields. */
  put(value: number): void {
    if (this.at < this.words.length) this.words[this.at++] = value;
  }

  /** Writer: passes over a path that does not exist. */
  skipPath(): void {
    for (let i = 0; i < PATH_FIELDS.length; i++) this.put(0);
  }

  end(): void {
    this.words[0]++;
  }

  /** Reader: a whole edition, by the names of the fields; the one before when the writer was put to sleep in the middle of one. */
  read(): { roster: number; bonds: { bond: BondNumbers; paths: PathNumbers[] }[] } {
    for (let tries = 0; tries < 100; tries++) {
      const edition = this.words[0];
      if (edition % 2 !== 0) continue;
      const copy = this.words.slice(0, HEAD + this.words[1] * RECORD);
      if (this.words[0] !== edition) continue;
      this.whole = copy;
      break;
    }
    return { roster: this.whole[2], bonds: decode(this.whole) };
  }
}

function decode(words: Float64Array): { bond: BondNumbers; paths: PathNumbers[] }[] {
  let at = HEAD;
  const record = <K extends string>(fields: readonly K[]) =>
    Object.fromEntries(fields.map((name) => [name, words[at++]])) as Record<K, number>;
  return Array.from({ length: words[1] }, () => ({
    bond: record(BOND_FIELDS),
    paths: Array.from({ length: MAX_PATHS }, () => record(PATH_FIELDS)),
  }));
}

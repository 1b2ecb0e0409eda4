/** JSON that somebody wrote by hand, read place by place, so that each complaint says where: `FILE: links[1].rate`. */
import { YokeError } from '../base/error.ts';
import { parseRateBps, parseSizeBytes, parseTimeUs } from '../base/units.ts';
import type { Direction } from './emulator.ts';

/** The one line that says what is wrong with a scenario. */
export function wrong(where: string, expected: string, found: string): YokeError {
  return new YokeError('config', { where, expected, found: `'${found}'`, todo: 'see docs/lab.md' });
}

/** A place in a file of JSON, with the readers of what may stand there. All of them: @throws YokeError (config) that names the place. */
export class Field {
  readonly where: string;
  readonly readTrace: (name: string) => string;
  readonly #value: unknown;

  constructor(where: string, value: unknown, readTrace: (name: string) => string) {
    this.where = where;
    this.#value = value;
    this.readTrace = readTrace;
  }

  get isSaid(): boolean {
    return this.#value !== undefined;
  }

  get isNull(): boolean {
    return this.#value === null;
  }

  allow(keys: readonly string[]): void {
    for (const key of Object.keys(this.#object())) {
      if (!keys.includes(key)) throw wrong(this.where, `a key of ${keys.join(' ')}`, key);
    }
  }

  child(key: string): Field {
    const separator = this.where.includes(': ') ? '.' : ': ';
    const object = this.#object();
    return new Field(
      `${this.where}${separator}${key}`,
      Object.hasOwn(object, key) ? object[key] : undefined,
      this.readTrace,
    );
  }

  /** The child, or its part for a direction when it has parts. */
  of(key: string, direction: Direction): Field {
    const child = this.child(key);
    const value = child.#value;
    const isSplit = typeof value === 'object' && value !== null && ('down' in value || 'up' in value);
    if (!isSplit) return child;
    child.allow(['down', 'up']);
    return child.child(direction);
  }

  list(key: string): Field[] {
    const child = this.child(key);
    if (!child.isSaid) return [];
    if (!Array.isArray(child.#value)) throw this.#not(child, 'a list');
    return child.#value.map((value, i) => new Field(`${child.where}[${i}]`, value, this.readTrace));
  }

  text(key: string): string {
    return this.child(key).asText();
  }

  time(key: string): number {
    return this.child(key).asTime();
  }

  flag(key: string): boolean {
    const child = this.child(key);
    return child.isSaid && child.asFlag();
  }

  number(key: string, otherwise: number, from: number, to: number): number {
    const child = this.child(key);
    return child.isSaid ? child.asNumber(from, to) : otherwise;
  }

  asText(): string {
    if (typeof this.#value !== 'string') throw this.#not(this, 'a text');
    return this.#value;
  }

  asFlag(): boolean {
    if (typeof this.#value !== 'boolean') throw this.#not(this, 'true or false');
    return this.#value;
  }

  asNumber(from: number, to: number): number {
    const value = this.#value;
    if (typeof value !== 'number' || !(value >= from && value <= to)) {
      throw this.#not(this, to === Number.MAX_VALUE ? `a number from ${from}` : `a number from ${from} to ${to}`);
    }
    return value;
  }

  asRate(): number {
    const bps = typeof this.#value === 'string' ? parseRateBps(this.#value) : undefined;
    if (!bps) throw this.#not(this, 'a rate above 0, e.g. 20mbit');
    return bps;
  }

  asTime(): number {
    const us = typeof this.#value === 'string' ? parseTimeUs(this.#value, 'ms') : undefined;
    if (us === undefined) throw this.#not(this, 'a time, e.g. 20ms');
    return us;
  }

  asSize(): number {
    const bytes = typeof this.#value === 'string' ? parseSizeBytes(this.#value) : undefined;
    if (!bytes) throw this.#not(this, 'a size, e.g. 1300b');
    return bytes;
  }

  /** `1%` or `0.01`. */
  asShare(): number {
    const m = typeof this.#value === 'string' ? /^(\d+(?:\.\d+)?)(%?)$/.exec(this.#value) : null;
    const share = m ? Number((Number(m[1]) / (m[2] ? 100 : 1)).toFixed(10)) : Number.NaN;
    if (!(share <= 1)) throw this.#not(this, 'a share, e.g. 1%');
    return share;
  }

  #object(): Record<string, unknown> {
    if (typeof this.#value !== 'object' || this.#value === null || Array.isArray(this.#value)) {
      throw this.#not(this, 'an object');
    }
    return this.#value as Record<string, unknown>;
  }

  #not(node: Field, expected: string): YokeError {
    return wrong(node.where, expected, node.isSaid ? JSON.stringify(node.#value) : 'nothing');
  }
}

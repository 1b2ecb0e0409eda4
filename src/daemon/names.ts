/**
 * The servers' addresses by link: asked at the start, asked again while one is missing, and asked again when every path is dead (a server
 * may have moved).
 */
import { type AddressBytes, parseAddress, printAddress } from '../base/address.ts';
import type { Log } from './log.ts';
import type { ResolveName } from './resolve.ts';

/** A link's question. */
export interface Question {
  link: string;
  name: string;
  localAddresses: readonly AddressBytes[];
}

/** Longest time that a start or a change waits for name servers; after it, the answers come when they come. */
const WAIT_MS = 400;
/** First and longest pause between two questions for the same name. */
const RETRY_MS = 1000;
const RETRY_LIMIT_MS = 30_000;
/** All paths dead for so long: the server may have a new address. */
const DEAD_MS = 5000;

export class Names {
  readonly #resolve: ResolveName;
  readonly #log: Log;
  readonly #onChange: () => void;
  readonly #addresses = new Map<string, AddressBytes>();
  /** What the address of a link was asked by. */
  readonly #asked = new Map<string, string>();
  #unresolved: Question[] = [];
  #retry: NodeJS.Timeout | undefined;
  #pauseMs = RETRY_MS;
  #deadSinceMs: number | undefined;
  #stopped = false;

  /** `onChange` is called when an address came or changed outside of `ask`. */
  constructor(resolve: ResolveName, log: Log, onChange: () => void) {
    this.#resolve = resolve;
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Addresses by link name. */
  get addresses(): ReadonlyMap<string, AddressBytes> {
    return this.#addresses;
  }

  /** What an operator should know. */
  complaints(): string[] {
    return this.#unresolved.map((q) => `link ${q.link}: the name ${q.name} has no address yet; asking again`);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
  }

  /**
   * Answers at once for addresses and for names that were answered before; waits a little for the others.
   *
   * Names that nobody answers are asked again by and by. `again` asks for known names, too.
   */
  async ask(questions: readonly Question[], { again = false } = {}): Promise<void> {
    const links = new Set(questions.map((q) => q.link));
    for (const link of this.#addresses.keys()) if (!links.has(link)) this.#addresses.delete(link);
    const open: Question[] = [];
    for (const question of questions) {
      const literal = parseAddress(question.name);
      const known = this.#addresses.has(question.link) && this.#asked.get(question.link) === question.name;
      if (literal) this.#addresses.set(question.link, literal);
      else if (!known) {
        this.#addresses.delete(question.link);
        open.push(question);
      } else if (again) open.push(question);
      this.#asked.set(question.link, question.name);
    }
    this.#unresolved = open.filter((q) => !this.#addresses.has(q.link));
    if (open.length === 0) return;
    let waiting = true;
    const answers = this.#askAll(open).then((changed) => {
      if (!waiting && changed) this.#onChange();
      this.#retryLater();
    });
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([
      answers,
      new Promise((resolve) => {
        timer = setTimeout(resolve, WAIT_MS);
      }),
    ]);
    clearTimeout(timer);
    waiting = false;
  }

  /** Told again and again whether any path carries datagrams. */
  handleReady(ready: boolean, questions: readonly Question[]): void {
    const nowMs = performance.now();
    if (ready) this.#deadSinceMs = undefined;
    else this.#deadSinceMs ??= nowMs;
    if (this.#deadSinceMs === undefined || nowMs - this.#deadSinceMs < DEAD_MS) return;
    this.#deadSinceMs = nowMs;
    const named = questions.filter((q) => !parseAddress(q.name));
    if (named.length > 0) void this.#askAll(named).then((changed) => changed && this.#onChange());
  }

  async #askAll(questions: readonly Question[]): Promise<boolean> {
    const changes = await Promise.all(questions.map((q) => this.#askOne(q)));
    return changes.some((changed) => changed);
  }

  async #askOne(question: Question): Promise<boolean> {
    const answer = await this.#resolve(question);
    const { link, name } = question;
    // a reload may have changed the question meanwhile
    if (!answer || this.#stopped || this.#asked.get(link) !== name) return false;
    this.#unresolved = this.#unresolved.filter((q) => q.link !== link);
    const before = this.#addresses.get(link);
    if (before && printAddress(before) === printAddress(answer)) return false;
    this.#addresses.set(link, answer);
    this.#log('info', `link ${link}: ${name} is ${printAddress(answer)}`);
    return true;
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    if (this.#stopped || this.#unresolved.length === 0) {
      this.#pauseMs = RETRY_MS;
      return;
    }
    this.#retry = setTimeout(() => {
      this.#pauseMs = Math.min(2 * this.#pauseMs, RETRY_LIMIT_MS);
      void this.#askAll(this.#unresolved).then((changed) => {
        if (changed) this.#onChange();
        this.#retryLater();
      });
    }, this.#pauseMs);
  }
}

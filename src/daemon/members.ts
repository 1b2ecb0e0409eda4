/**
 * Who belongs to a server: the client sections of its file and the open invitations. One writer at a time: the running instance, or a
 * command that holds its lock.
 *
 *   invite ─▶ invitations.json
 *   admit  ─▶ invitations.json (bound to the key), then the file (a client section): interrupted between the two, the same router's next try ends it
 *   revoke, rename ─▶ the file, then invitations.json
 *
 * Each method hands out the edit that it made, for the caller to make it in what runs: whatever else the file was edited to waits for its reload.
 */
import type { Prefix } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import { addClient, freeAddresses, removeClient, renameClient } from '../config/clients.ts';
import type { ClientConfig, Config } from '../config/config.ts';
import { printKey } from '../config/kinds.ts';
import { readConfig } from '../config/schema.ts';
import { isUciName } from '../config/uci.ts';
import { readText } from '../host/files.ts';
import { Invitations, isOpen } from '../setup/invitations.ts';
import { type InnerAddresses, JOIN_NAME_LIMIT, type JoinAnswer } from '../wire/join.ts';
import { replaceConfig } from './load.ts';
import { trialOf } from './trial.ts';

/** What a join request and its way say. */
export interface Applicant {
  publicKey: Uint8Array;
  secret: Uint8Array;
  from: string;
}

/** A change of the file, to be made in another text of it; undefined: it is there already. */
export type Edit = (text: string) => string | undefined;

export class Members {
  readonly file: string;
  readonly invitations: Invitations;
  readonly #running: () => Config | undefined;

  /** `running`: what an instance has of the file, which may have been edited since. */
  constructor(file: string, stateDir: string, running: () => Config | undefined = () => undefined) {
    this.file = file;
    this.#running = running;
    this.invitations = new Invitations(stateDir);
  }

  /** Registers an invitation. @throws YokeError when the name is none, or is a router's already. */
  invite({ name, hash, expiresAt }: { name: string; hash: string; expiresAt: string }, nowMs: number): void {
    checkName(name);
    if (this.#read().config.clients.some((c) => c.name === name)) {
      throw complain(name, 'a name that no router has', 'a router', `choose another, or first: yoke revoke ${name}`);
    }
    this.invitations.add({ name, hash, expiresAt }, nowMs);
  }

  /** Decides on a join request. @throws YokeError when file or register cannot be read or written. */
  admit({ publicKey, secret, from }: Applicant, nowMs: number): { answer: JoinAnswer; edit?: Edit } {
    const entry = this.invitations.find(secret);
    if (entry === undefined) return { answer: { verdict: 'unknown' } };
    const key = printKey(publicKey);
    if (entry.publicKey !== undefined && entry.publicKey !== key) return { answer: { verdict: 'used' } };
    if (entry.publicKey === undefined && !isOpen(entry, nowMs)) return { answer: { verdict: 'expired' } };

    const { config, text } = this.#read();
    const known = config.clients.find((c) => printKey(c.publicKey) === key);
    if (known === undefined && config.clients.some((c) => c.name === entry.name)) {
      return { answer: { verdict: 'used' } };
    }
    const free = known === undefined ? freeAddresses(config, this.#running()?.clients) : undefined;
    if (known === undefined && free === undefined) {
      const found = config.bond.addresses.length === 0 ? 'none' : 'none that is free';
      const todo = 'give the server a larger network (option ipaddr, ip6addr), or revoke routers that are gone';
      throw complain(this.file, 'an inner address for a new router', found, todo);
    }
    if (known === undefined) this.#checkTrial();
    // Bound first: another key cannot come between, and this one may ask again.
    if (entry.publicKey === undefined) {
      this.invitations.bind(entry.hash, { publicKey: key, usedAt: new Date(nowMs).toISOString(), from }, nowMs);
    }
    if (known !== undefined) return { answer: welcome(config, known) };
    const edit: Edit = (of) => {
      const isThere = readConfig(of, this.file).clients.some((c) => printKey(c.publicKey) === key);
      return isThere ? undefined : addClient(of, this.file, { name: entry.name, publicKey, ...free });
    };
    const client = this.#write(edit(text)!).clients.find((c) => c.name === entry.name)!;
    return { answer: welcome(config, client), edit };
  }

  /** Removes a router, or an invitation that nobody used yet. @throws YokeError when there is neither. */
  revoke(name: string, nowMs: number): { edit?: Edit } {
    const { text } = this.#read();
    const edit: Edit = (of) => removeClient(of, this.file, name);
    const shrunk = edit(text);
    if (shrunk !== undefined) {
      this.#checkTrial();
      this.#write(shrunk);
    }
    const gone = this.invitations.remove(name, nowMs);
    if (shrunk === undefined && gone === 0) throw this.#nobody(name);
    return shrunk === undefined ? {} : { edit };
  }

  /** Gives a router another name. @throws YokeError when there is none of that name, or the new one is taken. */
  rename(from: string, to: string, nowMs: number): { edit?: Edit } {
    checkName(to);
    const { config, text } = this.#read();
    const isTaken =
      config.clients.some((c) => c.name === to) || this.invitations.open(nowMs).some((e) => e.name === to);
    if (from !== to && isTaken)
      throw complain(to, 'a name that is free', 'another router of that name', 'choose another');
    const edit: Edit = (of) => renameClient(of, this.file, from, to);
    const renamed = edit(text);
    const isInvited = this.invitations.open(nowMs).some((e) => e.name === from);
    if (renamed === undefined && !isInvited) throw this.#nobody(from);
    if (renamed !== undefined) {
      this.#checkTrial();
      this.#write(renamed);
    }
    this.invitations.rename(from, to, nowMs);
    return renamed === undefined ? {} : { edit };
  }

  /** The configuration as the file says it now. @throws YokeError when it is not a server's of engine multipath. */
  #read(): { config: Config; text: string } {
    const text = readText(this.file) ?? '';
    const config = readConfig(text, this.file);
    if (config.role === 'server' && config.engine === 'multipath') return { config, text };
    const found = config.role === 'server' ? `engine '${config.engine}'` : 'the router of a bond';
    throw complain(this.file, 'the server of a bond, engine multipath', found, 'run this command on the server');
  }

  #write(text: string): Config {
    // Read before it is written: an edit that makes a bad file is a bug of ours, and must not reach the disk.
    const config = readConfig(text, this.file);
    replaceConfig(this.file, text);
    return config;
  }

  /** What is written while a configuration is on trial would be lost when the one before comes back; a router that was let go would return. */
  #checkTrial(): void {
    if (trialOf(this.file) === undefined) return;
    const todo = 'yoke confirm keeps it; then again';
    throw complain(this.file, 'a configuration that stays', 'one on trial', todo);
  }

  #nobody(name: string): YokeError {
    return complain(name, 'the name of a router or of an open invitation', 'neither', 'see yoke peers');
  }
}

/** @throws YokeError when a router cannot be called so. */
export function checkName(name: string): void {
  if (isUciName(name) && name.length <= JOIN_NAME_LIMIT) return;
  const found = name.length > JOIN_NAME_LIMIT ? `${name.length} characters` : `'${name}'`;
  throw complain('the name', `letters, digits and _, at most ${JOIN_NAME_LIMIT}`, found, 'choose another');
}

function welcome(config: Config, client: ClientConfig): JoinAnswer {
  const inner = (size: number): InnerAddresses | undefined => {
    const own = config.bond.addresses.find((a) => a.bytes.length === size);
    const router = client.allowed.find((p: Prefix) => p.bytes.length === size && p.length === size * 8);
    return own && router && { router: router.bytes, server: own.bytes, prefixLength: own.length };
  };
  const v4 = inner(4);
  const v6 = inner(16);
  return { verdict: 'welcome', name: client.name, ...(v4 && { v4 }), ...(v6 && { v6 }) };
}

function complain(where: string, expected: string, found: string, todo: string): YokeError {
  return new YokeError('config', { where, expected, found, todo });
}

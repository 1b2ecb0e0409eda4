/**
 * The server's register of invitations, STATE_DIR/invitations.json (0600): hashes of secrets, never a secret.
 *
 *   add ─▶ open ─┬─ bind ─▶ used by one key, which may ask again      (removed with its router)
 *                └─ its time passes ─▶ expired
 *
 * What is used or expired stays for a while, so that whoever comes late reads why. Source: docs/setup.md.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import { YokeError } from '../base/error.ts';
import { readText, SECRET_MODE, writeWhole } from '../host/files.ts';

/** One invitation. Plain data; times are ISO 8601. */
export interface InvitationEntry {
  /** Of the router that it is for. */
  name: string;
  /** SHA-256 of the secret, hex. */
  hash: string;
  expiresAt: string;
  /** Whose it is since it was used: base64. */
  publicKey?: string;
  usedAt?: string;
  /** Address and port that it was used from. */
  from?: string;
}

/** Version of the file's form. */
const VERSION = 1;
/** Open invitations at once. */
export const OPEN_LIMIT = 64;
/** Used and expired ones that are remembered; the oldest are forgotten. */
const PAST_LIMIT = 192;

/** What is stored of a secret. */
export function hashOfSecret(secret: Uint8Array): string {
  return createHash('sha256').update('yoke invitation secret').update(secret).digest('hex');
}

/** The register's file. Every call reads it, and writes it whole when it changed something: it is small and rarely touched. */
export class Invitations {
  readonly path: string;

  constructor(stateDir: string) {
    this.path = join(stateDir, 'invitations.json');
  }

  /** All that are remembered, the newest last. @throws YokeError when the file is broken or a newer yoke's. */
  list(): InvitationEntry[] {
    const text = readText(this.path);
    if (text === undefined) return [];
    let file: { version?: unknown; invitations?: InvitationEntry[] };
    try {
      file = JSON.parse(text);
    } catch {
      file = {};
    }
    const { version, invitations } = file ?? {};
    if (typeof version === 'number' && version > VERSION) {
      const todo =
        'install that version again, or move the file away: its open invitations are lost then, nothing else';
      throw this.#complain(`version ${VERSION}`, `version ${version}, of a newer yoke`, todo);
    }
    if (version !== VERSION || !Array.isArray(invitations) || !invitations.every(isEntry)) {
      throw this.#complain(
        'a register of invitations',
        'something else',
        'move the file away: its open invitations are lost then, nothing else',
      );
    }
    return invitations;
  }

  /** Those that can still be used. */
  open(nowMs: number): InvitationEntry[] {
    return this.list().filter((e) => isOpen(e, nowMs));
  }

  /** Adds one; an open one for the same name is worth nothing from then on. @throws YokeError when there are too many. */
  add(entry: InvitationEntry, nowMs: number): void {
    const others = this.list().filter((e) => e.name !== entry.name || !isOpen(e, nowMs));
    if (others.filter((e) => isOpen(e, nowMs)).length >= OPEN_LIMIT) {
      const todo = 'wait until some are used or expired, or revoke some (yoke peers, yoke revoke NAME)';
      throw this.#complain(`at most ${OPEN_LIMIT} open invitations`, 'as many', todo);
    }
    this.#save([...others, entry], nowMs);
  }

  /** The invitation of a secret. Cost: the same whichever it is, so that time tells nothing. */
  find(secret: Uint8Array): InvitationEntry | undefined {
    const wanted = Buffer.from(hashOfSecret(secret));
    let found: InvitationEntry | undefined;
    for (const entry of this.list()) {
      const have = Buffer.from(entry.hash);
      if (have.length === wanted.length && timingSafeEqual(have, wanted)) found = entry;
    }
    return found;
  }

  /** Binds an invitation to the key that used it. */
  bind(hash: string, used: { publicKey: string; usedAt: string; from: string }, nowMs: number): void {
    this.#save(
      this.list().map((e) => (e.hash === hash ? { ...e, ...used } : e)),
      nowMs,
    );
  }

  /** Forgets every invitation for a name; how many there were. */
  remove(name: string, nowMs: number): number {
    const all = this.list();
    const left = all.filter((e) => e.name !== name);
    if (left.length < all.length) this.#save(left, nowMs);
    return all.length - left.length;
  }

  /** What was for one name is for another. */
  rename(from: string, to: string, nowMs: number): void {
    const all = this.list();
    if (all.some((e) => e.name === from)) {
      this.#save(
        all.map((e) => (e.name === from ? { ...e, name: to } : e)),
        nowMs,
      );
    }
  }

  #save(entries: readonly InvitationEntry[], nowMs: number): void {
    const past = entries.filter((e) => !isOpen(e, nowMs));
    const forgotten = new Set(past.slice(0, Math.max(0, past.length - PAST_LIMIT)));
    const invitations = entries.filter((e) => !forgotten.has(e));
    writeWhole(this.path, `${JSON.stringify({ version: VERSION, invitations }, undefined, 2)}\n`, SECRET_MODE);
  }

  #complain(expected: string, found: string, todo: string): YokeError {
    return new YokeError('host', { where: this.path, expected, found, todo });
  }
}

/** Whether nobody has used it, and it is in time. */
export function isOpen(entry: InvitationEntry, nowMs: number): boolean {
  return entry.publicKey === undefined && nowMs < Date.parse(entry.expiresAt);
}

function isEntry(e: unknown): e is InvitationEntry {
  const { name, hash, expiresAt, publicKey = '' } = (e ?? {}) as Record<string, unknown>;
  const texts = [name, hash, expiresAt, publicKey].every((t) => typeof t === 'string');
  return texts && !Number.isNaN(Date.parse(expiresAt as string));
}

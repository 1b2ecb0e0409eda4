/** The server's door while it runs: join requests from the backend, and what the commands about routers ask for; all of it live. */
import type { Backend, BackendEvent } from '../backend/backend.ts';
import type { JoinAnswer } from '../wire/join.ts';
import type { ControlMethod, ControlParams } from './control.ts';
import { linesOf } from './keeper.ts';
import type { Log } from './log.ts';
import type { Members } from './members.ts';

type JoinEvent = Extract<BackendEvent, { kind: 'join' }>;

/** Verdicts are logged so often at most; more would be a way to fill the disk. Units: milliseconds. */
const REFUSAL_LOG_MS = 1000;

export class Admission {
  readonly #members: Members;
  readonly #backend: Backend;
  readonly #log: Log;
  readonly #reread: () => Promise<unknown>;
  #refusedAtMs = Number.NEGATIVE_INFINITY;
  /** The file has a change that the running instance could not take yet. */
  #behind = false;

  constructor(o: { members: Members; backend: Backend; log: Log; reread: () => Promise<unknown> }) {
    this.#members = o.members;
    this.#backend = o.backend;
    this.#log = o.log;
    this.#reread = o.reread;
  }

  /** Decides, takes the new router into the running bond, and only then answers: its first handshake finds an open door. */
  async handleJoin({ id, publicKey, secret, from }: JoinEvent): Promise<void> {
    let answer: JoinAnswer = { verdict: 'failed' };
    try {
      const admitted = this.#members.admit({ publicKey, secret, from }, Date.now());
      await this.#take(admitted.changed);
      answer = admitted.answer;
      if (answer.verdict !== 'welcome')
        this.#tellRefusal(`join from ${from}: refused, the invitation is ${answer.verdict}`);
      else if (admitted.changed) this.#log('info', `join from ${from}: ${answer.name} is one of us now`);
    } catch (error) {
      this.#tellRefusal(`join from ${from}: ${linesOf(error)}`);
    }
    this.#backend.answerJoin?.(id, answer);
  }

  /** What a command asked for. @throws YokeError when it cannot be. */
  async answer(
    method: Extract<ControlMethod, 'invite' | 'revoke' | 'rename'>,
    params: ControlParams,
  ): Promise<unknown> {
    const { changed } = changeMembers(this.#members, method, params, Date.now());
    await this.#take(changed);
    return { changed };
  }

  async #take(changed: boolean): Promise<void> {
    this.#behind ||= changed;
    if (!this.#behind) return;
    await this.#reread();
    this.#behind = false;
  }

  #tellRefusal(text: string): void {
    const now = performance.now();
    if (now - this.#refusedAtMs < REFUSAL_LOG_MS) return;
    this.#refusedAtMs = now;
    this.#log('warn', text);
  }
}

/** Performs a method on the set of routers, in the running instance or, where none runs, in the command itself. */
export function changeMembers(
  members: Members,
  method: 'invite' | 'revoke' | 'rename',
  params: ControlParams,
  nowMs: number,
): { changed: boolean } {
  const text = (name: string) => String(params[name] ?? '');
  if (method === 'revoke') return members.revoke(text('name'), nowMs);
  if (method === 'rename') return members.rename(text('name'), text('to'), nowMs);
  members.invite({ name: text('name'), hash: text('hash'), expiresAt: text('expiresAt') }, nowMs);
  return { changed: false };
}

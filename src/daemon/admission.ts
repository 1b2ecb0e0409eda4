/** The server's door while it runs: join requests from the backend, and what the commands about routers ask for; all of it live. */
import type { Backend, BackendEvent } from '../backend/backend.ts';
import type { JoinAnswer } from '../wire/join.ts';
import type { ControlMethod, ControlParams } from './control.ts';
import { linesOf } from './keeper.ts';
import type { Log } from './log.ts';
import type { Edit, Members } from './members.ts';

type JoinEvent = Extract<BackendEvent, { kind: 'join' }>;

/** Verdicts are logged so often at most; more would be a way to fill the disk. Units: milliseconds. */
const REFUSAL_LOG_MS = 1000;

export class Admission {
  readonly #members: Members;
  readonly #backend: Backend;
  readonly #log: Log;
  readonly #amend: (edit: (text: string) => string) => Promise<void>;
  #refusedAtMs = Number.NEGATIVE_INFINITY;
  /** Changes of the file that the running instance has not taken yet. */
  #behind: Edit[] = [];

  /** `amend`: edits what the running instance was started from, and takes it. */
  constructor(o: {
    members: Members;
    backend: Backend;
    log: Log;
    amend: (edit: (text: string) => string) => Promise<void>;
  }) {
    this.#members = o.members;
    this.#backend = o.backend;
    this.#log = o.log;
    this.#amend = o.amend;
  }

  /** Decides, takes the new router into the running bond, and only then answers: its first handshake finds an open door. */
  async handleJoin({ id, publicKey, secret, from }: JoinEvent): Promise<void> {
    let answer: JoinAnswer = { verdict: 'failed' };
    try {
      const admitted = this.#members.admit({ publicKey, secret, from }, Date.now());
      await this.#take(admitted.edit);
      answer = admitted.answer;
      if (answer.verdict !== 'welcome')
        this.#tellRefusal(`join from ${from}: refused, the invitation is ${answer.verdict}`);
      else if (admitted.edit) this.#log('info', `join from ${from}: ${answer.name} is one of us now`);
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
    await this.#take(changeMembers(this.#members, method, params, Date.now()).edit);
    return {};
  }

  async #take(edit: Edit | undefined): Promise<void> {
    if (edit) this.#behind.push(edit);
    if (this.#behind.length === 0) return;
    const edits = [...this.#behind];
    await this.#amend((text) => edits.reduce((t, e) => e(t) ?? t, text));
    this.#behind = this.#behind.filter((e) => !edits.includes(e));
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
): { edit?: Edit } {
  const text = (name: string) => String(params[name] ?? '');
  if (method === 'revoke') return members.revoke(text('name'), nowMs);
  if (method === 'rename') return members.rename(text('name'), text('to'), nowMs);
  members.invite({ name: text('name'), hash: text('hash'), expiresAt: text('expiresAt') }, nowMs);
  return {};
}

/**
 * A configuration on trial: unless it is confirmed in time, the one that ran before is put back (docs/apply.md).
 *
 *   begin ─▶ .NAME.before (what ran), then .NAME.trial (until when)      both durable before the new configuration is taken
 *   confirm ─▶ both gone                                                  the file stays as it is
 *   putBack ─▶ .NAME.refused (what is there), FILE (what ran), both gone  interrupted anywhere, it is done again
 *
 * The files tell everything: another process, after a restart or a reboot, goes on where this one was.
 */
import { readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { YokeError } from '../base/error.ts';
import { readText, SECRET_MODE, writeWhole } from '../host/files.ts';
import { linesOf } from './keeper.ts';
import { replaceConfig } from './load.ts';
import { lockHolder } from './lock.ts';
import type { Log } from './log.ts';

/** Shortest and longest trial. Units: seconds. */
export const TRIAL_LIMITS_S = [5, 3600] as const;

/** A trial that is under way. */
export interface Trial {
  /** Units: milliseconds since 1970. */
  deadlineMs: number;
}

const beside = (file: string, what: 'before' | 'trial' | 'refused') =>
  join(dirname(file), `.${basename(file)}.${what}`);

/** The trial of a configuration file, if there is one. */
export function trialOf(file: string, nowMs = Date.now()): Trial | undefined {
  let text: string;
  try {
    text = readFileSync(beside(file, 'trial'), 'utf8');
  } catch {
    return undefined;
  }
  try {
    const { deadline, seconds } = JSON.parse(text);
    const deadlineMs = Date.parse(deadline);
    // a clock that was set back must not make it longer
    if (Number.isFinite(deadlineMs)) return { deadlineMs: Math.min(deadlineMs, nowMs + seconds * 1000) };
  } catch {
    // spoilt: as one whose time is over
  }
  return { deadlineMs: nowMs };
}

/** Begins a trial, or gives the one under way its time anew; what runs now is what will be put back. @throws YokeError when it cannot be written. */
export function beginTrial(file: string, running: string, seconds: number, nowMs = Date.now()): Trial {
  const deadlineMs = nowMs + seconds * 1000;
  if (trialOf(file) === undefined) writeWhole(beside(file, 'before'), running, SECRET_MODE);
  const state = { version: 1, deadline: new Date(deadlineMs).toISOString(), seconds };
  writeWhole(beside(file, 'trial'), `${JSON.stringify(state)}\n`, SECRET_MODE);
  return { deadlineMs };
}

/** Ends a trial well: what is there stays. @throws YokeError when there is none. */
export function confirmTrial(file: string): void {
  if (trialOf(file) === undefined) {
    const todo = 'nothing to do: the configuration that runs stays';
    throw new YokeError('host', { where: file, expected: 'a configuration on trial', found: 'none', todo });
  }
  forget(file);
}

/** Puts back what ran before the trial. @throws YokeError when it cannot be read or written; the trial then goes on. */
export function putBack(file: string): void {
  const before = readText(beside(file, 'before'));
  if (before !== undefined) {
    const refused = readText(file);
    if (refused !== undefined && refused !== before) writeWhole(beside(file, 'refused'), refused, SECRET_MODE);
    replaceConfig(file, before);
  }
  forget(file);
}

/** The trial first: without it, what is left of the other means nothing. */
function forget(file: string): void {
  rmSync(beside(file, 'trial'), { force: true });
  rmSync(beside(file, 'before'), { force: true });
}

/**
 * Starts with the file as it is; with the one before where it is on trial and its time is over, or where the start fails with it.
 *
 * @throws what `start` throws in the end.
 */
export async function startOrPutBack<T>(file: string, runDir: string, log: Log, start: () => Promise<T>): Promise<T> {
  // an instance that runs sees to its own trial
  const mine = () => lockHolder(runDir) === undefined && trialOf(file);
  const trial = mine();
  if (trial && trial.deadlineMs <= Date.now()) {
    log('warn', 'the configuration was not confirmed in time: putting back the one before');
    putBack(file);
  }
  try {
    return await start();
  } catch (error) {
    if (!mine()) throw error;
    log('error', linesOf(error));
    log('warn', 'the configuration on trial does not start: putting back the one before');
    putBack(file);
    return start();
  }
}

/** What the running instance does about trials of its file. Owns: the timer. */
export class Trials {
  readonly #file: string;
  readonly #log: Log;
  readonly #reread: () => Promise<unknown>;
  readonly #fail: (error: Error) => void;
  #timer: NodeJS.Timeout | undefined;
  #deadlineMs: number | undefined;

  constructor(o: { file: string; log: Log; reread: () => Promise<unknown>; fail: (error: Error) => void }) {
    this.#file = o.file;
    this.#log = o.log;
    this.#reread = o.reread;
    this.#fail = o.fail;
  }

  /** Looks whether one is under way, of this process or of one before it, and waits for its end. */
  watch(): void {
    clearTimeout(this.#timer);
    const trial = trialOf(this.#file);
    this.#deadlineMs = trial?.deadlineMs;
    if (!trial) return;
    for (const text of this.warnings()) this.#log('warn', text);
    this.#timer = setTimeout(() => void this.#handleTimeOver(), Math.max(0, trial.deadlineMs - Date.now()));
  }

  /** When the one under way ends, as ISO 8601 has it. */
  get until(): string | undefined {
    return this.#deadlineMs === undefined ? undefined : new Date(this.#deadlineMs).toISOString();
  }

  /** What an operator should know of it. */
  warnings(): string[] {
    return this.until === undefined ? [] : [`the configuration is on trial until ${this.until}: yoke confirm keeps it`];
  }

  /** Takes an edited file on trial: `take` makes it the running one. @throws what `take` throws; then nothing is on trial that was not before. */
  async begin(running: string, seconds: number, take: () => Promise<void>): Promise<void> {
    const isFirst = trialOf(this.#file) === undefined;
    beginTrial(this.#file, running, seconds);
    try {
      await take();
    } catch (error) {
      if (isFirst) forget(this.#file);
      throw error;
    } finally {
      this.watch();
    }
  }

  /** @throws YokeError when none is under way. */
  confirm(): void {
    confirmTrial(this.#file);
    this.watch();
    this.#log('info', 'the configuration is confirmed');
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async #handleTimeOver(): Promise<void> {
    this.#log('warn', 'the configuration was not confirmed in time: putting back the one before');
    try {
      putBack(this.#file);
      this.#deadlineMs = undefined;
      await this.#reread();
    } catch (error) {
      // who starts us again finds the old file, or the trial with its time over
      this.#fail(error as Error);
    }
  }
}

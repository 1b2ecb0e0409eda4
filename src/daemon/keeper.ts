/**
 * Keeps the host as it should be: observe → desired → diff → apply, the same four steps at the start, on every change, and at the end.
 *
 *   keep(live: none)    links' tables and rules, settings, nftables, kill switch     before the packet path runs
 *   keep(live)          also the device's addresses, MTU and routes                  while it runs
 *   takeBack()          everything as it was                                         at the end, and after a crash
 */
import { printComplaint, YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { applyPlan, revert } from '../plan/apply.ts';
import { commandsOf, printCommand } from '../plan/command.ts';
import type { Live } from '../plan/desired.ts';
import { type Facts, lookout } from '../plan/facts.ts';
import { desired, diff, type Entry, type Step } from '../plan/plan.ts';
import type { Log } from './log.ts';
import type { Machine } from './machine.ts';

export class Keeper {
  readonly #machine: Machine;
  readonly #log: Log;
  #greeted = false;

  constructor(machine: Machine, log: Log) {
    this.#machine = machine;
    this.#log = log;
  }

  /**
   * What is there now, the slots of the journal included: those of an earlier process, or of another configuration, may be others than
   * this configuration looks at.
   */
  async observe(config: Config): Promise<Facts> {
    const entries = await this.#entries();
    if (!this.#greeted && entries.length > 0) {
      this.#log('warn', 'an earlier instance was killed: putting in order what it left');
    }
    this.#greeted = true;
    return this.#machine.observe(lookout(config), entries);
  }

  /**
   * Makes the host what it should be; does nothing when it is.
   *
   * @throws YokeError, and then the host is as it was before the call.
   */
  async keep(config: Config, facts: Facts, live?: Live): Promise<void> {
    const plan = diff(facts, desired(config, facts, live), await this.#entries());
    await applyPlan(this.#machine.host, this.#machine.store, plan, (step) => this.#echo(step));
  }

  /** Takes back everything that the journal names. @throws YokeError with what could not be. */
  async takeBack(): Promise<number> {
    return (await revert(this.#machine.host, this.#machine.store, (step) => this.#echo(step))).length;
  }

  async #entries(): Promise<Entry[]> {
    return (await this.#machine.store.load())?.entries ?? [];
  }

  #echo(step: Step): void {
    for (const command of commandsOf(step)) this.#log('info', `[#] ${printCommand(command).split('\n')[0]}`);
  }
}

/** The one line for each thing that an error says; bugs give their stack. */
export function linesOf(error: unknown): string {
  if (error instanceof YokeError) return error.complaints.map(printComplaint).join('\n');
  return (error as Error)?.message ?? String(error);
}

/** What the daemon needs of a machine: the real one is made of src/host, the tests have a simulated one. */
import type { Config } from '../config/config.ts';
import type { Host, JournalStore } from '../plan/apply.ts';
import type { Facts, Lookout } from '../plan/facts.ts';
import type { Entry } from '../plan/plan.ts';

/** This Linux machine, as the daemon sees it. */
export interface Machine {
  /** Whether an instance can start here: rights, programs, names and ports. @throws YokeError `host` with everything that is missing. */
  check(config: Config): Promise<void>;
  host: Host;
  store: JournalStore;
  /** Looks at what the configuration is about, and at the slots of the journal. @throws YokeError `host`. */
  observe(lookout: Lookout, journal: readonly Entry[]): Promise<Facts>;
  /** Calls `onChange` some time after links, addresses, routes or rules changed, until it is stopped. */
  watch(onChange: () => void): { stop(): void };
}

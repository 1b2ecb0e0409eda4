/** The machine that this process runs on. */
import { LinuxHost } from '../host/host.ts';
import { FileJournal } from '../host/journal.ts';
import { Monitor } from '../host/monitor.ts';
import { observe } from '../host/observe.ts';
import { checkHost } from './check.ts';
import type { Machine } from './machine.ts';

/** This Linux machine, with the journal of an instance. */
export function linuxMachine(runDir: string): Machine {
  return {
    check: (config) => checkHost(config, { starting: true, runDir }),
    host: new LinuxHost(),
    store: new FileJournal(runDir),
    observe,
    watch: (onChange) => new Monitor(onChange),
  };
}

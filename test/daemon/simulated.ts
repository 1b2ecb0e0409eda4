/** A machine in memory and a backend that carries nothing, for tests of the daemon without rights. */
import type { Backend, BackendEvent, BackendReport, BackendSettings } from '../../src/backend/backend.ts';
import type { Machine } from '../../src/daemon/machine.ts';
import type { Host, Journal, JournalStore } from '../../src/plan/apply.ts';
import type { Facts, LinkFacts, Lookout } from '../../src/plan/facts.ts';
import type { Entry, Step } from '../../src/plan/plan.ts';
import { deviceOf, slotOf, type Thing } from '../../src/plan/thing.ts';
import type { BondStatus, PathStatus } from '../../src/status/status.ts';

/** Slots and their contents; devices come and go with what hangs on them. */
export class SimulatedMachine implements Machine {
  readonly things = new Map<string, Thing>();
  readonly devices = new Set<string>(['lo', 'eth1', 'eth2']);
  readonly links: LinkFacts[] = [];
  journal: Journal | undefined;
  /** Every change, in order: what was done to the machine, and what was written down before. */
  readonly story: string[] = [];
  /** Performing a step of this slot fails. */
  broken: string | undefined;
  onChange: (() => void) | undefined;
  looks = 0;

  constructor() {
    for (const key of ['net/ipv4/ip_forward', 'net/ipv4/conf/all/rp_filter']) {
      this.#put({ kind: 'sysctl', key, value: '0' });
    }
    for (const [i, name] of ['link0', 'link1'].entries()) this.links.push(linkUp(name, i + 1));
  }

  readonly host: Host = {
    perform: async (step: Step) => {
      if (step.slot === this.broken) throw new Error(`the simulated machine refuses ${step.slot}`);
      // as a command does, so that what must not overlap would
      await new Promise((resolve) => setImmediate(resolve));
      this.story.push(`${step.after ? 'set' : 'clear'} ${step.slot}`);
      if (step.after) this.things.set(step.slot, step.after);
      else this.things.delete(step.slot);
    },
    read: async () => ({ devices: [...this.devices], things: [...this.things.values()] }),
  };

  readonly store: JournalStore = {
    load: async () => structuredClone(this.journal),
    save: async (journal: Journal) => {
      this.story.push(`journal ${journal.entries.length}`);
      this.journal = journal.entries.length > 0 ? structuredClone(journal) : undefined;
    },
  };

  async check(): Promise<void> {}

  async observe(lookout: Lookout, journal: readonly Entry[]): Promise<Facts> {
    // as the real one: another table than ours is seen only when the journal names it
    const asked = (t: Thing) =>
      t.kind !== 'nft' || t.table === lookout.nftTable || journal.some((e) => e.slot === slotOf(t));
    this.looks++;
    return {
      ipv6: true,
      devices: [...this.devices],
      tables: {},
      links: structuredClone(this.links.filter((l) => lookout.links.some((x) => x.name === l.name))),
      raDevices: [],
      things: structuredClone([...this.things.values()].filter(asked)),
    };
  }

  watch(onChange: () => void): { stop(): void } {
    this.onChange = onChange;
    return {
      stop: () => {
        this.onChange = undefined;
      },
    };
  }

  addDevice(name: string): void {
    this.devices.add(name);
    this.#put({ kind: 'mtu', dev: name, mtu: 1500 });
    this.#put({ kind: 'up', dev: name, up: false });
  }

  removeDevice(name: string): void {
    this.devices.delete(name);
    for (const [slot, thing] of this.things) if (deviceOf(thing) === name) this.things.delete(slot);
  }

  /** The whole of the machine, to be compared. */
  picture(): string[] {
    return [...this.things.values()].map((t) => JSON.stringify([slotOf(t), t])).sort();
  }

  #put(thing: Thing): void {
    this.things.set(slotOf(thing), thing);
  }
}

/** A link that can be used, with addresses out of 192.0.2.0/24. */
export function linkUp(name: string, index: number): LinkFacts {
  return {
    name,
    device: `eth${index}`,
    index,
    up: true,
    mtu: 1500,
    v4: {
      address: `192.0.2.${16 * index + 2}`,
      prefixLength: 28,
      others: [],
      gateway: `192.0.2.${16 * index + 1}`,
      source: 'main table',
    },
  };
}

/** Keeps what it was told; its device is a simulated one. */
export class FakeBackend implements Backend {
  readonly told: { start: BackendSettings[]; set: BackendSettings[] } = { start: [], set: [] };
  readonly machine: SimulatedMachine;
  onEvent: ((event: BackendEvent) => void) | undefined;
  settings: BackendSettings | undefined;
  /** `start` fails with it. */
  refusal: Error | undefined;
  paths: PathStatus['state'] = 'up';
  /** Bytes that each path says it has sent. */
  carried = 0;
  /** Said as soon as it runs. */
  first: BackendEvent | undefined;

  constructor(machine: SimulatedMachine) {
    this.machine = machine;
  }

  async start(settings: BackendSettings, onEvent: (event: BackendEvent) => void): Promise<void> {
    if (this.refusal) throw this.refusal;
    this.machine.story.push('backend start');
    this.settings = settings;
    this.onEvent = onEvent;
    this.told.start.push(settings);
    this.machine.addDevice(settings.ifname);
    if (this.first) onEvent(this.first);
  }

  async set(settings: BackendSettings): Promise<void> {
    this.settings = settings;
    this.told.set.push(settings);
  }

  async status(): Promise<BackendReport> {
    return { bonds: this.settings ? [fakeBond(this.settings, this.paths, this.carried)] : [], drops: {} };
  }

  async stop(): Promise<void> {
    if (!this.settings) return;
    this.machine.story.push('backend stop');
    this.machine.removeDevice(this.settings.ifname);
    this.settings = undefined;
  }
}

/** A bond of which nothing is known but its paths' state. */
export function fakeBond(settings: BackendSettings, state: PathStatus['state'], carried = 0): BondStatus {
  return {
    peer: settings.peers[0].name,
    established: state === 'up',
    cipher: 'AES-256-GCM',
    handshakeAgeS: 1,
    innerMtu: 1400,
    txBytes: 0,
    rxBytes: 0,
    txPackets: 0,
    rxPackets: 0,
    queuedPackets: 0,
    heldPackets: 0,
    droppedByCodel: 0,
    droppedByLimit: 0,
    reordered: 0,
    duplicates: 0,
    skipped: 0,
    paths: settings.links.map((l) => ({
      name: l.name,
      id: l.id,
      state: l.usable ? state : 'closed',
      local: '',
      remote: '',
      srttMs: 1,
      minRttMs: 1,
      queueMs: 0,
      capacityBps: 1e6,
      pacingBps: 1e6,
      inFlightBytes: 0,
      mtu: 1500,
      txBytes: carried,
      rxBytes: 0,
      txDatagrams: 0,
      rxDatagrams: 0,
      lostDatagrams: 0,
      resentPackets: 0,
    })),
  };
}

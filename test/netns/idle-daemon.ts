/** `yoke run` with a backend that opens a real device and carries nothing: for tests of everything around the packet path. */
import type { Backend, BackendReport, BackendSettings } from '../../src/backend/backend.ts';
import { runWith } from '../../src/cli/run.ts';
import { linuxMachine } from '../../src/daemon/linux.ts';
import { openArena } from '../../src/io/arena.ts';
import { openTun, type Tun } from '../../src/io/tun.ts';
import { fakeBond } from '../daemon/simulated.ts';

class IdleBackend implements Backend {
  #tun: Tun | undefined;
  #settings: BackendSettings | undefined;
  readonly #arena = openArena(1 << 20);

  async start(settings: BackendSettings): Promise<void> {
    this.#tun = openTun(this.#arena, { name: settings.ifname, offload: false });
    await this.set(settings);
  }

  async set(settings: BackendSettings): Promise<void> {
    this.#settings = settings;
    const links = settings.links.map((l) => `${l.name} ${l.usable ? l.localAddress?.join('.') : 'unusable'}`);
    process.stderr.write(`told: ${links.join(', ')}\n`);
  }

  async status(): Promise<BackendReport> {
    return { bonds: this.#settings ? [fakeBond(this.#settings, 'up')] : [], drops: {} };
  }

  async stop(): Promise<void> {
    this.#tun?.close();
    this.#tun = undefined;
  }
}

const [config, runDir] = process.argv.slice(2);
try {
  await runWith({ config, runDir, stateDir: runDir }, async () => ({
    backend: new IdleBackend(),
    machine: linuxMachine(runDir),
  }));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}

/**
 * A router and a server of engine openvpn in a guest, over lines that are there (lines.ts): a process for each end, in its namespace
 * (test/netns/openvpn-end.ts), with bonds that have addresses and ask each other by ARP.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BackendReport, BackendSettings } from '../../src/backend/backend.ts';
import { parseAddress } from '../../src/base/address.ts';
import { end, inside, ipBatch, must, spawnInside } from '../../src/lab/netns.ts';
import { makeCertificates, pairOf } from '../backend/openvpn-samples.ts';
import { PIPE, routerAddress, serverAddress } from './lines.ts';

const END = fileURLToPath(new URL('../netns/openvpn-end.js', import.meta.url));
const PORT = 1194;
const LIMIT_MS = 40_000;

interface Said {
  kind: string;
  text?: string;
  innerMtu?: number;
  report?: BackendReport;
}

/** One end. */
export class OpenvpnEnd {
  readonly child: ChildProcess;
  readonly said: Said[] = [];

  constructor(place: 'router' | 'server', settings: BackendSettings, folder: string) {
    const file = join(folder, `${place}.json`);
    const text = JSON.stringify(settings, (_key, v) => (v instanceof Uint8Array ? { bytes: [...v] } : v));
    writeFileSync(file, text, { mode: 0o600 });
    const argv = inside(place, [process.execPath, END, file, join(folder, place)]);
    this.child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout! }).on('line', (line) => this.said.push(JSON.parse(line)));
  }

  /** Waits for the first of a kind since `from`. */
  async says(kind: string, from = 0): Promise<Said> {
    let found: Said | undefined;
    await until(
      () => {
        found = this.said.slice(from).find((s) => s.kind === kind);
        return found !== undefined || this.said.some((s) => s.kind === 'refused');
      },
      () => `${kind}: ${JSON.stringify(this.said)}`,
    );
    if (found === undefined) throw new Error(JSON.stringify(this.said));
    return found;
  }

  async states(): Promise<string> {
    const from = this.said.length;
    this.child.stdin!.write('status\n');
    const { report } = await this.says('status', from);
    return `${report!.bonds[0]?.paths.map((p) => p.state)}`;
  }

  /** Waits for the states of its paths. */
  async becomes(states: string): Promise<void> {
    let now = '';
    const same = async () => {
      now = await this.states();
      return now === states;
    };
    await until(same, () => `${states} at the end, found ${now}: ${JSON.stringify(this.said.slice(-20))}`);
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.stdin!.write('stop\n');
    await ended;
  }
}

/** Both ends, up. */
export class OpenvpnPair {
  readonly server: OpenvpnEnd;
  readonly router: OpenvpnEnd;

  private constructor(server: OpenvpnEnd, router: OpenvpnEnd) {
    this.server = server;
    this.router = router;
  }

  /** Starts both over lines 0 to `count` − 1, asking for devices of this kind, and waits until every tunnel stands. */
  static async start(count: number, devType: 'tun' | 'tap' = 'tap'): Promise<OpenvpnPair> {
    const { dir } = await makeCertificates();
    const links = Array.from({ length: count }, (_, i) => ({
      device: `line${i}`,
      local: routerAddress(i),
      server: serverAddress(i),
      port: PORT + i,
    }));
    const settings = pairOf(dir, links, { router: PIPE.device, server: PIPE.device });
    const ends: Partial<Record<'router' | 'server', OpenvpnEnd>> = {};
    for (const [place, other] of [
      ['server', 'router'],
      ['router', 'server'],
    ] as const) {
      Object.assign(settings[place].openvpn!, { peerAddress: parseAddress(PIPE[other]), devType });
      const started = new OpenvpnEnd(place, settings[place], mkdtempSync(join(tmpdir(), 'yoke-pair-')));
      ends[place] = started;
      await started.says('started');
      const { innerMtu } = await started.says('mtu');
      await ipBatch(place, [
        `link set dev ${PIPE.device} mtu ${innerMtu}`,
        `address add ${PIPE[place]}/24 dev ${PIPE.device}`,
        `link set dev ${PIPE.device} up`,
      ]);
    }
    const states = links.map(() => 'up').join(',');
    for (const place of ['router', 'server'] as const) await ends[place]!.becomes(states);
    return new OpenvpnPair(ends.server!, ends.router!);
  }

  async stop(): Promise<void> {
    await this.router.stop();
    await this.server.stop();
  }
}

/** Whether a TCP flow, each way in turn, gets more through the pipe than one of its lines carries. Units: Mbit/s. */
export async function moreThanALine(lineMbit: number): Promise<void> {
  for (const direction of [[], ['-R']]) {
    const server = spawnInside('server', ['iperf3', '-s', '-1', '-B', PIPE.server], { stdio: 'ignore' });
    try {
      while ((await must(inside('server', ['ss', '-Hltn', 'sport = :5201']))) === '');
      const argv = ['iperf3', '-c', PIPE.server, '-C', 'cubic', '-J', '-O', '1', '-t', '3', ...direction];
      const { end: found } = JSON.parse(await must(inside('router', argv), { timeoutMs: 40_000 }));
      const mbit = found.sum_received.bits_per_second / 1e6;
      assert.ok(mbit > 1.3 * lineMbit, `${mbit} Mbit/s over two lines of ${lineMbit}`);
    } finally {
      await end(server);
    }
  }
}

async function until(condition: () => boolean | Promise<boolean>, what: () => string): Promise<void> {
  const limit = performance.now() + LIMIT_MS;
  while (!(await condition())) {
    if (performance.now() > limit) throw new Error(`waited in vain for ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

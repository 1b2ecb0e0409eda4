/** A Debian machine with systemd as its first process, in a network namespace; the .deb is tried on it. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Outcome, run } from '../../src/lab/netns.ts';
import { ROOT } from '../packaging/bundle.ts';
import { until } from './veths.ts';

/** What the machine needs beside what is tried on it. */
const BASE = ['systemd', 'iputils-ping'];

/** Where control groups of version 2 are, if anywhere. */
const CGROUPS = readFileSync('/proc/mounts', 'utf8')
  .split('\n')
  .map((line) => line.split(' '))
  .find(([, , kind]) => kind === 'cgroup2')?.[1];

/** Why there can be no machine here; false when there can. */
export const NO_MACHINE =
  CGROUPS === undefined
    ? 'no control groups of version 2 here'
    : spawnSync('mmdebstrap', ['--version']).status !== 0
      ? 'no Debian package mmdebstrap'
      : false;

/** A running machine. Owns: its processes, its control group, its folder. */
export class DebianMachine {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #cgroup: string;
  /** What its first process said. */
  output = '';
  static #count = 0;

  private constructor(child: ChildProcess, folder: string, cgroup: string) {
    this.#child = child;
    this.#folder = folder;
    this.#cgroup = cgroup;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
  }

  /** A Debian with those packages, made when there is none yet; or what was in the way, a mirror that cannot be reached for one. */
  static root(packages: readonly string[]): { folder: string } | { missing: string } {
    const argv = [join(ROOT, 'scripts/clean-root.js'), ...BASE, ...packages];
    const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: 'utf8' });
    return status === 0
      ? { folder: stdout.trim() }
      : { missing: `no clean Debian: ${stderr.trim().split('\n').at(-1)}` };
  }

  /** Boots in a namespace; resolves when systemd says that it is up. */
  static async boot(root: string, namespace: string): Promise<DebianMachine> {
    const folder = mkdtempSync(join(tmpdir(), `yoke-machine-${process.pid}-`));
    const cgroup = join(CGROUPS!, `yoke-machine-${process.pid}-${DebianMachine.#count++}`);
    mkdirSync(cgroup);
    const argv = [join(ROOT, 'test/netns/machine.sh'), root, folder, namespace, cgroup];
    const machine = new DebianMachine(spawn('sh', argv, { stdio: ['ignore', 'pipe', 'pipe'] }), folder, cgroup);
    try {
      const up = async () => /running|degraded/.test((await machine.exec('systemctl', 'is-system-running')).stdout);
      await until('the machine to be up', up, 60_000, () => machine.output);
    } catch (error) {
      await machine.stop();
      throw error;
    }
    return machine;
  }

  /** Runs a program on it. */
  async exec(...argv: string[]): Promise<Outcome> {
    const first = this.#first();
    if (first === undefined) return { code: -1, stdout: '', stderr: 'it does not run' };
    return run(['nsenter', '-t', first, '-m', '-p', '-n', '-u', '-i', '-C', '--', ...argv], { timeoutMs: 60_000 });
  }

  /** The same; what fails is an error. */
  async must(...argv: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.exec(...argv);
    if (code !== 0) throw new Error(`${argv.join(' ')}: status ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  /** Puts a file of this machine on that one. */
  copy(from: string, to: string): void {
    cpSync(from, `/proc/${this.#first()}/root${to}`);
  }

  write(to: string, text: string, mode = 0o644): void {
    writeFileSync(`/proc/${this.#first()}/root${to}`, text, { mode });
  }

  /** One property of a unit, as `systemctl show` has it. */
  async unit(name: string, property: string): Promise<string> {
    return (await this.must('systemctl', 'show', '--value', '-p', property, name)).trim();
  }

  async stop(): Promise<void> {
    if (existsSync(join(this.#cgroup, 'cgroup.kill'))) writeFileSync(join(this.#cgroup, 'cgroup.kill'), '1');
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await new Promise((resolve) => this.#child.once('close', resolve));
    }
    const empty = () => !/populated 1/.test(readFileSync(join(this.#cgroup, 'cgroup.events'), 'utf8'));
    await until('its processes to be gone', empty);
    removeGroups(this.#cgroup);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** The first process, as this machine counts; its mounts are ready once it is systemd. */
  #first(): string | undefined {
    try {
      const child = readFileSync(`/proc/${this.#child.pid}/task/${this.#child.pid}/children`, 'utf8').trim();
      return readFileSync(`/proc/${child}/comm`, 'utf8').trim() === 'systemd' ? child : undefined;
    } catch {
      return undefined;
    }
  }
}

function removeGroups(group: string): void {
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroups(join(group, entry.name));
  rmdirSync(group);
}

/**
 * The two ends of test/netns/veths.ts as machines with file systems of their own: what is written to /etc, /var and /run of one is seen by
 * nobody else and goes with it. Commands are run as a user would.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { end, inside, type Outcome, run } from '../../src/lab/netns.ts';
import { type End, Program, Veths } from './veths.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];

/** Lays an empty layer over each folder, then waits to be entered. */
const OWN_FOLDERS = `set -e
mount --make-rprivate /
mkdir -p "$1"
mount -t tmpfs tmpfs "$1"
for dir in etc usr var; do
  mkdir "$1/$dir" "$1/$dir.work"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$1/$dir,workdir=$1/$dir.work" "/$dir"
done
mount -t tmpfs tmpfs /run
echo ready
exec sleep 100000`;

/** Two machines. Owns: everything that is made. */
export class Machines {
  readonly net: Veths;
  readonly #roots = new Map<End, ChildProcess>();

  private constructor(net: Veths) {
    this.net = net;
  }

  /** argv of the program, on any machine. */
  get program(): readonly string[] {
    return YOKE;
  }

  static async open(): Promise<Machines> {
    const machines = new Machines(await Veths.open());
    try {
      for (const at of ['router', 'server'] as const) await machines.#makeRoot(at);
    } catch (error) {
      await machines.close();
      throw error;
    }
    return machines;
  }

  async #makeRoot(at: End): Promise<void> {
    const argv = ['unshare', '--mount', 'sh', '-c', OWN_FOLDERS, 'sh', `${this.net.folder}/${at}.root`];
    const full = inside(this.net.namespace(at), argv);
    const child = spawn(full[0], full.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#roots.set(at, child);
    await new Program(child).says(/ready/);
  }

  /** argv that runs a program on a machine. */
  on(at: End, argv: readonly string[]): string[] {
    return ['nsenter', `--target=${this.#roots.get(at)!.pid}`, '--mount', '--net', ...argv];
  }

  /** Runs a program on a machine to its end. */
  exec(at: End, argv: readonly string[], timeoutMs = 60_000): Promise<Outcome> {
    return run(this.on(at, argv), { timeoutMs });
  }

  /** `yoke …` on a machine. */
  yoke(at: End, ...words: string[]): Promise<Outcome> {
    return this.exec(at, [...YOKE, ...words]);
  }

  /** `yoke …` that must succeed; what it printed. */
  async must(at: End, ...words: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.yoke(at, ...words);
    if (code !== 0) throw new Error(`yoke ${words.join(' ')} on the ${at}: status ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** A file of a machine; empty when it is not there. */
  async read(at: End, path: string): Promise<string> {
    return (await this.exec(at, ['cat', path])).stdout;
  }

  /** Writes a file of a machine. */
  async write(at: End, path: string, text: string): Promise<void> {
    const argv = this.on(at, ['sh', '-c', 'mkdir -p "$(dirname "$1")"; cat > "$1"', 'sh', path]);
    await run(argv, { input: text });
  }

  /** Ends what runs on a machine and empties its file system. */
  async reset(at: End): Promise<void> {
    await this.yoke(at, 'down');
    await end(this.#roots.get(at)!);
    await this.#makeRoot(at);
  }

  async close(): Promise<void> {
    for (const at of this.#roots.keys()) await this.yoke(at, 'down');
    for (const child of this.#roots.values()) await end(child);
    await this.net.close();
  }
}

/**
 * The journal on disk: `host.json` in the run directory, what was there before us.
 *
 *   save   write a new file beside it, fsync, rename over it, fsync the folder: always the old journal or the new one, never half
 *   load   what an earlier boot or another network namespace wrote is not ours to undo: after a reboot nothing of it is left
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { YokeError } from '../base/error.ts';
import type { Journal, JournalStore } from '../plan/apply.ts';

/** Version of the file's form; others are refused, not guessed at. */
const VERSION = 1;

/** What the file holds. Plain data. */
interface JournalFile extends Journal {
  version: number;
  /** The kernel's identity since it booted. Source: random(4), /proc/sys/kernel/random/boot_id. */
  bootId: string;
  /** The network namespace, as /proc/self/ns/net names it. */
  netns: string;
  /** Who wrote it: a process id means nothing without the time it started. */
  owner: Owner;
}

/** A process that cannot be mistaken for a later one of the same number. */
export interface Owner {
  pid: number;
  /** Units: clock ticks since boot. Source: proc(5), stat field 22. */
  startTicks: string;
}

/** The journal of the instance that owns a run directory. */
export class FileJournal implements JournalStore {
  readonly path: string;

  constructor(runDir: string) {
    this.path = join(runDir, 'host.json');
  }

  async load(): Promise<Journal | undefined> {
    const file = await this.#read();
    if (!file || file.bootId !== bootId() || file.netns !== netns()) return undefined;
    return { entries: file.entries };
  }

  async save(journal: Journal): Promise<void> {
    const folder = dirname(this.path);
    if (journal.entries.length === 0) {
      await rm(this.path, { force: true });
      await sync(folder);
      return;
    }
    await mkdir(folder, { recursive: true, mode: 0o755 });
    const whole: JournalFile = { version: VERSION, bootId: bootId(), netns: netns(), owner: self(), ...journal };
    const fresh = `${this.path}.new`;
    await rm(fresh, { force: true });
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(`${JSON.stringify(whole, undefined, 1)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, this.path);
    await sync(folder);
  }

  /** The process that wrote the journal, if it still runs and is not this one. */
  async liveOwner(): Promise<Owner | undefined> {
    const owner = (await this.#read())?.owner;
    if (!owner || owner.pid === process.pid || startTicks(owner.pid) !== owner.startTicks) return undefined;
    return owner;
  }

  async #read(): Promise<JournalFile | undefined> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#unreadable((error as Error).message);
    }
    let file: Partial<JournalFile>;
    try {
      file = JSON.parse(text) as Partial<JournalFile>;
    } catch (error) {
      throw this.#unreadable((error as Error).message);
    }
    if (file.version !== VERSION || !Array.isArray(file.entries)) throw this.#unreadable(`version ${file.version}`);
    return file as JournalFile;
  }

  #unreadable(found: string): YokeError {
    return new YokeError('host', {
      where: this.path,
      expected: `a journal of version ${VERSION}`,
      found,
      todo: 'a yoke of the version that wrote it can take it back; or remove the file and reboot',
    });
  }
}

async function sync(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  try {
    await handle?.sync();
  } finally {
    await handle?.close();
  }
}

const bootId = () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
const netns = () => readlinkSync('/proc/self/ns/net');
const self = (): Owner => ({ pid: process.pid, startTicks: startTicks(process.pid) ?? '' });

function startTicks(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name stands in brackets and may hold anything; fields are counted from behind it, the third one first.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

/**
 * Builds our own guest kernel and puts it in the cache, unless it is there: `node dist/test/guest/kernel-build.js` (by
 * scripts/guest-kernel.js, which sees to the packages first).
 *
 *   apt-get download → the source's archive, without what User-Mode Linux does not read → patch → allnoconfig + ours → make → cache
 *
 * Prints the kernel's path, or one line that says why there is none, and then ends with status 1.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { claim } from './claim.ts';
import { BUILT, CACHE, ownKernel, SOURCES, sourcesDigest } from './kernel.ts';

/** From bookworm-security: Debian 12's kernel for newer machines. */
const SOURCE = 'linux-source-6.12';
/** Parts of the source that a User-Mode Linux never reads: two thirds of it, mostly drivers. Their Kconfig files it does read. */
const LEFT_OUT = [
  'Documentation/*/*',
  'drivers/gpu/*.[ch]',
  'drivers/net/ethernet/*.[ch]',
  'drivers/net/wireless/*.[ch]',
  'drivers/media/*.[ch]',
  'drivers/scsi/*.[ch]',
  'drivers/staging/*.[ch]',
  'sound/*.[ch]',
  'tools/perf/*',
  'tools/testing/*',
  'arch/*/boot/dts/*',
];
/** A slow machine takes a quarter of an hour. */
const LIMIT_MS = 40 * 60_000;
const WAIT_MS = 500;

/** Runs a command, its words into the log. @throws Error with the command and the end of what it said. */
async function must(log: string, cwd: string, argv: readonly string[]): Promise<void> {
  const fd = openSync(log, 'a');
  const child = spawn(argv[0], argv.slice(1), { cwd, stdio: ['ignore', fd, fd], timeout: LIMIT_MS });
  const status = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  closeSync(fd);
  if (status === 0) return;
  const said = readFileSync(log, 'latin1').trim().split('\n').slice(-3).join(' / ');
  throw new Error(`${argv.slice(0, 3).join(' ')}: ${status}: ${said}`);
}

async function build(work: string): Promise<string> {
  const log = join(work, 'log');
  const step = (cwd: string, ...argv: string[]) => must(log, cwd, argv);
  // the lists may be absent or old: only when they do not do are they fetched
  await step(work, 'apt-get', 'download', SOURCE).catch(async (error) => {
    if (process.getuid?.() !== 0) throw error;
    await step(work, 'apt-get', 'update');
    await step(work, 'apt-get', 'download', SOURCE);
  });
  const archive = readdirSync(work).find((name) => name.endsWith('.deb'));
  const version = archive?.split('_')[1];
  if (archive === undefined || version === undefined) throw new Error(`no package ${SOURCE} came`);
  await step(work, 'dpkg-deb', '-x', archive, 'package');
  const wildcards = LEFT_OUT.map((path) => `--exclude=*/${path}`);
  await step(work, 'tar', '-xf', `package/usr/src/${SOURCE}.tar.xz`, '--wildcards', ...wildcards);
  const tree = join(work, SOURCE);
  await step(tree, 'patch', '-p1', '-i', SOURCES.patch);
  const make = ['make', 'ARCH=um', `-j${availableParallelism()}`];
  await step(tree, ...make, `KCONFIG_ALLCONFIG=${SOURCES.config}`, 'allnoconfig');
  const left = settings(readFileSync(SOURCES.config, 'utf8')).filter(
    (line) => !readFileSync(join(tree, '.config'), 'utf8').includes(`${line}\n`),
  );
  if (left.length > 0) throw new Error(`this source does not take ${left.join(' ')}`);
  await step(tree, ...make, BUILT);
  await step(tree, 'strip', '--strip-debug', BUILT);
  const name = `${version.replace(/[^\w.~+-]/g, '-')}-${sourcesDigest()}`;
  const place = join(CACHE, name);
  mkdirSync(place, { recursive: true });
  renameSync(join(tree, BUILT), join(place, BUILT));
  return join(place, BUILT);
}

const settings = (config: string) => config.split('\n').filter((line) => line.startsWith('CONFIG_'));

async function main(): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  // two builds at once would only take twice as long
  let mine = await claim('yoke-guest-kernel');
  while (mine === undefined) {
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    mine = await claim('yoke-guest-kernel');
  }
  const there = ownKernel();
  if (there) {
    console.log(there.program);
    return;
  }
  console.error(`Building a guest kernel from Debian's ${SOURCE}: once, some minutes`);
  const work = mkdtempSync(join(CACHE, 'build-'));
  const clean = () => rmSync(work, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      clean();
      process.exit(1);
    });
  try {
    console.log(await build(work));
  } catch (error) {
    console.log(`no guest kernel of our own: ${(error as Error).message}`);
    process.exitCode = 1;
  } finally {
    clean();
    mine.release();
  }
}

await main();

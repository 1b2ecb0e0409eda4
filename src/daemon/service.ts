/**
 * The service: `yoke run`, kept by whoever keeps services on this machine.
 *
 *   systemd   the package's unit, or one that is written here; enable, start
 *   procd     OpenWrt's init script; enable, start
 *   none      a process in the background, until the next boot; and the caller says so
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, YokeError } from '../base/error.ts';
import { run, runWell } from '../host/run.ts';
import { askControl } from './control.ts';
import { INIT_SCRIPT, type Instance, type Keeper, keeperOf } from './instance.ts';
import { lockHolder } from './lock.ts';

/** How the service stands after `startService`. */
export interface Started {
  keeper: Keeper;
  /** It ran already, and was only told to read its configuration again. */
  already: boolean;
}

const UNIT = 'yoke.service';
const UNIT_FILE = `/etc/systemd/system/${UNIT}`;
const START_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 50;
/** Lines of the log that an error quotes. */
const LAST_LINES = 3;

/**
 * Sees to it that the instance runs with the file as it is now, and at every boot where somebody keeps services.
 *
 * @throws YokeError with the last lines of its log when it does not come up.
 */
export async function startService(instance: Instance, { restart }: { restart: boolean }): Promise<Started> {
  const keeper = keeperOf(instance);
  const already = lockHolder(instance.runDir) !== undefined;
  let child: ChildProcess | undefined;
  const logged = readLog(instance).length;
  if (keeper === 'systemd') await bySystemd(already && restart);
  else if (keeper === 'procd') await byProcd(already && restart);
  else if (!already || restart) child = await byItself(instance, already);
  await answers(instance, child, logged);
  return { keeper, already: already && !restart };
}

async function bySystemd(restart: boolean): Promise<void> {
  if ((await run(['systemctl', 'cat', UNIT])).status !== 0) {
    writeFileSync(UNIT_FILE, unitText(), { mode: 0o644 });
    await runWell(['systemctl', 'daemon-reload']);
  }
  await runWell(['systemctl', 'enable', UNIT]);
  // A service that failed too often is not started before it is forgiven.
  await run(['systemctl', 'reset-failed', UNIT]);
  const ran = await run(['systemctl', restart ? 'restart' : 'start', UNIT]);
  if (ran.status !== 0)
    throw notUp((await run(['journalctl', '-u', UNIT, '-n', '5', '-o', 'cat', '--no-pager'])).stdout);
}

/** Where the unit lies: beside the bundle, or in the checkout above dist/src/daemon. */
const UNIT_SOURCES = ['yoke.service', '../../../packaging/systemd/yoke.service'];

/** The unit of the package, with this program by its whole name: it need not be in systemd's own PATH, and may lie in somebody's home. */
function unitText(): string {
  const words = program();
  const source = UNIT_SOURCES.map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  assert(source !== undefined, `none of ${UNIT_SOURCES} is there`);
  const text = readFileSync(source, 'utf8').replace(
    /^(Exec\w+)=yoke /gm,
    `$1=${words.map((w) => (/^[\w./+-]+$/.test(w) ? w : JSON.stringify(w))).join(' ')} `,
  );
  const isAtHome = words.some((w) => /^\/(home|root|run\/user)\//.test(realpathSync(w)));
  return isAtHome ? text.replace(/^ProtectHome=yes$/m, 'ProtectHome=read-only') : text;
}

async function byProcd(restart: boolean): Promise<void> {
  await runWell([INIT_SCRIPT, 'enable']);
  await runWell([INIT_SCRIPT, restart ? 'restart' : 'start']);
}

async function byItself(instance: Instance, already: boolean): Promise<ChildProcess> {
  const { config, runDir, stateDir } = instance;
  const options = ['--config', config, '--run-dir', runDir, '--state-dir', stateDir];
  const [node, ...rest] = [...program(), 'down', ...options];
  if (already) await runWell([node, ...rest]);
  mkdirSync(runDir, { recursive: true, mode: 0o700 });
  const log = openSync(logOf(instance), 'a', 0o600);
  const child = spawn(node, [...program().slice(1), 'run', ...options], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
  });
  closeSync(log);
  child.unref();
  return child;
}

/** This program, as it was started. */
const program = () => [process.execPath, process.argv[1]];

/** Where an instance that nobody keeps writes its log. */
export const logOf = ({ runDir }: Instance) => join(runDir, 'log');

/** Waits until the instance answers; a child that ends meanwhile never will. `logged`: characters of the log that were there before. */
async function answers(instance: Instance, child: ChildProcess | undefined, logged: number): Promise<void> {
  const endMs = performance.now() + START_LIMIT_MS;
  while (performance.now() < endMs && child?.exitCode == null) {
    if (lockHolder(instance.runDir) !== undefined && (await isUp(instance))) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw notUp(child ? readLog(instance).slice(logged) : '');
}

const isUp = ({ runDir }: Instance) =>
  askControl(runDir, 'version').then(
    () => true,
    () => false,
  );

function readLog(instance: Instance): string {
  try {
    return readFileSync(logOf(instance), 'utf8');
  } catch {
    return '';
  }
}

function notUp(log: string): YokeError {
  const lines = log
    .trim()
    .split('\n')
    .filter((l) => l !== '');
  const said = lines.slice(-LAST_LINES).join(' / ');
  return new YokeError('host', {
    where: 'the service',
    expected: 'it to run',
    found: said === '' ? 'no answer from it' : `its last words: ${said}`,
    todo: 'mend that, then run the same command again; yoke check tells what is wrong',
  });
}

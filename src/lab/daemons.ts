/**
 * The real daemons in the lab: keys, configuration files, processes, what they say of themselves and what they cost.
 *
 *     DIR/router.conf  DIR/router.key  DIR/router/control.sock   and the same for the server; DIR is 0700 and goes with the lab
 */
import type { ChildProcess } from 'node:child_process';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { YokeError } from '../base/error.ts';
import type { Status } from '../status/status.ts';
import { pause } from './measure.ts';
import type { Lab, Place } from './topology.ts';

/** Inner addresses of the bond in the lab. */
export const INNER = {
  server: '10.77.0.1',
  router: '10.77.0.2',
  server6: 'fd77:1::1',
  router6: 'fd77:1::2',
  port: 1194,
} as const;

/** The program, as a user would run it from the checkout. */
export const YOKE: readonly string[] = [process.execPath, fileURLToPath(new URL('../main.js', import.meta.url))];

/** From start until the first packet through the bond. */
const BOND_LIMIT_MS = 15_000;
const PING_MS = 50;
/** Linux counts CPU time of a process in these. Source: proc(5), sysconf(_SC_CLK_TCK). */
const TICKS_PER_SECOND = 100;
const LOG_LINES = 400;

/** A key pair as `yoke keygen` and `yoke pubkey` print it. */
export interface KeyPair {
  privateKey: string;
  publicKey: string;
}

/** Makes an X25519 key pair in base64. */
export function makeKeys(): KeyPair {
  const raw = randomBytes(32);
  // RFC 8410 §7: the header of a raw X25519 key in PKCS #8.
  const der = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), raw]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  return { privateKey: raw.toString('base64'), publicKey: Buffer.from(x ?? '', 'base64url').toString('base64') };
}

/** The router's file: one section for each line of the lab. */
export function routerConfig(lab: Lab, keyFile: string, serverPublicKey: string, more: readonly string[] = []): string {
  const links = lab.links.map(
    (link) => `
config link '${link.name}'
	option interface '${link.name}'
	option server '${link.server}'
	option remote_port '${INNER.port}'
`,
  );
  return `config interface 'bond'
	option role 'router'
	option ipaddr '${INNER.router}/24'
	option ip6addr '${INNER.router6}/64'
	option remote_ipaddr '${INNER.server}'
	option remote_ip6addr '${INNER.server6}'
	option private_key_file '${keyFile}'
	option public_key '${serverPublicKey}'
${more.map((line) => `\t${line}\n`).join('')}${links.join('')}`;
}

/** The server's file with one client, the router. Its inner address is open: measures of the lab end there. */
export function serverConfig(keyFile: string, routerPublicKey: string, more: readonly string[] = []): string {
  return `config interface 'bond'
	option role 'server'
	option ipaddr '${INNER.server}/24'
	option ip6addr '${INNER.server6}/64'
	option private_key_file '${keyFile}'
	option listen_port '${INNER.port}'
	list open 'any'
${more.map((line) => `\t${line}\n`).join('')}
config client 'router'
	option public_key '${routerPublicKey}'
	option ipaddr '${INNER.router}'
	option ip6addr '${INNER.router6}'
`;
}

/** A private folder for keys, files and run directories; removed when the lab closes. */
export function labFolder(lab: Lab): string {
  const folder = mkdtempSync(join(tmpdir(), `yoke-lab-${process.pid}-`));
  lab.onClose(async () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes a file that only its owner may read. */
export function writeSecret(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
}

/** What a daemon has cost so far. */
export interface Cost {
  cpuSeconds: number;
  peakRssBytes: number;
}

/** What a running process has cost up to now. */
export function costOf(pid: number): Cost {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return {
    // Counted from behind the name: utime and stime are the 12th and 13th fields. Source: proc(5).
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    peakRssBytes: Number(peak?.[1] ?? 0) * 1024,
  };
}

/** One `yoke run`. Owns: its process; the lab ends it at the latest. */
export class Daemon {
  readonly place: Place;
  readonly runDir: string;
  readonly configFile: string;
  readonly log: string[] = [];
  readonly #lab: Lab;
  #child: ChildProcess | undefined;

  constructor(lab: Lab, place: Place, folder: string, name: string = place) {
    this.#lab = lab;
    this.place = place;
    this.runDir = join(folder, name);
    this.configFile = join(folder, `${name}.conf`);
    mkdirSync(this.runDir, { recursive: true, mode: 0o700 });
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts it with what `configFile` holds. */
  start(env: NodeJS.ProcessEnv = {}): void {
    const argv = [...YOKE, 'run', '--config', this.configFile, '--run-dir', this.runDir, '--state-dir', this.runDir];
    const child = this.#lab.spawn(this.place, argv, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.log.push(...text.split('\n').filter((line) => line !== ''));
        this.log.splice(0, Math.max(0, this.log.length - LOG_LINES));
      });
    }
  }

  /** Ends it as an operator would; returns its exit status (null after a signal). */
  async stop(graceMs = 5000): Promise<number | null> {
    if (this.#child) await this.#lab.end(this.#child, graceMs);
    return this.#child?.exitCode ?? null;
  }

  /** Ends it as a crash would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || !this.isRunning) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  /** What it says of itself; rejects while it is not there to be asked. */
  async status(): Promise<Status> {
    return (await ask(join(this.runDir, 'control.sock'), 'status')) as Status;
  }

  /** CPU time and memory up to now. */
  cost(): Cost {
    return costOf(this.pid);
  }
}

/** The pair that makes a bond. */
export interface Bond {
  router: Daemon;
  server: Daemon;
  folder: string;
  /** From the router daemon's start to the first answer through the bond. */
  startMs: number;
}

/** Starts server and router and waits until the client reaches the server through the bond. `edit`: what the router's file says beside. @throws YokeError (host) with the logs' ends. */
export async function startBond(
  lab: Lab,
  engine = 'multipath',
  env: NodeJS.ProcessEnv = {},
  edit: (routerConfig: string) => string = (text) => text,
): Promise<Bond> {
  const folder = labFolder(lab);
  const router = new Daemon(lab, 'router', folder);
  const server = new Daemon(lab, 'server', folder);
  const [routerKeys, serverKeys] = [makeKeys(), makeKeys()];
  const [routerKeyFile, serverKeyFile] = [join(folder, 'router.key'), join(folder, 'server.key')];
  writeSecret(routerKeyFile, `${routerKeys.privateKey}\n`);
  writeSecret(serverKeyFile, `${serverKeys.privateKey}\n`);
  const option = `option engine '${engine}'`;
  writeSecret(router.configFile, edit(routerConfig(lab, routerKeyFile, serverKeys.publicKey, [option])));
  writeSecret(server.configFile, serverConfig(serverKeyFile, routerKeys.publicKey, [option]));
  server.start(env);
  await waitForStatus(server);
  const begin = performance.now();
  router.start(env);
  await waitForBond(lab, [router, server]);
  return { router, server, folder, startMs: Math.round(performance.now() - begin) };
}

/** Waits until a daemon answers its control socket. @throws YokeError (host) with its log's end. */
export async function waitForStatus(daemon: Daemon, limitMs = BOND_LIMIT_MS): Promise<void> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const answered = await daemon.status().then(
      () => true,
      () => false,
    );
    if (answered) return;
    if (!daemon.isRunning || performance.now() > endMs)
      throw complaint(`yoke run in ${daemon.place}`, 'a daemon that answers', [daemon], limitMs);
    await pause(20);
  }
}

/** Waits until the client gets an answer from the server's inner address. @throws YokeError (host) with the logs' ends. */
export async function waitForBond(lab: Lab, daemons: readonly Daemon[], limitMs = BOND_LIMIT_MS): Promise<void> {
  const endMs = performance.now() + limitMs;
  // A flow of its own each time: one that began before the bond would keep its old way through connection tracking.
  const argv = ['ping', '-n', '-q', '-c', '1', '-W', '1', INNER.server];
  let answered = false;
  while (!answered) {
    if (daemons.some((d) => !d.isRunning) || performance.now() > endMs)
      throw complaint('bond', `an answer from ${INNER.server} through it`, daemons, limitMs);
    lab.exec('client', argv).then(
      ({ code }) => {
        answered ||= code === 0;
      },
      () => {},
    );
    await pause(PING_MS);
  }
}

function complaint(where: string, expected: string, daemons: readonly Daemon[], limitMs: number): YokeError {
  const tails = daemons.map((d) => {
    const state = d.isRunning ? 'running' : 'ended';
    return `\n  ${d.place} (${state}):\n${d.log
      .slice(-8)
      .map((line) => `    ${line}`)
      .join('\n')}`;
  });
  return new YokeError('host', {
    where,
    expected,
    found: `none within ${limitMs / 1000} s${tails.join('')}\n`,
    todo: 'see what the daemons said',
  });
}

/** One question over a control socket: a JSON line there, a JSON line back. */
function ask(path: string, method: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    socket.setEncoding('utf8');
    socket.setTimeout(2000, () => socket.destroy(new Error('no answer')));
    socket.on('connect', () => socket.write(`${JSON.stringify({ method })}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => {
      try {
        const answer = JSON.parse(text) as { ok?: unknown; error?: string };
        if (answer.error === undefined) resolve(answer.ok);
        else reject(new Error(answer.error));
      } catch {
        reject(new Error('no answer'));
      }
    });
  });
}

/**
 * A router, a server and two plain veth lines between them, unshaped; for tests of the daemon that need no emulated line.
 *
 *   ┌────────┐ eth1 192.0.2.2/24    ═══ 192.0.2.1   ┌────────┐
 *   │ router │                                      │ server │ 203.0.113.1 (on lo: reached by both lines)
 *   └────────┘ eth2 198.51.100.2/24 ═══ 198.51.100.1└────────┘
 *
 * and the same in IPv6: 2001:db8:1::/64, 2001:db8:2::/64, server 2001:db8:ff::1. The router has default routes by both lines.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { end, inside, ipBatch, must, type Outcome, removeNamespace, run } from '../../src/lab/netns.ts';

/** Why the tests of this folder cannot run here; false when they can. */
export const CANNOT =
  process.getuid?.() !== 0
    ? 'network namespaces need root'
    : spawnSync('unshare', ['--mount', '--net', 'true']).status !== 0 || !existsSync('/dev/net/tun')
      ? 'no network namespaces or no /dev/net/tun here'
      : false;

export type End = 'router' | 'server';

/** Two namespaces and a folder. Owns: all of it, and the programs started in it. */
export class Veths {
  readonly folder: string;
  readonly #prefix: string;
  readonly #children = new Set<ChildProcess>();

  private constructor(prefix: string) {
    this.#prefix = prefix;
    this.folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  }

  static #count = 0;

  /** Makes it all; after a failure nothing is left. */
  static async open(): Promise<Veths> {
    const net = new Veths(`yk${process.pid}-v${Veths.#count++}`);
    try {
      await net.#build();
    } catch (error) {
      await net.close();
      throw error;
    }
    return net;
  }

  namespace(at: End): string {
    return `${this.#prefix}-${at}`;
  }

  exec(at: End, argv: readonly string[], timeoutMs = 20_000): Promise<Outcome> {
    return run(inside(this.namespace(at), argv), { timeoutMs });
  }

  must(at: End, argv: readonly string[]): Promise<string> {
    return must(inside(this.namespace(at), argv), { timeoutMs: 20_000 });
  }

  /** `ip` commands, one a line. */
  ip(at: End, ...lines: string[]): Promise<void> {
    return ipBatch(this.namespace(at), lines);
  }

  /** Writes a file of the folder, closed to others. */
  write(name: string, text: string): string {
    const path = join(this.folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  }

  spawn(at: End, argv: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
    const full = inside(this.namespace(at), argv);
    const child = spawn(full[0], full.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
    });
    this.#children.add(child);
    return new Program(child);
  }

  /** Everything of a namespace that yoke may touch, as text to be compared. */
  async picture(at: End): Promise<string> {
    const show = async (...argv: string[]) => `${argv.join(' ')}\n${await this.must(at, argv)}`;
    // the order of routes tells when they came, not what they do
    const sorted = async (...argv: string[]) => (await show(...argv)).split('\n').sort().join('\n');
    const settings = (await this.must(at, ['sysctl', '-a']))
      .split('\n')
      .filter((line) => /^net\.(ipv4|ipv6)\..*(forward|rp_filter|accept_ra |redirects)/.test(line));
    const parts = await Promise.all([
      show('ip', '-4', 'rule'),
      show('ip', '-6', 'rule'),
      sorted('ip', '-4', 'route', 'show', 'table', 'all'),
      sorted('ip', '-6', 'route', 'show', 'table', 'all'),
      show('ip', '-br', 'address'),
      show('nft', 'list', 'ruleset'),
    ]);
    return [...parts, ...settings].join('\n');
  }

  async close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => end(child)));
    for (const at of ['router', 'server'] as const) await removeNamespace(this.namespace(at));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #build(): Promise<void> {
    for (const at of ['router', 'server'] as const) await must(['ip', 'netns', 'add', this.namespace(at)]);
    for (const at of ['router', 'server'] as const) {
      const never = [
        'net.ipv6.conf.all.accept_dad=0',
        'net.ipv6.conf.default.accept_dad=0',
        'net.ipv6.conf.default.router_solicitations=0',
      ];
      await this.must(at, ['sysctl', '-q', '-w', ...never]);
    }
    const pair = (i: number) =>
      `link add eth${i} netns ${this.namespace('router')} type veth peer name eth${i} netns ${this.namespace('server')}`;
    await ipBatch(this.namespace('router'), [pair(1), pair(2)]);
    await this.ip(
      'router',
      'link set dev lo up',
      ...[1, 2].flatMap((i) => lineOf(i, 2)),
      ...[1, 2].flatMap((i) => defaultsOf(i)),
    );
    await this.ip(
      'server',
      'link set dev lo up',
      ...[1, 2].flatMap((i) => lineOf(i, 1)),
      `address add ${SERVER}/32 dev lo`,
      `address add ${SERVER6}/128 dev lo`,
    );
  }
}

/** The server, whichever line is taken. */
export const SERVER = '203.0.113.1';
export const SERVER6 = '2001:db8:ff::1';
/** Networks of the lines, without their last number. */
const NETS: Record<number, string> = { 1: '192.0.2', 2: '198.51.100' };

/** `ip` commands that bring up a line at one end (2: the router's). */
export function lineOf(line: number, last: number): string[] {
  return [
    `link set dev eth${line} addrgenmode none`,
    `address add ${NETS[line]}.${last}/24 dev eth${line}`,
    `address add 2001:db8:${line}::${last}/64 dev eth${line} nodad`,
    `link set dev eth${line} up`,
  ];
}

/** The router's default routes by a line. */
export function defaultsOf(line: number): string[] {
  return [
    `route add default via ${NETS[line]}.1 dev eth${line} metric ${100 + line}`,
    `route add default via 2001:db8:${line}::1 dev eth${line} metric ${100 + line}`,
  ];
}

/** A program that was started, and what it said. */
export class Program {
  readonly child: ChildProcess;
  output = '';
  readonly #ended: Promise<number | string>;

  constructor(child: ChildProcess) {
    this.child = child;
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal ?? 'gone')));
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** Its exit status or signal, once it has ended. */
  ended(): Promise<number | string> {
    return this.#ended;
  }

  /** Waits until it has said something. */
  async says(words: RegExp, limitMs = 10_000): Promise<void> {
    const over = () => this.child.exitCode !== null || this.child.signalCode !== null;
    await until(
      `${words}`,
      () => words.test(this.output) || over(),
      limitMs,
      () => this.output,
    );
    if (!words.test(this.output))
      throw new Error(`it ended without ${words}:
${this.output}`);
  }
}

/** Waits for a condition, with a limit. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 10_000,
  more: () => string = () => '',
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited in vain for ${what}\n${more()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

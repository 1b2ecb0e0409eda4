/** What the commands of the set-up share: who may run them, the machine they belong on, and the one question they ask. */
import { createInterface } from 'node:readline/promises';
import { YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../daemon/load.ts';

/** @throws YokeError when this is not root. */
export function needRoot(command: string): void {
  if (process.geteuid?.() === 0) return;
  throw new YokeError('host', {
    where: command,
    expected: 'root',
    found: `user ${process.geteuid?.() ?? '?'}`,
    todo: `run it as root: sudo ${command}`,
  });
}

/** The configuration of the server that this machine is. @throws YokeError when it is another machine's command. */
export function loadServer(file: string, command: string): Config {
  let config: Config;
  try {
    config = loadConfig(file);
  } catch (error) {
    if (!(error instanceof YokeError) || error.complaints[0].found !== 'none' || error.complaints[0].where !== file)
      throw error;
    throw wrongMachine(command, 'the server of a bond', `no ${file}`, 'first, on the server: yoke server init');
  }
  if (config.role !== 'server') {
    throw wrongMachine(command, 'the server of a bond', 'the router of one', 'run this command on the server');
  }
  if (config.engine !== 'multipath') {
    const todo = 'invitations are for engine multipath; with openvpn use yoke pki';
    throw wrongMachine(command, "engine 'multipath'", `engine '${config.engine}'`, todo);
  }
  return config;
}

/** The error of a command on a machine that it does not belong on. */
export function wrongMachine(command: string, expected: string, found: string, todo: string): YokeError {
  return new YokeError('config', { where: command, expected, found, todo });
}

/** Asks, and takes an empty answer for yes. @throws YokeError when there is nobody to ask. */
export async function confirm(question: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    const todo = 'add --yes';
    throw new YokeError('config', { where: question, expected: 'somebody to answer', found: 'no terminal', todo });
  }
  const talk = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^(y|yes|)$/i.test((await talk.question(`${question} [Y/n] `)).trim());
  } finally {
    talk.close();
  }
}

/** The configuration file: read, and replaced as a whole. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { readConfig } from '../config/schema.ts';
import { SECRET_MODE, writeWhole } from '../host/files.ts';

/** Longest configuration that is read. */
const FILE_LIMIT_BYTES = 1 << 20;

/** Reads a configuration file. @throws YokeError `config` with every complaint about it. */
export function loadConfig(file: string): Config {
  return loadWithText(file).config;
}

/** The same, with the text that it was read from. */
export function loadWithText(file: string): { config: Config; text: string } {
  const text = readConfigText(file);
  return { config: readConfig(text, file), text };
}

/** Its text. @throws YokeError when it cannot be read. */
export function readConfigText(file: string): string {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length <= FILE_LIMIT_BYTES) return text;
    throw complain(file, `${text.length} bytes`, 'name the right file with --config');
  } catch (error) {
    if (error instanceof YokeError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT')
      throw complain(
        file,
        'none',
        'make it: yoke server init on a server, yoke join on a router (docs/setup.md); or name another with --config',
      );
    throw complain(file, code ?? 'an error', 'make it readable, or name another with --config');
  }
}

function complain(where: string, found: string, todo: string): YokeError {
  return new YokeError('config', { where, expected: 'a configuration file', found, todo });
}

/** Replaces a configuration file whole; its mode stays, and what a symbolic link points to is meant. @throws YokeError `host`. */
export function replaceConfig(file: string, text: string): void {
  const stat = statSync(file, { throwIfNoEntry: false });
  writeWhole(stat ? realpathSync(file) : file, text, stat ? stat.mode & 0o777 : SECRET_MODE);
}

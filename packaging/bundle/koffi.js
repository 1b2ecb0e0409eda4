/**
 * Stands in for the package `koffi` in the bundle: the same native module, from the file beside the bundle instead of node_modules.
 *
 * A build for glibc and one for musl lie there; the interpreter that Node's own binary names says which one fits. What koffi's
 * JavaScript adds to the native module are names from older versions, which nothing here uses.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { createRequire } from 'node:module';
import { YokeError } from '../../src/base/error.ts';

/** The name of the interpreter stands within the first pages of an executable. */
const HEAD_BYTES = 16384;

export default load();

function load() {
  const builds = [`linux_${process.arch}`, `musl_${process.arch}`];
  if (namesMusl(process.execPath)) builds.reverse();
  const problems = [];
  for (const build of builds) {
    try {
      return createRequire(import.meta.url)(`./koffi/${build}.node`);
    } catch (error) {
      problems.push(`${build}: ${error.message.split('\n')[0]}`);
    }
  }
  throw new YokeError('host', {
    where: 'the foreign-function library',
    expected: `koffi/${builds[0]}.node beside the program`,
    found: problems.join('; '),
    todo: `install the package of yoke for ${process.arch}`,
  });
}

function namesMusl(program) {
  const head = Buffer.alloc(HEAD_BYTES);
  const file = openSync(program, 'r');
  try {
    return head.subarray(0, readSync(file, head, 0, HEAD_BYTES, 0)).includes('/ld-musl-');
  } finally {
    closeSync(file);
  }
}

/**
 * `npm test`: what the tests need, a clean build, then every test with node's own runner.
 *
 * First the tests that need no kernel of their own, two files at a time; then test/netns and test/guest, one file at a time, for
 * these measure and fill the machine. Without the packages of test/guest its tests are skipped, and say so; the kernel of our own that
 * some of them want is built once, which takes minutes.
 * Arguments are parts of file names: `npm test -- cli netns/daemon` runs the test files that have one of them in their path.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages, GUEST_PACKAGES, KERNEL_PACKAGES, TEST_PACKAGES, tryPackages } from './packages.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const TESTS = join(ROOT, 'dist', 'test');
const NETNS = join(TESTS, 'netns') + sep;
const GUEST = join(TESTS, 'guest') + sep;
/** The longest file takes half a minute on a quiet machine. */
const FILE_LIMIT_MS = 300_000;

process.chdir(ROOT);
await ensurePackages();
for (const name of tryPackages(TEST_PACKAGES))
  console.log(`Tests that need it will be skipped: no Debian package ${name}`);
const lacking = tryPackages(GUEST_PACKAGES);
if (lacking.length > 0) console.log(`Tests in a guest kernel will be skipped: no Debian package ${lacking.join(' ')}`);
build();

const wanted = process.argv.slice(2);
const files = readdirSync(TESTS, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.test.js'))
  .map((path) => join(TESTS, path))
  .filter((path) => wanted.length === 0 || wanted.some((part) => relative(TESTS, path).includes(part)))
  .sort();

if (files.some((path) => path.startsWith(GUEST))) await buildKernel();

const results = [
  await runTests(
    'unit tests',
    files.filter((path) => !path.startsWith(NETNS) && !path.startsWith(GUEST)),
    2,
  ),
  await runTests(
    'tests in network namespaces',
    files.filter((path) => path.startsWith(NETNS)),
    1,
  ),
  await runTests(
    'tests in a guest kernel',
    files.filter((path) => path.startsWith(GUEST)),
    1,
  ),
].filter((result) => result !== undefined);

const sum = (name) => results.reduce((total, result) => total + result[name], 0);
const ok = results.length > 0 && results.every((result) => result.code === 0) && sum('failed') === 0;
console.log(`${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exitCode = ok ? 0 : 1;

/** Builds from nothing, so that no test of a file that is gone stays behind. */
function build() {
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true });
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
  const { status } = spawnSync(tsc, ['-p', 'tsconfig.json'], { stdio: 'inherit' });
  if (status !== 0) {
    console.log('0 passed, 1 failed, 0 skipped (the build failed)');
    process.exit(1);
  }
}

/** Sees to the guest kernel of our own; where it cannot be had, says why in a line. */
async function buildKernel() {
  const { ownKernel } = await import(join(GUEST, 'kernel.js'));
  if (ownKernel() !== undefined) return;
  const skipped = 'Tests that need a guest kernel of our own will be skipped';
  const lacking = tryPackages(KERNEL_PACKAGES);
  if (lacking.length > 0) {
    console.log(`${skipped}: no Debian package ${lacking.join(' ')}`);
    return;
  }
  const { status } = spawnSync(process.execPath, [join(GUEST, 'kernel-build.js')], { stdio: 'inherit' });
  if (status !== 0) console.log(skipped);
}

/** A file that hangs is ended and counted as failed, where Node can do that. */
function timeLimit() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  return major > 20 || (major === 20 && minor >= 11) ? [`--test-timeout=${FILE_LIMIT_MS}`] : [];
}

/** Runs test files, shows what node's reporter says, and counts by its closing lines. */
function runTests(title, paths, concurrency) {
  if (paths.length === 0) return undefined;
  console.log(`\n== ${title}: ${paths.length} files`);
  return new Promise((resolve) => {
    const args = ['--test', '--test-reporter=spec', `--test-concurrency=${concurrency}`, ...timeLimit(), ...paths];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let tail = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (chunk) => {
      process.stdout.write(chunk);
      tail = (tail + chunk).slice(-65536);
    });
    child.on('close', (code) => {
      // the last of each: a test may print such a line itself
      const count = (name) =>
        Number([...tail.matchAll(new RegExp(`^ℹ ${name} (\\d+)$`, 'gm'))].at(-1)?.[1] ?? Number.NaN);
      const passed = count('pass');
      const failed = count('fail') + count('cancelled');
      const skipped = count('skipped') + count('todo');
      if (Number.isNaN(passed + failed + skipped)) resolve({ code: code || 1, passed: 0, failed: 1, skipped: 0 });
      else resolve({ code: code ?? 1, passed, failed, skipped });
    });
  });
}

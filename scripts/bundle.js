/**
 * `npm run bundle`: yoke as one folder that runs wherever Node does, with no node_modules. Every package is made of it.
 *
 *   yoke.js        the program: all of src/ that the command line reaches, and the packages it uses
 *   pump.js        the worker thread of engine multipath
 *   koffi/*.node   the foreign-function library, a build for glibc and one for musl
 *   yoke.service   the unit that `yoke server init` and `yoke join` install where systemd keeps services
 *   package.json   the version, and that .js means ECMAScript modules
 *   LICENSES       of everything that is in it
 *
 * Options: `--out FOLDER` (build/bundle), `--arch x64|arm64` (this machine's). Prebuilt files of another machine's library come from
 * the registry, checked against package-lock.json.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Name in the bundle → source. A worker is found under the name that its `new URL('./NAME.js', import.meta.url)` says. */
const ENTRIES = { yoke: 'src/main.ts', pump: 'src/backend/multipath/pump.ts' };
const ARCHS = ['x64', 'arm64'];

/** For the packages that are CommonJS: their `require` of what Node has. */
const BANNER = "import { createRequire as requireOf } from 'node:module';\nconst require = requireOf(import.meta.url);";

/** Makes the bundle; returns what it weighs. */
export async function makeBundle({ out, arch = process.arch }) {
  if (!ARCHS.includes(arch)) throw new Error(`--arch ${arch}: expected ${ARCHS.join(' or ')}`);
  rmSync(out, { recursive: true, force: true });
  const { metafile, outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: ENTRIES,
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    alias: { koffi: './packaging/bundle/koffi.js' },
    banner: { js: BANNER },
    legalComments: 'none',
    // or the text would name this machine's folders
    preserveSymlinks: true,
    outdir: out,
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  mkdirSync(join(out, 'koffi'), { recursive: true });
  for (const { path, contents } of outputFiles) writeFileSync(path, contents);
  chmodSync(join(out, 'yoke.js'), 0o755);
  const { name, version, description, license } = readPackage(ROOT);
  writeFileSync(
    join(out, 'package.json'),
    `${JSON.stringify({ name, version, description, license, type: 'module' })}\n`,
  );
  copyKoffi(arch, join(out, 'koffi'));
  copyFileSync(join(ROOT, 'packaging/systemd/yoke.service'), join(out, 'yoke.service'));
  writeFileSync(join(out, 'LICENSES'), licences(Object.keys(metafile.inputs)));
  const missing = missingWorkers(
    out,
    outputFiles.map((f) => f.text),
  );
  if (missing.length > 0)
    throw new Error(`not in the bundle: ${missing.join(' ')}; name it in ENTRIES of scripts/bundle.js`);
  return outputFiles.reduce((sum, file) => sum + file.contents.length, 0);
}

/** The files that the code starts beside itself and that are not there. */
function missingWorkers(out, texts) {
  const names = texts.flatMap((text) =>
    [...text.matchAll(/new URL\("\.\/([^"]+)", ?import\.meta\.url\)/g)].map((m) => m[1]),
  );
  return names.filter((name) => !existsSync(join(out, name)));
}

function copyKoffi(arch, folder) {
  const name = `@koromix/koffi-linux-${arch}`;
  const installed = join(ROOT, 'node_modules', name);
  const from = existsSync(installed) ? { folder: installed, end: () => {} } : fetchPackage(name);
  try {
    for (const libc of ['linux', 'musl']) {
      const file = join(folder, `${libc}_${arch}.node`);
      copyFileSync(join(from.folder, `${libc}_${arch}`, 'koffi.node'), file);
      chmodSync(file, 0o644);
    }
  } finally {
    from.end();
  }
}

/** A package that npm leaves out on this machine, as the lock file has it. */
function fetchPackage(name) {
  const { version, integrity } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages[
    `node_modules/${name}`
  ];
  const folder = mkdtempSync(join(tmpdir(), 'yoke-koffi-'));
  const end = () => rmSync(folder, { recursive: true, force: true });
  try {
    run('npm', ['pack', '--silent', `--pack-destination=${folder}`, `${name}@${version}`]);
    const tarball = join(folder, readdirSync(folder)[0]);
    const sum = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
    if (sum !== integrity)
      throw new Error(`${name}@${version}: the registry's file is not the one that package-lock.json names`);
    run('tar', ['-xzf', tarball, '-C', folder]);
    return { folder: join(folder, 'package'), end };
  } catch (error) {
    end();
    throw error;
  }
}

/** Our licence, then that of every package that something was taken from. */
function licences(inputs) {
  const names = new Set(['koffi']);
  for (const path of inputs) {
    const name = /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1];
    if (name) names.add(name);
  }
  const ours = `yoke\n\n${readFileSync(join(ROOT, 'LICENSE'), 'utf8')}`;
  return [ours, ...[...names].sort().map(licenceOf)].join(`\n${'-'.repeat(80)}\n\n`);
}

function licenceOf(name) {
  const folder = join(ROOT, 'node_modules', name);
  const { version, license } = readPackage(folder);
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice|copyrightnotice)/i.test(file));
  if (files.length === 0) throw new Error(`${name} has no licence file`);
  const texts = files.sort().map((file) => readFileSync(join(folder, file), 'utf8').replace(/\r/g, '').trim());
  return `${name} ${version} (${license})\n\n${texts.join('\n\n')}\n`;
}

const readPackage = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

function run(program, args) {
  const { status, stderr } = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.trim()}`);
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const { values } = parseArgs({ options: { out: { type: 'string' }, arch: { type: 'string' } } });
  const out = values.out ?? join(ROOT, 'build', 'bundle');
  const size = await makeBundle({ out, arch: values.arch });
  console.log(`${out}: ${Math.round(size / 1024)} KB of JavaScript`);
}

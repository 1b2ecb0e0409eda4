/**
 * `npm pack`, then `npm install -g` of what it made into a folder of the test's. The registry is one of our own on the loopback, which
 * has the packages of node_modules and no other: nothing comes from outside.
 */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { ROOT } from './bundle.ts';

interface PackageJson {
  name: string;
  version: string;
  scripts: Record<string, string>;
}

const packageOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageJson;
const OURS = packageOf(ROOT);

let folder: string;
let registry: Server;
let env: NodeJS.ProcessEnv;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), `yoke-npm-${process.pid}-`));
  const copies = installed(join(ROOT, 'node_modules'));
  registry = createServer((request, response) => {
    const [name, version] = decodeURIComponent(request.url ?? '')
      .slice(1)
      .split('#');
    const found = copies.filter((copy) => copy.manifest.name === name);
    if (found.length === 0) return response.writeHead(404).end('{}');
    if (version) return response.end(tarballOf(found.find((copy) => copy.manifest.version === version)!.folder));
    const versions = found.map(({ manifest }) => {
      const tarball = `http://${request.headers.host}/${encodeURIComponent(`${name}#${manifest.version}`)}`;
      return [manifest.version, { ...manifest, dist: { tarball } }];
    });
    const body = { name, 'dist-tags': {}, versions: Object.fromEntries(versions) };
    return response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => registry.listen(0, '127.0.0.1', resolve));
  env = {
    PATH: process.env.PATH,
    HOME: folder,
    npm_config_registry: `http://127.0.0.1:${(registry.address() as AddressInfo).port}/`,
    npm_config_cache: join(folder, 'cache'),
    npm_config_audit: 'false',
    npm_config_fund: 'false',
    npm_config_update_notifier: 'false',
    npm_config_fetch_retries: '0',
  };
});
after(() => {
  registry?.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Copy {
  folder: string;
  manifest: PackageJson;
}

/** Every package in a node_modules folder, and in those within it: of some there are two versions. */
function installed(modules: string): Copy[] {
  if (!existsSync(modules)) return [];
  const names = readdirSync(modules).flatMap((name) =>
    name.startsWith('@') ? readdirSync(join(modules, name)).map((inner) => join(name, inner)) : [name],
  );
  return names
    .map((name) => join(modules, name))
    .filter((at) => existsSync(join(at, 'package.json')))
    .flatMap((at) => [{ folder: at, manifest: packageOf(at) }, ...installed(join(at, 'node_modules'))]);
}

const tarballOf = (at: string) =>
  spawnSync('tar', ['-czf', '-', '--transform=s,^\\.,package,', '--exclude=./node_modules', '-C', at, '.'], {
    maxBuffer: 1 << 28,
  }).stdout;

const npm = (...argv: string[]) =>
  promisify(execFile)('npm', argv, { cwd: ROOT, env, encoding: 'utf8', timeout: 120_000 });

test('our package runs nothing of ours when it is installed', () => {
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) assert.equal(OURS.scripts[name], undefined);
});

test('npm pack holds the program and the documents, and nothing else; npm install -g of it gives the command', async () => {
  // the build is there already: another one under a running test would pull files from under it
  await npm('pack', '--ignore-scripts', '--silent', `--pack-destination=${folder}`);
  const tarball = join(folder, `yoke-${OURS.version}.tgz`);
  const listed = spawnSync('tar', ['-tzf', tarball], { encoding: 'utf8' }).stdout.trim().split('\n');
  const files = listed.map((line) => line.replace('package/', ''));
  const own =
    /^(dist\/src\/.*\.js|docs\/.*\.(md|svg)|packaging\/systemd\/yoke\.service|(README|CHANGELOG|CONTRIBUTING)\.md|LICENSE|package\.json)$/;
  assert.deepEqual(
    files.filter((file) => !own.test(file)),
    [],
  );
  // the unit: `yoke server init` and `yoke join` write it where no package has brought one
  for (const file of ['dist/src/main.js', 'docs/config.md', 'packaging/systemd/yoke.service', 'LICENSE'])
    assert.ok(files.includes(file), file);

  const prefix = join(folder, 'prefix');
  await npm('install', '--global', `--prefix=${prefix}`, tarball);
  assert.ok(readdirSync(join(prefix, 'lib', 'node_modules')).includes('yoke'));
  const yoke = (...argv: string[]) => spawnSync(join(prefix, 'bin', 'yoke'), argv, { encoding: 'utf8', cwd: folder });
  assert.equal(yoke('--version').stdout, `${OURS.version}\n`);
  const doctor = yoke('doctor', '--json', '--config', '/nowhere');
  assert.equal((JSON.parse(doctor.stdout) as { version: number }).version, 1, doctor.stderr);
});

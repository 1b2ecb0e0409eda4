/** Packages, a build, then a built program with the arguments of this one: what `npm run lab` and `npm run bench` have in common. */
import { spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './packages.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs `dist/FILE`; ends with its status. */
export function runBuilt(file, packages) {
  ensurePackages(packages);
  // What the compiler says goes to stderr: stdout may be wanted for JSON.
  const tsc = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.json')];
  const build = spawnSync(process.execPath, tsc, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  if (build.status !== 0) {
    console.error('The build failed; see above. After a fresh checkout: npm ci');
    process.exit(1);
  }
  const child = spawn(process.execPath, [join(ROOT, 'dist', file), ...process.argv.slice(2)], { stdio: 'inherit' });
  // Ctrl-C reaches it by the terminal; it cleans up, and we wait for it. Signals sent to us alone are passed on.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code) => process.exit(code ?? 1));
}

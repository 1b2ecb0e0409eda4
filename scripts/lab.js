/** `npm run lab`: the packages it needs, a build, then the lab itself (src/lab/lab.ts) with the same arguments. */
import { spawn, spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensurePackages } from './packages.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');

ensurePackages();
// What the compiler says goes to stderr: stdout may be wanted for JSON.
const tsc = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', join(ROOT, 'tsconfig.json')];
const build = spawnSync(process.execPath, tsc, { cwd: ROOT, stdio: ['ignore', 2, 2] });
if (build.status !== 0) {
  console.error('The build failed; see above.');
  process.exit(1);
}
const argv = [join(ROOT, 'dist/src/lab/lab.js'), ...process.argv.slice(2)];
const lab = spawn(process.execPath, argv, { stdio: 'inherit' });
// Ctrl-C reaches the lab by the terminal; it cleans up, and we wait for it. Signals sent to us alone are passed on.
process.on('SIGINT', () => lab.kill('SIGINT'));
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => lab.kill(signal));
lab.on('exit', (code) => process.exit(code ?? 1));

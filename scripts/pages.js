/**
 * Manual pages and shell completion, written into a folder: `npm run build && node scripts/pages.js FOLDER`.
 *
 *   yoke.8, yoke.bash, yoke.zsh, yoke.fish   from the description of the commands (src/cli/cli.ts)
 *   bonding.5                                from the table of options (src/config/options.ts)
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const built = (path) => import(pathToFileURL(join(ROOT, 'dist', 'src', path)).href);
const read = (path) => readFileSync(join(ROOT, path), 'utf8');

/** Writes them; the date is that of the sources. */
export async function writePages(folder, date) {
  const { describeProgram } = await built('cli/cli.js');
  const { printYokeManual } = await built('cli/manual.js');
  const { printBashCompletion } = await built('cli/completion-bash.js');
  const { printZshCompletion } = await built('cli/completion-zsh.js');
  const { printFishCompletion } = await built('cli/completion-fish.js');
  const { printBondingManual } = await built('config/manual.js');
  const { version } = JSON.parse(read('package.json'));
  const day = date.toISOString().slice(0, 10);
  const program = describeProgram(() => {});
  const examples = { router: read('examples/router.conf'), server: read('examples/server.conf') };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'yoke.8'), printYokeManual(program, day, version));
  writeFileSync(join(folder, 'bonding.5'), printBondingManual(examples, day, version));
  writeFileSync(join(folder, 'yoke.bash'), printBashCompletion(program));
  writeFileSync(join(folder, 'yoke.zsh'), printZshCompletion(program));
  writeFileSync(join(folder, 'yoke.fish'), printFishCompletion(program));
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  await writePages(process.argv[2] ?? join(ROOT, 'build', 'pages'), new Date());
}

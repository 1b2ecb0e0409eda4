// Writes docs/config.md from the schema: `npm run build && node scripts/config-docs.js`; another build's folder may be given.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = process.argv[2] ?? join(root, 'dist');
const { printConfigDocs } = await import(pathToFileURL(join(dist, 'src/config/docs.js')).href);
const example = (name) => readFileSync(join(root, 'examples', name), 'utf8');
writeFileSync(
  join(root, 'docs/config.md'),
  printConfigDocs({ router: example('router.conf'), server: example('server.conf') }),
);

/** The page about the configuration is what the schema prints. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { printConfigDocs } from '../../src/config/docs.ts';
import { SECTIONS } from '../../src/config/options.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const printed = () => printConfigDocs({ router: read('examples/router.conf'), server: read('examples/server.conf') });

test('docs/config.md is up to date: if not, npm run build && node scripts/config-docs.js', () => {
  assert.equal(read('docs/config.md'), printed());
});

test('the page names every option of every section, and says nothing of things undefined', () => {
  const page = printed();
  for (const section of SECTIONS) {
    const chapter = page.split(`## \`${section.heading}\``)[1]?.split('\n## ')[0] ?? '';
    assert.ok(chapter !== '', section.heading);
    for (const name of Object.keys(section.options ?? {})) assert.ok(chapter.includes(`| \`${name}\` |`), name);
  }
  assert.doesNotMatch(page, /undefined|\[object/);
});

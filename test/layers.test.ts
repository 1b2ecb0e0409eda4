/** The architecture as a test: who may import whom, and what the pure folders must not name (ARCHITECTURE.md). */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const SRC = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src');

const ABOVE_LAB = ['base', 'config', 'packet', 'wire', 'bond', 'plan', 'health', 'status', 'io', 'host', 'backend'];
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  config: ['base'],
  packet: ['base'],
  wire: ['base'],
  bond: ['base', 'packet', 'wire'],
  plan: ['base', 'config'],
  health: ['base'],
  status: ['base', 'bond', 'health'],
  io: ['base', 'wire'],
  host: ['base', 'plan'],
  pki: ['base', 'host'],
  setup: ['base', 'wire', 'io', 'host'],
  backend: ['base', 'config', 'packet', 'wire', 'bond', 'plan', 'health', 'status', 'io', 'host'],
  lab: ['base', 'config', 'status', 'io', 'host'],
  daemon: [...ABOVE_LAB, 'pki', 'setup'],
  cli: [...ABOVE_LAB, 'pki', 'setup', 'lab', 'daemon'],
  '.': ['cli'],
};
const PURE = ['base', 'config', 'packet', 'wire', 'bond', 'plan', 'health', 'status'];
/** Third-party or built-in modules a pure folder is given. */
const GIVEN: Record<string, readonly string[]> = {};
const IMPURE_NAMES =
  /\b(Date\.now|new Date\(\)|performance\.now|hrtime|Math\.random|setTimeout|setInterval|setImmediate|process\.)/;

interface Source {
  path: string;
  folder: string;
  text: string;
  imports: string[];
}

function sources(): Source[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((p) => p.endsWith('.ts'))
    .map((path) => {
      const text = readFileSync(join(SRC, path), 'utf8');
      const imports = [
        ...text.matchAll(/(?:^\s*(?:import|export)\s(?:[^;'"()=]*\sfrom\s+)?|\bimport\()['"]([^'"]+)['"]/gm),
      ].map((m) => m[1]);
      return { path, folder: path.includes('/') ? path.split('/')[0] : '.', text, imports };
    });
}

const resolveFrom = (path: string, spec: string) => normalize(join(dirname(path), spec));

test('every folder imports only what the map allows', () => {
  const wrong: string[] = [];
  for (const s of sources()) {
    const allowed = MAY_IMPORT[s.folder];
    assert.ok(allowed, `src/${s.path}: the folder is not on the map`);
    for (const spec of s.imports) {
      if (spec.startsWith('.')) {
        const target = resolveFrom(s.path, spec);
        const folder = target.includes('/') ? target.split('/')[0] : '.';
        if (folder !== s.folder && !allowed.includes(folder)) wrong.push(`src/${s.path} imports ${folder}`);
      } else if (PURE.includes(s.folder) && !(GIVEN[s.folder] ?? []).includes(spec)) {
        wrong.push(`src/${s.path} (pure) imports ${spec}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test('pure folders name no clock, no chance and no process', () => {
  const wrong = sources()
    .filter((s) => PURE.includes(s.folder))
    .filter((s) => IMPURE_NAMES.test(s.text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')))
    .map((s) => `src/${s.path}`);
  assert.deepEqual(wrong, []);
});

test('there is no import cycle', () => {
  const graph = new Map(
    sources().map((s) => [s.path, s.imports.filter((i) => i.startsWith('.')).map((i) => resolveFrom(s.path, i))]),
  );
  const done = new Set<string>();
  const visit = (path: string, trail: string[]): void => {
    assert.ok(!trail.includes(path), `import cycle: ${[...trail, path].join(' → ')}`);
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

test('no folder is a drawer: no utils, helpers, types.ts or index.ts', () => {
  const wrong = sources().filter((s) =>
    /(^|\/)(utils?|helpers?|common|misc)(\/|\.ts$)|(^|\/)(types|index)\.ts$/.test(s.path),
  );
  assert.deepEqual(
    wrong.map((s) => s.path),
    [],
  );
});

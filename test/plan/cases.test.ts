/**
 * Golden cases, test/cases/NAME: config and is.json (what was observed, and whether the packet path runs) → plan.txt and undo.txt.
 *
 * `UPDATE_CASES=1` writes what comes out; read the difference before it is committed.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readConfig } from '../../src/config/schema.ts';
import { printPlan, printUndo } from '../../src/plan/command.ts';
import type { Live } from '../../src/plan/desired.ts';
import type { Facts } from '../../src/plan/facts.ts';
import { desired, diff } from '../../src/plan/plan.ts';

const CASES = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'cases');
const NOTHING = '# nothing to change\n';

for (const name of readdirSync(CASES)) {
  test(`case ${name}`, () => {
    const file = (what: string) => join(CASES, name, what);
    const config = readConfig(readFileSync(file('config'), 'utf8'), 'config');
    const { facts, live } = JSON.parse(readFileSync(file('is.json'), 'utf8')) as { facts: Facts; live?: Live };
    const plan = diff(facts, desired(config, facts, live));
    const found = { 'plan.txt': printPlan(plan) || NOTHING, 'undo.txt': printUndo(plan) || NOTHING };
    for (const [what, text] of Object.entries(found)) {
      if (process.env.UPDATE_CASES) writeFileSync(file(what), text);
      assert.equal(text, readFileSync(file(what), 'utf8'), `${name}/${what}`);
    }
  });
}

/** A process that applies a plan and is killed on the way: `victim.js RUNDIR KILLSWITCH STEP` (STEP: it kills itself when that step is due). */

import { LinuxHost } from '../../src/host/host.ts';
import { FileJournal } from '../../src/host/journal.ts';
import { observe } from '../../src/host/observe.ts';
import { applyPlan } from '../../src/plan/apply.ts';
import { desired, diff, lookout } from '../../src/plan/plan.ts';
import { sampleRouter } from '../plan/samples.ts';

const [runDir, killswitch, at] = process.argv.slice(2);
const config = sampleRouter({ killswitch: killswitch === '1' });
const store = new FileJournal(runDir);
const entries = (await store.load())?.entries ?? [];
const facts = await observe(lookout(config), entries);
const plan = diff(facts, desired(config, facts, { innerMtu: 1400 }), entries);
let count = 0;
await applyPlan(new LinuxHost(), store, plan, () => {
  if (count++ === Number(at)) process.kill(process.pid, 'SIGKILL');
});
process.stdout.write(String(plan.steps.length));

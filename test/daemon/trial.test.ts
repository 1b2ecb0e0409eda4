/** Trials of a configuration: the files beside it, the clock, and the instance that waits for a word. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { beginTrial, confirmTrial, putBack, startOrPutBack, Trials, trialOf } from '../../src/daemon/trial.ts';

let dir: string;
let file: string;
let log: string[];
const tell = (level: string, text: string) => void log.push(`${level} ${text}`);
const read = (name: string) => readFileSync(join(dir, name), 'utf8');

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-trial-'));
  file = join(dir, 'bonding');
  log = [];
  writeFileSync(file, 'new\n', { mode: 0o640 });
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('begun, put back: the old text, the mode, and what was refused beside it', () => {
  beginTrial(file, 'old\n', 60, 1_000_000);
  assert.deepEqual(readdirSync(dir).sort(), ['.bonding.before', '.bonding.trial', 'bonding']);
  assert.equal(statSync(join(dir, '.bonding.before')).mode & 0o777, 0o600);
  assert.deepEqual(trialOf(file, 1_000_000), { deadlineMs: 1_060_000 });
  assert.deepEqual(trialOf(file, 500_000), { deadlineMs: 560_000 }, 'a clock that was set back makes it no longer');
  putBack(file);
  assert.deepEqual([read('bonding'), read('.bonding.refused')], ['old\n', 'new\n']);
  assert.equal(statSync(file).mode & 0o777, 0o640);
  assert.equal(trialOf(file), undefined);
  assert.ok(!existsSync(join(dir, '.bonding.before')));
});

test('begun twice: what comes back is what was confirmed last; confirmed: nothing does', () => {
  beginTrial(file, 'old\n', 60);
  beginTrial(file, 'new\n', 60);
  assert.equal(read('.bonding.before'), 'old\n');
  confirmTrial(file);
  assert.deepEqual(readdirSync(dir), ['bonding']);
  assert.equal(read('bonding'), 'new\n');
  assert.throws(() => confirmTrial(file), /expected a configuration on trial, found none/);
});

test('put back and interrupted anywhere, it is done again; a spoilt file counts as time over', () => {
  beginTrial(file, 'old\n', 60);
  writeFileSync(file, 'old\n');
  writeFileSync(join(dir, '.bonding.refused'), 'new\n');
  putBack(file);
  assert.deepEqual([read('bonding'), read('.bonding.refused')], ['old\n', 'new\n']);
  writeFileSync(join(dir, '.bonding.trial'), '{"version":1,"dead');
  assert.deepEqual(trialOf(file, 77), { deadlineMs: 77 });
  putBack(file);
  assert.equal(read('bonding'), 'old\n', 'without the file before there is nothing to put back');
});

test('a start: with the old one when the time is over, or when the new one does not start', async () => {
  const starts: string[] = [];
  const start = async () => {
    starts.push(read('bonding'));
    if (read('bonding') === 'new\n') throw new Error('it does not start');
    return 'started';
  };
  await assert.rejects(startOrPutBack(file, dir, tell, start), /it does not start/);
  beginTrial(file, 'old\n', 60);
  assert.equal(await startOrPutBack(file, dir, tell, start), 'started');
  assert.deepEqual(starts, ['new\n', 'new\n', 'old\n']);
  assert.deepEqual(log, [
    'error it does not start',
    'warn the configuration on trial does not start: putting back the one before',
  ]);
  beginTrial(file, 'older\n', 60, Date.now() - 61_000);
  assert.equal(await startOrPutBack(file, dir, tell, async () => read('bonding')), 'older\n');
});

test('an instance: puts back and takes it again when no word comes; a refusal leaves no trial', async () => {
  let taken = '' as string;
  let failure: Error | undefined;
  const reread = async () => {
    taken = read('bonding');
  };
  const trials = new Trials({ file, log: tell, reread, fail: (error) => (failure = error) });
  const refusal = trials.begin('old\n', 60, async () => Promise.reject(new Error('refused')));
  await assert.rejects(refusal, /refused/);
  assert.deepEqual([readdirSync(dir), trials.until, trials.warnings()], [['bonding'], undefined, []]);
  await trials.begin('old\n', 0.2, reread);
  assert.match(trials.warnings()[0], /^the configuration is on trial until 20.*Z: yoke confirm keeps it$/);
  assert.match(taken, /^new$/m);
  for (let i = 0; i < 200 && taken !== 'old\n'; i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual([taken, failure, trials.until], ['old\n', undefined, undefined]);
  await trials.begin('old\n', 0.2, reread);
  trials.confirm();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(readdirSync(dir).sort(), ['.bonding.refused', 'bonding']);
  trials.stop();
});

/** Trials of more against a link that carries it or does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Trial } from '../../src/bond/trial.ts';

const UNREST_US = 10_000;
const SEEN_US = 200_000;

/** A trial from `capacity` on a link of `link`, both bytes/µs, with `noiseUs` more queue than there is; the queue grows while more is sent than the link carries. Returns what was carried and how long more was sent. */
function tried(
  trial: Trial,
  fromUs: number,
  capacity: number,
  link: number,
  noiseUs = 0,
  starvedUs = -1,
  lost = false,
) {
  assert.ok(trial.isDue(fromUs));
  trial.begin(capacity, 0, UNREST_US, SEEN_US, fromUs);
  assert.ok(!trial.isDue(fromUs));
  let nowUs = fromUs;
  let queueUs = 0;
  let gain = 0;
  for (; !trial.isOver(nowUs); nowUs += 100) {
    gain = Math.max(gain, trial.gain(nowUs));
    queueUs = Math.max(0, queueUs + 100 * ((Math.max(1, trial.gain(nowUs)) * capacity) / link - 1));
  }
  return { carried: trial.judge(queueUs + noiseUs, starvedUs, lost, nowUs), gain, queueUs, nowUs };
}

test('a link that carries more wins, and is tried with more at once; one that does not keeps what it has for some seconds', () => {
  const trial = new Trial();
  const first = tried(trial, 1e6, 1, 4);
  assert.equal(first.carried, first.gain);
  const second = tried(trial, first.nowUs, first.carried, 4);
  assert.ok(second.gain > first.gain && second.carried === first.carried * second.gain);
  const full = tried(trial, second.nowUs, 4, 4);
  assert.equal(full.carried, 0);
  assert.ok(!trial.isDue(full.nowUs + 1e6) && trial.isDue(full.nowUs + 5e6));
  const again = tried(trial, full.nowUs + 5e6, 1, 4);
  assert.equal(again.gain, first.gain);
});

test('a trial puts twice the unrest into the queue of a full link, whatever it sends, and no more', () => {
  const trial = new Trial();
  const a = tried(trial, 0, 2, 2);
  assert.ok(Math.abs(a.queueUs - 2 * UNREST_US) < 500, `${a.queueUs}`);
  const b = tried(trial, 10e6, 1, 9);
  const c = tried(trial, b.nowUs, 2, 2);
  assert.ok(Math.abs(c.queueUs - 2 * UNREST_US) < 500 && c.gain > a.gain, `${c.queueUs}`);
});

test('unrest at the end of it makes no link slower that carries more, nor one faster that does not', () => {
  assert.ok(tried(new Trial(), 0, 1, 2, UNREST_US / 2).carried > 1.1);
  assert.equal(tried(new Trial(), 0, 1, 1, -UNREST_US / 2).carried, 0);
});

test('what was lost has not been carried; what was not sent proves nothing, and is tried again at once', () => {
  const lossy = new Trial();
  assert.equal(tried(lossy, 0, 1, 2, 0, -1, true).carried, 0);
  const starved = new Trial();
  const { carried, nowUs } = tried(starved, 0, 1, 2, 0, 50_000);
  assert.equal(carried, 0);
  assert.ok(starved.isDue(nowUs));
});

/** The loss of a path: whose it is, and when the path is better left alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { Loss } from '../../src/bond/loss.ts';

/** A round of `count` datagrams, of which a share is lost. */
function round(loss: Loss, count: number, share: number, isBusy: boolean, random: () => number): boolean {
  for (let i = 0; i < count; i++) {
    if (random() < share) loss.noteLost();
    else loss.noteAcked();
  }
  return loss.endRound(isBusy, false);
}

test('loss that ends when less is sent was ours', () => {
  const random = seeded(1);
  const loss = new Loss();
  round(loss, 100, 0.3, true, random);
  assert.ok(loss.isOverLimit);
  loss.noteCut();
  assert.ok(!loss.isOverLimit, 'one cut at a time');
  for (let i = 0; i < 6; i++) assert.ok(!round(loss, 100, 0, true, random), 'the cut holds');
  assert.equal(loss.own, 0);
  assert.ok(!loss.isPoison);
});

test('loss that stays when less is sent is the link’s own, and the cut is taken back', () => {
  for (const [share, isPoison] of [
    [0.12, false],
    [0.3, true],
  ] as const) {
    const random = seeded(2);
    const loss = new Loss();
    let takenBack = 0;
    for (let i = 0; i < 40; i++) {
      if (round(loss, 200, share, true, random)) takenBack++;
      if (loss.isOverLimit) loss.noteCut();
    }
    assert.equal(takenBack, 1);
    assert.ok(Math.abs(loss.own - share) < 0.05, `${loss.own}`);
    assert.equal(loss.isPoison, isPoison);
  }
});

test('loss while a queue stands is nobody’s but the queue’s', () => {
  const random = seeded(5);
  const loss = new Loss();
  for (let i = 0; i < 40; i++) {
    for (let n = 0; n < 50; n++) {
      if (random() < 0.4) loss.noteLost();
      else loss.noteAcked();
    }
    assert.ok(!loss.endRound(i % 2 === 0, true));
    if (loss.isOverLimit) loss.noteCut();
  }
  assert.ok(!loss.isPoison && loss.own === 0);
});

test('what overflowed while a path was searched is forgotten with the search, what it loses now and then is not', () => {
  for (const [share, isForgotten] of [
    [0.4, true],
    [0.03, false],
  ] as const) {
    const random = seeded(3);
    const loss = new Loss();
    for (let i = 0; i < 4; i++) round(loss, 200, share, true, random);
    const { mean } = loss;
    assert.ok(mean > share / 2);
    loss.forgetOverflow();
    assert.equal(loss.mean, isForgotten ? 0 : mean);
  }
});

test('a trickle shows poison too; a single bad round proves nothing', () => {
  const random = seeded(3);
  const loss = new Loss();
  round(loss, 300, 1, false, random);
  assert.ok(!loss.isPoison);
  for (let i = 0; i < 20; i++) round(loss, 30, 0, false, random);
  assert.ok(loss.own < 0.01);
  // Four datagrams a round: they are counted together.
  for (let i = 0; i < 60; i++) round(loss, 4, 0.35, false, random);
  assert.ok(loss.isPoison, `${loss.own}`);
});

test('ejected, it is let in again when hardly a probe is lost, and each time later', () => {
  const random = seeded(4);
  const loss = new Loss();
  let nowUs = 0;
  const probesNeeded = (share: number, most: number): number => {
    for (let n = 1; n <= most; n++) {
      nowUs += 25_000;
      if (loss.noteProbe(random() < share, nowUs)) return n;
    }
    return most + 1;
  };
  loss.own = 0.3;
  loss.eject(nowUs);
  assert.ok(probesNeeded(0.2, 2000) > 2000, 'not while a fifth is lost');
  const first = probesNeeded(0, 500);
  assert.ok(first < 120, `${first} clean probes`);
  assert.ok(!loss.isEjected && loss.own === 0);
  const needed: number[] = [];
  for (let i = 0; i < 4; i++) {
    loss.own = 0.3;
    loss.eject(nowUs);
    needed.push(probesNeeded(0, 2000));
  }
  assert.ok(needed[3] >= 2 * needed[0], `${needed}`);
  nowUs += 61_000_000;
  loss.own = 0.3;
  loss.eject(nowUs);
  assert.ok(probesNeeded(0, 2000) <= 120, 'a minute in use, and it is forgotten');
});

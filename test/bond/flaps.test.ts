/** Who comes and goes must prove itself, longer each time; who stays is forgiven. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Flaps } from '../../src/bond/flaps.ts';

const SECOND = 1e6;

/** A path that lives for so long and is then silent for half a second, once more. Returns how many answers it owes. */
function live(flaps: Flaps, life: { nowUs: number }, lifeUs: number): number {
  const silentUs = life.nowUs + lifeUs;
  life.nowUs = silentUs + SECOND / 2;
  flaps.noteSilent();
  assert.ok(!flaps.isOnProof, 'what was proved stays proved');
  flaps.noteAlive(silentUs, life.nowUs);
  let owed = 0;
  for (; flaps.isOnProof; owed++) flaps.noteAnswer();
  return owed;
}

test('one short life is forgiven; then 8, 16, … 256 answers are owed; long lives make good again', () => {
  const flaps = new Flaps();
  const life = { nowUs: 0 };
  flaps.noteAlive(Number.NaN, 0);
  const owed = Array.from({ length: 9 }, () => live(flaps, life, SECOND / 5));
  assert.deepEqual(owed, [0, 8, 16, 32, 64, 128, 256, 256, 256]);
  assert.deepEqual(
    Array.from({ length: 3 }, () => live(flaps, life, SECOND)),
    [16, 0, 0],
  );
});

test('a proof begins anew when the path falls silent during it', () => {
  const flaps = new Flaps();
  const life = { nowUs: 0 };
  flaps.noteAlive(Number.NaN, 0);
  live(flaps, life, 1000);
  flaps.noteAlive(life.nowUs + 1000, life.nowUs + 2000);
  for (let i = 0; i < 7; i++) flaps.noteAnswer();
  assert.ok(flaps.isOnProof);
  flaps.noteSilent();
  for (let i = 0; i < 7; i++) flaps.noteAnswer();
  assert.ok(flaps.isOnProof);
  flaps.noteAnswer();
  assert.ok(!flaps.isOnProof);
});

test('whatever a path has done, at most 256 answers are owed, and three long lives clear it', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 2 * SECOND }), { maxLength: 40 }), (lives) => {
      const flaps = new Flaps();
      const life = { nowUs: 0 };
      flaps.noteAlive(Number.NaN, 0);
      for (const us of lives) assert.ok(live(flaps, life, us) <= 256);
      const after = Array.from({ length: 3 }, () => live(flaps, life, SECOND));
      assert.equal(after[2], 0);
    }),
  );
});

/** One path: every slot it was given ends in one place, whatever is acknowledged and lost; what it acknowledges is what has come. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heapMemory } from '../../src/base/memory.ts';
import { seeded } from '../../src/base/random.ts';
import { ELICITING, Path, type PathState } from '../../src/bond/path.ts';
import { NONE, PacketPool, SLOT_BYTES } from '../../src/bond/pool.ts';
import { RING } from '../../src/bond/sent.ts';

const SLOTS = 4096;

/** A path whose owner frees what is lost, and remembers it. */
function makePath() {
  const pool = new PacketPool(heapMemory(SLOTS * SLOT_BYTES), 0, SLOTS);
  const lost: number[] = [];
  const states: PathState[] = [];
  const path = new Path(
    0,
    pool,
    {
      handleLostSlot: (slot, _path, pn) => {
        lost.push(pn);
        pool.give(slot);
      },
      handlePathState: (_path, state) => states.push(state),
    },
    0,
  );
  const ranges = new Float64Array(64);
  const ack = (list: [number, number][], nowUs: number, isOld = false): boolean => {
    list.forEach(([from, to], i) => {
      ranges[2 * i] = from;
      ranges[2 * i + 1] = to;
    });
    return path.handleAck(ranges, list.length, 0, nowUs - 5_000, isOld, nowUs);
  };
  const send = (bytes: number, nowUs: number, hasSlot = true, kind = ELICITING): number => {
    const slot = hasSlot ? pool.take() : NONE;
    assert.ok(!hasSlot || slot !== NONE);
    path.noteSent(bytes, slot, kind, nowUs);
    return path.nextPacketNumber - 1;
  };
  return { pool, path, lost, states, ack, send };
}

/** The numbers of a set as ACK ranges, newest first, at most 32. */
function rangesOf(numbers: Set<number>, floor: number): [number, number][] {
  const out: [number, number][] = [];
  for (const n of [...numbers].filter((x) => x >= floor).sort((a, b) => b - a)) {
    const last = out[out.length - 1];
    if (last !== undefined && last[0] === n + 1) last[0] = n;
    else if (out.length === 32) break;
    else out.push([n, n]);
  }
  return out;
}

test('every slot is freed or handed back once, and what is in flight adds up, over three turns of the ring', () => {
  for (let seed = 1; seed <= 12; seed++) {
    const random = seeded(seed);
    const { pool, path, lost, ack, send } = makePath();
    path.open(1500, 0);
    const arrived = new Set<number>();
    const sizes = new Map<number, number>();
    let nowUs = 0;
    const lossRate = [0, 0.02, 0.3][seed % 3];
    while (path.nextPacketNumber < 3 * RING) {
      nowUs += 1_000;
      const burst = Math.floor(random() * 60);
      for (let i = 0; i < burst && pool.free > 0 && path.nextPacketNumber < 3 * RING; i++) {
        const what = random();
        const size = 60 + Math.floor(random() * 1300);
        const pn = send(size, nowUs, what < 0.8, what < 0.9 ? ELICITING : 0);
        if (what < 0.9) sizes.set(pn, size);
        if (random() >= lossRate) arrived.add(pn);
      }
      if (random() < 0.7) ack(rangesOf(arrived, Math.max(0, path.nextPacketNumber - 500)), nowUs);
      if (path.pollTimeout() <= nowUs) path.handleTimeout(nowUs);
      assert.ok(path.inFlightBytes >= 0);
      assert.ok(pool.free >= 0 && pool.free <= SLOTS);
    }
    for (let i = 0; i < 2000; i++) {
      nowUs += 5_000;
      if (path.pollTimeout() <= nowUs) path.handleTimeout(nowUs);
    }
    assert.equal(pool.free, SLOTS, `seed ${seed}: every slot is free`);
    assert.equal(path.inFlightBytes, 0);
    assert.equal(new Set(lost).size, lost.length, 'nothing is lost twice');
    for (const pn of lost) assert.ok(sizes.has(pn));
  }
});

test('three later ones make a loss, fewer only with time', () => {
  const { path, lost, ack, send } = makePath();
  path.open(1500, 0);
  for (let i = 0; i < 5; i++) send(1000, i * 100);
  ack([[1, 2]], 20_000);
  assert.equal(lost.length, 0);
  ack([[1, 3]], 20_100);
  assert.deepEqual(lost, [0]);
  send(1000, 30_000);
  send(1000, 30_100);
  ack([[6, 6]], 50_100);
  assert.ok(path.pollTimeout() < 60_000);
  path.handleTimeout(90_000);
  assert.ok(lost.includes(5));
});

test('an acknowledgement of what was never sent is refused and changes nothing', () => {
  const { path, ack, send } = makePath();
  path.open(1500, 0);
  send(1000, 0);
  assert.equal(ack([[0, 1]], 10_000), false);
  assert.equal(path.inFlightBytes, 1000);
  assert.equal(path.state, 'waiting');
});

test('round-trip times follow RFC 9002', () => {
  const { path, ack, send } = makePath();
  path.open(1500, 0);
  ack([[send(100, 0), 0]], 20_000);
  assert.deepEqual([path.srttUs, path.rttvarUs, path.minRttUs], [20_000, 10_000, 20_000]);
  const pn = send(100, 100_000);
  ack([[pn, pn]], 140_000);
  assert.deepEqual([path.srttUs, path.rttvarUs, path.minRttUs], [22_500, 12_500, 20_000]);
});

test('silence: suspect after a time-out with data in flight, then down; an answer brings it up', () => {
  const { path, lost, states, ack, send, pool } = makePath();
  path.open(1500, 0);
  ack([[send(100, 0, false), 0]], 20_000);
  for (let i = 0; i < 10; i++) send(1400, 30_000 + i);
  let nowUs = 30_000;
  const until = (state: PathState): number => {
    const sinceUs = nowUs;
    for (; path.state !== state; nowUs += 1_000) {
      assert.ok(nowUs < sinceUs + 2e6, `${state} within two seconds`);
      if (path.pollTimeout() <= nowUs) path.handleTimeout(nowUs);
      if (path.pingDue) {
        path.pingDue = false;
        send(50, nowUs, false);
      }
    }
    return nowUs - sinceUs;
  };
  assert.ok(until('suspect') < 150_000);
  assert.equal(lost.length, 10, 'all that was in flight is handed back at once');
  assert.equal(pool.free, SLOTS);
  assert.ok(until('down') < 700_000);
  const last = path.nextPacketNumber - 1;
  ack([[last, last]], nowUs);
  assert.deepEqual(states, ['waiting', 'up', 'suspect', 'down', 'up']);
});

test('a lost tail of two is sent again without a suspicion', () => {
  const { path, lost, ack, send } = makePath();
  path.open(1500, 0);
  ack([[send(100, 0, false), 0]], 20_000);
  send(1400, 30_000);
  send(1400, 30_100);
  path.handleTimeout(30_100 + path.ptoUs());
  assert.equal(lost.length, 2);
  assert.equal(path.state, 'up');
  assert.ok(path.pingDue);
});

test('what a path acknowledges has come, and all that came lately is acknowledged', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat({ max: 12 }), { minLength: 1, maxLength: 400 }),
      fc.nat({ max: 40 }),
      (steps, every) => {
        const { path } = makePath();
        path.open(1500, 0);
        const arrived = new Set<number>();
        const out = new Float64Array(64);
        const acked = new Set<number>();
        let top = 0;
        steps.forEach((step, i) => {
          // A step of 0 repeats an old number, if that is still missing.
          const pn = step === 0 ? Math.max(0, top - (i % 50)) : top + step - 1;
          top = Math.max(top, pn + 1);
          if (!path.arrivals.replay.accept(pn)) return;
          arrived.add(pn);
          path.noteArrival(pn, 100, true, i * 1000);
          if (every !== 0 && i % every !== 0) return;
          const n = path.arrivals.read(out);
          path.arrivals.noteSent();
          assert.ok(n >= 1 && n <= 32);
          assert.equal(out[1], top - 1, 'the largest is the largest');
          for (let r = 0; r < n; r++) {
            assert.ok(out[2 * r] <= out[2 * r + 1]);
            if (r > 0) assert.ok(out[2 * r + 1] < out[2 * r - 2] - 1, 'with a gap between');
            for (let x = out[2 * r]; x <= out[2 * r + 1]; x++) {
              assert.ok(arrived.has(x), `${x} has not come`);
              acked.add(x);
            }
          }
          if (n < 32) for (const x of arrived) assert.ok(x < top - 64 || acked.has(x), `${x} came and is not said`);
        });
      },
    ),
    { numRuns: 500 },
  );
});

test('a busy path that falls silent while others go on is suspect a round trip earlier than one whose peer may be asleep', () => {
  const rttUs = 100_000;
  const silentAfter = (others: boolean): number => {
    const { path, states, ack, send } = makePath();
    path.open(1500, 0);
    let nowUs = 0;
    const sentUs: number[] = [];
    let acked = 0;
    // A datagram a millisecond, each acknowledged a round trip later, for a second.
    for (; nowUs < 1e6; nowUs += 1_000) {
      send(1200, nowUs);
      sentUs.push(nowUs);
      while (acked < sentUs.length && sentUs[acked] + rttUs <= nowUs) acked++;
      if (acked > 0) ack([[Math.max(0, acked - 64), acked - 1]], nowUs);
    }
    const lastUs = nowUs;
    for (; !states.includes('suspect'); nowUs += 1_000) {
      assert.ok(nowUs < 3e6);
      send(1200, nowUs);
      if (others) path.othersProgressUs = nowUs;
      if (path.pollTimeout() <= nowUs) path.handleTimeout(nowUs);
    }
    return nowUs - lastUs;
  };
  const patientUs = silentAfter(false);
  const earlyUs = silentAfter(true);
  assert.ok(earlyUs < 45_000, `${earlyUs}`);
  assert.ok(patientUs > rttUs, `${patientUs}`);
});

test('a burst after a pause is not silence before a round trip is over', () => {
  const { path, states, ack, send } = makePath();
  path.open(1500, 0);
  send(100, 0);
  ack([[0, 0]], 100_000);
  for (let i = 0; i < 20; i++) send(1200, 2e6);
  for (let nowUs = 2e6; nowUs < 2.1e6; nowUs += 1_000) {
    path.othersProgressUs = nowUs;
    path.handleTimeout(nowUs);
  }
  assert.deepEqual(states, ['waiting', 'up']);
});

test('a link that lets packets overtake each other is believed to, once it was seen', () => {
  const { path, ack, send } = makePath();
  path.open(1500, 0);
  let nowUs = 0;
  const tick = (): number => {
    nowUs += 100;
    return nowUs;
  };
  // Every tenth arrives eight later than it was sent.
  let lostEarly = 0;
  for (let turn = 0; turn < 20; turn++) {
    const first = path.nextPacketNumber;
    for (let i = 0; i < 20; i++) send(1200, tick());
    nowUs += 20_000;
    ack(
      [
        [first + 11, first + 18],
        [first, first + 9],
      ],
      nowUs,
    );
    ack([[first, first + 19]], nowUs + 500);
    if (turn === 2) lostEarly = path.lostDatagrams;
  }
  assert.ok(lostEarly > 0, 'the first ones are taken for lost');
  assert.equal(path.lostDatagrams, lostEarly, 'no later one is');
  // And what is lost is still found.
  const gone = send(1200, tick());
  for (let i = 0; i < 40; i++) send(1200, tick());
  ack([[gone + 1, gone + 40]], nowUs + 20_000);
  assert.equal(path.lostDatagrams, lostEarly + 1);
});

test('a path that was busy and brings nothing more says once again all that has come, for another path to carry', () => {
  const { path } = makePath();
  path.open(1500, 0);
  const out = new Float64Array(64);
  let nowUs = 0;
  for (let pn = 0; pn < 500; pn++, nowUs += 500) {
    path.arrivals.replay.accept(pn);
    path.noteArrival(pn, 1200, true, nowUs);
    path.handleTimeout(nowUs);
    assert.ok(!path.arrivals.isSilent);
    if (path.arrivals.isDue) path.arrivals.noteSent();
  }
  const lastUs = nowUs;
  while (!path.arrivals.isSilent) {
    nowUs = path.pollTimeout();
    assert.ok(nowUs < lastUs + 20_000);
    path.handleTimeout(nowUs);
    if (!path.arrivals.isSilent) path.arrivals.noteSent();
  }
  assert.equal(path.arrivals.read(out), 1);
  assert.deepEqual([out[0], out[1]], [0, 499]);
  path.arrivals.noteSent();
  path.handleTimeout(nowUs + 100_000);
  assert.ok(!path.arrivals.isDue, 'only once');
});

test('what was said again need not be sent again, and is no sign of life', () => {
  const { path, lost, ack, send, pool } = makePath();
  path.open(1500, 0);
  ack([[send(100, 0, false), 0]], 20_000);
  for (let i = 0; i < 10; i++) send(1400, 30_000 + i);
  ack([[0, 4]], 40_000, true);
  assert.equal(SLOTS - pool.free, 6);
  path.handleTimeout(30_000 + path.ptoUs());
  assert.equal(path.state, 'suspect');
  assert.equal(lost.length, 6);
  ack([[0, 7]], 100_000, true);
  assert.equal(path.state, 'suspect');
  assert.equal(path.inFlightBytes, 0);
});

test('the ACK of a far path is heard although it has been said before over a nearer one', () => {
  const { path, lost, states, ack, send, pool } = makePath();
  path.open(1500, 0);
  ack([[send(100, 0, false), 0]], 90_000);
  for (let nowUs = 100_000; nowUs < 1_000_000; nowUs += 100_000) {
    const first = path.nextPacketNumber;
    for (let i = 0; i < 20; i++) send(1400, nowUs);
    ack([[0, first + 19]], nowUs + 60_000, true);
    for (let t = nowUs + 60_000; t < nowUs + 90_000; t += 1_000) path.handleTimeout(t);
    assert.ok(path.inFlightBytes > 0, 'they are under way until the path says so itself');
    ack([[0, first + 19]], nowUs + 90_000);
    assert.deepEqual([path.inFlightBytes, pool.free], [0, SLOTS]);
  }
  assert.deepEqual([states, lost], [['waiting', 'up'], []]);
  assert.ok(Math.abs(path.srttUs - 90_000) < 1_000, `${path.srttUs}`);
});

test('over a path that brings data and where nothing of ours goes it is asked now and then', () => {
  const { path, ack, send } = makePath();
  path.open(1500, 0);
  path.pingDue = false;
  ack([[send(100, 0, false), 0]], 20_000);
  let asked = 0;
  for (let nowUs = 20_000; nowUs < 1_020_000; nowUs += 1_000) {
    path.noteArrival(nowUs / 1_000, 1200, true, nowUs);
    if (!path.pingDue) continue;
    path.pingDue = false;
    asked++;
    const pn = send(50, nowUs, false);
    ack([[pn, pn]], nowUs + 500);
  }
  assert.ok(asked >= 8 && asked <= 10, `${asked} times in a second`);
});

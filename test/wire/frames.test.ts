/** Frames: written and read back, limits, and a reader that agrees with its slow twin on any bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import * as f from '../../src/wire/frames.ts';
import { Preferences } from '../../src/wire/preferences.ts';
import { type SlowFrame, slowFrames } from '../twin/wire-frames.ts';

interface Ack {
  type: 2;
  path: number;
  delayUs: number;
  arrivalUs: number;
  /** Pairs [smallest, largest], the newest first. */
  ranges: number[];
}
type Frame = Exclude<SlowFrame, { type: 2 }> | Ack | { type: 0; count: number };

const u16 = fc.nat(0xffff);
const path = fc.nat(7);
const ackArbitrary: fc.Arbitrary<Ack> = fc
  .record(
    {
      path,
      delayUnits: u16,
      arrivalUs: fc.nat(2 ** 32 - 1),
      bottom: fc.oneof(fc.nat(3), fc.nat(2 ** 40)),
      steps: fc.array(fc.tuple(fc.oneof(fc.nat(4), u16), fc.oneof(fc.nat(4), u16)), { minLength: 1, maxLength: 32 }),
    },
    { noNullPrototype: true },
  )
  .map(({ path, delayUnits, arrivalUs, bottom, steps }) => {
    const ranges: number[] = [];
    let at = bottom;
    for (const [length, gap] of steps) {
      ranges.unshift(at, at + length);
      at += length + gap + 2;
    }
    return { type: 2, path, delayUs: delayUnits * 16, arrivalUs, ranges };
  });
const frameArbitrary: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ type: fc.constant(0 as const), count: fc.integer({ min: 1, max: 5 }) }, { noNullPrototype: true }),
  fc.record({ type: fc.constantFrom(1 as const, 4 as const) }, { noNullPrototype: true }),
  ackArbitrary,
  fc.record({ type: fc.constant(3 as const), path, state: fc.nat(2) }, { noNullPrototype: true }),
  fc.record(
    { type: fc.constant(5 as const), bucket: fc.nat(1023), sequence: fc.nat(2 ** 20 - 1), count: u16 },
    { noNullPrototype: true },
  ),
  fc.record({ type: fc.constant(6 as const), mtu: u16 }, { noNullPrototype: true }),
  fc.record(
    {
      type: fc.constant(8 as const),
      generation: fc.nat(255),
      links: fc
        .uniqueArray(fc.tuple(path, fc.nat(255), fc.nat(255), fc.integer({ min: 2, max: 255 }), fc.nat(2 ** 32 - 1)), {
          selector: ([id]) => id,
        })
        .map((links) => links.sort((a, b) => a[0] - b[0])),
      classes: fc
        .array(fc.tuple(fc.nat(2), fc.nat(255)), { minLength: 1, maxLength: 8 })
        .map((all) => all.map(([mode, paths], i) => [i, mode, paths])),
    },
    { noNullPrototype: true },
  ),
  fc.record({ type: fc.constant(9 as const), generation: fc.nat(255) }, { noNullPrototype: true }),
);

const said = new Preferences();

function preferencesOf(links: number[][], classes: number[][]): Preferences {
  const made = new Preferences();
  for (const [id, tier, cost, weight, limit] of links) {
    made.tier[id] = tier;
    made.cost[id] = cost;
    made.weight[id] = weight;
    made.downKbps[id] = limit;
  }
  for (const [id, mode, paths] of classes) {
    made.mode[id] = mode;
    made.paths[id] = paths;
  }
  made.classes = Math.max(1, ...classes.map(([id]) => id + 1));
  return made;
}

/** What was said of paths and classes, as the frame lists it. */
function listed(p: Preferences): { links: number[][]; classes: number[][] } {
  const ids = [...p.tier.keys()];
  return {
    links: ids.filter((i) => p.isSaidOfPath(i)).map((i) => [i, p.tier[i], p.cost[i], p.weight[i], p.downKbps[i]]),
    classes: ids.slice(0, p.classes).map((i) => [i, p.mode[i], p.paths[i]]),
  };
}

function write(view: DataView, off: number, limit: number, x: Frame): number {
  switch (x.type) {
    case 0:
      return f.writePadding(view, off, limit, x.count);
    case 1:
      return f.writePing(view, off, limit);
    case 2:
      return f.writeAck(
        view,
        off,
        limit,
        x.path,
        x.delayUs,
        x.arrivalUs,
        Float64Array.from(x.ranges),
        x.ranges.length / 2,
      );
    case 3:
      return f.writePath(view, off, limit, x.path, x.state);
    case 4:
      return f.writeClose(view, off, limit);
    case 5:
      return f.writeSkip(view, off, limit, x.bucket, x.sequence, x.count);
    case 6:
      return f.writeMtu(view, off, limit, x.mtu);
    case 8:
      return f.writeConfig(view, off, limit, x.generation, preferencesOf(x.links, x.classes));
    case 9:
      return f.writeConfigSeen(view, off, limit, x.generation);
  }
}

const scratch = new Float64Array(2 * f.MAX_ACK_RANGES);

/** The frame the reader stands on; `largest` is known to the test. */
function read(r: f.FrameReader, type: number, largest: number): Frame {
  switch (type) {
    case 1:
    case 4:
      return { type };
    case 2: {
      const n = r.readRanges(largest, scratch);
      assert.equal(n, r.rangeCount);
      return {
        type,
        path: r.path,
        delayUs: r.delayUs,
        arrivalUs: r.arrivalUs,
        ranges: [...scratch.subarray(0, 2 * n)],
      };
    }
    case 3:
      return { type, path: r.path, state: r.state };
    case 5:
      return { type, bucket: r.bucket, sequence: r.sequence, count: r.count };
    case 6:
      return { type, mtu: r.mtu };
    case 8:
      r.readConfig(said);
      return { type, generation: r.generation, ...listed(said) };
    case 9:
      return { type, generation: r.generation };
  }
  throw new Error(`no such frame: ${type}`);
}

test('frames written are frames read, at any offset', () => {
  const reader = new f.FrameReader();
  fc.assert(
    fc.property(fc.array(frameArbitrary, { maxLength: 12 }), fc.nat(9), (frames, off) => {
      const view = new DataView(new ArrayBuffer(4096));
      let end = off;
      for (const x of frames) {
        const next = write(view, end, view.byteLength, x);
        assert.ok(next > end);
        end = next;
      }
      // What follows the frames is not theirs: a byte of a valid frame must not be read.
      view.setUint8(end, f.FRAME_PING);
      reader.begin(view, off, end - off);
      for (const x of frames.filter((x) => x.type !== 0)) {
        const type = reader.next();
        if (x.type === 2) assert.equal(reader.largestLow, x.ranges[1] % 2 ** 32);
        assert.deepEqual(read(reader, type, x.type === 2 ? x.ranges[1] : 0), x);
      }
      assert.equal(reader.next(), f.FRAMES_END);
      assert.equal(reader.next(), f.FRAMES_END);
    }),
    { numRuns: 500 },
  );
});

test('a frame that does not fit is not written; an ACK takes as many ranges as fit', () => {
  fc.assert(
    fc.property(frameArbitrary, fc.nat(150), (x, roomBytes) => {
      const bytes = new Uint8Array(300).fill(0xa5);
      const end = write(new DataView(bytes.buffer), 4, 4 + roomBytes, x);
      assert.ok(end >= 4 && end <= 4 + roomBytes);
      assert.ok(bytes.every((b, i) => (i >= 4 && i < end) || b === 0xa5));
      const { frames, end: how } = slowFrames([...bytes.subarray(4, end)]);
      assert.equal(how, -1);
      if (x.type === 0) assert.equal(end - 4, Math.min(x.count, roomBytes));
      else assert.equal(frames.length, end > 4 ? 1 : 0);
      if (x.type === 2 && end > 4) {
        const fitting = 1 + Math.floor((roomBytes - f.ACK_BASE_BYTES) / f.ACK_RANGE_BYTES);
        assert.equal((end - 4 - f.ACK_BASE_BYTES) / f.ACK_RANGE_BYTES + 1, Math.min(x.ranges.length / 2, fitting));
      }
    }),
    { numRuns: 500 },
  );
});

test('an ACK acknowledges nothing that was not received, also past what its fields can say', () => {
  const view = new DataView(new ArrayBuffer(256));
  const reader = new f.FrameReader();
  const ackOf = (ranges: number[]) => {
    const end = f.writeAck(view, 0, 256, 1, 0, 0, Float64Array.from(ranges), ranges.length / 2);
    reader.begin(view, 0, end);
    assert.equal(reader.next(), f.FRAME_ACK);
    return [...scratch.subarray(0, 2 * reader.readRanges(ranges[1], scratch))];
  };
  assert.deepEqual(ackOf([10, 65545]), [10, 65545]);
  assert.deepEqual(ackOf([9, 65545, 1, 2]), [10, 65545], 'first range too long: cut, and the rest left out');
  assert.deepEqual(ackOf([70000, 70001, 4463, 4463]), [70000, 70001, 4463, 4463], 'gap of 65,536');
  assert.deepEqual(ackOf([70000, 70001, 4462, 4462]), [70000, 70001], 'gap too long');
  assert.deepEqual(ackOf([90000, 90001, 20000, 89990]), [90000, 90001], 'further range too long');
  const many = Array.from({ length: 40 }, (_, i) => [1000 - 4 * i, 1001 - 4 * i]).flat();
  assert.deepEqual(ackOf(many), many.slice(0, 64));
});

test('delay is in steps of 16 µs and saturates', () => {
  const view = new DataView(new ArrayBuffer(64));
  const reader = new f.FrameReader();
  for (const [given, read] of [
    [0, 0],
    [15.9, 0],
    [16.5, 16],
    [1_048_560, 1_048_560],
    [9e9, 1_048_560],
    [-5, 0],
  ]) {
    reader.begin(view, 0, f.writeAck(view, 0, 64, 0, given, 12.7, Float64Array.of(0, 0), 1));
    assert.equal(reader.next(), f.FRAME_ACK);
    assert.equal(reader.delayUs, read);
    assert.equal(reader.arrivalUs, 12);
  }
});

test('ranges below zero are refused', () => {
  const view = new DataView(new ArrayBuffer(64));
  const reader = new f.FrameReader();
  reader.begin(view, 0, f.writeAck(view, 0, 64, 0, 0, 0, Float64Array.of(8, 9, 2, 3), 2));
  assert.equal(reader.next(), f.FRAME_ACK);
  assert.equal(reader.readRanges(7, scratch), 2);
  assert.equal(reader.readRanges(6, scratch), -1);
});

/** Bytes that look like frames now and then: types and lengths that make sense, between noise. */
const nearlyFrames = fc
  .array(
    fc.oneof(
      fc.nat(10).map((t) => [t]),
      fc.uint8Array({ maxLength: 20 }).map((b) => [...b]),
      fc
        .tuple(fc.nat(8), fc.nat(255), fc.uint8Array({ minLength: 9, maxLength: 9 }), fc.nat(34))
        .map(([path, d, b, n]) => [2, path, d, ...b, n, 0, 1, ...new Array<number>(4 * Math.min(n, 33)).fill(1)]),
      fc
        .tuple(fc.nat(3), fc.uint8Array({ minLength: 32, maxLength: 32 }), fc.nat(3))
        .map(([n, b, m]) => [
          ...[8, 7, n, ...[...b.subarray(0, 8 * n)].map((x, i) => (i % 8 === 0 ? x & 7 : x))],
          ...[m, ...[...b.subarray(0, 3 * m)].map((x, i) => (i % 3 === 2 ? x : x & 1))],
        ]),
    ),
    { maxLength: 12 },
  )
  .map((parts) => parts.flat());

test('on any bytes the reader says what its slow twin says, and reads nothing outside', () => {
  const reader = new f.FrameReader();
  fc.assert(
    fc.property(nearlyFrames, fc.nat(3), (bytes, off) => {
      // Canaries of PING around: reading one would show as a frame too many.
      const held = new Uint8Array(off + bytes.length + 200).fill(1);
      held.set(bytes, off);
      const expected = slowFrames(bytes);
      reader.begin(new DataView(held.buffer), off, bytes.length);
      for (const x of expected.frames) {
        const type = reader.next();
        assert.equal(type, x.type);
        if (x.type === 8) {
          reader.readConfig(said);
          assert.equal(reader.generation, x.generation);
          assert.ok(said.equals(preferencesOf(x.links, x.classes)));
        } else if (x.type !== 2) assert.deepEqual(read(reader, type, 0), x);
        else {
          const { path, delayUs, largestLow, arrivalUs } = reader;
          const n = reader.readRanges(2 ** 50, scratch);
          const steps = [scratch[1] - scratch[0] + 1];
          for (let i = 1; i < n; i++) {
            steps.push(scratch[2 * i - 2] - scratch[2 * i + 1] - 1, scratch[2 * i + 1] - scratch[2 * i] + 1);
          }
          assert.deepEqual({ type, path, delayUs, largestLow, arrivalUs, steps }, x);
          assert.equal(scratch[1], 2 ** 50);
        }
      }
      assert.equal(reader.next(), expected.end);
      assert.equal(reader.next(), expected.end);
      // A view that ends with the bytes: anything outside would throw.
      const tight = new DataView(Uint8Array.from(bytes).buffer);
      reader.begin(tight, 0, bytes.length + off);
      for (let i = 0; reader.next() >= 0; i++) assert.ok(i < bytes.length);
    }),
    { numRuns: 3000 },
  );
});

test('PADDING, ACK and CLOSE alone ask for no acknowledgement', () => {
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6].map(f.asksForAck), [false, true, false, true, false, true, true]);
});

test('differences of wrapped times', () => {
  assert.equal(f.wrapDiffUs(5, 2 ** 32 - 5), 10);
  assert.equal(f.wrapDiffUs(2 ** 32 - 5, 5), -10);
});

/** The rate of one path against a line of its own: it finds what the line carries, and keeps it when there is nothing to send. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seeded } from '../../src/base/random.ts';
import { RateControl } from '../../src/bond/rate.ts';

const DATAGRAM = 1500;

interface LineOptions {
  mbit: number;
  oneWayUs: number;
  /** The delay of each packet is longer by up to this, in order. */
  jitterUs?: number;
  queueUs?: number;
}

/** A FIFO line with a drop-tail queue, a sender that paces as the controller says, an acknowledgement for each 5 ms. */
class Line {
  readonly rate = new RateControl();
  rateBytes: number;
  nowUs = 0;
  queueUs = 0;
  delivered = 0;
  dropped = 0;
  private readonly o: LineOptions;
  private readonly random = seeded(7);
  private busyUntilUs = 0;
  private lastArrivalUs = 0;
  private nextSendUs = 0;
  private readonly flight: { sentUs: number; arrivalUs: number; lost: boolean }[] = [];
  private wander = 0;

  constructor(o: LineOptions) {
    this.o = o;
    this.rateBytes = o.mbit / 8;
    this.rate.begin(2 * o.oneWayUs, 0);
  }

  get rttUs(): number {
    return 2 * this.o.oneWayUs + this.queueUs;
  }

  /** The application wants to send `offered` (bytes/µs; Infinity: as fast as may be) for so long. `stallUs`: the receiver sleeps so long each 50 ms. */
  run(us: number, offered = Number.POSITIVE_INFINITY, stallUs = 0): void {
    const end = this.nowUs + us;
    let credit = 0;
    while (this.nowUs < end) {
      const stepUs = 1_000;
      this.nowUs += stepUs;
      credit = Math.min(
        credit + offered * stepUs,
        offered === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : 20 * DATAGRAM,
      );
      if (this.nextSendUs < this.nowUs - 2_000) {
        if (credit < DATAGRAM) this.rate.starvedUs = this.nowUs;
        this.nextSendUs = this.nowUs - 2_000;
      }
      while (this.nextSendUs <= this.nowUs && credit >= DATAGRAM) {
        credit -= DATAGRAM;
        this.send(stallUs);
        this.nextSendUs += DATAGRAM / this.rate.pacing;
      }
      if (this.nextSendUs <= this.nowUs) this.rate.starvedUs = this.nowUs;
      if (this.nowUs % 5_000 === 0) this.acknowledge();
    }
  }

  private send(stallUs: number): void {
    const waitUs = Math.max(0, this.busyUntilUs - this.nowUs);
    const lost = waitUs > (this.o.queueUs ?? 60_000);
    if (!lost) this.busyUntilUs = Math.max(this.nowUs, this.busyUntilUs) + DATAGRAM / this.rateBytes;
    this.queueUs = waitUs;
    this.wander = 0.9 * this.wander + 0.1 * this.random();
    let arrivalUs = this.busyUntilUs + this.o.oneWayUs + (this.o.jitterUs ?? 0) * 2 * this.wander;
    // Asleep: what comes meanwhile is stamped at the end of the sleep.
    const phase = arrivalUs % 50_000;
    if (phase < stallUs) arrivalUs += stallUs - phase;
    arrivalUs = Math.max(arrivalUs, this.lastArrivalUs);
    if (!lost) this.lastArrivalUs = arrivalUs;
    this.flight.push({ sentUs: this.nowUs, arrivalUs, lost });
  }

  private acknowledge(): void {
    let bytes = 0;
    let last: { sentUs: number; arrivalUs: number } | undefined;
    while (this.flight.length > 0 && this.flight[0].arrivalUs + this.o.oneWayUs <= this.nowUs) {
      const packet = this.flight.shift() as { sentUs: number; arrivalUs: number; lost: boolean };
      if (packet.lost) {
        this.rate.loss.noteLost();
        this.dropped++;
        continue;
      }
      this.rate.loss.noteAcked();
      bytes += DATAGRAM;
      this.delivered += DATAGRAM;
      last = packet;
    }
    if (last === undefined) return;
    // Another clock at the receiver: its origin is nobody's business.
    this.rate.handleAck(bytes, last.arrivalUs + 9e9, last.arrivalUs + 9e9 - last.sentUs, this.rttUs, this.nowUs);
  }
}

test('it fills lines of 1 to 500 Mbit/s and 2 to 200 ms, and the queue stays short', () => {
  for (const mbit of [1, 3, 12, 50, 200, 500]) {
    for (const oneWayUs of [1_000, 10_000, 100_000]) {
      const line = new Line({ mbit, oneWayUs });
      line.run(6e6);
      const before = line.delivered;
      let queue = 0;
      for (let i = 0; i < 50; i++) {
        line.run(100_000);
        queue += line.queueUs / 50;
      }
      const share = (8 * (line.delivered - before)) / 5e6 / mbit;
      const name = `${mbit} Mbit/s, ${oneWayUs} µs`;
      assert.ok(share > 0.93, `${name}: ${share}`);
      const target = Math.max(4_000, (3 * DATAGRAM) / line.rateBytes);
      assert.ok(queue < 2.5 * target + 3_000, `${name}: queue ${queue} µs`);
    }
  }
});

test('a trickle, with jitter or without, takes nothing from what is known', () => {
  for (const jitterUs of [0, 5_000, 20_000]) {
    const line = new Line({ mbit: 50, oneWayUs: 15_000, jitterUs });
    line.run(5e6);
    const known = line.rate.capacity;
    assert.ok(known * 8 > 30, `${known * 8}`);
    line.run(30e6, 0.04);
    assert.ok(line.rate.capacity > 0.7 * known, `jitter ${jitterUs}: ${line.rate.capacity * 8} of ${known * 8} Mbit/s`);
  }
});

test('a trickle to a receiver that sleeps now and then takes nothing either', () => {
  const line = new Line({ mbit: 50, oneWayUs: 15_000 });
  line.run(5e6);
  const known = line.rate.capacity;
  for (let i = 0; i < 20; i++) {
    line.run(400_000, 0.25, 45_000);
    line.run(600_000, 0.25);
  }
  assert.ok(line.rate.capacity > 0.7 * known, `${line.rate.capacity * 8} of ${known * 8} Mbit/s`);
});

test('a line that was idle from the start is believed to carry what was guessed, until it shows', () => {
  for (const jitterUs of [10_000, 80_000]) {
    const line = new Line({ mbit: 50, oneWayUs: 15_000, jitterUs });
    let unrestUs = 0;
    for (let i = 0; i < 20; i++) {
      line.run(1e6, 0.02);
      unrestUs += line.rate.unrestUs / 20;
    }
    assert.ok(line.rate.capacity * 8 > 3.9, `jitter ${jitterUs}: ${line.rate.capacity * 8} Mbit/s`);
    assert.ok(!line.rate.settled, 'a trickle ended the search');
    if (jitterUs > 50_000) assert.ok(unrestUs > 150, `mean unrest ${unrestUs}`);
  }
});

test('a first guess that is too much is corrected by short bursts', () => {
  const line = new Line({ mbit: 1.5, oneWayUs: 20_000 });
  for (let i = 0; i < 40; i++) {
    line.run(100_000, Number.POSITIVE_INFINITY);
    line.run(150_000, 0);
  }
  assert.ok(line.rate.capacity * 8 < 1.5 * 1.3, `${line.rate.capacity * 8} Mbit/s`);
});

test('arrivals that were bunched by a sleeping receiver make no faster line', () => {
  const line = new Line({ mbit: 20, oneWayUs: 10_000 });
  line.run(3e6);
  let most = 0;
  for (let i = 0; i < 100; i++) {
    line.run(100_000, Number.POSITIVE_INFINITY, 30_000);
    most = Math.max(most, line.rate.capacity * 8);
  }
  assert.ok(most < 20 * 1.3, `${most} Mbit/s`);
  assert.ok(line.rate.capacity * 8 > 20 * 0.7, `${line.rate.capacity * 8} Mbit/s`);
});

test('a line that falls to a half or a fifth, or doubles, is followed', () => {
  for (const factor of [0.5, 0.2, 2]) {
    const line = new Line({ mbit: 40, oneWayUs: 10_000 });
    line.run(5e6);
    line.rateBytes *= factor;
    line.run(2e6);
    const before = line.delivered;
    line.run(3e6);
    const share = (8 * (line.delivered - before)) / 3e6 / (40 * factor);
    assert.ok(share > 0.85, `${factor}: ${share}`);
    assert.ok(line.rate.capacity * 8 < 1.25 * 40 * factor, `${factor}: ${line.rate.capacity * 8} Mbit/s`);
  }
});

test('a cap is a cap', () => {
  const line = new Line({ mbit: 100, oneWayUs: 10_000 });
  line.rate.cap = 30 / 8;
  line.run(5e6);
  assert.ok(line.rate.pacing * 8 <= 30);
  const before = line.delivered;
  line.run(2e6);
  assert.ok((8 * (line.delivered - before)) / 2e6 > 27);
});

test('a line that halves: its modem’s queue overflows once, not again and again', () => {
  const line = new Line({ mbit: 40, oneWayUs: 15_000 });
  line.run(4e6);
  line.rateBytes /= 2;
  const before = line.dropped;
  line.run(3e5);
  const first = line.dropped - before;
  line.run(1.5e6);
  const then = line.dropped - before - first;
  assert.ok(then <= first / 2 + 5, `${first} datagrams, then ${then}`);
});

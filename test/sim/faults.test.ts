/** A path that loses too much, or keeps coming and going, carries nothing while another does; and carries again when it has shown that it is well. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkSettings } from '../../src/lab/link.ts';
import { UdpStream } from './apps.ts';
import { Pair } from './pair.ts';
import { TcpFlow } from './tcp.ts';

const SECOND = 1e6;
const LINK: LinkSettings = { rateBps: 20e6, delayUs: 15e3 };

/** Two links, full of TCP both ways, and beside it a small stream of datagrams each way. */
class Life {
  readonly pair: Pair;
  readonly streams: UdpStream[];
  readonly flows: TcpFlow[];

  constructor(seed: number) {
    const pair = new Pair({
      links: [
        { down: LINK, up: LINK },
        { down: LINK, up: LINK },
      ],
      seed,
    });
    this.pair = pair;
    pair.runUntil(() => pair.isUp, 2 * SECOND);
    this.streams = [true, false].map((isUp, i) => new UdpStream(pair, isUp, i + 1, i, 200, 10_000));
    this.flows = [true, false].map(
      (isUp, i) => new TcpFlow(pair, { isUp, flow: 10 + i, bucket: 10 + i, segmentBytes: 1300 }),
    );
    pair.run(pair.nowUs + 3 * SECOND);
  }

  /** Whether the router puts data on a path. */
  carries(i: number): boolean {
    return this.pair.router.peer.bond.paths[i]?.isUp === true;
  }

  /** The router's state of a path, for its own direction. */
  state(i: number): string | undefined {
    return this.pair.router.peer.bond.paths[i]?.state;
  }

  setLoss(links: number[], lossRate: number): void {
    for (const i of links) for (const model of [this.pair.up[i], this.pair.down[i]]) model.set({ ...LINK, lossRate });
  }

  run(us: number): void {
    this.pair.run(this.pair.nowUs + us);
  }

  runUntil(condition: () => boolean, limitUs: number): void {
    this.pair.runUntil(condition, limitUs);
  }

  end(): void {
    for (const s of this.streams) s.stop();
    for (const f of this.flows) f.stop();
    this.run(20 * SECOND);
    assert.ok(this.pair.isQuiet, 'every slot is free again');
    for (const s of this.streams) assert.deepEqual([s.damaged, s.repeated], [0, 0]);
  }
}

for (const seed of [1, 2, 3]) {
  test(`30 % loss on one link: ejected, the stream goes on unharmed, readmitted when clean (seed ${seed})`, () => {
    const life = new Life(seed);
    life.setLoss([1], 0.3);
    life.runUntil(() => life.state(1) === 'lossy', 2 * SECOND);
    life.run(SECOND);
    const before = life.pair.up[1].counters.acceptedPackets;
    const lost = life.streams.map((s) => s.sent - s.received);
    life.run(5 * SECOND);
    assert.equal(life.state(1), 'lossy');
    // Probes, one every 50 ms: no data, and acknowledgements of nothing but probes.
    assert.ok(life.pair.up[1].counters.acceptedPackets - before < 5 * 60);
    life.streams.forEach((s, i) => {
      assert.ok(s.sent - s.received - lost[i] < 5, 'nothing is lost any more');
    });
    life.setLoss([1], 0);
    life.runUntil(() => life.state(1) === 'up', 5 * SECOND);
    life.end();
  });
}

test('both links equally lossy: they carry nevertheless', () => {
  const life = new Life(4);
  life.setLoss([0, 1], 0.2);
  let both = 0;
  for (let i = 0; i < 60; i++) {
    life.run(SECOND / 10);
    if ([0, 1].every((path) => life.carries(path))) both++;
  }
  assert.ok(both > 30, `both carried ${both} times of 60`);
  life.setLoss([0, 1], 0);
  life.runUntil(() => [0, 1].every((path) => life.state(path) === 'up'), 16 * SECOND);
  life.end();
});

test('the last path that carries goes: an ejected one is better than none', () => {
  const life = new Life(5);
  life.setLoss([1], 0.3);
  life.runUntil(() => life.state(1) === 'lossy', 2 * SECOND);
  life.pair.cut(0);
  life.runUntil(() => life.carries(1), SECOND);
  life.pair.restore(0);
  life.setLoss([1], 0);
  life.end();
});

for (const [onUs, offUs, isHeldOff] of [
  [0.4 * SECOND, 0.3 * SECOND, true],
  [3 * SECOND, 3 * SECOND, false],
] as const) {
  test(`a link that is there for ${onUs / 1e3} ms and gone for ${offUs / 1e3} ms is ${isHeldOff ? 'held off' : 'used each time'}`, () => {
    const life = new Life(6);
    let carried = 0;
    for (let i = 0; i < 12; i++) {
      life.pair.cut(1);
      life.run(offUs);
      life.pair.restore(1);
      const until = life.pair.nowUs + onUs;
      let isUp = false;
      while (life.pair.nowUs < until) {
        life.run(Math.min(until - life.pair.nowUs, SECOND / 50));
        isUp ||= life.pair.nowUs > until - onUs + 200_000 && life.state(1) === 'up';
      }
      if (isUp) carried++;
    }
    if (isHeldOff) assert.ok(carried <= 4, `carried ${carried} times of 12`);
    else assert.equal(carried, 12);
    // Whatever it was, it is forgiven in the end.
    life.runUntil(() => life.state(1) === 'up', 14 * SECOND);
    life.end();
  });
}

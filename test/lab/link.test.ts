/** The link model keeps its promises: rate, order, delay, loss, queue, trace, cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seeded } from '../../src/base/random.ts';
import { DROPPED, LinkModel, type LinkSettings, parseTrace } from '../../src/lab/link.ts';

const arrivals = fc.array(
  fc.record({ gapUs: fc.integer({ min: 0, max: 20_000 }), sizeBytes: fc.integer({ min: 20, max: 1500 }) }),
  { minLength: 1, maxLength: 300 },
);
const settings = fc.record(
  {
    rateBps: fc.integer({ min: 100_000, max: 100_000_000 }),
    delayUs: fc.integer({ min: 0, max: 100_000 }),
    jitterUs: fc.integer({ min: 0, max: 50_000 }),
    lossRate: fc.constantFrom(0, 0.1),
    queueUs: fc.constantFrom(5_000, 60_000),
  },
  { noNullPrototype: true },
);

interface Passage {
  offeredUs: number;
  sizeBytes: number;
  deliveryUs: number;
}

function send(link: LinkModel, packets: { gapUs: number; sizeBytes: number }[], fromUs = 0): Passage[] {
  let now = fromUs;
  return packets.map(({ gapUs, sizeBytes }) => {
    now += gapUs;
    return { offeredUs: now, sizeBytes, deliveryUs: link.offer(sizeBytes, now) };
  });
}

test('the rate is never exceeded: over any stretch, the bytes delivered fit into its length', () => {
  fc.assert(
    fc.property(settings, arrivals, fc.integer(), (s, packets, seed) => {
      const link = new LinkModel({ ...s, jitterUs: 0 }, seeded(seed));
      const arrived = send(link, packets).filter((p) => p.deliveryUs !== DROPPED);
      let bytes = 0;
      for (const p of arrived.slice(1)) {
        bytes += p.sizeBytes;
        const lengthUs = p.deliveryUs - arrived[0].deliveryUs;
        assert.ok(bytes * 8e6 <= lengthUs * s.rateBps * (1 + 1e-9) + 1e-3, `${bytes} B in ${lengthUs} µs`);
      }
    }),
  );
});

test('a packet never overtakes an earlier one, whatever the jitter and whatever changes', () => {
  fc.assert(
    fc.property(settings, settings, arrivals, arrivals, fc.integer(), (before, after, first, second, seed) => {
      const link = new LinkModel(before, seeded(seed));
      const one = send(link, first);
      link.set(after);
      const two = send(link, second, one[one.length - 1].offeredUs);
      let last = 0;
      for (const p of [...one, ...two]) {
        if (p.deliveryUs === DROPPED) continue;
        assert.ok(p.deliveryUs >= last);
        last = p.deliveryUs;
      }
    }),
  );
});

test('reordering happens when it is asked for', () => {
  const link = new LinkModel({ rateBps: 1e9, delayUs: 20_000, jitterUs: 10_000, reorder: true }, seeded(3));
  const times = send(link, new Array(50).fill({ gapUs: 100, sizeBytes: 100 })).map((p) => p.deliveryUs);
  assert.ok(times.some((t, i) => i > 0 && t < times[i - 1]));
});

test('on an idle link the delay is exact: sending time + delay; with jitter within its bounds', () => {
  fc.assert(
    fc.property(settings, fc.array(fc.integer({ min: 20, max: 1500 })), fc.integer(), (s, sizes, seed) => {
      const calm = new LinkModel({ ...s, jitterUs: 0, lossRate: 0 }, seeded(seed));
      const shaky = new LinkModel({ ...s, lossRate: 0 }, seeded(seed));
      sizes.forEach((sizeBytes, i) => {
        const now = i * 1_000_000;
        const calmUs = now + (sizeBytes * 8e6) / s.rateBps + s.delayUs;
        assert.ok(Math.abs(calm.offer(sizeBytes, now) - calmUs) < 1e-6);
        const off = shaky.offer(sizeBytes, now) - calmUs;
        assert.ok(Math.abs(off) <= s.jitterUs + 1e-6, `${off} µs off`);
      });
    }),
  );
});

test('jitter moves the delay over its whole range', () => {
  const link = new LinkModel({ rateBps: 1e9, delayUs: 50_000, jitterUs: 10_000 }, seeded(8));
  const delays = send(link, new Array(2000).fill({ gapUs: 3000, sizeBytes: 100 })).map(
    (p) => p.deliveryUs - p.offeredUs,
  );
  assert.ok(Math.min(...delays) < 43_000);
  assert.ok(Math.max(...delays) > 57_000);
});

test('the loss rate is what it was set to, and lost packets have used the link', () => {
  const link = new LinkModel({ rateBps: 1e8, delayUs: 0, lossRate: 0.02 }, seeded(5));
  const passages = send(link, new Array(50_000).fill({ gapUs: 200, sizeBytes: 1000 }));
  const lost = passages.filter((p) => p.deliveryUs === DROPPED).length / passages.length;
  assert.ok(lost > 0.017 && lost < 0.023, `${lost}`);
  assert.equal(link.counters.lossDrops + link.counters.acceptedPackets, passages.length);
  const sure = new LinkModel({ rateBps: 8e6, delayUs: 0, lossRate: 1 }, seeded(5));
  assert.equal(sure.offer(1000, 0), DROPPED);
  sure.set({ lossRate: 0 });
  assert.equal(sure.offer(1000, 0), 2000);
});

test('loss in bursts: as many as enter and leave say, as long, and as much lost in them', () => {
  const bursts = { enterRate: 0.01, leaveRate: 0.1, lossRate: 1 };
  const link = new LinkModel({ rateBps: 1e8, delayUs: 0, bursts }, seeded(5));
  const passages = send(link, new Array(50_000).fill({ gapUs: 200, sizeBytes: 1000 }));
  const isLost = passages.map((p) => p.deliveryUs === DROPPED);
  const lost = isLost.filter(Boolean).length;
  const runs = isLost.filter((l, i) => l && !isLost[i - 1]).length;
  // The share of time in the bad state is enter / (enter + leave), a burst is 1 / leave packets long.
  assert.ok(Math.abs(lost / passages.length - 0.01 / 0.11) < 0.015, `${lost / passages.length}`);
  assert.ok(lost / runs > 8.5 && lost / runs < 11.5, `${lost / runs}`);
  link.set({ bursts: { ...bursts, lossRate: 0 } });
  assert.ok(
    send(link, new Array(500).fill({ gapUs: 200, sizeBytes: 1000 }), 2e7).every((p) => p.deliveryUs !== DROPPED),
  );
});

test('the queue holds what its limit says, in time and in bytes, and drops only what is beyond it', () => {
  fc.assert(
    fc.property(settings, arrivals, (s, packets) => {
      const link = new LinkModel({ ...s, jitterUs: 0, lossRate: 0 }, seeded(1));
      let busyUntil = 0;
      for (const p of send(link, packets)) {
        const end = Math.max(busyUntil, p.offeredUs) + (p.sizeBytes * 8e6) / s.rateBps;
        const fits = end - p.offeredUs <= s.queueUs || busyUntil <= p.offeredUs;
        assert.equal(p.deliveryUs !== DROPPED, fits);
        if (fits) busyUntil = end;
      }
    }),
  );
  const inBytes = new LinkModel({ rateBps: 8e6, delayUs: 0, queueBytes: 3000 }, seeded(1));
  assert.deepEqual(
    [0, 0, 0, 0].map((now) => inBytes.offer(1000, now)),
    [1000, 2000, 3000, DROPPED],
  );
  assert.equal(inBytes.queuedBytes(0), 3000);
  assert.equal(inBytes.queuedBytes(1500), 2000);
  assert.equal(inBytes.offer(1000, 1500), 4000);
  assert.equal(inBytes.counters.queueDrops, 1);
});

test('a full queue carries exactly the rate', () => {
  const link = new LinkModel({ rateBps: 12e6, delayUs: 5000 }, seeded(1));
  let bytes = 0;
  for (let now = 0; now < 10e6; now += 100) {
    const at = link.offer(1500, now);
    if (at !== DROPPED && at <= 10e6) bytes += 1500;
  }
  assert.ok(Math.abs((bytes * 8) / 10 - 12e6) < 12e6 * 0.002, `${bytes}`);
});

test('a trace gives 1,500 bytes at each of its instants, round after round; what is not used is gone', () => {
  const trace = parseTrace('# two, then one\n2\n2\n5\n')!;
  const link = new LinkModel({ rateBps: 0, delayUs: 100, trace }, seeded(1));
  assert.equal(link.offer(1000, 0), 2100);
  assert.equal(link.offer(1000, 0), 2100, 'the rest of the first opportunity and half of the second');
  assert.equal(link.offer(1500, 0), 5100);
  assert.equal(link.offer(1500, 0), 7100, 'the next round');
  assert.equal(link.offer(1500, 1_000_000), 1_000_100, 'instants are inclusive');
  assert.equal(link.offer(1500, 1_000_001), 1_002_100);
  for (const bad of ['', 'x', '3\n2', '0', '1.5']) assert.equal(parseTrace(bad), undefined, bad);
});

test('over a trace no more than its opportunities are delivered', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50), { minLength: 1, maxLength: 30 }), arrivals, (gaps, packets) => {
      let at = 1;
      const lines = gaps.map((gap) => {
        at += gap;
        return String(at);
      });
      const trace = parseTrace(lines.join('\n'))!;
      const link = new LinkModel({ rateBps: 0, delayUs: 0, trace, queueBytes: 20_000 }, seeded(1));
      const arrived = send(link, packets).filter((p) => p.deliveryUs !== DROPPED);
      let k = 0;
      let left = 1500;
      const timeOf = (i: number) => Math.floor(i / gaps.length) * at * 1000 + trace.opportunitiesUs[i % gaps.length];
      for (const p of arrived) {
        while (timeOf(k) < p.offeredUs) {
          k++;
          left = 1500;
        }
        let missing = p.sizeBytes;
        while (missing > left) {
          missing -= left;
          k++;
          left = 1500;
        }
        left -= missing;
        assert.equal(p.deliveryUs, timeOf(k));
      }
    }),
  );
});

test('a cut loses what is offered and what is under way; after it the link is empty', () => {
  const link = new LinkModel({ rateBps: 8e6, delayUs: 10_000 }, seeded(1));
  for (let i = 0; i < 10; i++) link.offer(1000, 0);
  const generation = link.generation;
  link.cut();
  assert.notEqual(link.generation, generation);
  assert.equal(link.offer(1000, 1000), DROPPED);
  link.restore();
  assert.equal(link.offer(1000, 2000), 13_000);
  assert.equal(link.counters.cutDrops, 1);
});

test('live changes of rate, delay and size limit hold for the next packet', () => {
  const base: LinkSettings = { rateBps: 8e6, delayUs: 10_000 };
  const link = new LinkModel(base, seeded(1));
  assert.equal(link.offer(1000, 0), 11_000);
  link.set({ rateBps: 16e6, delayUs: 20_000, blackholeOverBytes: 1200 });
  assert.equal(link.offer(1000, 50_000), 70_500);
  assert.equal(link.offer(1201, 50_000), DROPPED);
  assert.equal(link.offer(1200, 100_000), 120_600);
  assert.equal(link.counters.sizeDrops, 1);
  assert.equal(base.rateBps, 8e6, 'the settings handed in stay the caller’s');
});

test('the same seed gives the same passage', () => {
  fc.assert(
    fc.property(settings, arrivals, fc.integer(), (s, packets, seed) => {
      const once = send(new LinkModel(s, seeded(seed)), packets);
      assert.deepEqual(send(new LinkModel(s, seeded(seed)), packets), once);
    }),
  );
});

test('the bytes in a long queue are counted right while it grows and drains', () => {
  const link = new LinkModel({ rateBps: 8e6, delayUs: 0, queueUs: 1e9 }, seeded(1));
  const sizes = Array.from({ length: 2000 }, (_, i) => 100 + (i % 7) * 100);
  let endUs = 0;
  const queued: { endUs: number; sizeBytes: number }[] = [];
  sizes.forEach((sizeBytes, i) => {
    const now = i * 50;
    endUs = Math.max(endUs, now) + sizeBytes;
    queued.push({ endUs, sizeBytes });
    link.offer(sizeBytes, now);
    const expected = queued.reduce((sum, p) => sum + (p.endUs > now ? p.sizeBytes : 0), 0);
    assert.equal(link.queuedBytes(now), expected);
  });
});

/** Modes, tiers, costs, classes and limits over a simulated pair: said at the router, held both ways (docs/protocol.md §11). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinkSettings } from '../../src/lab/link.ts';
import { LAST_TIER, MODE_REDUNDANT, MODE_WEIGHTED, Preferences } from '../../src/wire/preferences.ts';
import { Ping, UdpStream } from './apps.ts';
import { Pair, type SimLink } from './pair.ts';
import { TcpFlow } from './tcp.ts';

const SECOND = 1e6;
/** A bucket of class 1, and one of class 2. */
const CLASS_1 = 512;
const CLASS_2 = 576;

function link(mbit: number, delayMs: number, more?: Partial<LinkSettings>): SimLink {
  const oneWay = { rateBps: mbit * 1e6, delayUs: delayMs * 1e3, queueUs: 60_000, ...more };
  return { down: oneWay, up: oneWay };
}

function pairOf(links: SimLink[], say: (said: Preferences) => void, seed = 1): Pair {
  const pair = new Pair({ links, seed });
  tell(pair, say);
  pair.run(SECOND);
  return pair;
}

/** The operator says something at the router. */
function tell(pair: Pair, say: (said: Preferences) => void): void {
  const said = new Preferences();
  say(said);
  pair.router.peer.bond.setPreferences(said, undefined, pair.router.localUs(pair.nowUs));
  pair.router.dirty = true;
}

/** Bytes that each path has sent. */
const sentBy = (pair: Pair, isUp: boolean): number[] =>
  (isUp ? pair.router : pair.server).peer.bond.paths.flatMap((p) => p?.txBytes ?? []);

/** A stream of this rate, in packets of 1,200 bytes. */
const stream = (pair: Pair, isUp: boolean, mbit: number, bucket = 7, flow = 7): UdpStream =>
  new UdpStream(pair, isUp, flow, bucket, 1200, (1200 * 8) / mbit);

for (const isUp of [true, false]) {
  const way = isUp ? 'up' : 'down';

  test(`redundant, ${way}: a voice stream over two links that lose 20 % each loses less than 4 %, beside a download`, () => {
    // The second and third are what the engine puts aside as poisoned.
    for (const [seed, lossRate] of [
      [1, 0.2],
      [2, 0.25],
      [3, 0.3],
    ]) {
      const links = [link(10, 20, { lossRate }), link(10, 35, { lossRate })];
      const pair = pairOf(
        links,
        (said) => {
          said.classes = 2;
          said.mode[1] = MODE_REDUNDANT;
        },
        seed,
      );
      const voice = new UdpStream(pair, isUp, 5, CLASS_1, 200, 20_000);
      const bulk = stream(pair, isUp, 2);
      pair.run(61 * SECOND);
      voice.stop();
      bulk.stop();
      pair.run(65 * SECOND);
      const lost = 1 - voice.received / voice.sent;
      assert.ok(voice.sent >= 2990);
      assert.ok(lost < 0.04, `seed ${seed}: ${(100 * lost).toFixed(2)} % lost of ${voice.sent}`);
      assert.equal(voice.repeated, 0);
      const p95Us = voice.delaysUs.quantile(0.95);
      assert.ok(p95Us < (lossRate > 0.2 ? 300_000 : 150_000), `seed ${seed}: p95 ${p95Us} µs`);
      assert.ok(pair.isQuiet, 'every slot is free');
    }
  });

  test(`redundant, ${way}: each packet on both links, once to the application; a link that dies costs nothing`, () => {
    const pair = pairOf([link(10, 10), link(10, 30), link(10, 90)], (said) => {
      said.mode[0] = MODE_REDUNDANT;
    });
    const before = sentBy(pair, isUp);
    const voice = new UdpStream(pair, isUp, 5, 5, 1000, 5_000);
    pair.run(6 * SECOND);
    const each = sentBy(pair, isUp).map((bytes, i) => bytes - before[i]);
    assert.ok(each[0] > 0.99e6 && each[1] > 0.99e6, `${each}`);
    assert.ok(each[2] < 20_000, `the third best has none: ${each}`);
    voice.sinceUs = pair.nowUs;
    pair.cut(0);
    pair.run(9 * SECOND);
    assert.ok(voice.longestGapUs < 60_000, `gap ${voice.longestGapUs} µs`);
    voice.stop();
    pair.run(12 * SECOND);
    assert.deepEqual([voice.received, voice.repeated, voice.outOfOrder], [voice.sent, 0, 0]);
    assert.ok(pair.isQuiet);
  });

  test(`backup, ${way}: carries only while nothing of a lower tier is up`, () => {
    const pair = pairOf([link(10, 10), link(20, 30), link(20, 30)], (said) => {
      said.tier.set([0, 1, 2]);
    });
    const tcp = new TcpFlow(pair, { isUp, flow: 1, bucket: 1 });
    pair.run(5 * SECOND);
    const first = sentBy(pair, isUp);
    assert.ok(first[0] > 4e6, `${first}`);
    assert.ok(first[1] < 40_000 && first[2] < 40_000, `${first}`);
    pair.cut(0);
    tcp.sinceUs = pair.nowUs;
    pair.run(9 * SECOND);
    const second = sentBy(pair, isUp);
    assert.ok(second[1] - first[1] > 4e6, `${second}`);
    assert.ok(second[2] < 60_000, `${second}`);
    assert.ok(tcp.longestStallUs < 400_000, `stall ${tcp.longestStallUs} µs`);
    pair.restore(0);
    pair.run(10 * SECOND);
    const third = sentBy(pair, isUp);
    pair.run(14 * SECOND);
    const last = sentBy(pair, isUp);
    assert.ok(last[0] - third[0] > 4e6, `${last}`);
    assert.ok(last[1] - third[1] < 20_000, `${last}`);
  });

  test(`weighted, ${way}: packets by weight, whatever the links carry`, () => {
    const pair = pairOf([link(50, 10), link(50, 40)], (said) => {
      said.mode[0] = MODE_WEIGHTED;
      said.weight.set([3, 1]);
    });
    const before = sentBy(pair, isUp);
    const udp = stream(pair, isUp, 20);
    pair.run(6 * SECOND);
    const [a, b] = sentBy(pair, isUp).map((bytes, i) => bytes - before[i]);
    assert.ok(Math.abs(a / b - 3) < 0.05, `${a} ${b}`);
    udp.stop();
    pair.run(8 * SECOND);
    assert.deepEqual([udp.received, udp.outOfOrder], [udp.sent, 0]);
  });

  test(`cost, ${way}: a dear link carries what the cheap one cannot, and nothing else, without flapping`, () => {
    const pair = pairOf([link(10, 20), link(20, 15)], (said) => {
      said.cost.set([0, 1]);
    });
    const rates = (seconds: number): number[] => {
      const before = sentBy(pair, isUp);
      pair.run(pair.nowUs + seconds * SECOND);
      return sentBy(pair, isUp).map((bytes, i) => ((bytes - before[i]) * 8) / seconds / 1e6);
    };
    let udp = stream(pair, isUp, 8);
    const start = rates(10);
    assert.ok(start[1] < 0.1, `8 of 10 while the cheap one is found out: ${start}`);
    udp.stop();
    udp = stream(pair, isUp, 15, 7, 8);
    rates(2);
    const rests = (): boolean | undefined => (isUp ? pair.router : pair.server).peer.bond.paths[1]?.standby;
    for (let s = 0; s < 5; s++) {
      assert.equal(rests(), false, 'it has joined, and stays');
      const now = rates(2);
      assert.ok(now[0] > 8.8, `15 of 10: the cheap one is full: ${now}`);
      assert.ok(now[1] > 4.5 && now[1] < 7.5, `15 of 10: the dear one has the rest: ${now}`);
    }
    udp.stop();
    udp = stream(pair, isUp, 8, 7, 9);
    rates(5);
    for (let s = 0; s < 5; s++) {
      const now = rates(2);
      assert.ok(now[1] < 0.1, `8 again: ${now}`);
      assert.equal(rests(), true, 'it has left, and stays away');
    }
    udp.stop();
  });

  test(`cost, ${way}: one TCP flow gets both links; a ping beside a stream that fits stays on the cheap one`, () => {
    const pair = pairOf([link(10, 20), link(20, 15)], (said) => {
      said.cost.set([0, 1]);
    });
    const tcp = new TcpFlow(pair, { isUp, flow: 1, bucket: 1 });
    pair.run(6 * SECOND);
    const before = tcp.goodputBytes;
    pair.run(11 * SECOND);
    const share = ((tcp.goodputBytes - before) * 8) / 5 / (30e6 * (1392 / 1500));
    assert.ok(share > 0.9, `${(100 * share).toFixed(1)} % of the limit`);
    pair.cut(0);
    pair.run(13 * SECOND);
    const alone = tcp.goodputBytes;
    pair.run(15 * SECOND);
    assert.ok(((tcp.goodputBytes - alone) * 8) / 2 > 15e6, 'the dear one alone when the cheap one is dead');
  });

  test(`classes, ${way}: a class keeps to its links, and a full one holds up no other`, () => {
    const pair = pairOf([link(20, 10), link(2, 30)], (said) => {
      said.classes = 3;
      said.paths[0] = 0b01;
      said.paths[1] = 0b10;
      said.paths[2] = 0b10;
    });
    const slow = new TcpFlow(pair, { isUp, flow: 1, bucket: CLASS_1 });
    const fast = new TcpFlow(pair, { isUp, flow: 2, bucket: 1 });
    const ping = new Ping(pair, 9, CLASS_2, 100_000);
    ping.sinceUs = 3 * SECOND;
    pair.run(4 * SECOND);
    const before = [slow.goodputBytes, fast.goodputBytes];
    pair.run(9 * SECOND);
    const mbit = [slow.goodputBytes, fast.goodputBytes].map((bytes, i) => ((bytes - before[i]) * 8) / 5e6);
    assert.ok(mbit[0] > 1.6 && mbit[0] < 2, `slow ${mbit}`);
    assert.ok(mbit[1] > 17, `fast ${mbit}`);
    assert.ok(ping.rttUs.quantile(0.9) < 150_000, `ping ${ping.rttUs.quantile(0.9)} µs`);
    // Its own link is gone: the others take it.
    pair.cut(1);
    pair.run(10 * SECOND);
    const alone = slow.goodputBytes;
    pair.run(12 * SECOND);
    assert.ok(slow.goodputBytes - alone > 1e6, `${slow.goodputBytes - alone} bytes over the other link`);
  });

  test(`a limit said by hand, ${way}: never more, and the other way is not concerned`, () => {
    const pair = new Pair({ links: [link(20, 10), link(20, 10)], upBps: [isUp ? 5e6 : undefined] });
    tell(pair, (said) => {
      if (!isUp) said.downKbps[0] = 5000;
    });
    const flows = [true, false].map((up, i) => new TcpFlow(pair, { isUp: up, flow: 1 + i, bucket: 1 + i }));
    pair.run(4 * SECOND);
    const before = [sentBy(pair, true), sentBy(pair, false)];
    pair.run(9 * SECOND);
    const rate = [true, false].map((up, i) => sentBy(pair, up).map((bytes, k) => ((bytes - before[i][k]) * 8) / 5e6));
    const [limited, other] = isUp ? rate : [rate[1], rate[0]];
    assert.ok(limited[0] > 4.5 && limited[0] < 5.1, `limited: ${limited}`);
    assert.ok(limited[1] > 16, `its neighbour: ${limited}`);
    assert.ok(other[0] > 16, `the other way: ${other}`);
    for (const f of flows) f.stop();
  });
}

test('a link whose quota is used up carries nothing while any other is up, not even for a class of its own', () => {
  const pair = pairOf([link(10, 10), link(10, 30)], (said) => {
    said.tier[0] = LAST_TIER;
    said.classes = 2;
    said.paths[1] = 0b01;
  });
  const udp = stream(pair, false, 4, CLASS_1);
  const before = sentBy(pair, false);
  pair.run(6 * SECOND);
  const [a, b] = sentBy(pair, false).map((bytes, i) => bytes - before[i]);
  assert.ok(a < 5_000 && b > 2e6, `${a} ${b}`);
  pair.cut(1);
  pair.run(8 * SECOND);
  assert.ok(sentBy(pair, false)[0] > 0.5e6, 'better than nothing');
  udp.stop();
});

test('the server learns what is said over links that lose half, after a restart of either end, and when it changes', () => {
  const lossy = { lossRate: 0.5 };
  const pair = new Pair({ links: [link(10, 20, lossy), link(10, 20, lossy)] });
  const knows = (tier: number) => () => pair.server.peer.bond.steering.said.tier[1] === tier;
  tell(pair, (said) => {
    said.tier[1] = 3;
  });
  pair.runUntil(knows(3), 30 * SECOND);
  tell(pair, (said) => {
    said.tier[1] = 4;
  });
  pair.runUntil(knows(4), 30 * SECOND);
  pair.restartServer();
  pair.runUntil(knows(4), 30 * SECOND);
  tell(pair, () => {});
  pair.runUntil(knows(0), 30 * SECOND);
  tell(pair, (said) => {
    said.tier[1] = 5;
  });
  pair.runUntil(knows(5), 30 * SECOND);
  // A new process at the router, which knows of no tiers.
  pair.restartRouter();
  pair.runUntil(knows(0), 30 * SECOND);
  assert.equal(pair.server.peer.bond.steering.isPlain, true);
  tell(pair, (said) => {
    said.tier[1] = 6;
  });
  pair.runUntil(knows(6), 30 * SECOND);
  pair.runUntil(() => !pair.router.peer.bond.steering.isConfigSaid, 30 * SECOND);
});

test('an older CONFIG that comes late is not taken', () => {
  const { steering } = new Pair({ links: [link(10, 20)] }).server.peer.bond;
  const said = new Preferences();
  said.tier[0] = 2;
  assert.equal(steering.handleConfig(said, 250), true);
  assert.equal(steering.handleConfig(said, 250), false);
  assert.equal(steering.handleConfig(said, 249), false);
  assert.equal(steering.handleConfig(said, 3), true);
  assert.equal(steering.handleConfig(said, 250), false);
});

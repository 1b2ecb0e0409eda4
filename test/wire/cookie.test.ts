/** Cookies: the round trip, what they are bound to, how long they live; and the meter that asks for them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COOKIE_LIFETIME_US, CookieJar, LOAD_LIMIT, LoadMeter } from '../../src/wire/cookie.ts';
import { Initiator } from '../../src/wire/handshake.ts';
import { COOKIE_REPLY_BYTES } from '../../src/wire/header.ts';
import { nodeCrypto } from './nodecrypto.ts';

const crypto = nodeCrypto();
const ID = new Uint8Array(8);
const HERE = Uint8Array.from([192, 0, 2, 1, 0x12, 0x34]);
const OTHER_PORT = Uint8Array.from([192, 0, 2, 1, 0x12, 0x35]);
const START = 5_000_000;

function ends() {
  const server = crypto.generateKeyPair();
  const { privateKey } = crypto.generateKeyPair();
  const initiator = new Initiator({ crypto, privateKey, peerPublicKey: server.publicKey });
  const jar = new CookieJar(crypto, server.publicKey);
  const begin = (index = 7) => initiator.begin(index, 1, ID, 3, 1);
  /** The cookie that the jar gives at this time to this source, through a reply on the wire. */
  const obtain = (message: Uint8Array, source: Uint8Array, nowUs: number): Uint8Array => {
    const cookie = initiator.handleCookie(jar.cookieReply(message, source, nowUs));
    assert.ok(cookie instanceof Uint8Array, `refused: ${cookie}`);
    return cookie;
  };
  return { server, initiator, jar, begin, obtain };
}

test('a cookie that was obtained makes the next initiation from there valid, and only from there', () => {
  const { initiator, jar, begin, obtain } = ends();
  const first = begin();
  assert.equal(jar.checkMac2(first, HERE, START), false);
  const cookie = obtain(first, HERE, START);
  assert.equal(cookie.length, 16);
  const next = begin(8);
  initiator.stamp(next, cookie);
  assert.ok(jar.checkMac2(next, HERE, START + 1));
  assert.equal(jar.checkMac2(next, OTHER_PORT, START + 1), false);
  for (let at = 0; at < next.length; at++) {
    const flipped = next.slice();
    flipped[at] ^= 1;
    assert.equal(jar.checkMac2(flipped, HERE, START + 1), false, `byte ${at}`);
  }
  assert.equal(jar.checkMac2(next.subarray(1), HERE, START + 1), false);
  assert.equal(ends().jar.checkMac2(next, HERE, START + 1), false);
});

test('a cookie reply is refused when damaged, for another initiation, or unasked', () => {
  const { server, initiator, jar, begin } = ends();
  const first = begin();
  const reply = jar.cookieReply(first, HERE, START);
  assert.equal(reply.length, COOKIE_REPLY_BYTES);
  assert.deepEqual([...reply.subarray(0, 8)], [0x31, 0, 0, 7, 0, 0, 0, 0]);
  for (let at = 0; at < reply.length; at++) {
    const flipped = reply.slice();
    flipped[at] ^= 1;
    // Bytes 4 to 7 are ignored on receipt.
    assert.equal(typeof initiator.handleCookie(flipped) === 'string', at < 4 || at > 7, `byte ${at}`);
  }
  begin();
  assert.equal(initiator.handleCookie(reply), 'not-authentic', 'same index, another mac1');
  const fresh = new Initiator({
    crypto,
    privateKey: crypto.generateKeyPair().privateKey,
    peerPublicKey: server.publicKey,
  });
  assert.equal(fresh.handleCookie(reply), 'not-expected');
});

test('two replies to one initiation share neither nonce nor sealed bytes', () => {
  const { jar, begin } = ends();
  const first = begin();
  const [a, b] = [jar.cookieReply(first, HERE, START), jar.cookieReply(first, HERE, START)];
  assert.notDeepEqual(a.subarray(8, 32), b.subarray(8, 32));
  assert.notDeepEqual(a.subarray(32, 48), b.subarray(32, 48));
});

test('a cookie lives for a lifetime at least and for two at the most', () => {
  fc.assert(
    fc.property(
      fc.nat(3 * COOKIE_LIFETIME_US),
      fc.nat(3 * COOKIE_LIFETIME_US),
      fc.array(fc.nat(COOKIE_LIFETIME_US), { maxLength: 4 }),
      (before, age, between) => {
        const { initiator, jar, begin, obtain } = ends();
        jar.cookieReply(begin(), HERE, START);
        const message = begin();
        const at = START + before;
        const cookie = obtain(message, HERE, at);
        initiator.stamp(message, cookie);
        // Others ask in between, which may change the secret.
        for (const b of [...between].sort((x, y) => x - y)) if (b < age) jar.checkMac2(message, OTHER_PORT, at + b);
        const good = jar.checkMac2(message, HERE, at + age);
        if (age <= COOKIE_LIFETIME_US) assert.ok(good);
        if (age >= 2 * COOKIE_LIFETIME_US) assert.ok(!good);
      },
    ),
    { numRuns: 60 },
  );
});

test('a secret that nobody used for long is forgotten at its next use', () => {
  const { initiator, jar, begin, obtain } = ends();
  const message = begin();
  initiator.stamp(message, obtain(message, HERE, START));
  assert.ok(jar.checkMac2(message, HERE, START + 2 * COOKIE_LIFETIME_US - 1));
  const other = ends();
  const late = other.begin();
  other.initiator.stamp(late, other.obtain(late, HERE, START));
  assert.ok(!other.jar.checkMac2(late, HERE, START + 2 * COOKIE_LIFETIME_US));
});

test('load is more than 64 within a second', () => {
  const meter = new LoadMeter();
  for (let i = 0; i < LOAD_LIMIT; i++) assert.equal(meter.count(i), false);
  assert.equal(meter.count(LOAD_LIMIT), true);
  // The one at 1 is a whole second old by then and no longer counts; the one at 2 still does for the next.
  assert.equal(meter.count(1_000_001), false);
  assert.equal(meter.count(1_000_001), true);

  fc.assert(
    fc.property(fc.array(fc.nat(31_000), { minLength: 100, maxLength: 300 }), (gaps) => {
      const fast = new LoadMeter();
      const times: number[] = [];
      let now = 0;
      for (const gap of gaps) {
        now += gap;
        times.push(now);
        // The slow twin: count all that came within the second that ends now.
        assert.equal(fast.count(now), times.filter((t) => now - t < 1_000_000).length > LOAD_LIMIT);
      }
    }),
  );
});

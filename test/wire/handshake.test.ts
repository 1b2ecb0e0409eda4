/** The handshake: both roles, byte layouts, and everything that must be refused. */
import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  CIPHER_AES_256_GCM as AES,
  CIPHER_CHACHA20_POLY1305 as CHACHA,
  chooseCipher,
  cipherName,
  type Established,
  Initiator,
  type Opened,
  Responder,
} from '../../src/wire/handshake.ts';
import { COOKIE_REPLY_BYTES, INITIATION_BYTES, RESPONSE_BYTES } from '../../src/wire/header.ts';
import { nodeCrypto } from './nodecrypto.ts';

const crypto = nodeCrypto();
const ROUTER_ID = Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]);
const SERVER_ID = Uint8Array.from([8, 7, 6, 5, 4, 3, 2, 1]);
const NOW = 1_800_000_000_123_456;
const BOTH = AES | CHACHA;

function ends(presharedKey?: Uint8Array) {
  const router = crypto.generateKeyPair();
  const server = crypto.generateKeyPair();
  return {
    router,
    server,
    initiator: new Initiator({ crypto, privateKey: router.privateKey, peerPublicKey: server.publicKey, presharedKey }),
    responder: new Responder({ crypto, ...server }),
  };
}

/** A copy with one bit changed. */
function flip(bytes: Uint8Array, at: number, bit = 0): Uint8Array {
  const out = bytes.slice();
  out[at] ^= 1 << bit;
  return out;
}

const isRefused = (x: unknown): x is string => typeof x === 'string';
const opened = (x: Opened | string): Opened => {
  assert.ok(!isRefused(x), `refused: ${x}`);
  return x;
};
const established = (x: Established | string): Established => {
  assert.ok(!isRefused(x), `refused: ${x}`);
  return x;
};

test('both ends come to the same session and know what the other said', () => {
  const index = fc.nat(2 ** 24 - 1);
  const id = fc.uint8Array({ minLength: 8, maxLength: 8 });
  const psk = fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined });
  fc.assert(
    fc.property(psk, index, index, id, id, fc.maxSafeNat(), fc.constantFrom(AES, CHACHA), (k, i, r, ri, si, at, c) => {
      const { initiator, responder, router } = ends(k);
      const message = initiator.begin(i, at, ri, BOTH, AES);
      assert.equal(message.length, INITIATION_BYTES);
      assert.ok(responder.checkMac1(message));
      const o = opened(responder.open(message));
      assert.deepEqual(o.peerStatic, router.publicKey);
      assert.deepEqual([o.timestampUs, o.cipherMask, o.preferred, o.senderIndex], [at, BOTH, AES, i]);
      assert.deepEqual(o.associationId, ri);
      const answer = responder.respond(o, k, r, si, c);
      assert.equal(answer.message.length, RESPONSE_BYTES);
      assert.ok(initiator.underWay);
      const e = established(initiator.handleResponse(answer.message));
      assert.ok(!initiator.underWay);
      assert.deepEqual([e.peerIndex, e.cipher], [r, c]);
      assert.deepEqual(e.associationId, si);
      assert.deepEqual(e.sessionKeys.seal, answer.sessionKeys.open);
      assert.deepEqual(e.sessionKeys.open, answer.sessionKeys.seal);
      assert.notDeepEqual(e.sessionKeys.seal, e.sessionKeys.open);
    }),
    { numRuns: 20 },
  );
});

test('bytes stand where the specification puts them', () => {
  const { initiator, responder, router, server } = ends();
  const mac = (label: string, key: Uint8Array, covered: Uint8Array) =>
    createHmac('blake2s256', createHash('blake2s256').update(label).update(key).digest())
      .update(covered)
      .digest('hex')
      .slice(0, 32);
  const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

  const first = initiator.begin(0x010203, NOW, ROUTER_ID, BOTH, AES);
  assert.equal(hex(first.subarray(0, 4)), '11010203');
  assert.equal(hex(first.subarray(124, 140)), mac('yoke mac1', server.publicKey, first.subarray(0, 124)));
  assert.equal(hex(first.subarray(140)), '00'.repeat(16));
  const cookie = Uint8Array.from({ length: 16 }, (_, i) => i);
  initiator.stamp(first, cookie);
  const mac2 = createHmac('blake2s256', cookie).update(first.subarray(0, 140)).digest('hex').slice(0, 32);
  assert.equal(hex(first.subarray(140)), mac2);
  initiator.stamp(first, undefined);
  assert.equal(hex(first.subarray(140)), '00'.repeat(16));

  const second = responder.respond(opened(responder.open(first)), undefined, 0xa1b2c3, SERVER_ID, AES).message;
  assert.equal(hex(second.subarray(0, 8)), '21a1b2c301020300');
  assert.equal(hex(second.subarray(69, 85)), mac('yoke mac1', router.publicKey, second.subarray(0, 69)));
  assert.equal(hex(second.subarray(85)), '00'.repeat(16));
});

test('every flipped bit of an initiation is refused, but for mac2', () => {
  const { initiator, responder } = ends();
  const message = initiator.begin(1, NOW, ROUTER_ID, BOTH, AES);
  for (let at = 0; at < INITIATION_BYTES; at++) {
    for (const bit of [0, 7]) {
      const refused = isRefused(responder.open(flip(message, at, bit)));
      assert.equal(refused, at < 140, `byte ${at} bit ${bit}`);
      assert.equal(responder.checkMac1(flip(message, at, bit)), at >= 140, `byte ${at} bit ${bit}`);
    }
  }
});

test('every flipped bit of a response is refused, but for mac2, and the handshake survives it', () => {
  const { initiator, responder } = ends();
  const o = opened(responder.open(initiator.begin(1, NOW, ROUTER_ID, BOTH, AES)));
  const { message } = responder.respond(o, undefined, 2, SERVER_ID, AES);
  for (let at = 0; at < RESPONSE_BYTES - 16; at++) {
    for (const bit of [0, 7]) assert.ok(isRefused(initiator.handleResponse(flip(message, at, bit))), `byte ${at}`);
  }
  established(initiator.handleResponse(flip(message, RESPONSE_BYTES - 1)));
});

/** Makes mac1 right again: whoever knows the receiver's public key can. */
function remac(message: Uint8Array, receiver: Uint8Array): Uint8Array {
  const out = message.slice();
  const key = createHash('blake2s256').update('yoke mac1').update(receiver).digest();
  const at = out.length - 32;
  out.set(createHmac('blake2s256', key).update(out.subarray(0, at)).digest().subarray(0, 16), at);
  return out;
}

test('a forger who makes mac1 right again is refused by the seal', () => {
  const { initiator, responder, router, server } = ends();
  const first = initiator.begin(1, NOW, ROUTER_ID, BOTH, AES);
  assert.deepEqual(remac(first, server.publicKey), first);
  for (let at = 4; at < 124; at++) {
    assert.equal(responder.open(remac(flip(first, at), server.publicKey)), 'not-authentic', `byte ${at}`);
  }
  assert.equal(responder.open(remac(Uint8Array.of(...first, 0), server.publicKey)), 'bad-form');
  assert.equal(responder.open(remac(flip(first, 0), server.publicKey)), 'bad-form');
  const { message } = responder.respond(opened(responder.open(first)), undefined, 2, SERVER_ID, AES);
  for (let at = 8; at < 69; at++) {
    assert.equal(initiator.handleResponse(remac(flip(message, at), router.publicKey)), 'not-authentic', `byte ${at}`);
  }
  assert.equal(initiator.handleResponse(remac(flip(message, 6), router.publicKey)), 'not-expected');
  established(initiator.handleResponse(message));
});

test('a wrong pre-shared key, static key or responder is refused', () => {
  const psk = crypto.random(32);
  const { initiator, responder, router, server } = ends(psk);
  const first = initiator.begin(1, NOW, ROUTER_ID, BOTH, AES);
  const wrong = responder.respond(opened(responder.open(first)), undefined, 2, SERVER_ID, AES);
  assert.equal(initiator.handleResponse(wrong.message), 'not-authentic');
  const right = responder.respond(opened(responder.open(first)), psk, 3, SERVER_ID, AES);
  established(initiator.handleResponse(right.message));

  const stranger = new Responder({ crypto, ...crypto.generateKeyPair() });
  assert.equal(stranger.checkMac1(first), false);
  assert.equal(stranger.open(first), 'bad-mac1');

  // The same public face with another private key: mac1 passes, the seal does not.
  const impostor = new Responder({ crypto, privateKey: crypto.random(32), publicKey: server.publicKey });
  assert.equal(impostor.open(first), 'not-authentic');

  // An initiator with another static key is opened, and known as what it is.
  const other = crypto.generateKeyPair();
  const second = new Initiator({ crypto, privateKey: other.privateKey, peerPublicKey: server.publicKey });
  const o = opened(responder.open(second.begin(1, NOW, ROUTER_ID, BOTH, AES)));
  assert.deepEqual(o.peerStatic, other.publicKey);
  assert.notDeepEqual(o.peerStatic, router.publicKey);
});

test('a response is taken once, for the latest initiation, and never unasked', () => {
  const { initiator, responder } = ends();
  const answer = (i: number, at: number) => {
    const o = opened(responder.open(initiator.begin(i, at, ROUTER_ID, BOTH, AES)));
    return responder.respond(o, undefined, 9, SERVER_ID, CHACHA).message;
  };
  const early = answer(1, NOW);
  const sameIndex = answer(1, NOW + 1);
  const late = answer(2, NOW + 2);
  assert.equal(initiator.handleResponse(early), 'not-expected');
  answer(1, NOW + 3);
  assert.equal(initiator.handleResponse(late), 'not-expected');
  assert.equal(initiator.handleResponse(sameIndex), 'not-authentic');
  const last = answer(3, NOW + 4);
  established(initiator.handleResponse(last));
  assert.equal(initiator.handleResponse(last), 'not-expected');
});

test('a cipher that was not offered, or is none, is refused', () => {
  const { initiator, responder } = ends();
  for (const [mask, cipher] of [
    [AES, CHACHA],
    [CHACHA, AES],
    [BOTH, 3],
    [BOTH, 0],
    [255, 4],
  ]) {
    const o = opened(responder.open(initiator.begin(1, NOW, ROUTER_ID, mask, AES)));
    const { message } = responder.respond(o, undefined, 2, SERVER_ID, cipher);
    assert.equal(initiator.handleResponse(message), 'bad-payload', `${mask} ${cipher}`);
  }
});

test('the choice of the cipher is that of the specification', () => {
  for (const [mask, own, peerMask, peer, chosen] of [
    [BOTH, AES, BOTH, AES, AES],
    [BOTH, CHACHA, BOTH, AES, CHACHA],
    [BOTH, AES, BOTH, CHACHA, CHACHA],
    [BOTH, AES, CHACHA, AES, CHACHA],
    [AES, CHACHA, BOTH, CHACHA, AES],
    [AES, AES, CHACHA, CHACHA, 0],
    [BOTH, AES, 0xfc, 7, 0],
  ]) {
    assert.equal(chooseCipher(mask, own, peerMask, peer), chosen);
  }
  assert.deepEqual([0, 1, 2, 3].map(cipherName), [undefined, 'aes-256-gcm', 'chacha20-poly1305', undefined]);
});

test('a timestamp beyond what a number can hold is refused', () => {
  const { initiator, responder } = ends();
  // BigInt(2^60) is exact; the responder must not round it.
  assert.equal(responder.open(initiator.begin(1, 2 ** 60, ROUTER_ID, BOTH, AES)), 'bad-payload');
});

test('any bytes are refused, never thrown at', () => {
  const { initiator, responder } = ends();
  initiator.begin(1, NOW, ROUTER_ID, BOTH, AES);
  const sized = fc
    .constantFrom(0, 1, 15, 63, COOKIE_REPLY_BYTES, 100, RESPONSE_BYTES, 155, INITIATION_BYTES, 157)
    .chain((n) => fc.tuple(fc.constantFrom(0x11, 0x21, 0x31, 0x12), fc.uint8Array({ minLength: n, maxLength: n })))
    .map(([first, b]) => {
      if (b.length > 0) b[0] = first;
      return b;
    });
  fc.assert(
    fc.property(sized, (b) => {
      assert.ok(isRefused(responder.open(b)));
      assert.equal(responder.checkMac1(b), false);
      assert.ok(isRefused(initiator.handleResponse(b)));
      assert.ok(isRefused(initiator.handleCookie(b)));
    }),
    { numRuns: 500 },
  );
});

test('a peer key of small order is a mistake of the configuration, not of the network', () => {
  const { privateKey } = crypto.generateKeyPair();
  assert.throws(() => new Initiator({ crypto, privateKey, peerPublicKey: new Uint8Array(32) }), /small order/);
});

test('bytes handed in may be overwritten afterwards', () => {
  const { initiator, responder } = ends();
  const slot = initiator.begin(1, NOW, ROUTER_ID, BOTH, AES).slice();
  const o = opened(responder.open(slot));
  slot.fill(0xee);
  const { message } = responder.respond(o, undefined, 2, SERVER_ID, AES);
  const e = established(initiator.handleResponse(message));
  message.fill(0xee);
  assert.deepEqual(e.associationId, SERVER_ID);
  assert.deepEqual(o.associationId, ROUTER_ID);
});

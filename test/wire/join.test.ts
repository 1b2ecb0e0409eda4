/** Joining: both halves, byte layouts, and everything that must be refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CookieJar } from '../../src/wire/cookie.ts';
import { Initiator, Responder } from '../../src/wire/handshake.ts';
import { JOIN_ANSWER_BYTES, JOIN_REQUEST_BYTES } from '../../src/wire/header.ts';
import { type JoinAnswer, JoinAsker, JoinDoor, type JoinOpened, VERDICTS } from '../../src/wire/join.ts';
import { NoiseResponder } from '../../src/wire/noise.ts';
import { nodeCrypto } from './nodecrypto.ts';

const crypto = nodeCrypto();
const SECRET = Uint8Array.from({ length: 16 }, (_, i) => i + 1);
const WELCOME: JoinAnswer = {
  verdict: 'welcome',
  name: 'home',
  v4: { router: Uint8Array.of(10, 1, 2, 9), server: Uint8Array.of(10, 1, 2, 1), prefixLength: 24 },
};

function ends() {
  const server = crypto.generateKeyPair();
  const own = crypto.generateKeyPair();
  const asker = new JoinAsker({ crypto, own, serverKey: server.publicKey, secret: SECRET, index: 0xabcdef });
  return { server, own, asker, door: new JoinDoor(crypto, server) };
}

const opened = (x: JoinOpened | string): JoinOpened => {
  assert.ok(typeof x !== 'string', `refused: ${x}`);
  return x;
};

test('the server learns key and secret, the router what it is from now on', () => {
  const inner = (size: number) =>
    fc.option(
      fc.record(
        {
          router: fc.uint8Array({ minLength: size, maxLength: size }),
          server: fc.uint8Array({ minLength: size, maxLength: size }),
          prefixLength: fc.integer({ min: 1, max: size * 8 }),
        },
        { noNullPrototype: true },
      ),
      { nil: undefined },
    );
  fc.assert(
    fc.property(inner(4), inner(16), fc.stringMatching(/^[A-Za-z0-9_]{1,64}$/), (v4, v6, name) => {
      fc.pre(v4 !== undefined || v6 !== undefined);
      const { own, asker, door } = ends();
      const request = asker.request();
      assert.equal(request.length, JOIN_REQUEST_BYTES);
      assert.ok(door.checkMac1(request));
      const o = opened(door.open(request));
      assert.deepEqual([o.publicKey, o.secret, o.senderIndex], [own.publicKey, SECRET, 0xabcdef]);
      const answer = { verdict: 'welcome', name, ...(v4 && { v4 }), ...(v6 && { v6 }) } as const;
      const message = door.answer(o, answer);
      assert.equal(message.length, JOIN_ANSWER_BYTES);
      assert.ok(message.length < request.length);
      assert.deepEqual(asker.handleAnswer(message), answer);
    }),
    { numRuns: 20 },
  );
});

test('the pattern is Noise’s with a prologue of its own; an answer to another request is none', () => {
  const { server, own, asker, door } = ends();
  const noise = new NoiseResponder(crypto, new TextEncoder().encode('yoke 1 join'), server);
  const first = noise.readFirst(asker.request().slice(4, JOIN_REQUEST_BYTES - 32));
  assert.deepEqual([first?.remoteStatic, first?.payload.slice(0, 16)], [own.publicKey, SECRET]);
  const other = new JoinAsker({ crypto, own, serverKey: server.publicKey, secret: SECRET, index: 5 });
  assert.equal(other.handleAnswer(door.answer(opened(door.open(asker.request())), WELCOME)), 'not-expected');
});

test('every verdict arrives, with nothing behind it', () => {
  for (const verdict of VERDICTS) {
    if (verdict === 'welcome') continue;
    const { asker, door } = ends();
    assert.deepEqual(asker.handleAnswer(door.answer(opened(door.open(asker.request())), { verdict })), { verdict });
  }
});

test('no changed bit of a request opens, none of an answer is believed', () => {
  const { asker, door } = ends();
  const request = asker.request();
  for (let at = 0; at < request.length - 16; at++) {
    const other = request.slice();
    other[at] ^= 1 << (at % 8);
    assert.ok(!door.checkMac1(other), `byte ${at}`);
    // whoever knows the public key can make a mac1, so the inside has to hold by itself
    if (at >= 4 && at < request.length - 32) assert.equal(door.open(other), 'not-authentic', `byte ${at}`);
  }
  const answer = door.answer(opened(door.open(request)), WELCOME);
  for (let at = 0; at < answer.length - 16; at++) {
    const other = answer.slice();
    other[at] ^= 1 << (at % 8);
    assert.equal(typeof asker.handleAnswer(other), 'string', `byte ${at}`);
  }
  assert.deepEqual(asker.handleAnswer(answer), WELCOME);
});

test('only the asker can read the answer, and only the server the request', () => {
  const { server, asker, door } = ends();
  const answer = door.answer(opened(door.open(asker.request())), WELCOME);
  const somebody = new JoinAsker({
    crypto,
    own: crypto.generateKeyPair(),
    serverKey: server.publicKey,
    secret: SECRET,
    index: 0xabcdef,
  });
  assert.equal(somebody.handleAnswer(answer), 'bad-mac1');
  const other = new JoinDoor(crypto, crypto.generateKeyPair());
  assert.ok(!other.checkMac1(asker.request()));
  assert.equal(other.open(asker.request()), 'not-authentic');
});

test('a handshake is no join request under the same keys, nor the other way round', () => {
  const { server, own, asker, door } = ends();
  const initiator = new Initiator({ crypto, privateKey: own.privateKey, peerPublicKey: server.publicKey });
  const initiation = initiator.begin(1, 2, new Uint8Array(8), 3, 1);
  assert.ok(!door.checkMac1(initiation));
  const responder = new Responder({ crypto, ...server });
  assert.equal(responder.open(asker.request()), 'bad-form');
});

test('under load a cookie is asked for, and lets the request pass', () => {
  const { server, asker } = ends();
  const jar = new CookieJar(crypto, server.publicKey);
  const source = Uint8Array.of(1, 2, 3);
  const request = asker.request();
  assert.ok(!jar.checkMac2(request, source, 0));
  const cookie = asker.handleCookie(jar.cookieReply(request, source, 0));
  assert.ok(typeof cookie !== 'string', cookie as string);
  assert.ok(jar.checkMac2(asker.request(cookie), source, 0));
  assert.ok(!jar.checkMac2(asker.request(cookie), Uint8Array.of(1, 2, 4), 0));
});

test('a payload that cannot be is refused', () => {
  const bad: JoinAnswer[] = [
    { verdict: 'welcome', name: 'home' },
    { verdict: 'welcome', name: '', v4: WELCOME.verdict === 'welcome' ? WELCOME.v4 : undefined },
    { ...WELCOME, name: 'a\u001b[2J' } as JoinAnswer,
    { verdict: 'welcome', name: 'x', v4: { router: new Uint8Array(4), server: new Uint8Array(4), prefixLength: 33 } },
  ];
  for (const answer of bad) {
    const { asker, door } = ends();
    assert.equal(asker.handleAnswer(door.answer(opened(door.open(asker.request())), answer)), 'bad-payload');
  }
});

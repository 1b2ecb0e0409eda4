/** Noise IKpsk2: the public vectors, and what must be refused. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { NoiseInitiator, NoiseResponder } from '../../src/wire/noise.ts';
import { nodeCrypto } from './nodecrypto.ts';

interface Vector {
  protocol_name: string;
  init_prologue: string;
  init_psks: string[];
  init_static: string;
  init_ephemeral: string;
  init_remote_static: string;
  resp_prologue: string;
  resp_psks: string[];
  resp_static: string;
  resp_ephemeral: string;
  handshake_hash: string;
  messages: { payload: string; ciphertext: string }[];
}

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hex = (b: Uint8Array | undefined) => (b === undefined ? 'undefined' : Buffer.from(b).toString('hex'));
// Built tests live in dist/; what they read stays beside their source.
const VECTORS = fileURLToPath(new URL('../../../test/wire/vectors/noise-ikpsk2.json', import.meta.url));
const { vectors } = JSON.parse(readFileSync(VECTORS, 'utf8')) as { vectors: Vector[] };

for (const v of vectors) {
  test(`the public vector of ${v.protocol_name}`, () => {
    const crypto = nodeCrypto();
    const own = (raw: string) => ({ privateKey: bytes(raw), publicKey: crypto.publicKey(bytes(raw)) });
    const initiator = new NoiseInitiator(
      nodeCrypto([bytes(v.init_ephemeral)]),
      bytes(v.init_prologue),
      own(v.init_static),
      bytes(v.init_remote_static),
    );
    const responder = new NoiseResponder(
      nodeCrypto([bytes(v.resp_ephemeral)]),
      bytes(v.resp_prologue),
      own(v.resp_static),
    );
    const [first, second, ...rest] = v.messages;

    assert.equal(hex(initiator.writeFirst(bytes(first.payload))), first.ciphertext);
    const opened = responder.readFirst(bytes(first.ciphertext));
    assert.equal(hex(opened?.payload), first.payload);
    assert.equal(hex(opened?.remoteStatic), hex(own(v.init_static).publicKey));

    const answer = responder.writeSecond(bytes(second.payload), bytes(v.resp_psks[0]));
    assert.ok(answer);
    assert.equal(hex(answer.message), second.ciphertext);
    const session = initiator.readSecond(bytes(second.ciphertext), bytes(v.init_psks[0]));
    assert.ok(session);
    assert.equal(hex(session.payload), second.payload);
    assert.equal(hex(session.hash), v.handshake_hash);
    assert.equal(hex(answer.hash), v.handshake_hash);

    rest.forEach((m, i) => {
      const nonce = new Uint8Array(12);
      nonce[4] = i >> 1;
      const [from, to] = i % 2 === 0 ? [session.keys, answer.keys] : [answer.keys, session.keys];
      assert.equal(hex(crypto.seal(from.seal, nonce, new Uint8Array(0), bytes(m.payload))), m.ciphertext);
      assert.equal(hex(crypto.open(to.open, nonce, new Uint8Array(0), bytes(m.ciphertext))), m.payload);
    });
  });
}

const crypto = nodeCrypto();
const prologue = bytes('00');
const psk = new Uint8Array(32);
const pair = () => {
  const [a, b] = [crypto.generateKeyPair(), crypto.generateKeyPair()];
  return { a, b, i: new NoiseInitiator(crypto, prologue, a, b.publicKey), r: new NoiseResponder(crypto, prologue, b) };
};

test('any payloads pass, and both ends have the same keys', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ maxLength: 60 }), (one, two) => {
      const { a, i, r } = pair();
      const first = i.writeFirst(one);
      assert.ok(first);
      const got = r.readFirst(first);
      assert.deepEqual(got, { remoteStatic: a.publicKey, payload: one });
      const second = r.writeSecond(two, psk);
      assert.ok(second);
      const session = i.readSecond(second.message, psk);
      assert.ok(session);
      assert.deepEqual(session.payload, two);
      assert.deepEqual(session.keys.seal, second.keys.open);
      assert.deepEqual(session.keys.open, second.keys.seal);
      assert.notDeepEqual(session.keys.open, session.keys.seal);
    }),
    { numRuns: 20 },
  );
});

test('another prologue, responder or pre-shared key is refused; a failed answer leaves the handshake as it was', () => {
  const { b, i, r } = pair();
  const first = i.writeFirst(psk) as Uint8Array;
  assert.equal(new NoiseResponder(crypto, bytes('01'), b).readFirst(first), undefined);
  assert.equal(new NoiseResponder(crypto, prologue, crypto.generateKeyPair()).readFirst(first), undefined);
  for (const n of [0, 31, 80, 95, first.length - 1]) {
    assert.equal(new NoiseResponder(crypto, prologue, b).readFirst(first.subarray(0, n)), undefined);
  }
  assert.ok(r.readFirst(first));
  const second = r.writeSecond(psk, psk)?.message as Uint8Array;
  assert.equal(i.readSecond(second, new Uint8Array(32).fill(1)), undefined);
  assert.equal(i.readSecond(second.subarray(0, 47), psk), undefined);
  assert.equal(i.readSecond(second.subarray(0, 10), psk), undefined);
  const flipped = second.slice();
  flipped[0] ^= 1;
  assert.equal(i.readSecond(flipped, psk), undefined);
  assert.ok(i.readSecond(second, psk));
});

test('keys of small order are refused wherever they stand', () => {
  // RFC 7748 §6.1: u = 0 and u = 1 give zeros with every private key. A library may bring the zeros or refuse.
  for (const u of ['00', '01']) {
    const small = bytes(u.padEnd(64, '0'));
    for (const dh of [crypto.dh, () => new Uint8Array(32)]) {
      const weak = { ...crypto, dh };
      const { a, b, i } = pair();
      assert.equal(new NoiseInitiator(weak, prologue, a, small).writeFirst(psk), undefined);
      const forged = (i.writeFirst(psk) as Uint8Array).slice();
      forged.set(small);
      assert.equal(new NoiseResponder(weak, prologue, b).readFirst(forged), undefined);
      const own = new NoiseInitiator(crypto, prologue, a, b.publicKey);
      own.writeFirst(psk);
      const answer = new Uint8Array(48);
      answer.set(small);
      assert.equal(own.readSecond(answer, psk), undefined);
    }
  }
});

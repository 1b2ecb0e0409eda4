/** The desk of join requests: its limits, and what comes of a request that waits too long. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JoinDesk } from '../../src/bond/joins.ts';
import { nodeHandshakeCrypto as crypto } from '../../src/io/crypto.ts';
import { JoinAsker, JoinDoor } from '../../src/wire/join.ts';

const SECOND = 1e6;
const server = crypto.generateKeyPair();
const secret = new Uint8Array(16).fill(5);

function asker(index: number): JoinAsker {
  return new JoinAsker({ crypto, own: crypto.generateKeyPair(), serverKey: server.publicKey, secret, index });
}

test('a request is kept until it is answered, once', () => {
  const desk = new JoinDesk(new JoinDoor(crypto, server));
  const ask = asker(7);
  const endpoint = Uint8Array.of(1, 2, 3);
  const taken = desk.take(ask.request(), endpoint, 0);
  assert.ok(typeof taken !== 'string');
  assert.deepEqual(taken.secret, secret);
  const message = desk.answer(taken.id, { verdict: 'used' }, SECOND);
  assert.deepEqual(message?.endpoint, endpoint);
  assert.deepEqual(ask.handleAnswer(message!.bytes), { verdict: 'used' });
  assert.equal(desk.answer(taken.id, { verdict: 'used' }, SECOND), undefined);
  assert.equal(desk.answer(99, { verdict: 'used' }, SECOND), undefined);
});

test('sixteen wait at most, and five seconds at most', () => {
  const desk = new JoinDesk(new JoinDoor(crypto, server));
  const take = (nowUs: number) => desk.take(asker(1).request(), new Uint8Array(0), nowUs);
  const first = take(0);
  for (let i = 1; i < 16; i++) assert.notEqual(typeof take(SECOND), 'string');
  assert.equal(take(2 * SECOND), 'joins-full');
  assert.ok(typeof first !== 'string');
  assert.equal(desk.answer(first.id, { verdict: 'unknown' }, 5 * SECOND + 1), undefined, 'too late');
  assert.notEqual(typeof take(5 * SECOND + 2), 'string', 'its place is free');
  assert.equal(take(5 * SECOND + 3), 'joins-full');
  assert.notEqual(typeof take(7 * SECOND), 'string', 'all are forgotten');
});

test('what is no request takes no place', () => {
  const desk = new JoinDesk(new JoinDoor(crypto, server));
  const broken = asker(1).request();
  broken[50] ^= 1;
  for (let i = 0; i < 40; i++) assert.equal(desk.take(broken, new Uint8Array(0), 0), 'not-authentic');
  assert.notEqual(typeof desk.take(asker(1).request(), new Uint8Array(0), 0), 'string');
});

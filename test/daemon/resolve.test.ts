/** Which answer of the name servers a link takes, and that addresses ask nobody. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress, printAddress } from '../../src/base/address.ts';
import { chooseAddress, resolveName } from '../../src/daemon/resolve.ts';

const addresses = (...texts: string[]) => texts.map((t) => parseAddress(t)!);
const choose = (answers: string[], local: string[]) => {
  const chosen = chooseAddress(addresses(...answers), addresses(...local));
  return chosen && printAddress(chosen);
};

test('the family that the link has, IPv4 first, the first of them', () => {
  const answers = ['2001:db8::1', '192.0.2.1', '192.0.2.2'];
  assert.equal(choose(answers, []), '192.0.2.1');
  assert.equal(choose(answers, ['10.0.0.1', 'fd00::1']), '192.0.2.1');
  assert.equal(choose(answers, ['fd00::1']), '2001:db8::1');
  assert.equal(choose(['192.0.2.1'], ['fd00::1']), undefined);
  assert.equal(choose([], []), undefined);
});

test('a literal address and a name of this host need no server', async () => {
  const literal = await resolveName({ name: '192.0.2.9', localAddresses: [] });
  assert.equal(printAddress(literal!), '192.0.2.9');
  const local = await resolveName({ name: 'localhost', localAddresses: addresses('127.0.0.1') });
  assert.equal(printAddress(local!), '127.0.0.1');
});

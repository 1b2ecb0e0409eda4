/** Invitations used once, in time, by one key; routers that come, change their names and go: the files that say so. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { printAddress } from '../../src/base/address.ts';
import { printKey } from '../../src/config/kinds.ts';
import { readConfig } from '../../src/config/schema.ts';
import { Members } from '../../src/daemon/members.ts';
import { beginTrial, confirmTrial } from '../../src/daemon/trial.ts';
import { hashOfSecret, OPEN_LIMIT } from '../../src/setup/invitations.ts';

const NOW = Date.parse('2026-05-01T12:00:00Z');
const HOUR = 3_600_000;
const SERVER = `# my server
config interface 'bond'
	option role 'server'
	list ipaddr '10.9.0.1/29'   # the bond
	list ip6addr 'fd09::1/64'
	option private_key '${printKey(new Uint8Array(32).fill(8))}'
`;

let dir: string;
let file: string;
let members: Members;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'yoke-members-'));
  file = join(dir, 'bonding');
  writeFileSync(file, SERVER, { mode: 0o640 });
  members = new Members(file, join(dir, 'state'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const secretOf = (n: number) => new Uint8Array(16).fill(n);
const keyOf = (n: number) => new Uint8Array(32).fill(n);
const invite = (name: string, n: number, hours = 24) =>
  members.invite({ name, hash: hashOfSecret(secretOf(n)), expiresAt: new Date(NOW + hours * HOUR).toISOString() }, NOW);
const admit = (n: number, key = n, at = NOW) =>
  members.admit({ publicKey: keyOf(key), secret: secretOf(n), from: '198.51.100.7:4000' }, at);
const verdict = (n: number, key = n, at = NOW) => admit(n, key, at).answer.verdict;
const clients = () => readConfig(readFileSync(file, 'utf8'), file).clients;
const addressOf = (n: number) => {
  const { answer } = admit(n);
  assert.equal(answer.verdict, 'welcome');
  return answer.verdict === 'welcome'
    ? [answer.name, ...[answer.v4, answer.v6].map((a) => a && printAddress(a.router))]
    : [];
};

test('an invitation makes a client with the next free addresses, and the file keeps what it said', () => {
  invite('home', 1);
  invite('office', 2);
  const { answer, edit } = admit(1);
  assert.ok(edit);
  assert.deepEqual(answer, {
    verdict: 'welcome',
    name: 'home',
    v4: { router: Uint8Array.of(10, 9, 0, 2), server: Uint8Array.of(10, 9, 0, 1), prefixLength: 29 },
    v6: {
      router: Uint8Array.of(0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2),
      server: Uint8Array.of(0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
      prefixLength: 64,
    },
  });
  assert.deepEqual(addressOf(2), ['office', '10.9.0.3', 'fd09::3']);
  assert.ok(readFileSync(file, 'utf8').startsWith(SERVER));
  assert.equal(statSync(file).mode & 0o777, 0o640);
  assert.deepEqual(
    clients().map((c) => [c.name, printKey(c.publicKey)]),
    [
      ['home', printKey(keyOf(1))],
      ['office', printKey(keyOf(2))],
    ],
  );
});

test('the same key gets the same answer again, another key none, also after it expired', () => {
  invite('home', 1);
  const first = admit(1).answer;
  assert.deepEqual(admit(1), { answer: first });
  assert.equal(verdict(1, 7), 'used');
  assert.deepEqual(admit(1, 1, NOW + 100 * HOUR), { answer: first });
  assert.equal(verdict(1, 7, NOW + 100 * HOUR), 'used');
  assert.equal(clients().length, 1);
});

test('unknown, expired and replaced invitations are worth nothing', () => {
  invite('home', 1, 2);
  assert.equal(verdict(9), 'unknown');
  assert.equal(verdict(1, 1, NOW + 2 * HOUR), 'expired');
  assert.equal(verdict(1, 1, NOW + 2 * HOUR - 1), 'welcome');
  invite('office', 2);
  invite('office', 3);
  assert.equal(verdict(2), 'unknown');
  assert.equal(verdict(3), 'welcome');
});

test('an interrupted admission is ended by the same router’s next try, and by nobody else', () => {
  invite('home', 1);
  chmodSync(file, 0o640);
  // bound, but the client section was not written
  members.invitations.bind(hashOfSecret(secretOf(1)), { publicKey: printKey(keyOf(1)), usedAt: '', from: '' }, NOW);
  assert.equal(verdict(1, 7), 'used');
  assert.deepEqual(addressOf(1), ['home', '10.9.0.2', 'fd09::2']);
});

test('a router that is known keeps its name and addresses, whatever its new invitation says', () => {
  invite('home', 1);
  admit(1);
  invite('other', 2);
  const { answer, edit } = admit(2, 1);
  assert.ok(!edit && answer.verdict === 'welcome' && answer.name === 'home');
  assert.equal(clients().length, 1);
});

test('a name that was given by hand meanwhile is not taken away', () => {
  invite('home', 1);
  const byHand = `\nconfig client 'home'\n\toption public_key '${printKey(keyOf(7))}'\n\toption ipaddr '10.9.0.6'\n`;
  writeFileSync(file, SERVER + byHand);
  assert.equal(verdict(1), 'used');
  assert.equal(readFileSync(file, 'utf8'), SERVER + byHand);
});

test('while a configuration is on trial nobody comes, goes or is renamed: the one before may come back', () => {
  invite('home', 1);
  admit(1);
  const before = readFileSync(file, 'utf8');
  beginTrial(file, before, 60);
  invite('office', 2);
  for (const work of [() => admit(2), () => members.revoke('home', NOW), () => members.rename('home', 'x', NOW)]) {
    assert.throws(work, /expected a configuration that stays, found one on trial; yoke confirm keeps it; then again/);
  }
  assert.equal(readFileSync(file, 'utf8'), before);
  assert.equal(verdict(1), 'welcome', 'who is one of us already gets the same answer');
  confirmTrial(file);
  assert.equal(verdict(2), 'welcome');
});

test('a full network refuses, and uses no invitation up', () => {
  for (let n = 1; n <= 5; n++) {
    invite(`r${n}`, n);
    assert.equal(verdict(n), 'welcome');
  }
  invite('late', 6);
  assert.throws(
    () => admit(6),
    /expected an inner address for a new router, found none that is free; give the server a larger/,
  );
  members.revoke('r3', NOW);
  assert.deepEqual(addressOf(6).slice(0, 2), ['late', '10.9.0.4']);
});

test('a revoked router is gone with its section, its forwards and its invitation', () => {
  invite('home', 1);
  invite('office', 2);
  admit(1);
  admit(2);
  assert.ok(members.revoke('home', NOW).edit);
  assert.deepEqual(
    clients().map((c) => c.name),
    ['office'],
  );
  assert.equal(verdict(1), 'unknown');
  assert.throws(
    () => members.revoke('home', NOW),
    /home: expected the name of a router or of an open invitation, found neither; see yoke peers/,
  );
  invite('next', 3);
  assert.deepEqual(members.revoke('next', NOW), {});
  assert.equal(verdict(3), 'unknown');
});

test('a rename changes a name and nothing else', () => {
  invite('home', 1);
  const before = admit(1).answer;
  const text = readFileSync(file, 'utf8');
  members.rename('home', 'cabin', NOW);
  assert.equal(readFileSync(file, 'utf8'), text.replace("client 'home'", "client 'cabin'"));
  assert.deepEqual(admit(1).answer, { ...before, name: 'cabin' });
  invite('office', 2);
  assert.throws(() => members.rename('cabin', 'office', NOW), /found another router of that name/);
  members.rename('office', 'desk', NOW);
  assert.equal(addressOf(2)[0], 'desk');
  assert.throws(() => members.rename('nobody', 'x', NOW), /found neither/);
});

test('names are checked, a name in use is refused', () => {
  for (const name of ['', 'my home', 'a-b', "x'y", 'ü', 'n'.repeat(65)])
    assert.throws(() => invite(name, 1), /the name: expected letters/);
  invite('home', 1);
  admit(1);
  assert.throws(
    () => invite('home', 2),
    /home: expected a name that no router has, found a router; choose another, or first: yoke revoke home/,
  );
});

test('limits: open invitations, and how many past ones are remembered', () => {
  for (let n = 0; n < OPEN_LIMIT; n++) invite(`r${n}`, n);
  assert.throws(() => invite('one_more', 200), /expected at most 64 open invitations/);
  const later = NOW + 1000 * HOUR;
  for (let n = 0; n < 300; n++) {
    members.invitations.add({ name: `s${n}`, hash: 'ab', expiresAt: new Date(later - HOUR).toISOString() }, later);
  }
  assert.ok(members.invitations.list().length <= 193);
});

test('the register holds no secret, is closed to others, and one of a newer yoke is refused', () => {
  invite('home', 1);
  const { path } = members.invitations;
  const text = readFileSync(path, 'utf8');
  const secret = Buffer.from(secretOf(1));
  assert.ok(!text.includes(secret.toString('hex')) && !text.includes(secret.toString('base64')));
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(JSON.parse(text).version, 1);
  writeFileSync(path, text.replace('"version": 1', '"version": 2'));
  assert.throws(() => admit(1), /expected version 1, found version 2, of a newer yoke; install that version again/);
  for (const broken of ['', 'null', '[]', '{"version":1}', '{"version":1,"invitations":[{"name":1}]}']) {
    writeFileSync(path, broken);
    assert.throws(() => admit(1), /expected a register of invitations/);
  }
});

test('on a router, or with a file that is wrong, nothing is written', () => {
  writeFileSync(file, SERVER.replace("role 'server'", "role 'router'"));
  assert.throws(() => invite('home', 1));
  writeFileSync(file, SERVER.replace('10.9.0.1/29', '10.9.0.1/2900'));
  assert.throws(() => invite('home', 1), /ipaddr/);
  assert.deepEqual(members.invitations.list(), []);
});

test('what was done can be done to what runs, which the file was edited away from; twice it is nothing', () => {
  const running = readFileSync(file, 'utf8');
  writeFileSync(file, running.replace('10.9.0.1/29', '10.9.0.1/28').replace('# my server', '# edited'));
  invite('home', 1);
  const { edit } = admit(1);
  const grown = edit!(running);
  assert.match(grown ?? '', /^# my server\n[\s\S]*10\.9\.0\.1\/29[\s\S]*config client 'home'/);
  assert.equal(edit!(grown!), undefined);
  assert.match(readFileSync(file, 'utf8'), /^# edited\n[\s\S]*config client 'home'/);
  const renamed = members.rename('home', 'attic', NOW).edit!(grown!);
  assert.match(renamed ?? '', /config client 'attic'/);
  assert.equal(members.revoke('attic', NOW).edit!(renamed!)?.trim(), running.trim());
});

test('an address of a router that runs, but is in the file no more, is not free', () => {
  invite('home', 1);
  admit(1);
  const running = readConfig(readFileSync(file, 'utf8'), file);
  writeFileSync(file, SERVER);
  members = new Members(file, join(dir, 'state'), () => running);
  invite('office', 2);
  assert.deepEqual(addressOf(2), ['office', '10.9.0.3', 'fd09::3']);
});

/** Client sections that come and go, in files of any shape. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { printAddress } from '../../src/base/address.ts';
import { addClient, freeAddresses, removeClient, renameClient } from '../../src/config/clients.ts';
import { printKey } from '../../src/config/kinds.ts';
import { readConfig } from '../../src/config/schema.ts';

const head = (more: string) => `config interface bond
  option role server
  option private_key_file /k
  ${more}
`;
const keyOf = (n: number) => new Uint8Array(32).fill(n);
const read = (text: string) => readConfig(text, 'f');

test('addresses: the lowest that is free, in each family; none in a network without room', () => {
  const free = (text: string) => {
    const found = freeAddresses(read(text));
    return found && [found.v4 && printAddress(found.v4), found.v6 && printAddress(found.v6)];
  };
  assert.deepEqual(free(head("option ipaddr '10.0.0.1/24'")), ['10.0.0.2', undefined]);
  assert.deepEqual(free(head("option ipaddr '10.0.0.9/24'\n list ip6addr 'fd00::/64'")), ['10.0.0.1', 'fd00::1']);
  assert.deepEqual(free(head("list ipaddr '10.0.255.1/16'")), ['10.0.0.1', undefined]);
  assert.equal(free(head("option ipaddr '10.0.0.1/32'")), undefined);
  assert.equal(free(head("option ipaddr '10.0.0.1/31'")), undefined);
  const client = `config client a\n option public_key '${printKey(keyOf(1))}'\n list allowed_ip '10.0.0.0/25'\n`;
  assert.deepEqual(free(head("option ipaddr '10.0.0.200/24'") + client), ['10.0.0.128', undefined]);
  const full = client.replace('10.0.0.0/25', '10.0.0.2/32');
  assert.equal(free(head("option ipaddr '10.0.0.1/30'") + full), undefined);
});

test('what was added is read with its values, and what was removed leaves the rest as it was', () => {
  const names = fc.uniqueArray(fc.stringMatching(/^[a-z0-9_]{1,8}$/), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(names, fc.nat(), fc.constantFrom('', '\n# end', "config client 'zz zz'"), (all, pick, tail) => {
      fc.pre(!tail.includes('zz'));
      const start = head("option ipaddr '10.0.0.1/24'") + tail;
      let text = start;
      all.forEach((name, i) => {
        text = addClient(text, 'f', { name, publicKey: keyOf(i + 1), ...freeAddresses(read(text)) });
      });
      assert.deepEqual(
        read(text).clients.map((c) => [c.name, printAddress(c.allowed[0].bytes)]),
        all.map((name, i) => [name, `10.0.0.${i + 2}`]),
      );
      assert.ok(text.startsWith(start));
      const one = all[pick % all.length];
      const renamed = renameClient(text, 'f', one, 'Other')!;
      assert.equal(renamed, text.replace(`config client '${one}'`, "config client 'Other'"));
      const rest = read(removeClient(renamed, 'f', 'Other')!).clients.map((c) => c.name);
      assert.deepEqual(
        rest,
        all.filter((n) => n !== one),
      );
    }),
    { numRuns: 30 },
  );
});

test('who is not there is neither removed nor renamed', () => {
  const text = head("option ipaddr '10.0.0.1/24'");
  assert.equal(removeClient(text, 'f', 'a'), undefined);
  assert.equal(renameClient(text, 'f', 'a', 'b'), undefined);
});

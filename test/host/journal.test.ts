/**
 * A journal of version 1 as an earlier yoke wrote it: an upgrade after a crash still knows what to take back. When this test fails, the
 * form of the file has changed: give it a new version, and have the old one migrated.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileJournal } from '../../src/host/journal.ts';
import { commandsOf, printCommand } from '../../src/plan/command.ts';
import { slotOf } from '../../src/plan/thing.ts';
import { ROOT } from '../packaging/bundle.ts';

const UNDO = `ip -4 rule del priority 15000 from 192.0.2.2 lookup 1001 protocol 121
ip -6 rule del priority 15002 not fwmark 0x79 lookup main suppress_prefixlength 0 protocol 121
ip -4 route replace default via 192.0.2.254 dev eth1 table 1001 metric 121 proto 121
ip -4 route del unreachable default table 1000 metric 9999 proto 121
nft delete table inet yoke
sysctl -w net/ipv4/ip_forward=0
sysctl -w net/ipv4/conf/eth1/forwarding=1
ip -4 addr del 10.7.0.2/24 dev bond0
ip link set dev bond0 mtu 1500
ip link set dev bond0 down`;

test('a journal of version 1 is read, and undone by the same commands as when it was written', async () => {
  const runDir = mkdtempSync(join(tmpdir(), 'yoke-journal-'));
  try {
    const text = readFileSync(join(ROOT, 'test/host/journal-1.json'), 'utf8');
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const here = text.replace('BOOT', bootId).replace('NETNS', readlinkSync('/proc/self/ns/net'));
    writeFileSync(join(runDir, 'host.json'), here);
    const journal = await new FileJournal(runDir).load();
    const entries = journal!.entries;
    for (const { slot, ours } of entries) assert.equal(slotOf(ours), slot);
    const undo = entries.flatMap(({ slot, ours, before }) =>
      commandsOf({ slot, before: ours, ...(before && { after: before }) }),
    );
    assert.equal(undo.map(printCommand).join('\n'), UNDO);
  } finally {
    rmSync(runDir, { recursive: true, force: true });
  }
});

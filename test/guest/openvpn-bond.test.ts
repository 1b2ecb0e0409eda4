/** Engine openvpn carries traffic: real OpenVPN under the bonding driver, over two shaped lines, one of which dies and returns. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { end } from '../../src/lab/netns.ts';
import { inGuest } from './guest.ts';
import { buildLines, cut, PIPE } from './lines.ts';
import { moreThanALine, OpenvpnPair } from './openvpn-pair.ts';

/** Slow, so that the guest's CPU is not what is measured. */
const LINE = { mbit: 1, delayMs: 10, lossPercent: 0 };
const PING_MS = 100;
/** A ping that left later than this after the cut has to come back. */
const COST_MS = 1000;

/** Ten pings a second through the pipe: when those that were answered had been sent, by their number. */
class Pings {
  readonly sentMs = new Map<number, number>();
  readonly #child = spawn('ip', ['netns', 'exec', 'router', 'ping', '-n', '-i', '0.1', PIPE.server], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

  constructor() {
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const found = /icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms/.exec(line);
      if (found) this.sentMs.set(Number(found[1]), performance.now() - Number(found[2]));
    });
  }

  get last(): number {
    return Math.max(0, ...this.sentMs.keys());
  }

  /** The numbers up to one that had no answer. */
  lost(upTo: number): number[] {
    return Array.from({ length: upTo }, (_, i) => i + 1).filter((n) => !this.sentMs.has(n));
  }

  async more(count: number): Promise<void> {
    const [from, limit] = [this.last, performance.now() + 60_000];
    while (this.last < from + count) {
      assert.ok(performance.now() < limit, `${count} more answers`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  stop(): Promise<void> {
    return end(this.#child);
  }
}

inGuest(process.argv[1], () => {
  describe('OpenVPN under the bonding driver', () => {
    let pair: OpenvpnPair;
    before(async () => {
      await buildLines([LINE, LINE]);
      pair = await OpenvpnPair.start(2);
    });
    after(() => pair?.stop());

    test('one TCP flow gets more than a line carries, both ways', () => moreThanALine(LINE.mbit));

    test('a line that dies silently costs no packet after a second; when it returns it is used again, and that costs none', async () => {
      const pings = new Pings();
      try {
        await pings.more(10);
        await cut(0, LINE, 'cut');
        const cutMs = performance.now();
        await pings.more(40);
        const dead = pings.last;
        const lost = pings.lost(dead);
        // the last that was lost had gone just before the next
        const lastMs = lost.length === 0 ? 0 : pings.sentMs.get(Math.max(...lost) + 1)! - PING_MS - cutMs;
        assert.ok(lastMs <= COST_MS, `the last ping without answer left ${lastMs} ms after the cut (${lost})`);
        await pair.router.becomes('down,up');
        await pair.server.becomes('down,up');
        await cut(0, LINE, 'restore');
        await pair.router.becomes('up,up');
        await pair.server.becomes('up,up');
        await pings.more(20);
        assert.deepEqual(
          pings.lost(pings.last).filter((n) => n > dead),
          [],
        );
      } finally {
        await pings.stop();
      }
    });
  });
});

/** Engine openvpn carries traffic: real OpenVPN under the bonding driver, over two shaped lines, one of which dies and returns. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { end, inside, must, spawnInside } from '../../src/lab/netns.ts';
import { inGuest } from './guest.ts';
import { buildLines, cut, PIPE } from './lines.ts';
import { OpenvpnPair } from './openvpn-pair.ts';

/** Slow, so that the guest's CPU is not what is measured. */
const LINE = { mbit: 1, delayMs: 10, lossPercent: 0 };
const PING_MS = 100;
/** What a cut may cost, and what the pings' own grid adds to it. */
const COST_MS = 1000 + 2 * PING_MS;

/** A ping a grid's step through the pipe; when each answer came, by its number. */
class Pings {
  readonly answers = new Map<number, number>();
  readonly #child = spawn('ip', ['netns', 'exec', 'router', 'ping', '-n', '-i', '0.1', PIPE.server], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

  constructor() {
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const number = /icmp_seq=(\d+) ttl/.exec(line)?.[1];
      if (number !== undefined) this.answers.set(Number(number), performance.now());
    });
  }

  get last(): number {
    return Math.max(0, ...this.answers.keys());
  }

  /** The numbers up to one that had no answer. */
  lost(upTo: number): number[] {
    return Array.from({ length: upTo }, (_, i) => i + 1).filter((n) => !this.answers.has(n));
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

    test('one TCP flow gets more than a line carries, both ways', async () => {
      for (const direction of [[], ['-R']]) {
        const server = spawnInside('server', ['iperf3', '-s', '-1', '-B', PIPE.server], { stdio: 'ignore' });
        try {
          while ((await must(inside('server', ['ss', '-Hltn', 'sport = :5201']))) === '');
          const argv = ['iperf3', '-c', PIPE.server, '-C', 'cubic', '-J', '-O', '2', '-t', '4', ...direction];
          const { end: found } = JSON.parse(await must(inside('router', argv), { timeoutMs: 40_000 }));
          const mbit = found.sum_received.bits_per_second / 1e6;
          assert.ok(mbit > 1.3 * LINE.mbit, `${mbit} Mbit/s over two lines of ${LINE.mbit}`);
        } finally {
          await end(server);
        }
      }
    });

    test('a line that dies silently costs no packet after a second; when it returns it is used again, and that costs none', async () => {
      const pings = new Pings();
      try {
        await pings.more(10);
        const cutAt = performance.now();
        await cut(0, LINE, 'cut');
        await pings.more(40);
        const dead = pings.last;
        const lost = pings.lost(dead);
        // when the first answer came after the last that did not
        const back = lost.length === 0 ? cutAt : pings.answers.get(Math.max(...lost) + 1)!;
        assert.ok(back - cutAt < COST_MS, `without answer after the cut: ${back - cutAt} ms (${lost})`);
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

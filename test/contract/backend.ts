/** What every backend promises (src/backend/backend.ts), as tests. The caller runs them in a namespace where devices may be made. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Backend, BackendEvent, BackendSettings } from '../../src/backend/backend.ts';
import { YokeError } from '../../src/base/error.ts';

/** What the suite needs of the one who runs it. */
export interface BackendCase {
  make(): Backend;
  /** A pair of settings whose ends reach each other in this namespace; device names as given. */
  settings(): { server: BackendSettings; router: BackendSettings };
  /** Takes what `start` needs (a port, a device name), so that it is refused; returns the undoing. */
  occupy(what: 'port' | 'device', settings: BackendSettings): Promise<() => Promise<void>>;
}

const LIMIT_MS = 10_000;
/** /proc follows the namespace of the reader; /sys is that of the mount. */
const deviceExists = (name: string) => readFileSync('/proc/self/net/dev', 'utf8').includes(`${name}:`);

/** Waits for a condition, with a limit. */
async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const limit = Date.now() + LIMIT_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < limit, `${what} within ${LIMIT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function backendContract(name: string, c: BackendCase): void {
  test(`${name}: the device exists when start resolves, and is gone when stop resolves`, async () => {
    const backend = c.make();
    const { server } = c.settings();
    await backend.start(server, () => {});
    const existed = deviceExists(server.ifname);
    await backend.stop();
    assert.ok(existed);
    assert.ok(!deviceExists(server.ifname));
  });

  test(`${name}: stop is idempotent, also without a start`, async () => {
    const backend = c.make();
    await backend.stop();
    await backend.start(c.settings().server, () => {});
    await backend.stop();
    await backend.stop();
  });

  test(`${name}: two ends find each other, say so, and measure their paths`, async () => {
    const { server, router } = c.settings();
    const a = c.make();
    const b = c.make();
    const events: BackendEvent[] = [];
    await a.start(server, () => {});
    await b.start(router, (e) => events.push(e));
    try {
      await until('all paths up at the router', async () => {
        const { bonds } = await b.status();
        return bonds.length === 1 && bonds[0].paths.filter((p) => p.state === 'up').length === router.links.length;
      });
      await until('the client known at the server', async () => (await a.status()).bonds[0]?.established === true);
      await until('an inner MTU', () => events.some((e) => e.kind === 'mtu'));
      assert.ok(events.some((e) => e.kind === 'established'));
      const { bonds } = await b.status();
      assert.deepEqual(
        bonds[0].paths.map((p) => p.name),
        router.links.map((l) => l.name),
      );
      for (const p of bonds[0].paths) assert.ok(p.srttMs > 0 && p.txBytes > 0 && p.rxBytes > 0);
    } finally {
      await b.stop();
      await a.stop();
    }
  });

  test(`${name}: set with the same settings disturbs nothing; links are left and taken again one after the other, and the bond stands`, async () => {
    const { server, router } = c.settings();
    const a = c.make();
    const b = c.make();
    const events: BackendEvent[] = [];
    await a.start(server, () => {});
    await b.start(router, (e) => events.push(e));
    const states = async () => (await b.status()).bonds[0]?.paths.map((p) => p.state) ?? [];
    try {
      await until(
        'all paths up',
        async () => (await states()).every((s) => s === 'up') && (await states()).length === 2,
      );
      const before = events.length;
      await b.set(router);
      assert.deepEqual(await states(), ['up', 'up']);
      assert.equal(events.slice(before).filter((e) => e.kind === 'path').length, 0);
      for (const left of [0, 1]) {
        const links = router.links.map((l, i) => ({ ...l, usable: i !== left }));
        await b.set({ ...router, links });
        await until(`path ${left} closed`, async () => (await states())[left] === 'closed');
        assert.equal((await states())[1 - left], 'up');
        assert.equal((await b.status()).bonds[0].established, true);
        await b.set(router);
        await until('both up again', async () => (await states()).every((s) => s === 'up'));
      }
      assert.deepEqual(
        events.slice(before).filter((e) => e.kind === 'path' && e.path === router.links[1].name && e.state === 'down'),
        [],
        'taken down by hand is not a line that died',
      );
    } finally {
      await b.stop();
      await a.stop();
    }
  });

  for (const what of ['port', 'device'] as const) {
    test(`${name}: a ${what} that is taken is one clear refusal, and nothing is left behind`, async () => {
      const { server } = c.settings();
      const release = await c.occupy(what, server);
      try {
        await assert.rejects(
          c.make().start(server, () => {}),
          (error: unknown) => {
            assert.ok(error instanceof YokeError, String(error));
            assert.equal(error.complaints.length, 1);
            return true;
          },
        );
      } finally {
        await release();
      }
      assert.ok(!deviceExists(server.ifname));
      const backend = c.make();
      await backend.start(server, () => {});
      await backend.stop();
    });
  }
}

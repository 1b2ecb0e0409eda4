/** What docs/memory.md says of a client's tables, counted in an engine that carries one. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Preferences } from '../../src/wire/preferences.ts';
import { type End, Pair } from './pair.ts';
import { TcpFlow } from './tcp.ts';

const page = readFileSync(new URL('../../../docs/memory.md', import.meta.url), 'utf8');

/** The figure of the page that stands where `(\d…)` does. */
function stated(pattern: RegExp): number {
  const found = pattern.exec(page);
  assert.ok(found !== null, `docs/memory.md has ${pattern}`);
  return Number(found[1].replace(',', ''));
}

/** Bytes of all tables that hang on the peer of an end, but for the memory and the pool that all peers share. */
function tablesOf({ endpoint, memory, peer }: End): number {
  const seen = new Set<object>([endpoint, endpoint.pool, memory, memory.view.buffer]);
  let bytes = 0;
  const walk = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    if (value instanceof Map || value instanceof Set) for (const entry of value) walk(entry);
    else if (!ArrayBuffer.isView(value)) for (const key of Object.keys(value)) walk(value[key as keyof typeof value]);
    else if (!seen.has(value.buffer)) {
      seen.add(value.buffer);
      bytes += value.buffer.byteLength;
    }
  };
  walk(peer);
  return bytes;
}

function afterTraffic(links: number): Pair {
  const way = { rateBps: 10e6, delayUs: 10e3, queueUs: 60e3 };
  const pair = new Pair({ links: Array.from({ length: links }, () => ({ down: way, up: way })) });
  const flow = new TcpFlow(pair, { isUp: false, flow: 1, bucket: 1 });
  pair.run(2e6);
  assert.ok(flow.delivered > 500);
  return pair;
}

test('a further class of traffic costs as much as is said', () => {
  const pair = afterTraffic(2);
  const before = tablesOf(pair.router);
  const said = new Preferences();
  said.classes = 8;
  pair.router.peer.bond.setPreferences(said, undefined, pair.router.localUs(pair.nowUs));
  pair.run(pair.nowUs + 1e6);
  const each = (tablesOf(pair.router) - before) / 7;
  const saidEach = stated(/further class of traffic of a client \| (\d+) KB/);
  assert.ok(each <= saidEach * 1024 && each > saidEach * 800, `${each} a class`);
});

test('the tables of a client are as large as is said, and do not grow with traffic', () => {
  const [one, two] = [afterTraffic(1), afterTraffic(2)];
  for (const which of ['router', 'server'] as const) {
    const [first, second] = [tablesOf(one[which]), tablesOf(two[which])];
    const path = second - first;
    const client = first - path;
    const [saidClient, saidPath] = [stated(/tables of a client \| (\d+) KB/), stated(/, and (\d+) KB for each path/)];
    assert.ok(path <= saidPath * 1024 && path > saidPath * 800, `${which}: ${path} a path`);
    assert.ok(client <= saidClient * 1024 && client > saidClient * 800, `${which}: ${client} a client`);
    two.run(two.nowUs + 3e6);
    assert.equal(tablesOf(two[which]), second);
  }
});

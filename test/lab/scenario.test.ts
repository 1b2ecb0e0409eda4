/** The scenario reader, and what a scenario is at an instant. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { YokeError } from '../../src/base/error.ts';
import { loadScenario, parseScenario, scenarioNames } from '../../src/lab/scenario.ts';
import { aloneOn, capacityBytes, limitBps, linkChanges, otherChanges } from '../../src/lab/timeline.ts';

const LINK = '{"name":"a","rate":"20mbit","delay":"10ms"}';
const read = (text: string, trace = '1\n2\n') => parseScenario(text, 'x', 'x.json', () => trace);
const withLink = (link: string, more = '') => read(`{"about":"x","links":[${link}]${more}}`);

test('all shipped scenarios can be read, and each says what it is', () => {
  const names = scenarioNames();
  assert.ok(names.length >= 30, `${names.length}`);
  for (const name of names) {
    const scenario = loadScenario(name);
    assert.equal(scenario.name, name);
    assert.ok(scenario.about.length > 10 && scenario.links.length >= 2, name);
    assert.ok(
      scenario.events.every((event) => event.atUs < scenario.seconds * 1e6),
      `${name}: an event after its end`,
    );
    for (const direction of ['down', 'up'] as const)
      assert.ok(limitBps(scenario, direction, 0, scenario.seconds * 1e6) > 5e5);
  }
});

test('what is wrong is said in one line that names the place', () => {
  const bad: [string, RegExp][] = [
    ['{', /^x\.json: expected JSON, found '/],
    ['[]', /^x\.json: expected an object, found '\[\]'/],
    ['{"about":"x","links":[]}', /^x\.json: links: expected 1 to 8 links, found '0'/],
    [`{"about":"x","links":[${LINK},${LINK}]}`, /links: expected a name of its own for each/],
    [`{"links":[${LINK}]}`, /^x\.json: about: expected a text, found 'nothing'/],
    [`{"about":"x","links":[${LINK}],"event":[]}`, /^x\.json: expected a key of about seconds .*, found 'event'/],
    [`{"about":"x","links":[${LINK}],"seconds":0}`, /seconds: expected a number from 1 to 120, found '0'/],
    [`{"about":"x","links":{}}`, /links: expected a list/],
    [`{"about":"x","links":[${LINK}],"bars":{"share":"much"}}`, /bars\.share: expected a number from 0/],
    [`{"about":"x","links":[${LINK}],"bars":{"shares":1}}`, /bars: expected a key of share best/],
    [`{"about":"x","links":[${LINK}],"traffic":[{"rate":"1mbit","flows":1}]}`, /traffic\[0\]: expected flows/],
  ];
  const badLinks: [string, RegExp][] = [
    ['{"name":"A b","rate":"1mbit","delay":"1ms"}', /links\[0\]\.name: expected up to ten/],
    ['{"name":"a","delay":"1ms"}', /links\[0\]\.rate: expected a rate or a trace, found 'neither'/],
    ['{"name":"a","rate":"0","delay":"1ms"}', /links\[0\]\.rate: expected a rate above 0/],
    [
      '{"name":"a","rate":"fast","delay":"1ms"}',
      /links\[0\]\.rate: expected a rate above 0, e\.g\. 20mbit, found '"fast"'/,
    ],
    [
      '{"name":"a","rate":{"down":"1mbit","left":"2mbit"},"delay":"1ms"}',
      /links\[0\]\.rate: expected a key of down up/,
    ],
    ['{"name":"a","rate":{"down":"1mbit"},"delay":"1ms"}', /links\[0\]\.rate: expected a rate or a trace/],
    ['{"name":"a","rate":"1mbit"}', /links\[0\]\.delay: expected a time/],
    ['{"name":"a","rate":"1mbit","delay":"1ms","loss":"200%"}', /links\[0\]\.loss: expected a share/],
    ['{"name":"a","rate":"1mbit","delay":"1ms","cycle":[{"for":"0s"}]}', /cycle\[0\]\.for: expected a time above 0/],
    ['{"name":"a","rate":"1mbit","delay":"1ms","cycle":[{"fro":"1s"}]}', /cycle\[0\]: expected a key of for cut/],
    [
      '{"name":"a","rate":"1mbit","delay":"1ms","bursts":{"enter":"1%"}}',
      /links\[0\]\.bursts\.leave: expected a share/,
    ],
  ];
  const badEvents: [string, RegExp][] = [
    ['{"at":"1s","do":"explode"}', /events\[0\]\.do: expected cut, restore, set/],
    ['{"at":"1s","do":"cut","link":"b"}', /events\[0\]\.link: expected a, found 'b'/],
    ['{"at":"1s","do":"cut","link":"a","direction":"left"}', /events\[0\]\.direction: expected down or up/],
    ['{"at":"soon","do":"restart-server"}', /events\[0\]\.at: expected a time/],
    ['{"at":"1s","do":"restart-server","link":"a"}', /events\[0\]: expected a key of at do, found 'link'/],
  ];
  for (const [link, what] of badLinks) bad.push([`{"about":"x","links":[${link}]}`, what]);
  for (const [event, what] of badEvents) bad.push([`{"about":"x","links":[${LINK}],"events":[${event}]}`, what]);
  for (const [text, what] of bad) {
    assert.throws(
      () => read(text),
      (error) => error instanceof YokeError && what.test(error.message) && !error.message.includes('\n'),
      text,
    );
  }
  const cycle = '{"name":"a","rate":"1mbit","delay":"1ms","cycle":[{"for":"1s"}]}';
  assert.throws(() => withLink(cycle, ',"events":[{"at":"1s","do":"cut","link":"a"}]'), /a link without a cycle/);
  const traced = '{"name":"a","trace":"t","delay":"1ms"}';
  assert.throws(
    () => parseScenario(`{"about":"x","links":[${traced}]}`, 'x', 'x.json', () => '5\n3\n'),
    /links\[0\]\.trace: expected a trace/,
  );
  assert.throws(
    () => loadScenario('no-such-world'),
    /^YokeError: scenario: expected one of .*, found 'no-such-world'; see/,
  );
  assert.throws(
    () => loadScenario('/nowhere/x.json'),
    /^YokeError: \/nowhere\/x\.json: expected a file that can be read, found 'ENOENT'/,
  );
});

test('a direction is said by itself or with the other', () => {
  const { settings } = withLink(
    '{"name":"a","rate":{"down":"20mbit","up":"2mbit"},"delay":"10ms","queueBytes":{"up":"64kb"},"largest":"1300b"}',
  ).links[0];
  assert.deepEqual(settings.down, { rateBps: 20e6, delayUs: 10_000, blackholeOverBytes: 1300 });
  assert.deepEqual(settings.up, { rateBps: 2e6, delayUs: 10_000, queueBytes: 64_000, blackholeOverBytes: 1300 });
});

test('a cycle has always been running, begins at 0, and comes round', () => {
  const s = withLink(
    '{"name":"a","rate":"20mbit","delay":"10ms","cycle":[{"for":"2s"},{"for":"1s","rate":"10mbit"},{"for":"1s","cut":true}]}',
  );
  const told = linkChanges(s, -1.5e6, 5e6).map((c) => [c.atUs / 1e6, c.settings.down.rateBps! / 1e6, c.isCut.down]);
  assert.deepEqual(told, [
    [-1.5, 10, false],
    [-1, 20, true],
    [0, 20, false],
    [2, 10, false],
    [3, 20, true],
    [4, 20, false],
  ]);
  assert.equal(capacityBytes(s, 'down', 0, 4e6), (2 * 20e6 + 10e6) / 8);
  assert.equal(capacityBytes(s, 'up', 2.5e6, 5e6), (0.5 * 10e6 + 20e6) / 8);
});

test('events change a link from their time on; what was before the begin is so at the begin', () => {
  const s = read(
    `{"about":"x","links":[${LINK},{"name":"b","rate":"8mbit","delay":"20ms"}],"events":[
      {"at":"4s","do":"restore","link":"a"},{"at":"2s","do":"cut","link":"a","direction":"down"},
      {"at":"3s","do":"set","link":"b","rate":{"down":"4mbit"},"loss":"1%"},{"at":"1s","do":"rebind","link":"b"}]}`,
  );
  assert.deepEqual(
    linkChanges(s, 0, 10e6).map((c) => [c.atUs / 1e6, c.link, c.isCut.down, c.isCut.up, c.settings.down.rateBps]),
    [
      [0, 0, false, false, 20e6],
      [0, 1, false, false, 8e6],
      [2, 0, true, false, 20e6],
      [3, 1, false, false, 4e6],
      [4, 0, false, false, 20e6],
    ],
  );
  assert.equal(capacityBytes(s, 'down', 0, 10e6), (8 * 20e6 + 3 * 8e6 + 7 * 4e6) / 8);
  assert.equal(capacityBytes(s, 'up', 0, 10e6), (10 * 20e6 + 10 * 8e6) / 8);
  assert.deepEqual(otherChanges(s), [{ atUs: 1e6, do: 'rebind', link: 1 }]);
  const alone = aloneOn(s, 1);
  assert.deepEqual([alone.links.length, alone.links[0].name], [1, 'b']);
  assert.deepEqual(
    alone.events.map((e) => [e.do, 'link' in e ? e.link : -1]),
    [
      ['rebind', 0],
      ['set', 0],
    ],
  );
  assert.equal(capacityBytes(alone, 'down', 0, 10e6), (3 * 8e6 + 7 * 4e6) / 8);
});

test('a trace carries 1,500 bytes a line', () => {
  const s = parseScenario('{"about":"x","links":[{"name":"a","trace":"t","delay":"1ms"}]}', 'x', 'x.json', (name) =>
    name === 't' ? '# ours\n1\n1\n4\n10\n' : '',
  );
  assert.deepEqual(s.links[0].settings.up.trace, [1000, 1000, 4000, 10_000]);
  assert.equal(capacityBytes(s, 'down', 0, 1e6), 4 * 100 * 1500);
});

test('bars of every world are there, and null takes one away', () => {
  const s = withLink(LINK, ',"bars":{"share":0.5,"coldMs":null}');
  assert.deepEqual([s.bars.share, s.bars.coldMs, s.bars.best], [0.5, undefined, 0.97]);
});

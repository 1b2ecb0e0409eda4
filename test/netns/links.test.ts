/** `yoke link` with real daemons: a stream goes on while links are taken down, up and restarted one after the other. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Bond, startBond, YOKE } from '../../src/lab/daemons.ts';
import { parseLinkSpec } from '../../src/lab/linkspec.ts';
import { Lab } from '../../src/lab/topology.ts';
import { startStream } from './stream.ts';
import { CANNOT, until } from './veths.ts';

describe('yoke link', { skip: CANNOT }, () => {
  let lab: Lab;
  let bond: Bond;

  before(async () => {
    lab = await Lab.open({ links: [parseLinkSpec('20mbit/20mbit/5ms'), parseLinkSpec('20mbit/20mbit/15ms')] });
    bond = await startBond(lab);
    const both = async () =>
      (await bond.router.status().catch(() => undefined))?.bonds[0]?.paths.filter((p) => p.state === 'up').length === 2;
    await until('both paths', both, 15_000, () => bond.router.log.join('\n'));
  });
  after(() => lab?.close());

  const link = async (...argv: string[]) => {
    const { code, stdout, stderr } = await lab.exec('router', [
      ...YOKE,
      'link',
      ...argv,
      '--run-dir',
      bond.router.runDir,
    ]);
    return { code, lines: stdout.trim().split('\n'), stderr };
  };

  test('a UDP stream loses nothing while each link is taken down and up again', async () => {
    const stream = await startStream(lab);
    const down = await link('down', 'link0');
    assert.match(down.lines[0], /^link0 +link0 +closed +taken down by hand$/);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.match((await link('up', 'link0')).lines.join(), /link0/);
    await until('link0', async () => / up/.test((await link('list')).lines[0]));
    const restart = await link('restart');
    assert.equal(restart.code, 0, restart.stderr);
    assert.match(restart.lines.join('\n'), /^link0 +link0 +up\nlink1 +link1 +up$/);
    const { sent, lost } = await stream.end();
    assert.ok(sent > 100, `${sent}`);
    assert.equal(lost, 0, `of ${sent}\n${bond.router.log.slice(-20).join('\n')}`);
  });

  test('wrong usage and wrong names are a line each', async () => {
    for (const [argv, says, code] of [
      [['down', 'link7'], /expected the name of a link of this router, found 'link7'; did you mean/, 1],
      [['down', 'link0', '--for', 'soon'], /--for: expected a time from 1s to 7d, found 'soon'/, 1],
      [['down'], /missing required argument 'link'/, 2],
      [['sideways'], /unknown command/, 2],
    ] as const) {
      const out = await link(...argv);
      assert.equal(out.code, code, `${argv}`);
      assert.match(out.stderr, says);
    }
  });
});

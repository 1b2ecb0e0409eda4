/** Where the kernel has the article's patch, TUN devices are slaves, as `dev_type 'tun'` asks: real OpenVPN under balance-rr, both ends. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { takesTun } from '../../src/backend/openvpn/bond-device.ts';
import { inside, must } from '../../src/lab/netns.ts';
import { inGuest } from './guest.ts';
import { buildLines, PIPE } from './lines.ts';
import { moreThanALine, OpenvpnPair } from './openvpn-pair.ts';

const LINE = { mbit: 1, delayMs: 10, lossPercent: 0 };
/** The patch's switch. */
const SWITCH = '/sys/module/bonding/parameters/tun_slaves';
const PACKETS = 40;

inGuest(
  process.argv[1],
  () => {
    describe('OpenVPN over TUN slaves', () => {
      let pair: OpenvpnPair;
      before(() => buildLines([LINE, LINE]));
      after(() => pair?.stop());

      const said = (place: 'router' | 'server') => pair[place].said.map((s) => s.text ?? '').join('\n');
      const kinds = async (place: 'router' | 'server') => {
        const links = JSON.parse(await must(inside(place, ['ip', '-j', '-d', 'link', 'show', 'master', PIPE.device])));
        return links.map((l: { linkinfo: { info_data: { type: string } } }) => l.linkinfo.info_data.type);
      };

      test('without the patch TAP is used at both ends, and each says so once', async () => {
        assert.equal(readFileSync(SWITCH, 'utf8'), 'N\n');
        assert.equal(await takesTun('balance-rr'), false);
        pair = await OpenvpnPair.start(2, 'tun');
        for (const place of ['router', 'server'] as const) {
          assert.equal(said(place).match(/takes no TUN device in this mode, so TAP is used/g)?.length, 1);
          assert.deepEqual(await kinds(place), ['tap', 'tap']);
        }
        await pair.stop();
      });

      test('with it TUN is used as asked, and both tunnels carry their half', async () => {
        writeFileSync(SWITCH, '1');
        assert.equal(await takesTun('balance-rr'), true);
        pair = await OpenvpnPair.start(2, 'tun');
        for (const place of ['router', 'server'] as const) {
          assert.doesNotMatch(said(place), /TAP is used/);
          assert.match(said(place), /dies silently is left when OpenVPN's keepalive ends/);
          assert.deepEqual(await kinds(place), ['tun', 'tun']);
        }
        const sent = async (i: number) =>
          Number(await must(inside('router', ['cat', `/sys/class/net/${PIPE.device}-t${i}/statistics/tx_packets`])));
        const before = await Promise.all([sent(0), sent(1)]);
        const ping = ['ping', '-n', '-q', '-i', '0.05', '-c', String(PACKETS), '-w', '20', PIPE.server];
        assert.match(await must(inside('router', ping), { timeoutMs: 30_000 }), /40 received/);
        for (const i of [0, 1]) assert.ok((await sent(i)) - before[i] >= 0.4 * PACKETS, `tunnel ${i}`);
        await moreThanALine(LINE.mbit);
      });
    });
  },
  { kernel: 'own' },
);

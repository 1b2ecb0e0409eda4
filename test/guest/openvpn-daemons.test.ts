/**
 * Two real daemons with the article's own sections, OpenVPN under the bonding driver between them, on two veth lines in a guest kernel.
 *
 * Debian's kernel for guests has no nftables of the inet family: there a program that only keeps its table stands in for `nft`, and nothing
 * is asked about NAT.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { askControl } from '../../src/daemon/control.ts';
import { end, inside, ipBatch, must, removeNamespace, run, spawnInside } from '../../src/lab/netns.ts';
import type { Status } from '../../src/status/status.ts';
import { makeCertificates, sectionOf, sectionText } from '../backend/openvpn-samples.ts';
import { ASK, ECHO } from '../netns/ask.ts';
import { type End, type Program, SERVER, until, Veths } from '../netns/veths.ts';
import { inGuest, insideKernel } from './guest.ts';

const YOKE = [process.execPath, fileURLToPath(new URL('../../src/main.js', import.meta.url))];
const LIMIT_MS = 60_000;
/** An address behind the router, of which the server knows nothing. */
const LAN = '172.20.0.1';
const REAL_NFT = insideKernel === 'own';
const KEEPER = `#!/bin/sh
case "$1" in
-f) cat >"$YKO_NFT" ;;
-s) if [ -f "$YKO_NFT" ]; then sed 1,2d "$YKO_NFT"; else echo 'Error: No such file or directory' >&2; exit 1; fi ;;
delete) rm -f "$YKO_NFT" ;;
esac
`;

inGuest(
  process.argv[1],
  () => {
    let net: Veths;
    let dir: string;
    const programs = {} as Record<End, Program>;
    const folder = (...names: string[]) => join(net.folder, ...names);

    before(async () => {
      net = await Veths.open();
      ({ dir } = await makeCertificates());
      if (!REAL_NFT) {
        mkdirSync(folder('bin'));
        writeFileSync(folder('bin', 'nft'), KEEPER, { mode: 0o755 });
        process.env.PATH = `${folder('bin')}:${process.env.PATH}`;
      }
      mkdirSync('/etc/bonding', { recursive: true });
      const hook = `#!/bin/sh\necho "$YOKE_HOOK $YOKE_IFNAME $YOKE_ADDRESSES $YOKE_TUNNELS" >>${folder('hooks')}\n`;
      for (const name of ['preup', 'up', 'predown', 'down']) {
        writeFileSync(`/etc/bonding/bonding-${name}.sh`, hook, { mode: 0o755 });
      }
      await net.ip('server', 'address add 198.18.0.1/32 dev lo');
      await net.ip('router', `address add ${LAN} dev lo`);
    });
    after(() => net?.close());

    /** The article's options, with our certificates. */
    const article = {
      dev_type: 'tun',
      fragment: '1400',
      mssfix: '1',
      cipher: 'AES-256-CBC',
      comp_lzo: '1',
      key_method: '2',
    };
    const timers = { persist_tun: '1', keepalive: '5 30', ns_cert_type: 'server', up_delay: '1', script_security: '2' };
    const text = (at: End, more = ''): string => {
      const [own, far] = at === 'router' ? ['2', '1'] : ['1', '2'];
      const link = (i: number) =>
        `config link 'link${i}'\n\toption interface 'eth${i + 1}'\n\toption tunnel 'tun${i}'\n\toption local_port '${1194 + i}'\n` +
        `\toption remote_port '${1194 + i}'\n\toption server '${SERVER}'\n`;
      const { remote_cert_tls: _, ...section } = sectionOf(dir, at, { ...article, ...timers });
      return (
        `${link(0)}${link(1)}config interface 'bond'\n\toption role '${at}'\n\toption ifname 'bond0'\n\toption ipaddr '10.0.0.${own}'\n` +
        `\toption netmask '255.255.255.0'\n\toption remote_ipaddr '10.0.0.${far}'\n${more}${sectionText(at, section)}`
      );
    };
    const start = async (at: End): Promise<Program> => {
      const argv = [...YOKE, 'run', '--config', net.write(`${at}.conf`, text(at)), '--run-dir', folder(at)];
      const program = net.spawn(at, argv, { YKO_NFT: folder(`${at}.nft`) });
      programs[at] = program;
      await program.says(/info bond0 is there/, LIMIT_MS);
      return program;
    };
    const status = async (at: End) => (await askControl(folder(at), 'status')) as Status;
    const said = () =>
      Object.entries(programs)
        .map(([at, p]) => `--- ${at}\n${p.output.slice(-3000)}`)
        .join('\n');
    const become = (at: End, ...states: string[]) =>
      until(
        `${at} to be ${states}`,
        async () => `${(await status(at)).bonds[0]?.paths.map((p) => p.state)}` === `${states}`,
        LIMIT_MS,
        said,
      );
    const pings = async (to: string, count: number, ...more: string[]): Promise<number> => {
      const argv = ['ping', '-n', '-q', '-i', '0.05', '-W', '1', '-c', String(count), ...more, to];
      const { stdout } = await net.exec('router', argv);
      return Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
    };
    const daemonOf = (at: End): number =>
      Number(
        execFileSync('ip', ['netns', 'pids', net.namespace(at)], { encoding: 'utf8' })
          .split('\n')
          .find((pid) => pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('main.js\0run')),
      );
    /** Every packet of a line is lost, at both ends, and no device knows of it. */
    const cut = async (line: number) => {
      for (const at of ['router', 'server'] as const) {
        await net.must(at, ['tc', 'qdisc', 'add', 'dev', `eth${line}`, 'root', 'netem', 'loss', '100%']);
      }
    };
    const mend = async (line: number) => {
      for (const at of ['router', 'server'] as const)
        await net.must(at, ['tc', 'qdisc', 'del', 'dev', `eth${line}`, 'root']);
    };

    test("the article's file on both ends: the bond carries everything, by both tunnels", async () => {
      await start('server');
      const dry = [
        ...YOKE,
        'plan',
        '--config',
        net.write('router.conf', text('router')),
        '--run-dir',
        folder('router'),
      ];
      const planned = (await net.must('router', ['env', `YKO_NFT=${folder('router.nft')}`, ...dry])).split(
        '# to be undone',
      )[0];
      const router = await start('router');
      await become('router', 'up', 'up');
      await become('server', 'up', 'up');
      assert.match(
        router.output,
        /dev_type 'tun': this kernel's bonding driver takes no TUN device in this mode, so TAP is used/,
      );
      assert.match(router.output, /option comp_lzo: left out/);
      const commands = (all: string) => [...all.matchAll(/\[#\] .*/g)].map(([line]) => line).sort();
      assert.deepEqual(commands(router.output), commands(planned), 'what was planned is what was done');
      assert.equal(await pings('10.0.0.1', 20), 20);
      assert.equal(await pings('198.18.0.1', 20), 20, 'the default route goes through the bond');
      const master = await net.must('router', ['ip', '-br', 'link', 'show', 'master', 'bond0']);
      assert.deepEqual(master.match(/^tun[01]/gm)?.sort(), ['tun0', 'tun1']);
      const counts = await Promise.all(
        [0, 1].map((i) => net.must('router', ['cat', `/sys/class/net/tun${i}/statistics/tx_packets`])),
      );
      for (const count of counts) assert.ok(Number(count) >= 15, `${counts}`);
      const { bonds } = await status('router');
      assert.ok(bonds[0].txPackets >= 40 && bonds[0].innerMtu === 1500);
    });

    test('what comes from behind the router leaves the bond under its address', { skip: !REAL_NFT }, async () => {
      assert.match(
        await net.must('router', ['nft', 'list', 'table', 'inet', 'yoke_bond0']),
        /oifname "bond0" masquerade/,
      );
      assert.equal(await pings('198.18.0.1', 20, '-I', LAN), 20);
    });

    test('forwards lead through the bond, into the LAN and to the router, by TCP and UDP', {
      skip: !REAL_NFT,
    }, async () => {
      /** A machine behind one of the two, in a namespace of its own. */
      const behind = async (at: End, device: string, network: string): Promise<string> => {
        const namespace = `${net.namespace(at)}-${device}`;
        await must(['ip', 'netns', 'add', namespace]);
        await net.ip(
          at,
          `link add ${device} type veth peer name eth0 netns ${namespace}`,
          `address add ${network}.1/24 dev ${device}`,
          `link set dev ${device} up`,
        );
        await ipBatch(namespace, [
          'link set dev lo up',
          `address add ${network}.2/24 dev eth0`,
          'link set dev eth0 up',
          `route add default via ${network}.1`,
        ]);
        return namespace;
      };
      const [lan, out] = [await behind('router', 'lan0', '192.168.9'), await behind('server', 'out0', '198.18.5')];
      const programs = [
        [lan, '8443'],
        [net.namespace('router'), '2222'],
      ].map(([namespace, port]) => spawnInside(namespace, [process.execPath, '-e', ECHO, port], { stdio: 'ignore' }));
      const forwards =
        "config forward 'web'\n\toption port '443'\n\toption dest_ip '192.168.9.2'\n\toption dest_port '8443'\n" +
        "config forward 'itself'\n\toption port '2222'\n";
      try {
        net.write('server.conf', `${text('server')}\n${forwards}`);
        const reload = await net.exec('server', [...YOKE, 'reload', '--run-dir', folder('server')], LIMIT_MS);
        assert.equal(reload.stdout, "+ forward 'web'\n+ forward 'itself'\n", reload.stderr);
        for (const [proto, port] of [
          ['tcp', '443'],
          ['udp', '443'],
          ['udp', '2222'],
        ]) {
          const ask = inside(out, [process.execPath, '-e', ASK, proto, SERVER, port]);
          const answered = async () => (await run(ask)).stdout.trim() === '198.18.5.2 hello';
          await until(`an answer by ${proto} ${port}`, answered, LIMIT_MS, said);
        }
      } finally {
        for (const child of programs) await end(child);
        for (const namespace of [lan, out]) await removeNamespace(namespace);
      }
    });

    test('a line that dies silently costs no packet after a second, at either end; it is taken again when it is back', async () => {
      await cut(1);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      assert.equal(await pings('10.0.0.1', 40), 40);
      await become('router', 'down', 'up');
      await mend(1);
      await become('router', 'up', 'up');
      await become('server', 'up', 'up');
      assert.equal(await pings('10.0.0.1', 40), 40);
    });

    test('a device that goes takes its tunnel out of the bond, and brings it back', async () => {
      await net.ip('router', 'link set dev eth2 down');
      await become('router', 'up', 'closed');
      assert.equal(await pings('10.0.0.1', 20), 20);
      await net.ip('router', 'link set dev eth2 up');
      await net.ip('router', 'route replace default via 198.51.100.1 dev eth2 metric 102');
      await become('router', 'up', 'up');
    });

    test('links are restarted by hand one after the other, each by an OpenVPN of its own; packets go on through', async () => {
      const spawns = () => [...programs.router.output.matchAll(/\[#\] openvpn --config/g)].length;
      const before = spawns();
      const through = pings('198.18.0.1', 100);
      const restart = await net.exec('router', [...YOKE, 'link', 'restart', '--run-dir', folder('router')], LIMIT_MS);
      assert.match(restart.stdout, /^link0 +eth1 +up\nlink1 +eth2 +up\n$/, restart.stderr);
      assert.equal(spawns(), before + 2);
      assert.ok((await through) > 90);
      await become('server', 'up', 'up');
    });

    test('the watchdog restarts the bond, and the bond is there again', async () => {
      const { output } = programs.router;
      const watchdog = { watchdog: '1', watchdog_ip: '192.0.2.250', watchdog_period: '1', watchdog_timeout: '2' };
      const more = Object.entries(watchdog).map(([name, value]) => `\toption ${name} '${value}'\n`);
      const reload = async (what: string) => {
        net.write('router.conf', what);
        const before = programs.router.output.length;
        process.kill(daemonOf('router'), 'SIGHUP');
        await until(
          'the reload',
          () => /took the configuration/.test(programs.router.output.slice(before)),
          LIMIT_MS,
          said,
        );
      };
      await reload(text('router', more.join('')));
      const acted = () =>
        /watchdog: no reply .*: restarting the bond/.test(programs.router.output.slice(output.length));
      await until('the watchdog', acted, LIMIT_MS, said);
      await reload(text('router'));
      await become('router', 'up', 'up');
      assert.equal(await pings('198.18.0.1', 20), 20);
    });

    test('killed and started again: the device it left is no obstacle; in the end all is as it was', async () => {
      process.kill(daemonOf('router'), 'SIGKILL');
      await programs.router.ended();
      assert.match(await net.must('router', ['ip', '-br', 'link']), /bond0/);
      await start('router');
      await become('router', 'up', 'up');
      for (const at of ['router', 'server'] as const) {
        const down = await net.exec(at, [...YOKE, 'down', '--run-dir', folder(at)], LIMIT_MS);
        assert.match(down.stdout, /ended pid/, down.stderr);
        await programs[at].ended();
        assert.doesNotMatch(await net.must(at, ['ip', '-br', 'link']), /bond0|tun[01]/);
        assert.doesNotMatch(await net.must(at, ['ip', 'rule']), /30327/);
      }
      const hooks = readFileSync(folder('hooks'), 'utf8').split('\n');
      assert.deepEqual(
        hooks.filter((l) => l.includes('10.0.0.2')),
        [
          'preup bond0 10.0.0.2/24 tun0 tun1',
          'up bond0 10.0.0.2/24 tun0 tun1',
          'preup bond0 10.0.0.2/24 tun0 tun1',
          'up bond0 10.0.0.2/24 tun0 tun1',
          'predown bond0 10.0.0.2/24 tun0 tun1',
          'down bond0 10.0.0.2/24 tun0 tun1',
        ],
      );
    });
  },
  { timeoutMs: 600_000 },
);

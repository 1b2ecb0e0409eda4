/** From two fresh machines to a bond: the commands of docs/setup.md as a user runs them, and what a person can do wrong. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { PeerView } from '../../src/cli/peers.ts';
import { Machines } from './machines.ts';
import { CANNOT, type End, SERVER, until } from './veths.ts';

const CONFIG = '/etc/config/bonding';
const INVITATIONS = '/etc/yoke/invitations.json';

describe('set-up', { skip: CANNOT }, () => {
  let m: Machines;
  before(async () => {
    m = await Machines.open();
  });
  after(() => m?.close());
  afterEach(async () => {
    for (const table of ['shut', 'mine']) await m.exec('server', ['nft', 'delete', 'table', 'inet', table]);
    for (const at of ['server', 'router'] as const) await m.reset(at);
  });

  const lineIn = (text: string) => /YOKE:\S+/.exec(text)?.[0] ?? assert.fail(`no invitation in ${text}`);
  const init = (...more: string[]) => m.must('server', 'server', 'init', '--public-ip', SERVER, ...more);
  const invite = async (name: string, ...more: string[]) => lineIn(await m.must('server', 'invite', name, ...more));
  const join = (line: string, ...more: string[]) => m.must('router', 'join', line, '--yes', '--no-test', ...more);
  const peers = async (): Promise<{ peers: PeerView[]; invitations: { name: string }[] }> =>
    JSON.parse(await m.must('server', 'peers', '--json'));
  /** It must fail, with one line that says so and what to do. */
  const refused = async (at: End, words: readonly string[], says: RegExp) => {
    const { code, stdout, stderr } = await m.yoke(at, ...words);
    assert.equal(code, 1, `yoke ${words.join(' ')}: ${stdout}${stderr}`);
    assert.match(stderr, says);
    assert.match(stderr, /^[^\n]+: expected [^\n]+, found [^\n]+; [^\n]+\n$/, 'one line, with what to do');
  };
  const pings = async (to: string, ...more: string[]) =>
    (await m.exec('router', ['ping', '-n', '-q', '-c', '1', '-W', '1', ...more, to])).code === 0;
  /** Gives the server a table of nftables. */
  const nft = (text: string) => m.net.must('server', ['nft', '-f', m.net.write('rules.nft', text)]);
  /** Runs work while a program of the server's holds a UDP port. */
  const whileTaken = async (port: number, work: () => Promise<void>) => {
    const script = `require('dgram').createSocket('udp4').bind(${port},()=>console.log('holds'))`;
    const holder = m.net.spawn('server', [process.execPath, '-e', script]);
    try {
      await holder.says(/holds/);
      await work();
    } finally {
      holder.child.kill();
      await holder.ended();
    }
  };
  const asNobody = (...words: string[]) =>
    m.exec('router', ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, ...words]);

  test('one command on each: a bond over both links, measured, and known to the server', async () => {
    const told = await init();
    assert.match(told, /routers find this server at 203\.0\.113\.1, UDP port 1194/);
    assert.match(told, /yoke join YOKE:/);
    const line = lineIn(told);
    assert.ok(!(await m.read('server', INVITATIONS)).includes(line.slice(60)));
    // asked on a terminal: no, and then yes
    const onTerminal = (answer: string) =>
      m.exec('router', [
        'sh',
        '-c',
        `{ sleep 1; echo ${answer}; sleep 1; } | script -qec "$0 $1 join $2" /dev/null`,
        ...m.program,
        line,
      ]);
    const no = await onTerminal('n');
    assert.match(no.stdout, /Use these 2 links\? \[Y\/n\] [\s\S]*nothing was changed; --link DEVICE/);
    assert.equal(await m.read('router', '/etc/yoke/private.key'), '');
    const out = (await m.exec('router', ['sh', '-c', `echo "$2" | "$0" "$1" join - --yes`, ...m.program, line])).stdout;
    for (const says of [/^eth1 +192\.0\.2\.2/m, /^eth2 +198\.51\.100\.2/m, /this router is home, 10\.121\.111\.2/])
      assert.match(out, says);
    assert.match(out, /link eth1 stands[\s\S]*link eth2 stands|link eth2 stands[\s\S]*link eth1 stands/);
    assert.match(out, /^down +[\d.]+ Mbit\/s[\s\S]*^up +[\d.]+ Mbit\/s/m);
    assert.ok(await pings('10.121.111.1'));

    const { peers: all, invitations } = await peers();
    assert.deepEqual(
      all.map((p) => [p.name, p.addresses, p.connected, p.from.length]),
      [['home', ['10.121.111.2'], true, 2]],
    );
    assert.deepEqual(invitations, []);
    for (const file of ['/etc/yoke/private.key', '/etc/yoke/invitations.json', CONFIG]) {
      assert.match((await m.exec('server', ['stat', '-c', '%a', file])).stdout, /^600/, file);
    }
    assert.notEqual(await m.read('router', '/etc/yoke/private.key'), await m.read('server', '/etc/yoke/private.key'));
  });

  test('many routers, live: one comes, changes its name and goes, and the other loses no packet', async () => {
    await join(lineIn(await init()));
    const busy = m.net.spawn('router', ['ping', '-n', '-q', '-i', '0.02', '10.121.111.1']);
    // the second router lives beside the first, on devices and tables of its own
    const second = ['--config', '/etc/config/second', '--run-dir', '/run/second', '--state-dir', '/etc/second'];
    const own =
      "option ifname 'bond1'\n\toption routing_table '31000'\n\toption rule_priority '800'\n\toption default_route '0'";
    await m.write('router', '/etc/config/second', `# second\nconfig interface 'bond'\n\t${own}\n`);
    const line = await invite('cabin');
    await join(line, ...second);
    assert.match(
      await m.read('router', '/etc/config/second'),
      /^# second\n[\s\S]*ifname 'bond1'[\s\S]*ipaddr '10\.121\.111\.3\/24'/,
    );
    assert.ok(await pings('10.121.111.1', '-I', 'bond1'));
    const calm = m.exec('router', [
      'ping',
      '-n',
      '-q',
      '-i',
      '0.02',
      '-c',
      '250',
      '-W',
      '2',
      '-I',
      'bond1',
      '10.121.111.1',
    ]);
    await m.must('server', 'rename', 'cabin', 'attic');
    assert.match((await calm).stdout, /250 received, 0% packet loss/, 'the renamed one goes on');
    const before = await peers();
    assert.deepEqual(
      before.peers.map((p) => [p.name, p.connected]),
      [
        ['home', true],
        ['attic', true],
      ],
    );
    await m.must('server', 'revoke', 'attic');
    assert.ok(!(await pings('10.121.111.1', '-I', 'bond1')), 'its session has ended');
    const told = await m.must('router', 'status', '--run-dir', '/run/second');
    assert.match(told, /session: none; if that lasts: yoke doctor/);
    assert.doesNotMatch(told, /state: up/);
    assert.deepEqual(
      (await peers()).peers.map((p) => p.name),
      ['home'],
    );
    await refused(
      'router',
      ['join', line, '--yes', '--no-test', ...second],
      /found one that the server does not know; ask for a new one/,
    );
    const strangers = async () => /expected the public key of a client/.test(await m.read('server', '/run/yoke/log'));
    await until('its handshakes to be refused', strangers, 15_000);
    await m.must('router', 'down', ...second);
    busy.child.kill('SIGINT');
    await busy.ended();
    const [, sent, came] = /(\d+) packets transmitted, (\d+) received/.exec(busy.output) ?? assert.fail(busy.output);
    assert.ok(Number(sent) > 100 && Number(sent) - Number(came) <= 1, `one may be on its way: ${busy.output}`);
  });

  test('who comes or goes takes nothing else of the file along: an edit waits for its reload', async () => {
    const line = lineIn(await init());
    const text = await m.read('server', CONFIG);
    await m.write('server', CONFIG, text.replace(/'server'\n/, "$&\toption test_port '30500'\n"));
    await join(line);
    assert.match(await m.must('server', 'plan'), /would change:\n# ~ bond: test_port 30327 → 30500\n# to be done/);
    await m.must('server', 'rename', 'home', 'attic');
    assert.ok(await pings('10.121.111.1'));
    assert.equal(await m.must('server', 'reload'), '~ bond: test_port 30327 → 30500\n');
    await m.must('server', 'revoke', 'attic');
    assert.deepEqual(await peers(), { peers: [], invitations: [] });
  });

  test('run twice: the server keeps its key, file and routers, the router stays what it is', async () => {
    const line = lineIn(await init());
    const key = await m.read('server', '/etc/yoke/private.key');
    assert.match(await init(), /kept \/etc\/config\/bonding[\s\S]*the service runs already[\s\S]*yoke invite NAME/);
    assert.equal(await m.read('server', '/etc/yoke/private.key'), key);
    await join(line);
    const [text, pid] = [await m.read('router', CONFIG), await m.read('router', '/run/yoke/pid')];
    assert.match(await join(line), /this router is home/);
    assert.equal(await m.read('router', CONFIG), text);
    assert.equal(await m.read('router', '/run/yoke/pid'), pid, 'nothing changed, so it was not restarted');
    assert.match(await m.must('router', 'join'), /no new link: eth1, eth2 are in/);
    assert.equal((await peers()).peers.length, 1);
    // somebody removes the device
    await m.net.ip('router', 'link del bond0');
    await until('the bond to come back', () => pings('10.121.111.1', '-I', 'bond0'), 15_000);
    // a reboot: the commands again, nothing else
    await m.must('server', 'down');
    assert.match(await init(), /yoke runs in the background/);
    await until('the bond to come back', () => pings('10.121.111.1'), 15_000);
  });

  test('invitations that are cut off, damaged, used, expired or unknown', async () => {
    const line = lineIn(await init());
    await refused(
      'router',
      ['join', line.slice(0, 70), '--yes'],
      /the invitation: expected a whole invitation, found one that is cut off; copy the whole line/,
    );
    const at = line.length - 20;
    const wrong = line.slice(0, at) + (line[at] === 'B' ? 'C' : 'B') + line.slice(at + 1);
    await refused('router', ['join', wrong, '--yes'], /found a damaged one: a letter is wrong; copy/);
    await refused('router', ['join', 'hello', '--yes'], /begins with YOKE:/);
    assert.equal(await m.read('router', '/etc/yoke/private.key'), '', 'nothing was written');

    await join(line);
    // another router: another key
    await m.reset('router');
    await refused(
      'router',
      ['join', line, '--yes'],
      /found one that is used up: another router has joined with it; ask for a new one: yoke invite/,
    );
    assert.equal(await m.read('router', CONFIG), '', 'nothing was written');
    const late = await invite('cabin', '--expires', '1m');
    const register = await m.read('server', INVITATIONS);
    await m.write(
      'server',
      INVITATIONS,
      register.replaceAll(/("expiresAt": "\d+)/g, (x) => x.replace('"20', '"19')),
    );
    await refused('router', ['join', late, '--yes'], /found one that has expired; ask for a new one/);
    const gone = await invite('attic');
    await m.must('server', 'revoke', 'attic');
    await refused('router', ['join', gone, '--yes'], /found one that the server does not know/);
    await m.write('server', INVITATIONS, register.replace('"version": 1', '"version": 2'));
    await refused('server', ['invite', 'attic'], /found version 2, of a newer yoke; install that version again/);
    await refused('router', ['join', gone, '--yes'], /found one that the server could not act on; read its log/);
  });

  test('without root, on the wrong machine, without an answer to the question', async () => {
    const main = process.argv[1].replace(/test\/netns\/.*$/, 'src/main.js');
    for (const words of [
      ['server', 'init'],
      ['join'],
      ['peers'],
      ['invite', 'x'],
      ['revoke', 'x'],
      ['rename', 'x', 'y'],
    ]) {
      const { code, stderr } = await asNobody(main, ...words);
      assert.equal(code, 1);
      assert.match(stderr, /expected root, found user 65534; run it as root: sudo yoke/);
    }
    await refused(
      'server',
      ['invite', 'home'],
      /yoke invite: expected the server of a bond, found no \/etc\/config\/bonding; first, on the server: yoke server init/,
    );
    await refused(
      'router',
      ['join'],
      /expected an invitation, or a router that has joined, found neither; on the server: yoke invite NAME/,
    );
    const line = lineIn(await init());
    await refused(
      'server',
      ['join', line, '--yes'],
      /expected a router, found the server of a bond; run it on the router/,
    );
    await refused(
      'router',
      ['join', line],
      /Use these 2 links\?: expected somebody to answer, found no terminal; add --yes/,
    );
    await join(line);
    for (const words of [['invite', 'x'], ['peers'], ['revoke', 'x'], ['rename', 'x', 'y']]) {
      await refused(
        'router',
        words,
        /expected the server of a bond, found the router of one; run this command on the server/,
      );
    }
    await refused(
      'router',
      ['server', 'init', '--public-ip', SERVER],
      /expected a machine without a bond, found the router of one; run yoke server init on the server/,
    );
    await refused('server', ['invite', 'my home'], /the name: expected letters, digits and _/);
    await refused(
      'server',
      ['invite', 'home'],
      /expected a name that no router has, found a router; choose another, or first: yoke revoke home/,
    );
    await refused(
      'server',
      ['revoke', 'nobody'],
      /expected the name of a router or of an open invitation, found neither; see yoke peers/,
    );
    await refused('server', ['rename', 'nobody', 'x'], /found neither/);
  });

  test('nobody answers: a firewall in the way, a server that does not run, no way out', async () => {
    const line = lineIn(await init());
    assert.match(await init(), /the invitation for home is open still; yoke invite home prints a new one in its place/);
    const shut = 'table inet out {\n chain o {\n type filter hook output priority 0;\n udp dport 1194 drop\n }\n}\n';
    await m.net.must('router', ['nft', '-f', m.net.write('out.nft', shut)]);
    await refused(
      'router',
      ['join', line, '--yes'],
      /expected a way there, found a firewall of this router's that forbids it; let UDP port 1194 out there/,
    );
    await m.net.must('router', ['nft', 'delete', 'table', 'inet', 'out']);
    await nft(
      'table inet shut {\n chain in {\n type filter hook input priority 0; policy accept;\n udp dport 1194 drop\n }\n}\n',
    );
    await refused(
      'router',
      ['join', line, '--yes'],
      /expected an answer within 12 s, found none; see that yoke runs there \(yoke status\) and that UDP port 1194 is open/,
    );
    await nft('delete table inet shut\n');
    await m.must('server', 'down');
    await refused(
      'router',
      ['join', line, '--yes'],
      /expected a running yoke, found a machine where nothing listens; start yoke there/,
    );
    assert.equal(await m.read('router', CONFIG), '');
    await m.must('server', 'server', 'init');
    assert.match(await join(line), /this router is home/);
  });

  test('the port is taken, the address is private, a firewall of the server’s own is closed', async () => {
    await whileTaken(1194, () =>
      refused(
        'server',
        ['server', 'init', '--public-ip', SERVER],
        /UDP port 1194: expected it to be free, found another program at it; choose another: yoke server init --port 1195/,
      ),
    );
    assert.equal(await m.read('server', CONFIG), '');
    await m.net.ip(
      'server',
      'address add 10.99.0.5/24 dev eth1',
      'address del 192.0.2.1/24 dev eth1',
      'route add default via 10.99.0.1 dev eth1',
    );
    try {
      await refused(
        'server',
        ['server', 'init', '--port', '1195'],
        /found 10\.99\.0\.5, a private one, so a router or a provider's NAT stands before it; forward UDP port 1195 to 10\.99\.0\.5 there, and name the public address: yoke server init --public-ip ADDRESS/,
      );
    } finally {
      await m.net.ip(
        'server',
        'route del default',
        'address add 192.0.2.1/24 dev eth1',
        'address del 10.99.0.5/24 dev eth1',
      );
    }
    await refused(
      'server',
      ['server', 'init'],
      /expected an interface that leads to the internet, found none; name the public address/,
    );
    await nft(
      'table inet mine {\n chain in {\n type filter hook input priority 0; policy drop;\n tcp dport 22 accept\n }\n}\n',
    );
    const told = await init('--port', '1195');
    assert.match(told, /firewall's chain inet mine in drops what it does not know: let in UDP port 1195 there/);
    await m.exec('server', ['nft', 'insert', 'rule', 'inet', 'mine', 'in', 'udp', 'dport', '1195', 'accept']);
    await m.exec('server', ['nft', 'insert', 'rule', 'inet', 'mine', 'in', 'iifname', 'bond0', 'accept']);
    assert.match(await join(lineIn(told)), /link eth2 stands/);
  });

  test('behind a NAT that forwards another port', async () => {
    await refused(
      'server',
      ['server', 'init', '--public-ip', `${SERVER}:4433`],
      /found one with a port; write: --public-ip 203\.0\.113\.1 --public-port 4433/,
    );
    const told = await init('--public-port', '4433');
    assert.match(
      told,
      /at 203\.0\.113\.1, UDP port 4433, which has to lead to UDP port 1194 of this machine[\s\S]*open UDP port 4433 there/,
    );
    await nft(
      `table inet shut {
  chain lead { type nat hook prerouting priority -100; ip daddr ${SERVER} udp dport 4433 dnat ip to 192.0.2.1:1194; }
  chain in { type filter hook input priority 0; udp dport 1194 ct status & dnat != dnat drop; }
}
`,
    );
    assert.match(
      await join(lineIn(told)),
      /link eth1 stands[\s\S]*link eth2 stands|link eth2 stands[\s\S]*link eth1 stands/,
    );
    assert.match(await m.read('router', CONFIG), /option remote_port '4433'/);
    assert.ok(await pings('10.121.111.1'));
    assert.match(await init(), /UDP port 4433, which/, 'run again it stays');
    assert.doesNotMatch(await init('--public-port', '1194'), /4433/);
    assert.doesNotMatch(await m.read('server', CONFIG), /endpoint_port/);
  });

  test('the first line is dead, and the default route still leads there: the second one is asked by', async () => {
    const line = lineIn(await init());
    await nft('table inet shut {\n chain in {\n type filter hook input priority 0; iifname "eth1" drop;\n }\n}\n');
    assert.match(
      await join(line),
      /link eth2 stands[\s\S]*link eth1 does not stand: no answer from 203\.0\.113\.1 by eth1/,
    );
  });

  test('one link only, then a second one; two interfaces behind one modem', async () => {
    await m.net.ip('router', 'link set dev eth2 down');
    const line = lineIn(await init());
    assert.match(
      await join(line),
      /one link only: the bond works, and gets faster with a second; when it is there: yoke join/,
    );
    const busy = m.exec('router', ['ping', '-n', '-q', '-i', '0.02', '-c', '150', '-W', '2', '10.121.111.1']);
    await m.net.ip(
      'router',
      'link set dev eth2 up',
      'route add default via 198.51.100.1 dev eth2 metric 102',
      'link add eth3 link eth1 type macvlan mode bridge',
      'address add 192.0.2.9/24 dev eth3',
      'link set dev eth3 up',
      'route add default via 192.0.2.1 dev eth3 metric 103',
    );
    try {
      const out = await m.must('router', 'join', '--yes', '--no-test');
      assert.match(
        out,
        /left out: eth3: eth1 leads to the same gateway 192\.0\.2\.1 in 192\.0\.2\.0\/24: one line, not two/,
      );
      assert.match(out, /link eth2 stands/);
      assert.match((await busy).stdout, /150 received, 0% packet loss/);
      await refused(
        'router',
        ['join', '--link', 'eth9'],
        /--link eth9: expected a device with an address, found no device eth9; name another/,
      );
    } finally {
      await m.net.ip(
        'router',
        'link del dev eth3',
        'address add 2001:db8:2::2/64 dev eth2 nodad',
        'route add default via 2001:db8:2::1 dev eth2 metric 102',
      );
    }
  });

  test('on OpenWrt links are called as netifd calls them, and one that is there under its device is no new one', async () => {
    const on = (name: string, device: string) =>
      `{"interface":"${name}","up":true,"l3_device":"${device}","ipv4-address":[{"address":"192.0.2.2"}],"route":[]}`;
    const ubus = `#!/bin/sh
case "$2 $3" in
'network.interface dump') echo '{"interface":[${on('lan', 'br-lan')},${on('wan', 'eth1')},${on('wanb', 'eth2')}]}' ;;
'network.interface.wan status') echo '${on('wan', 'eth1')}' ;;
'network.interface.wanb status') echo '${on('wanb', 'eth2')}' ;;
*) echo 'Command failed: Not found' >&2; exit 4 ;;
esac
`;
    await m.write('router', '/usr/bin/ubus', ubus);
    await m.exec('router', ['chmod', '755', '/usr/bin/ubus']);
    const out = await join(lineIn(await init()));
    assert.match(out, /^wan \(eth1\) +192\.0\.2\.2[\s\S]*^wanb \(eth2\)/m);
    assert.match(out, /link wan stands[\s\S]*link wanb stands|link wanb stands[\s\S]*link wan stands/);
    const text = await m.read('router', CONFIG);
    assert.match(
      text,
      /config link 'wan'\n\toption interface 'wan'\n[\s\S]*config link 'wanb'\n\toption interface 'wanb'/,
    );
    await m.write('router', CONFIG, text.replace("interface 'wanb'", "interface 'eth2'"));
    assert.match(await m.must('router', 'join'), /no new link: wan, eth2 are in/);
    assert.match(await m.must('router', 'join', '--link', 'wanb'), /no new link: wan, eth2 are in/);
  });

  test('another bond’s file is changed only when told to, and a copy is kept', async () => {
    const line = lineIn(await init());
    const text = `# mine\nconfig interface 'bond'\n\toption ipaddr '10.7.0.2'\n\toption public_key '${'A'.repeat(42)}E='\n\nconfig link 'attic'\n\toption interface 'eth2'\n\toption server '192.0.2.77'\n\toption up '900mbit'\n`;
    await m.write('router', CONFIG, text);
    await refused(
      'router',
      ['join', line, '--yes'],
      /expected no bond, or that of this invitation, found another bond; to leave that bond for this one, add --replace/,
    );
    assert.equal(await m.read('router', CONFIG), text);
    const out = await join(line, '--replace');
    const copy = /configuration as (\S+)/.exec(out)![1];
    assert.equal(await m.read('router', copy), text);
    const now = await m.read('router', CONFIG);
    assert.match(now, /^# mine\n/);
    assert.match(
      now,
      /config link 'attic'\n\toption interface 'eth2'\n\toption server '203\.0\.113\.1'\n\toption up '900mbit'/,
    );
    assert.match(out, /link attic stands/);
  });

  test('a network that the router uses itself is refused', async () => {
    const line = lineIn(await init('--network', '10.50.0.0/24'));
    await m.net.ip('router', 'address add 10.50.0.77/16 dev eth2');
    try {
      await refused(
        'router',
        ['join', line, '--yes'],
        /the network inside the bond, 10\.50\.0\.1\/24: expected one that this router does not use, found the same on eth2/,
      );
      assert.equal(await m.read('router', CONFIG), '');
    } finally {
      await m.net.ip('router', 'address del 10.50.0.77/16 dev eth2');
    }
  });
});

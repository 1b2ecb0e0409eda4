/** The pages for LuCI: rpcd's file under busybox, menu and rights, and both views in a real browser around a stand-in for LuCI's modules. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SECTIONS } from '../../src/config/options.ts';
import type { Status } from '../../src/status/status.ts';
import { ROOT } from './bundle.ts';

const APP = join(ROOT, 'packaging/openwrt/luci-app-yoke');
const PLUGIN = join(APP, 'root/usr/libexec/rpcd/luci.yoke');
const VIEWS = join(APP, 'htdocs/luci-static/resources/view');
const json = (path: string) => JSON.parse(readFileSync(join(APP, 'root/usr/share', path), 'utf8'));
const without = (program: string, ...argv: string[]) =>
  spawnSync(program, argv).status === 0 ? false : `no program ${program}`;

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), `yoke-luci-${process.pid}-`));
  mkdirSync(join(folder, 'bin'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** What rpcd gets from its file, with a `yoke` that says and ends as told. */
function rpcd(said: string, code: number, ...argv: string[]): { status: number | null; stdout: string } {
  writeFileSync(join(folder, 'said'), said);
  const stub = join(folder, 'bin', 'yoke');
  writeFileSync(stub, `#!/bin/sh\necho "$*" > '${folder}/argv'\ncat '${folder}/said'\nexit ${code}\n`);
  chmodSync(stub, 0o755);
  const env = { PATH: `${folder}/bin:${process.env.PATH}`, IPKG_INSTROOT: '' };
  return spawnSync('busybox', ['ash', PLUGIN, ...argv], { env, input: '{}', encoding: 'utf8' });
}

const skip = without('busybox', 'ash', '-c', 'true');

test('rpcd learns the methods, and those that the pages are allowed are among them', { skip }, () => {
  const methods = JSON.parse(rpcd('', 0, 'list').stdout);
  assert.deepEqual(methods, { status: {}, check: {} });
  const { read, write } = json('rpcd/acl.d/luci-app-yoke.json')['luci-app-yoke'];
  assert.deepEqual(read.ubus, { 'luci.yoke': Object.keys(methods) });
  assert.deepEqual([read.uci, write.uci], [['bonding'], ['bonding']]);
});

test('rpcd answers with the status, or with why there is none, whatever is in the words', { skip }, () => {
  assert.deepEqual(JSON.parse(rpcd('{"version":1}', 0, 'call', 'status').stdout), {
    running: true,
    status: { version: 1 },
  });
  assert.equal(
    readFileSync(join(folder, 'argv'), 'utf8'),
    'status --json --config /etc/config/bonding --run-dir /var/run/yoke\n',
  );
  const bad = 'no "instance" in C:\\x\n\ttab, bell\u0007, ünï\r\nlast';
  const answer = JSON.parse(rpcd(bad, 1, 'call', 'status').stdout);
  assert.deepEqual(answer, { running: false, reason: 'no "instance" in C:\\x\n tab, bell, ünï \nlast' });
  assert.deepEqual(JSON.parse(rpcd('', 1, 'call', 'status').stdout), { running: false, reason: '' });
  assert.deepEqual(JSON.parse(rpcd('good', 0, 'call', 'check').stdout), { good: true, text: 'good' });
  assert.deepEqual(JSON.parse(rpcd('a\nb\n', 1, 'call', 'check').stdout), { good: false, text: 'a\nb' });
  assert.equal(rpcd('', 0, 'call', 'reboot').status, 1);
});

test('the file for rpcd passes shellcheck', { skip: without('shellcheck', '--version') }, () => {
  const { status, stdout } = spawnSync('shellcheck', [PLUGIN], { encoding: 'utf8' });
  assert.equal(status, 0, stdout);
});

test('the menu leads to views that are there, behind rights that are there', () => {
  const menu = json('luci/menu.d/luci-app-yoke.json') as Record<
    string,
    { title: string; action: { type: string; path?: string }; depends?: { acl: string[] } }
  >;
  for (const { action } of Object.values(menu)) {
    if (action.type === 'view') assert.ok(existsSync(join(VIEWS, `${action.path}.js`)), action.path);
    else assert.equal(action.type, 'firstchild');
  }
  assert.deepEqual(Object.keys(json('rpcd/acl.d/luci-app-yoke.json')), menu['admin/services/yoke'].depends?.acl);
});

const noBrowser = without('chromium', '--version');

/** A view's page after two polls, as the browser has it then; `also` runs at the end and may add to it. */
function shown(view: string, answers: Record<string, unknown[]>, also = ''): string {
  const script = (text: string) => `<script>${text.replaceAll('</', '<\\/')}</script>`;
  const parts = [
    '<!DOCTYPE html><meta charset="utf-8"><body>',
    script(`const ANSWERS = ${JSON.stringify(answers)};`),
    script(readFileSync(join(ROOT, 'test/packaging/luci-stub.js'), 'utf8')),
    script(
      `runView(${JSON.stringify(readFileSync(join(VIEWS, view), 'utf8'))}).then(async () => {${also}}).then(() => document.body.append(E('b', {}, ['done'])), (e) => document.body.append(E('b', {}, [e.stack])));`,
    ),
  ];
  const page = join(folder, 'page.html');
  writeFileSync(page, parts.join('\n'));
  const argv = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${folder}/chromium`];
  const limits = ['--virtual-time-budget=5000', '--timeout=30000', '--dump-dom', `file://${page}`];
  const { stdout, stderr } = spawnSync('chromium', [...argv, ...limits], { encoding: 'utf8', timeout: 60_000 });
  const body = stdout.replace(/<script>[\s\S]*?<\/script>/g, '');
  assert.match(body, /<b>done<\/b>/, `${body}\n${stderr}`);
  return body;
}

const rowsOf = (page: string) =>
  [...page.matchAll(/<tr class="tr">(.*?)<\/tr>/g)].map((row) =>
    [...row[1].matchAll(/<td class="td">(.*?)<\/td>/g)].map((cell) => cell[1]),
  );

const path = (name: string, state: string, rxBytes: number) => ({
  name,
  state,
  srttMs: 20.4,
  rxBytes,
  txBytes: 0,
  lostDatagrams: 3,
});
const status = (pid: number, rxBytes: number) =>
  ({
    pid,
    role: 'router',
    engine: 'multipath',
    ifname: 'bond0',
    warnings: ['links are <i>unequal</i>'],
    bonds: [
      {
        peer: 'server',
        established: true,
        rxBytes,
        txBytes: 0,
        paths: [path('dsl', 'up', rxBytes), path('lte', 'down', 0)],
      },
    ],
    links: [
      { name: 'dsl', device: 'eth1', usable: true, reason: '', verdict: 'up' },
      { name: 'lte', device: 'wwan0', usable: true, reason: '', verdict: 'down' },
      {
        name: '<img src=x onerror=document.title=1>',
        device: '',
        usable: false,
        reason: 'no address',
        verdict: 'down',
      },
    ],
  }) as unknown as Status;

test('the page of the status shows bond and links, with rates; words stay words', { skip: noBrowser }, () => {
  const answers = [0, 1_250_000, 2_500_000].map((bytes) => ({ running: true, status: status(7, bytes) }));
  const page = shown('yoke/status.js', { status: answers });
  const [bond, dsl, lte, third] = rowsOf(page);
  assert.deepEqual(bond.slice(0, 2), ['server', 'connected']);
  assert.match(bond[2], /^(9|10)\.\d Mbit\/s$/);
  assert.equal(bond[4], '1 / 2');
  assert.deepEqual(dsl.slice(0, 4), ['dsl', 'eth1', 'up', '20 ms']);
  assert.equal(dsl[6], '3');
  assert.equal(lte[2], 'down');
  assert.deepEqual(third, ['&lt;img src=x onerror=document.title=1&gt;', '', 'no address', '–', '–', '–', '–']);
  assert.match(page, /warning">links are &lt;i&gt;unequal/);
});

test('the page of the status says when nothing runs, and starts counting again after a restart', {
  skip: noBrowser,
}, () => {
  assert.match(
    shown('yoke/status.js', { status: [{ running: false, reason: 'no <b>instance</b>' }] }),
    /does not run: no &lt;b&gt;instance/,
  );
  assert.match(shown('yoke/status.js', { status: [null] }), /restart it/);
  const restarted = [status(7, 5e6), status(8, 9e6), status(9, 9e9)].map((value) => ({ running: true, status: value }));
  assert.equal(rowsOf(shown('yoke/status.js', { status: restarted }))[0][2], '–');
});

test('the page of the links edits options that there are, and shows what yoke check says', { skip: noBrowser }, () => {
  const also = `
    await window.map.sections[0].button.onclick();
    const down = window.map.sections[1].options.find((o) => o.name === 'down');
    document.body.append(E('code', {}, [JSON.stringify(['50mbit', '', '5', 'x', '5 mbit'].map((v) => down.validate('a', v) === true))]));`;
  const page = shown('yoke/links.js', { check: [{ good: false, text: 'bonding:3: <b>expected</b>' }] }, also);
  assert.match(page, /<form data-config="bonding">/);
  assert.match(page, /<aside class="warning"><pre>bonding:3: &lt;b&gt;expected/);
  assert.match(page, /<code>\[true,true,true,false,false\]<\/code>/);
  const link = SECTIONS.find((section) => section.type === 'link')!;
  const named = [...page.matchAll(/data-option="([a-z]\w*)"/g)].map((m) => m[1]);
  assert.ok(named.length >= 5, page);
  for (const name of named) assert.ok(link.options?.[name], name);
});

test('the packages of OpenWrt bear the version of yoke', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  for (const name of ['yoke', 'luci-app-yoke']) {
    const makefile = readFileSync(join(ROOT, 'packaging/openwrt', name, 'Makefile'), 'utf8');
    assert.match(makefile, new RegExp(`^PKG_VERSION:=${version.replaceAll('.', '\\.')}$`, 'm'), name);
  }
});

test('every file that the Makefile installs is there', () => {
  const makefile = readFileSync(join(ROOT, 'packaging/openwrt/yoke/Makefile'), 'utf8');
  const files = [...makefile.matchAll(/\.\/(files\/\S+)/g)].map((m) => m[1]);
  assert.ok(files.length >= 4);
  for (const file of files) assert.ok(existsSync(join(ROOT, 'packaging/openwrt/yoke', file)), file);
});

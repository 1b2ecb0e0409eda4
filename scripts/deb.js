/**
 * `npm run deb`: the Debian package, made with dpkg-deb alone. The same source gives the same bytes: every time in it is
 * SOURCE_DATE_EPOCH (the time of the last commit where it is not set).
 *
 *   /usr/lib/yoke/            the bundle (scripts/bundle.js), /usr/bin/yoke a link into it
 *   /usr/lib/systemd/system/  packaging/systemd/yoke.service
 *   /usr/share/man, completion for bash, zsh, fish   scripts/pages.js
 *   /usr/share/doc/yoke/      documents, examples, changelog, licences
 *
 * Options: `--out FOLDER` (build), `--arch x64|arm64` (this machine's). It prints the path of the package.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { makeBundle } from './bundle.js';
import { writePages } from './pages.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DEBIAN_ARCHS = { x64: 'amd64', arm64: 'arm64' };
const MAINTAINER = 'The yoke maintainers <maintainers@yoke.invalid>';

/** What the package needs. The library's build wants glibc 2.25 and libstdc++ of GCC 5. */
const RELATIONS = `Depends: nodejs (>= 20.10), libc6 (>= 2.25), libgcc-s1, libstdc++6, iproute2, nftables
Recommends: iputils-ping, openvpn
Suggests: iperf3, bash-completion`;

/** The one licence that every Debian system has already, and that is not to be repeated. */
const APACHE = /^ *Apache License\s+Version 2\.0[\s\S]*?END OF TERMS AND CONDITIONS.*$/m;
const APACHE_PLACE = 'On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.';

/** Makes the package and returns its path. */
export async function makeDeb({ out, arch = process.arch }) {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  const epoch = sourceDate();
  const tree = mkdtempSync(join(tmpdir(), 'yoke-deb-'));
  try {
    const doc = join(tree, 'usr/share/doc/yoke');
    await layProgram(tree, arch);
    await layDocuments(tree, doc, new Date(epoch * 1000), version);
    const control = join(tree, 'DEBIAN');
    mkdirSync(control);
    for (const name of ['postinst', 'prerm', 'postrm']) lay(`packaging/debian/${name}`, join(control, name), 0o755);
    const files = walk(tree).filter((path) => !path.startsWith('DEBIAN') && lstatSync(join(tree, path)).isFile());
    const sums = files.map(
      (path) =>
        `${createHash('md5')
          .update(readFileSync(join(tree, path)))
          .digest('hex')}  ${path}\n`,
    );
    writeFileSync(join(control, 'md5sums'), sums.join(''));
    const sizeKb = files.reduce((sum, path) => sum + Math.ceil(statSync(join(tree, path)).size / 1024), 0);
    writeFileSync(join(control, 'control'), controlText(version, DEBIAN_ARCHS[arch], sizeKb));
    for (const path of ['', ...walk(tree)]) settle(join(tree, path), epoch);
    mkdirSync(out, { recursive: true });
    const deb = join(out, `yoke_${version}_${DEBIAN_ARCHS[arch]}.deb`);
    const env = { ...process.env, SOURCE_DATE_EPOCH: String(epoch) };
    run('dpkg-deb', ['--root-owner-group', '-Zxz', '--build', tree, deb], env);
    return deb;
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

/** The time of the source. Units: seconds since 1970. */
function sourceDate() {
  const said = Number(process.env.SOURCE_DATE_EPOCH);
  if (said > 0) return said;
  const { stdout } = spawnSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' });
  return Number(stdout) || Math.floor(statSync(join(ROOT, 'package.json')).mtimeMs / 1000);
}

async function layProgram(tree, arch) {
  const lib = join(tree, 'usr/lib/yoke');
  await makeBundle({ out: lib, arch });
  rmSync(join(lib, 'koffi', `musl_${arch}.node`));
  rmSync(join(lib, 'yoke.service'));
  // Debian's own Node, whatever the PATH of the one who runs it
  const program = join(lib, 'yoke.js');
  writeFileSync(program, readFileSync(program, 'utf8').replace(/^#!.*/, '#!/usr/bin/node'));
  mkdirSync(join(tree, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/yoke/yoke.js', join(tree, 'usr/bin/yoke'));
  const unit = readFileSync(join(ROOT, 'packaging/systemd/yoke.service'), 'utf8');
  const fixed = unit.replace(/^# the first yoke of .*\n/m, '').replace(/^(Exec\w+)=yoke /gm, '$1=/usr/bin/yoke ');
  put(join(tree, 'usr/lib/systemd/system/yoke.service'), fixed);
  mkdirSync(join(tree, 'etc/config'), { recursive: true });
  mkdirSync(join(tree, 'etc/yoke'));
}

async function layDocuments(tree, doc, date, version) {
  const pages = join(tree, 'pages');
  await writePages(pages, date);
  const man = (name, section) =>
    packed(readFileSync(join(pages, name)), join(tree, `usr/share/man/man${section}/${name}.gz`));
  man('yoke.8', 8);
  man('bonding.5', 5);
  lay(join(pages, 'yoke.bash'), join(tree, 'usr/share/bash-completion/completions/yoke'));
  lay(join(pages, 'yoke.zsh'), join(tree, 'usr/share/zsh/vendor-completions/_yoke'));
  lay(join(pages, 'yoke.fish'), join(tree, 'usr/share/fish/vendor_completions.d/yoke.fish'));
  rmSync(pages, { recursive: true });
  const licences = join(tree, 'usr/lib/yoke/LICENSES');
  const texts = readFileSync(licences, 'utf8').replace(APACHE, APACHE_PLACE);
  put(join(doc, 'copyright'), readFileSync(join(ROOT, 'packaging/debian/copyright'), 'utf8') + texts);
  rmSync(licences);
  packed(changelog(version, date), join(doc, 'changelog.gz'));
  lay('README.md', join(doc, 'README.md'));
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  for (const name of docs.filter((file) => /\.(md|svg)$/.test(file))) {
    lay(`docs/${name}`, join(doc, 'docs', name));
  }
  cpSync(join(ROOT, 'examples'), join(doc, 'examples'), { recursive: true });
}

function controlText(version, arch, sizeKb) {
  return `Package: yoke
Version: ${version}
Section: net
Priority: optional
Architecture: ${arch}
Maintainer: ${MAINTAINER}
Installed-Size: ${sizeKb}
${RELATIONS}
Description: joins several internet links into one fast pipe
 yoke runs on a Linux router with two or more internet links and on a server
 in a datacentre. One TCP download then uses all links at once, and a link
 that dies is a hiccup, not an outage.
 .
 It has an encrypted protocol of its own that paces each link at what it
 carries, and it runs the older way too: OpenVPN tunnels under the kernel's
 bonding driver. Every change to the host can be seen before and is taken
 back at the end.
`;
}

/** CHANGELOG.md's chapters as Debian writes them, the newest first; the newest has the time of the source. */
function changelog(version, date) {
  const chapters = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8').split(/^## /m).slice(1);
  const day = date.toUTCString().replace('GMT', '+0000');
  const entries = chapters.map((chapter) => {
    const points = chapter.split(/^- /m).slice(1);
    const lines = points.map((point) => `  * ${fold(plain(point)).join('\n    ')}`);
    return `yoke (${chapter.split(' ')[0]}) unstable; urgency=medium\n\n${lines.join('\n')}\n\n -- ${MAINTAINER}  ${day}\n`;
  });
  if (!chapters[0]?.startsWith(`${version} `)) throw new Error(`CHANGELOG.md does not begin with ${version}`);
  return entries.join('\n');
}

const plain = (markdown) =>
  markdown
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll('`', '')
    .replace(/\s+/g, ' ')
    .trim();

function fold(text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    if (lines.at(-1).length + word.length > 74) lines.push('');
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ' '}${word}`;
  }
  return lines;
}

/** Copies a file of the checkout, or one by its whole path. */
function lay(from, to, mode = 0o644) {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from.startsWith('/') ? from : join(ROOT, from), to);
  chmodSync(to, mode);
}

function put(to, content) {
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, content);
}

const packed = (content, to) => put(to, gzipSync(content, { level: 9 }));

const walk = (tree) => readdirSync(tree, { recursive: true, encoding: 'utf8' }).sort();

/** Modes that no umask decides, and the time of the source. */
function settle(path, epoch) {
  const info = lstatSync(path);
  if (info.isDirectory()) chmodSync(path, path.endsWith('/etc/yoke') ? 0o700 : 0o755);
  else if (info.isFile()) chmodSync(path, info.mode & 0o100 ? 0o755 : 0o644);
  lutimesSync(path, epoch, epoch);
}

function run(program, args, env) {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', env });
  if (status !== 0) throw new Error(`${program}: ${error?.message ?? stderr.trim()}`);
}

if (process.argv[1] && fileURLToPath(import.meta.url) === process.argv[1]) {
  const { values } = parseArgs({ options: { out: { type: 'string' }, arch: { type: 'string' } } });
  console.log(await makeDeb({ out: values.out ?? join(ROOT, 'build'), arch: values.arch }));
}

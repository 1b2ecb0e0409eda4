/** Settings and certificates for tests of the OpenVPN backend. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BackendSettings, LinkSettings, OpenvpnSettings } from '../../src/backend/backend.ts';
import { parseAddress } from '../../src/base/address.ts';
import { translateOpenvpn } from '../../src/config/openvpn.ts';
import { Pki } from '../../src/pki/pki.ts';

/** A folder with an authority and a certificate for each end. */
export async function makeCertificates(): Promise<{ dir: string; remove(): void }> {
  const dir = mkdtempSync(join(tmpdir(), 'yoke-openvpn-'));
  const pki = new Pki({ dir, now: new Date() });
  await pki.init('test');
  await pki.issue('dc', 'server');
  await pki.issue('home', 'router');
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** The options of a section in the article's words, for one end. */
export function sectionOf(dir: string, role: 'router' | 'server', more: Record<string, string> = {}) {
  const [name, other] = role === 'router' ? ['home', 'server'] : ['dc', 'client'];
  return {
    dev_type: 'tap',
    ca: join(dir, 'ca.crt'),
    cert: join(dir, 'issued', `${name}.crt`),
    key: join(dir, 'private', `${name}.key`),
    tls_crypt: join(dir, 'ta.key'),
    remote_cert_tls: other,
    ...more,
  };
}

/** A section's text, as the file has it. */
export function sectionText(role: 'router' | 'server', options: Record<string, string>): string {
  const heading = role === 'router' ? 'config openvpn' : 'config openvpn-server';
  return [heading, ...Object.entries(options).map(([name, value]) => `\toption ${name} '${value}'`), ''].join('\n');
}

const AT = { file: 'test', line: 1 };

/** What the daemon would make of such a section. */
export function openvpnOf(dir: string, role: 'router' | 'server', more: Record<string, string> = {}): OpenvpnSettings {
  const options = Object.entries(sectionOf(dir, role, more)).map(([name, value]) => ({ name, value, place: AT }));
  const section = role === 'router' ? ('openvpn' as const) : ('openvpn-server' as const);
  const { lines, remarks, files, devType } = translateOpenvpn([{ section, place: AT, options }], role);
  return {
    lines,
    remarks: remarks.map((r) => r.text),
    files: files.map(({ option, path }) => ({ where: `option ${option}`, option, path })),
    devType,
    mode: 'balance-rr',
    parameters: [],
  };
}

/** Settings of both ends, whose tunnels go by these addresses, one a link. */
export function pairOf(
  dir: string,
  links: readonly { device: string; local: string; server: string; port: number }[],
  ifnames: { router: string; server: string } = { router: 'bond0', server: 'bond0' },
): { server: BackendSettings; router: BackendSettings } {
  const base = { privateKey: new Uint8Array(0), peers: [], listen: [], fwmark: 0, offload: false };
  const link = (id: number, mine: string, far: string, device: string, ports: [number, number]): LinkSettings => ({
    id,
    name: `link${id}`,
    device,
    usable: true,
    localAddress: addressOf(mine),
    localPort: ports[0],
    serverAddress: addressOf(far),
    serverPort: ports[1],
    mtu: 1500,
  });
  return {
    server: {
      ...base,
      role: 'server',
      ifname: ifnames.server,
      links: links.map((l, id) => link(id, l.server, l.server, l.device, [l.port, l.port])),
      openvpn: openvpnOf(dir, 'server'),
    },
    router: {
      ...base,
      role: 'router',
      ifname: ifnames.router,
      links: links.map((l, id) => link(id, l.local, l.server, l.device, [0, l.port])),
      openvpn: openvpnOf(dir, 'router'),
    },
  };
}

function addressOf(text: string) {
  const bytes = parseAddress(text);
  if (bytes === undefined) throw new Error(text);
  return bytes;
}

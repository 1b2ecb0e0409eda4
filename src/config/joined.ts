/**
 * A router's file after it joined a server: what the invitation decides is set, everything else stays as it was written.
 *
 *   no file             a new one
 *   a file              sections and comments stay; the bond's own options are set, every link leads to the server, new links are added
 *   another bond's      nothing, unless it is to be replaced: then as above, and what belonged to the other engine goes
 */
import { BONDING_PARAMETERS } from './bonding.ts';
import { type NewLink, type NewRouter, printRouterConfig } from './compose.ts';
import { MAX_LINKS } from './options.ts';
import { isUciName, parseUci, printUci, type UciDocument } from './uci.ts';
import {
  addSection,
  deleteOption,
  deleteSection,
  findSection,
  getOption,
  setOption,
  type UciValue,
} from './uci-edit.ts';

/** What a file says of the bond it belongs to, as far as joining is concerned. */
export type Belongs =
  /** No bond is in it. */
  | 'nobody'
  /** The bond of this server already. */
  | 'same'
  | 'other'
  /** This machine is a server itself. */
  | 'server';

/** Whose file it is; it need not be without errors. */
export function belongsTo(text: string, file: string, serverPublicKey: string): Belongs {
  const document = parseUci(text, file);
  const bond = findSection(document, 'interface', 'bond');
  const option = (name: string) => (bond < 0 ? undefined : getOption(document, bond, name));
  if (option('role') === 'server') return 'server';
  if (isOpenvpn(document)) return 'other';
  const key = option('public_key');
  if (key === undefined) return 'nobody';
  return key === serverPublicKey ? 'same' : 'other';
}

/** The file that this end's key is kept in, if a configuration says so: whoever has a key keeps it. */
export function keyFileIn(text: string, file: string): string | undefined {
  const document = parseUci(text, file);
  const bond = findSection(document, 'interface', 'bond');
  return bond < 0 ? undefined : getOption(document, bond, 'private_key_file');
}

/** The file as it should be. `links`: those that were found; one whose interface the file names already is not added again. */
export function joinedText(
  text: string,
  file: string,
  router: NewRouter,
  serverOf: (device: string) => string,
): string {
  if (text.trim() === '') return printRouterConfig(router);
  let document = parseUci(text, file);
  if (isOpenvpn(document)) document = withoutOpenvpn(document);
  document = setBond(document, router);
  document.sections.forEach((section, i) => {
    if (section.type !== 'link') return;
    document = setOption(document, i, 'server', serverOf(getOption(document, i, 'interface') ?? ''));
    document = setOrDelete(document, i, 'remote_port', router.port?.toString());
  });
  return printUci(addLinks(document, router));
}

/** The file with the links that it lacks. */
export function withLinks(text: string, file: string, router: Pick<NewRouter, 'links' | 'server' | 'port'>): string {
  return printUci(addLinks(parseUci(text, file), router));
}

/** The interfaces that a file has links for. */
export function linkInterfaces(text: string, file: string): string[] {
  const document = parseUci(text, file);
  return document.sections.flatMap((s, i) => (s.type === 'link' ? (getOption(document, i, 'interface') ?? []) : []));
}

/** A section name for a device: `eth1.7` → `eth1_7`. */
export function linkName(device: string): string {
  const name = device.replace(/[^A-Za-z0-9_]/g, '_');
  return isUciName(name) ? name : 'link';
}

function isOpenvpn(document: UciDocument): boolean {
  const bond = findSection(document, 'interface', 'bond');
  const engine = bond < 0 ? undefined : getOption(document, bond, 'engine');
  if (engine !== undefined) return engine === 'openvpn';
  return document.sections.some((s) => s.type === 'openvpn' || s.type === 'openvpn-server');
}

function withoutOpenvpn(before: UciDocument): UciDocument {
  let document = before;
  for (const type of ['openvpn', 'openvpn-server']) {
    for (let i = findSection(document, type); i >= 0; i = findSection(document, type))
      document = deleteSection(document, i);
  }
  const bond = findSection(document, 'interface', 'bond');
  if (bond >= 0)
    for (const name of ['engine', 'mode', ...Object.keys(BONDING_PARAMETERS)])
      document = deleteOption(document, bond, name);
  document.sections.forEach((section, i) => {
    if (section.type === 'link') document = deleteOption(document, i, 'tunnel');
  });
  return document;
}

/** What an invitation decides; the other spellings of the same thing go. */
function setBond(before: UciDocument, router: NewRouter): UciDocument {
  let document = before;
  if (findSection(document, 'interface', 'bond') < 0) document = addSection(document, 'interface', 'bond');
  const at = findSection(document, 'interface', 'bond');
  const values: Record<string, UciValue | undefined> = {
    role: 'router',
    ipaddr: router.ipaddr,
    netmask: undefined,
    ip6addr: router.ip6addr,
    remote_ipaddr: router.remoteIpaddr,
    remote_ip6addr: router.remoteIp6addr,
    private_key_file: router.privateKeyFile,
    private_key: undefined,
    public_key: router.serverPublicKey,
    preshared_key_file: undefined,
    preshared_key: undefined,
  };
  for (const [name, value] of Object.entries(values)) document = setOrDelete(document, at, name, value);
  return document;
}

function setOrDelete(document: UciDocument, section: number, name: string, value: UciValue | undefined): UciDocument {
  if (value !== undefined) return setOption(document, section, name, value);
  return getOption(document, section, name) === undefined ? document : deleteOption(document, section, name);
}

function addLinks(before: UciDocument, router: Pick<NewRouter, 'links' | 'server' | 'port'>): UciDocument {
  let document = before;
  const links = () => document.sections.filter((s) => s.type === 'link');
  const has = (device: string) =>
    document.sections.some((s, i) => s.type === 'link' && getOption(document, i, 'interface') === device);
  for (const link of router.links) {
    if (has(link.interface) || links().length >= MAX_LINKS) continue;
    const names = links().map((s) => s.name);
    const name = names.includes(link.name) ? `${link.name}_${links().length}` : link.name;
    document = addSection(document, 'link', name, optionsOf(link, router));
  }
  return document;
}

function optionsOf(link: NewLink, { server, port }: Pick<NewRouter, 'server' | 'port'>): Record<string, UciValue> {
  const options = { interface: link.interface, server: link.server ?? server };
  return port === undefined ? options : { ...options, remote_port: String(port) };
}

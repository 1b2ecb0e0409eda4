/**
 * An OpenVPN section → the lines of a tunnel's configuration, what is to be said about them, and what is wrong with them.
 *
 *   said in the file ─ table (openvpn-options.ts) ─▶ handed on, changed or left out ─▶ + what a tunnel of a bond needs ─▶ lines
 *
 * Where the article and common sense differ, what its author meant is done: `mssfix '1'` follows `fragment`, `ns_cert_type 'server'` of the
 * server's section checks that the router is a client.
 */
import type { OpenvpnConfig, Place, Role } from './config.ts';
import { LOST_CIPHERS, OPENVPN_OPTIONS, REPEATED } from './openvpn-options.ts';
import { nearest } from './suggest.ts';

/** A file that an option names. */
export interface NamedFile {
  option: string;
  path: string;
  place: Place;
}

/** A complaint about one option; the caller adds where. */
export interface OptionFault {
  option: string;
  place: Place;
  expected: string;
  found: string;
  todo: string;
}

/** What the sections of one role come to. Plain data. */
export interface OpenvpnText {
  /** Lines of the configuration, the same for every tunnel. */
  lines: string[];
  /** What was changed or left out, and why: one sentence each. */
  remarks: { place: Place; text: string }[];
  files: NamedFile[];
  faults: OptionFault[];
  /** What the file asks for; TUN is not taken by every kernel. */
  devType: 'tun' | 'tap';
  /** Largest outer payload before OpenVPN splits; undefined: it does not. Units: bytes. */
  fragment?: number;
}

type Option = OpenvpnConfig['options'][number];

const ON = /^(1|on|yes|true|enabled)$/i;
const OFF = /^(0|off|no|false|disabled)$/i;
/** Ciphers that two of today's ends agree upon. */
const CIPHERS = 'AES-256-GCM:CHACHA20-POLY1305';

/** What is added where the file says nothing of it, with the options that count as saying something. */
const ADDED: readonly (readonly [line: string, unless: readonly string[]])[] = [
  ['persist-key', ['persist_key']],
  ['persist-tun', ['persist_tun']],
  ['keepalive 1 5', ['keepalive', 'ping', 'ping_restart', 'ping_exit']],
  ['connect-retry 1 5', ['connect_retry']],
  ['hand-window 10', ['hand_window']],
  ['explicit-exit-notify 1', ['explicit_exit_notify']],
  ['fast-io', ['fast_io']],
  ['verb 2', ['verb']],
];

/** Translates all sections of a role. */
export function translateOpenvpn(sections: readonly OpenvpnConfig[], role: Role): OpenvpnText {
  const wanted = role === 'router' ? 'openvpn' : 'openvpn-server';
  const said = sections.filter((s) => s.section === wanted).flatMap((s) => s.options);
  const options = said.filter((o) => o.value !== '');
  const out: OpenvpnText = { lines: [], remarks: [], files: [], faults: [], devType: 'tap' };
  const has = (...names: string[]) => options.some((o) => names.includes(o.name));
  if (!has('secret')) out.lines.push(role === 'router' ? 'tls-client' : 'tls-server');
  for (const option of options) {
    if (!isPlain(option)) {
      fault(out, option, 'one line of text', 'a control character', 'remove it');
      continue;
    }
    const later = REPEATED.has(option.name) ? undefined : options.findLast((o) => o.name === option.name);
    if (later && later !== option) {
      if (later.value !== option.value) {
        remark(out, option, `'${option.value}' is said again in line ${later.place.line}, which counts`);
      }
      continue;
    }
    translate(out, option, role, options);
  }
  if (role === 'server' && !has('dh', 'secret')) out.lines.push('dh none');
  if (!has('cipher', 'data_ciphers', 'secret')) out.lines.push(`data-ciphers ${CIPHERS}`);
  const isOff = (name: string) => options.some((o) => o.name === name && OFF.test(o.value));
  for (const [line, unless] of ADDED) if (!has(...unless) || unless.every(isOff)) out.lines.push(line);
  return out;
}

const isPlain = (o: Option) => ![...o.value].some((c) => c < ' ' || c === '\x7f');

const remark = (out: OpenvpnText, o: Option, text: string) =>
  void out.remarks.push({ place: o.place, text: `option ${o.name}: ${text}` });

const fault = (out: OpenvpnText, o: Option, expected: string, found: string, todo: string) =>
  void out.faults.push({ option: o.name, place: o.place, expected, found, todo });

function translate(out: OpenvpnText, option: Option, role: Role, all: readonly Option[]): void {
  const treatment = OPENVPN_OPTIONS.get(option.name);
  const word = option.name.replaceAll('_', '-');
  if (!treatment) {
    const near = nearest(option.name, [...OPENVPN_OPTIONS.keys()]);
    const todo = near === undefined ? 'remove it' : `did you mean '${near}'?`;
    fault(out, option, 'an option that OpenVPN knows', `'${option.name}'`, todo);
    return;
  }
  switch (treatment.kind) {
    case 'flag':
      if (ON.test(option.value)) out.lines.push(word);
      else if (!OFF.test(option.value))
        fault(out, option, "'1' or '0'", `'${option.value}'`, "write '1', or remove it");
      return;
    case 'file':
      takeFile(out, option);
      return;
    case 'value':
      if (option.name === 'fragment') takeFragment(out, option);
      else out.lines.push(`${word} ${option.value}`);
      return;
    case 'left out':
      if (!OFF.test(option.value)) remark(out, option, `left out: ${treatment.why}`);
      return;
    case 'changed':
      CHANGES[option.name](out, option, role, all);
  }
}

function takeFile(out: OpenvpnText, option: Option): void {
  const [path, ...rest] = option.value.split(/\s+/);
  if (!path.startsWith('/')) {
    fault(out, option, 'a file by its absolute path', `'${path}'`, `write it like '/etc/openvpn/${path}'`);
    return;
  }
  out.files.push({ option: option.name, path, place: option.place });
  out.lines.push([option.name.replaceAll('_', '-'), path, ...rest].join(' '));
}

function takeFragment(out: OpenvpnText, option: Option): void {
  const size = Number.parseInt(option.value, 10);
  if (!(size >= 68 && size <= 65_535)) {
    fault(out, option, 'a number of bytes from 68 to 65535', `'${option.value}'`, "write it like '1400'");
    return;
  }
  out.fragment = size;
  out.lines.push(`fragment ${option.value}`);
}

type Change = (out: OpenvpnText, option: Option, role: Role, all: readonly Option[]) => void;

const nothing: Change = () => {};

/** The options whose modern form is another one. */
const CHANGES: Readonly<Record<string, Change>> = {
  // Which end calls and which is called follows from the role; a tunnel has no one to push it anything.
  client: nothing,
  tls_client: nothing,
  tls_server: nothing,
  server(out, option) {
    if (!ON.test(option.value)) remark(out, option, 'left out: addresses are those of the bond, not of its tunnels');
  },
  dev_type(out, option) {
    if (option.value === 'tun' || option.value === 'tap') out.devType = option.value;
    else fault(out, option, "'tun' or 'tap'", `'${option.value}'`, "write 'tap'");
  },
  proto(out, option) {
    if (!/^udp[46]?$/.test(option.value)) fault(out, option, "'udp'", `'${option.value}'`, "write 'udp'");
  },
  cipher(out, option, _role, all) {
    if (LOST_CIPHERS.test(option.value)) {
      const todo = "write 'AES-256-GCM' at both ends, or leave it out";
      fault(out, option, 'a cipher that OpenVPN still has', `'${option.value}'`, todo);
      return;
    }
    if (all.some((o) => o.name === 'secret')) {
      out.lines.push(`cipher ${option.value}`);
      return;
    }
    if (!all.some((o) => o.name === 'data_ciphers')) {
      const known = CIPHERS.split(':').includes(option.value.toUpperCase());
      out.lines.push(`data-ciphers ${known ? option.value.toUpperCase() : `${CIPHERS}:${option.value}`}`);
    }
    if (/-GCM$|POLY1305$/i.test(option.value)) return;
    if (!all.some((o) => o.name === 'data_ciphers_fallback')) out.lines.push(`data-ciphers-fallback ${option.value}`);
    remark(
      out,
      option,
      `two ends of today agree upon AES-256-GCM; ${option.value} stays for a peer that has nothing better`,
    );
  },
  comp_lzo(out, option) {
    if (!OFF.test(option.value))
      remark(out, option, 'left out: OpenVPN does not compress any more; leave it out at both ends');
  },
  dh(out, option, role) {
    if (role === 'router') remark(out, option, "left out: only the server's end has use for it");
    else if (option.value === 'none') out.lines.push('dh none');
    else takeFile(out, option);
  },
  keepalive(out, option) {
    const [ping, restart] = option.value.split(/\s+/).map(Number);
    if (!(ping >= 1 && restart >= 2)) {
      fault(out, option, 'two numbers of seconds', `'${option.value}'`, "write it like '1 5'");
      return;
    }
    if (restart >= 2 * ping) {
      out.lines.push(`keepalive ${ping} ${restart}`);
      return;
    }
    const shorter = Math.max(1, Math.floor(restart / 5));
    out.lines.push(`keepalive ${shorter} ${restart}`);
    remark(out, option, `'${shorter} ${restart}' in its place: OpenVPN wants the second at least twice the first`);
  },
  key_method(out, option) {
    remark(out, option, 'left out: OpenVPN has removed it, and always uses method 2');
  },
  mssfix(out, option, _role, all) {
    if (OFF.test(option.value)) return;
    const size = Number.parseInt(option.value, 10);
    if (size > 1 || !ON.test(option.value)) {
      out.lines.push(`mssfix ${option.value}`);
      return;
    }
    const fragment = all.findLast((o) => o.name === 'fragment')?.value;
    out.lines.push(fragment === undefined ? 'mssfix' : `mssfix ${fragment}`);
    if (fragment !== undefined)
      remark(out, option, `'${fragment}' in its place, as fragment has it: a size of 1 would do nothing`);
  },
  ns_cert_type(out, option, role) {
    const peer = role === 'router' ? 'server' : 'client';
    out.lines.push(`remote-cert-tls ${peer}`);
    remark(out, option, `remote-cert-tls ${peer} in its place, which OpenVPN has today`);
  },
  tls_remote(out, option) {
    out.lines.push(`verify-x509-name ${option.value} name`);
    remark(out, option, 'verify-x509-name in its place, which OpenVPN has today');
  },
  up_delay(out, option) {
    if (!OFF.test(option.value)) out.lines.push('up-delay');
  },
};

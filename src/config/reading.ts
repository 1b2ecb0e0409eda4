/** One section read against its table: every option's values with their lines, every fault as a complaint. */
import type { Complaint } from '../base/error.ts';
import type { EngineName, Role } from './config.ts';
import type { Kind } from './kinds.ts';
import type { OptionSpec, Specs } from './option-spec.ts';
import { nearest } from './suggest.ts';
import { quoted, type UciOption, type UciSection } from './uci.ts';

/** What is known while a file is read. Owns: the complaints, in the order in which they are found. */
export interface Reader {
  readonly file: string;
  readonly role: Role;
  readonly engine: EngineName;
  readonly complaints: { line: number; complaint: Complaint }[];
}

/** A value that the file says, and where. */
export interface Said<T> {
  readonly value: T;
  readonly text: string;
  readonly line: number;
  /** How messages name it: `option mtu`, `list route`. */
  readonly where: string;
}

/** What a section says about one option; `said` is empty when it says nothing. */
export interface Entry<T> {
  readonly name: string;
  readonly spec: OptionSpec<T>;
  readonly said: readonly Said<T>[];
  /** It is said, but wrongly: the complaint has been made. */
  readonly faulty: boolean;
}

/** A section after reading. */
export type Reading<S extends Specs> = { readonly [K in keyof S]: S[K] extends OptionSpec<infer T> ? Entry<T> : never };

/** Adds a complaint about a line; line 0 is the file as a whole. */
export function complain(reader: Reader, line: number, what: string, c: Omit<Complaint, 'where'>): void {
  const where = line > 0 ? `${reader.file}:${line}` : reader.file;
  reader.complaints.push({ line, complaint: { where: what === '' ? where : `${where} ${what}`, ...c } });
}

/** A section's heading as messages name it. */
export function headingOf(section: UciSection): string {
  return `config ${section.type}${section.name === undefined ? '' : ` '${section.name}'`}`;
}

/** The value said, or else the default; undefined when there is neither. */
export function oneOf<T>(entry: Entry<T>): T | undefined {
  if (entry.said.length > 0) return entry.said[0].value;
  return entry.spec.default === undefined ? undefined : entry.spec.kind.read(entry.spec.default);
}

/** Every value said. */
export function allOf<T>(entry: Entry<T>): T[] {
  return entry.said.map((s) => s.value);
}

/** Reads a section. `all` are the tables of the other sections, for advice about options that stand in the wrong one. */
export function readSection<S extends Specs>(
  reader: Reader,
  section: UciSection,
  specs: S,
  all: Readonly<Record<string, Specs>>,
): Reading<S> {
  const byName = new Map<string, UciOption[]>();
  for (const option of section.options) {
    if (!Object.hasOwn(specs, option.name)) complainUnknown(reader, section, option, specs, all);
    else if (option.value !== '') byName.set(option.name, [...(byName.get(option.name) ?? []), option]);
  }
  const entries = Object.entries(specs).map(([name, spec]): [string, Entry<unknown>] => {
    const options = byName.get(name) ?? [];
    const before = reader.complaints.length;
    const said = suits(reader, name, spec, options) ? readOption(reader, name, spec, options) : [];
    const faulty = reader.complaints.length > before;
    const wanted =
      spec.required && (spec.role ?? reader.role) === reader.role && (spec.engine ?? reader.engine) === reader.engine;
    if (wanted && options.length === 0) {
      const todo =
        spec.kind.name === 'key' ? `add it: ${spec.kind.hint?.('')}` : `add: option ${name} '${spec.kind.example}'`;
      complain(reader, section.line, headingOf(section), { expected: `option ${name}`, found: 'none', todo });
    }
    return [name, { name, spec, said, faulty }];
  });
  return Object.fromEntries(entries) as Reading<S>;
}

/** Whether an option belongs to this role and engine; complains when it does not. */
function suits(reader: Reader, name: string, spec: OptionSpec<unknown>, options: readonly UciOption[]): boolean {
  if (options.length === 0) return true;
  const wrong =
    spec.role !== undefined && spec.role !== reader.role && spec.bothWith !== reader.engine
      ? { needs: `role '${spec.role}'`, is: `role '${reader.role}'` }
      : spec.engine !== undefined && spec.engine !== reader.engine
        ? { needs: `engine '${spec.engine}'`, is: `engine '${reader.engine}'` }
        : undefined;
  if (!wrong) return true;
  complain(reader, options[0].line, `option ${name}`, {
    expected: `${wrong.needs} for this option`,
    found: wrong.is,
    todo: `remove it, or set option ${wrong.needs} in config interface 'bond'`,
  });
  return false;
}

function readOption<T>(reader: Reader, name: string, spec: OptionSpec<T>, options: readonly UciOption[]): Said<T>[] {
  const kind = (reader.engine === 'openvpn' ? spec.openvpnKind : undefined) ?? spec.kind;
  const said: Said<T>[] = [];
  let first: UciOption | undefined;
  for (const option of options) {
    const where = `${option.kind} ${name}`;
    if (option.kind === 'list' && !spec.many) {
      const todo = `write: option ${name} '…'`;
      complain(reader, option.line, where, { expected: `one value, as option ${name}`, found: 'a list', todo });
      continue;
    }
    if (option.kind === 'option' && first) {
      const todo = spec.many ? `write each as: list ${name} '…'` : 'remove one of them';
      complain(reader, option.line, where, { expected: 'it once', found: `it in line ${first.line} too`, todo });
      continue;
    }
    if (option.kind === 'option') first = option;
    const texts = spec.many && option.kind === 'option' ? option.value.split(/\s+/).filter(Boolean) : [option.value];
    if (texts.length === 0) complainValue(reader, option.line, where, kind, option.value);
    for (const text of texts) {
      const value = kind.read(text);
      if (value !== undefined) said.push({ value, text, line: option.line, where });
      else complainValue(reader, option.line, where, kind, text);
    }
  }
  return said;
}

function complainValue<T>(reader: Reader, line: number, where: string, kind: Kind<T>, text: string) {
  const found = kind.secret ? `${text.length} other characters (not shown)` : quoted(text);
  complain(reader, line, where, {
    expected: kind.expected,
    found,
    todo: kind.hint?.(text) ?? `write it like '${kind.example}'`,
  });
}

function complainUnknown(
  reader: Reader,
  section: UciSection,
  option: UciOption,
  specs: Specs,
  all: Readonly<Record<string, Specs>>,
): void {
  const elsewhere = Object.keys(all).find((type) => all[type] !== specs && Object.hasOwn(all[type], option.name));
  const near = nearest(option.name, Object.keys(specs));
  const todo =
    near !== undefined
      ? `did you mean '${near}'?`
      : elsewhere !== undefined
        ? `it belongs into a section 'config ${elsewhere}'`
        : 'remove it, or see docs/config.md for the options there are';
  complain(reader, option.line, `${option.kind} ${option.name}`, {
    expected: `an option of ${headingOf(section)}`,
    found: quoted(option.name),
    todo,
  });
}

/** What the table of options is made of: an option, a section, and what many sections have. */
import type { EngineName, Role } from './config.ts';
import { flag, type Kind } from './kinds.ts';

/** One option. */
export interface OptionSpec<T> {
  readonly kind: Kind<T>;
  /** With engine openvpn, which checks more of its options itself. Undefined: the same. */
  readonly openvpnKind?: Kind<T>;
  /** It may be said several times (`list`), or once with values between blanks (`option`). */
  readonly many?: boolean;
  /** What it is when it is not said, as the file would say it. */
  readonly default?: string;
  /** What happens when it is not said and there is no default value, for docs/config.md. */
  readonly otherwise?: string;
  /** Its absence is an error (where role and engine are those named here). */
  readonly required?: boolean;
  /** Undefined: both. */
  readonly role?: Role;
  /** With this engine the other role may say it, too. */
  readonly bothWith?: EngineName;
  /** Undefined: both. */
  readonly engine?: EngineName;
  /** One sentence or two for docs/config.md. */
  readonly doc: string;
}

/** A section type with its options. */
export interface SectionSpec<S extends Specs = Specs> {
  readonly type: string;
  /** How its first line is written. */
  readonly heading: string;
  readonly role?: Role;
  readonly engine?: EngineName;
  readonly doc: string;
  /** Undefined: any option is taken as it is. */
  readonly options?: S;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of options of different types; each is read by its own kind.
export type Specs = Readonly<Record<string, OptionSpec<any>>>;

/** Says the type of an entry. */
export const is = <T>(spec: OptionSpec<T>): OptionSpec<T> => spec;

/** The options that every section but the bond's has. */
export const DISABLED = {
  disabled: is({ kind: flag, default: '0', doc: 'Leave this section alone, as if it were not there.' }),
  enabled: is({ kind: flag, default: '1', doc: "The same the other way round: `'0'` disables." }),
};

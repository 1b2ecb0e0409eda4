/** docs/config.md, printed from the table of options. */
import { type OptionSpec, SECTIONS, type SectionSpec } from './options.ts';

/** The example files that the page shows. */
export interface DocExamples {
  router: string;
  server: string;
}

/** Prints the page. */
export function printConfigDocs(examples: DocExamples): string {
  return `${[
    '<!-- Written by scripts/config-docs.js from src/config/options.ts: edit there. -->',
    '# The configuration file',
    INTRODUCTION,
    '## A router with two lines',
    fenced(examples.router),
    '## Its server',
    fenced(examples.server),
    ...SECTIONS.flatMap(printSection),
    '## Kinds of values',
    table(['kind', 'what it looks like'], kindRows()),
  ].join('\n\n')}\n`;
}

/** What the file is, in Markdown. */
export const INTRODUCTION = `yoke reads one file, \`/etc/config/bonding\` unless \`--config FILE\` says another, in the syntax of OpenWrt's UCI:

- \`config TYPE 'NAME'\` begins a section; \`option NAME 'VALUE'\` says one value in it, \`list NAME 'VALUE'\` one of several.
- Values stand in single quotes, in double quotes (a backslash takes the next character as it is), or bare when they have no blank. A quoted value
  may go on over several lines.
- \`#\` begins a comment that reaches to the end of the line. yoke keeps comments, blank lines and quotes when it changes a file.
- An option with an empty value counts as not said.

\`yoke check\` reads the file and names everything that is wrong in it at once, each with its line. Unknown options, options said twice and options
of the other role are errors.

Keys are made by \`yoke keygen\` (32 bytes in base64). Keep the private key in a file that only its owner may read, and name that file here.`;

const fenced = (text: string) => `\`\`\`\n${text.trimEnd()}\n\`\`\``;

function printSection(section: SectionSpec): string[] {
  const only = onlyFor(section.role, section.engine);
  const heading = `## \`${section.heading}\``;
  const doc = only ? `${section.doc} Only with ${only}.` : section.doc;
  if (!section.options) return [heading, doc];
  const rows = Object.entries(section.options).map(([name, spec]) => [
    `\`${name}\``,
    spec.many ? `list of ${spec.kind.name}` : spec.kind.name,
    defaultOf(spec),
    meaningOf(section, spec),
  ]);
  return [heading, doc, table(['option', 'type', 'when not said', 'meaning'], rows)];
}

/** The roles and engines that it is for alone, in Markdown; empty: for all. */
export const onlyFor = (role?: string, engine?: string) =>
  [role && `\`role '${role}'\``, engine && `\`engine '${engine}'\``].filter(Boolean).join(' and ');

/** Its default in Markdown; required, what happens otherwise, or a dash. */
export function defaultOf(spec: OptionSpec<unknown>): string {
  if (spec.default !== undefined) return `\`'${spec.default}'\``;
  if (spec.required) return '**required**';
  return spec.otherwise ?? '–';
}

/** What it means in Markdown, its range, and where alone it may stand. */
export function meaningOf(section: SectionSpec, spec: OptionSpec<unknown>): string {
  // What the section says already is not said again for each option.
  const only = onlyFor(
    spec.role === section.role ? undefined : spec.role,
    spec.engine === section.engine ? undefined : spec.engine,
  );
  const range =
    /from|'.*' or '/.test(spec.kind.expected) && spec.kind.name !== 'flag' ? ` Takes ${spec.kind.expected}.` : '';
  return `${spec.doc}${range}${only ? ` *Only with ${only}${spec.bothWith ? `, or \`engine '${spec.bothWith}'\`` : ''}.*` : ''}`;
}

/** Each kind of value: name and form, in Markdown. */
export function kindRows(): string[][] {
  const kinds = new Map<string, string>();
  for (const section of SECTIONS) {
    for (const { kind } of Object.values(section.options ?? {})) {
      const range = /from \d/.test(kind.expected);
      if (!kinds.has(kind.name) && kind.name !== 'word') {
        kinds.set(
          kind.name,
          `${range ? KIND_WORDS[kind.name] : kind.expected}${kind.example ? `; for example \`'${kind.example}'\`` : ''}`,
        );
      }
    }
  }
  kinds.set('flag', "`'1'`, `on`, `yes`, `true`, `enabled`, or `'0'`, `off`, `no`, `false`, `disabled`");
  kinds.set('word', 'one of the words given');
  return [...kinds].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, words]) => [name, words]);
}

/** What to say in place of the range, which is the option's and not the kind's. */
const KIND_WORDS: Record<string, string> = {
  number: 'a whole number, decimal or hex with `0x`',
  port: 'a UDP port',
  rate: 'a number with `bit`, `kbit`, `mbit` or `gbit` (powers of 1,000); a bare number is bit/s',
  dscp: 'a code point from 0 to 63, or its name: `ef`, `va`, `le`, `cs0` to `cs7`, `af11` to `af43`',
  protocol: '`tcp`, `udp`, `icmp` (both families), or a protocol number',
  time: 'a number with `us`, `ms`, `s`, `m`, `h` or `d`; a bare number is seconds',
  table: 'a number from 1 to 4294967295 or a name from rt_tables, but not main, local or default',
  'table number': 'a number from 1 to 243 or from 256 to 4294967286',
};

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n');
}

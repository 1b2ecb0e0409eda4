/** bonding(5): the manual page of the configuration, printed from the table of options. */
import { escapeRoff, roffExample, roffOf, roffTitle } from '../base/roff.ts';
import { type DocExamples, defaultOf, INTRODUCTION, kindRows, meaningOf, onlyFor } from './docs.ts';
import { SECTIONS, type SectionSpec } from './options.ts';

/** Prints the page; the date is said by the caller. */
export function printBondingManual(examples: DocExamples, date: string, version: string): string {
  return `${[
    roffTitle('bonding', 5, date, version),
    '.SH NAME\nbonding \\- configuration of yoke',
    '.SH SYNOPSIS\n.I /etc/config/bonding',
    `.SH DESCRIPTION\n${paragraphs(INTRODUCTION)}`,
    ...SECTIONS.map(printSection),
    `.SH KINDS OF VALUES\n${kindRows()
      .map(([name, form]) => `.TP\n.B ${escapeRoff(name)}\n${roffOf(form)}`)
      .join('\n')}`,
    `.SH EXAMPLES\nA router with two lines:\n${roffExample(examples.router)}`,
    `.PP\nIts server:\n${roffExample(examples.server)}`,
    '.SH SEE ALSO\n.BR yoke (8)',
  ].join('\n')}\n`;
}

function printSection(section: SectionSpec): string {
  const only = onlyFor(section.role, section.engine);
  const lines = [`.SH "${escapeRoff(section.heading).replaceAll('"', '""')}"`, roffOf(section.doc)];
  if (only) lines.push('.PP', roffOf(`Only with ${only}.`));
  for (const [name, spec] of Object.entries(section.options ?? {})) {
    const type = spec.many ? `list of ${spec.kind.name}` : spec.kind.name;
    const unsaid = defaultOf(spec);
    const tail = unsaid === '–' ? '' : unsaid === '**required**' ? ' Required.' : ` When not said: ${unsaid}.`;
    lines.push(
      `.TP\n\\fB${escapeRoff(name)}\\fR (${escapeRoff(type)})`,
      `${roffOf(meaningOf(section, spec))}${roffOf(tail)}`,
    );
  }
  return lines.join('\n');
}

function paragraphs(markdown: string): string {
  const blocks = markdown
    .split('\n\n')
    .flatMap((block) => (block.startsWith('- ') ? block.split(/\n(?=- )/) : [block]));
  return blocks
    .map((b) => (b.startsWith('- ') ? `.IP \\(bu 2\n${roffOf(b.slice(2))}` : `.PP\n${roffOf(b)}`))
    .join('\n');
}

/** Text as a manual page has it: roff with the macros of man(7). */

/** Words that stand as they are. */
export function escapeRoff(text: string): string {
  const escaped = text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('~', '\\(ti').replaceAll('^', '\\(ha');
  // a dot or a quote at the start of a line would be a command
  return escaped
    .replace(/^([.'])/gm, '\\&$1')
    .replaceAll('…', '...')
    .replaceAll('–', '\\(en');
}

/** A line or a paragraph of Markdown: code and bold print bold, emphasis is slanted, of links their words are left. */
export function roffOf(markdown: string): string {
  const plain = markdown.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/\s*\n\s*/g, ' ');
  const parts = plain.split(/(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*)/);
  const text = parts.map((part) => {
    const [, code, bold, slanted] = /^`([^`]+)`$|^\*\*([^*]+)\*\*$|^\*([^*\s][^*]*)\*$/.exec(part) ?? [];
    if (code !== undefined || bold !== undefined) return `\\fB${escapeRoff(code ?? bold)}\\fR`;
    if (slanted !== undefined) return `\\fI${roffOf(slanted)}\\fR`;
    return escapeRoff(part);
  });
  return text.join('');
}

/** Lines that are not filled: an example. */
export const roffExample = (text: string) => `.PP\n.nf\n.RS 2\n${escapeRoff(text.trimEnd())}\n.RE\n.fi`;

/** The first line of a page. */
export const roffTitle = (name: string, section: number, date: string, version: string) =>
  `.TH ${name.toUpperCase()} ${section} "${date}" "yoke ${version}" "yoke"`;

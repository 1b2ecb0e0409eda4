/** yoke(8): the manual page of the commands, printed from the description that the command line is read by. */
import type { Command, Option } from 'commander';
import { escapeRoff, roffOf, roffTitle } from '../base/roff.ts';

/** Every command that does something, with the words that call it: `['pki', 'init']`. */
export function commandsIn(program: Command, words: readonly string[] = []): { words: string[]; command: Command }[] {
  return program.commands.flatMap((command) => {
    const own = [...words, command.name()];
    const inner = commandsIn(command, own);
    return inner.length > 0 ? inner : [{ words: own, command }];
  });
}

/** The options that a command has from those above it, the program's left out. */
export function optionsAbove(command: Command): readonly Option[] {
  const { parent } = command;
  return parent?.parent ? [...optionsAbove(parent), ...parent.options] : [];
}

/** Prints the page; the date is said by the caller. */
export function printYokeManual(program: Command, date: string, version: string): string {
  return `${[
    roffTitle('yoke', 8, date, version),
    '.SH NAME\nyoke \\- joins several internet links into one fast pipe',
    '.SH SYNOPSIS\n.B yoke\n.I COMMAND\n.RI [ OPTION ...]',
    `.SH DESCRIPTION\n${DESCRIPTION.map(roffOf).join('\n.PP\n')}`,
    `.SH COMMANDS\n${commandsIn(program).map(printCommand).join('\n')}`,
    `.SH OPTIONS OF EVERY COMMAND\n${program.options.map(printOption).join('\n')}`,
    `.SH FILES\n${FILES.map(([name, doc]) => `.TP\n.I ${escapeRoff(name)}\n${roffOf(doc)}`).join('\n')}`,
    `.SH EXIT STATUS\n${EXITS.map(([code, doc]) => `.TP\n.B ${code}\n${roffOf(doc)}`).join('\n')}`,
    '.SH SEE ALSO\n.BR bonding (5),\n.BR ip (8),\n.BR nft (8),\n.BR systemctl (1)',
  ].join('\n')}\n`;
}

const DESCRIPTION = [
  'yoke runs on a Linux router with two or more internet links and on a server in a datacentre, and joins the links into one: a single TCP download uses all of them at once, and a link that dies costs no connection.',
  'Every change to the host can be seen before (`yoke plan`), is written down before it is made, and is taken back at the end.',
];

const FILES = [
  ['/etc/config/bonding', 'The configuration; see bonding(5).'],
  ['/etc/yoke/', 'Keys, readable by root alone.'],
  ['/run/yoke/', 'Lock, control socket and journal of the running instance.'],
  ['/etc/bonding/bonding-preup.sh', 'With `-up`, `-predown` and `-down`: run before and after, if they are there.'],
] as const;

const EXITS = [
  ['0', 'Done.'],
  ['1', 'An error: a line on stderr for each, saying where, what was expected, what was found and what to do.'],
  ['2', 'Wrong usage.'],
  ['3', 'A bug of yoke.'],
] as const;

function printCommand({ words, command }: { words: string[]; command: Command }): string {
  const given = command.registeredArguments.map((a) => (a.required ? `<${a.name()}>` : `[${a.name()}]`));
  const head = `.SS "yoke ${escapeRoff([...words, ...given].join(' '))}"`;
  const text = command.description();
  const options = [...optionsAbove(command), ...command.options].map(printOption);
  return [head, `${roffOf(text[0].toUpperCase() + text.slice(1))}.`, ...options].join('\n');
}

function printOption(option: Option): string {
  const unsaid = option.defaultValue === undefined ? '' : ` (when not said: ${option.defaultValue})`;
  return `.TP\n.B ${escapeRoff(option.flags)}\n${roffOf(option.description + unsaid)}.`;
}

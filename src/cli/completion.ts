/**
 * What a shell may offer for a line that has been begun, taken from the description that the command line is read by. How each shell is told:
 * completion-bash.ts, completion-zsh.ts, completion-fish.ts.
 */
import type { Command, Option } from 'commander';
import { commandsIn, optionsAbove } from './manual.ts';

/** The words that may follow, and the options that belong to what has been said. */
export interface Offers {
  /** By the words said: those that may follow, each with what it does. */
  next: ReadonlyMap<string, readonly Offer[]>;
  commands: readonly OfferedCommand[];
  /** Options of every command. */
  general: readonly Option[];
  /** Options that a value follows, and those of them whose value is a file. */
  valued: readonly Option[];
  files: readonly Option[];
}

/** A word and what it does, in one line without quotes. */
export interface Offer {
  word: string;
  doc: string;
}

/** A command with all its options but the general ones. */
export interface OfferedCommand {
  said: string;
  takesArguments: boolean;
  options: readonly Option[];
}

/** Takes it all from the program. */
export function offersOf(program: Command): Offers {
  const next = new Map<string, Offer[]>();
  const walk = (parent: Command, said: string): void => {
    const inner = parent.commands.map((command) => ({ word: command.name(), doc: inLine(command.description()) }));
    if (inner.length > 0) next.set(said, inner);
    for (const command of parent.commands) walk(command, said === '' ? command.name() : `${said} ${command.name()}`);
  };
  walk(program, '');
  const commands = commandsIn(program).map(({ words, command }) => ({
    said: words.join(' '),
    takesArguments: command.registeredArguments.length > 0,
    options: [...optionsAbove(command), ...command.options],
  }));
  const valued = [...program.options, ...commands.flatMap((c) => c.options)].filter((option) => option.required);
  const files = valued.filter((option) => /<(file|dir)>/.test(option.flags));
  return { next, commands, general: program.options, valued, files };
}

/** The long names of options, each once. */
export const longs = (options: readonly Option[]): string[] => [...new Set(options.map((option) => option.long ?? ''))];

/** Text that stands between single quotes in any shell. */
export const inLine = (text: string): string => text.replace(/['"\\`]/g, '').replace(/\s+/g, ' ');

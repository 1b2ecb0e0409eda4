/** Completion for bash, printed from the description that the command line is read by. */
import type { Command, Option } from 'commander';
import { commandsIn, optionsAbove } from './manual.ts';

/** Prints the script; it needs nothing of bash-completion. */
export function printBashCompletion(program: Command): string {
  const commands = commandsIn(program);
  const heads = new Map<string, Set<string>>();
  for (const { words } of commands) {
    words.forEach((word, i) => {
      const above = words.slice(0, i).join(' ');
      heads.set(above, (heads.get(above) ?? new Set()).add(word));
    });
  }
  const all = [
    program.options,
    ...commands.map(({ command }) => [...optionsAbove(command), ...command.options]),
  ].flat();
  const valued = all.filter((option) => option.required);
  const files = valued.filter((option) => /<(file|dir)>/.test(option.flags));
  return `# Completion of yoke for bash; written from its own description of its commands.
_yoke() {
    local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}" said='' i commands options
    COMPREPLY=()
    case "$before" in
        ${patternOf(files)})
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        ${patternOf(valued.filter((option) => !files.includes(option)))})
            return
            ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "\${COMP_WORDS[i]}" in
            ${patternOf(valued)}) ((i++)) ;;
            -*) ;;
            *) said="$said\${said:+ }\${COMP_WORDS[i]}" ;;
        esac
    done
    case "$said" in
${[...heads].map(([said, words]) => `        '${said}') commands='${[...words].join(' ')}' ;;`).join('\n')}
        *) commands='' ;;
    esac
    case "$said" in
${commands.map(({ words, command }) => `        ${`'${words.join(' ')}'`}${command.registeredArguments.length > 0 ? '*' : ''}) options='${longs([...optionsAbove(command), ...command.options])}' ;;`).join('\n')}
        *) options='' ;;
    esac
    case "$word" in
        -*) commands="$options ${longs(program.options)} --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
}
complete -F _yoke yoke
`;
}

const longs = (options: readonly Option[]) => [...new Set(options.map((option) => option.long))].join(' ');

const patternOf = (options: readonly Option[]) => longs(options).replaceAll(' ', ' | ') || "''";

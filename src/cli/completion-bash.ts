/** Completion for bash. */
import type { Command, Option } from 'commander';
import { longs, offersOf } from './completion.ts';

/** Prints the script; it needs nothing of bash-completion. */
export function printBashCompletion(program: Command): string {
  const { next, commands, general, valued, files } = offersOf(program);
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
${[...next].map(([said, offers]) => `        '${said}') commands='${offers.map((o) => o.word).join(' ')}' ;;`).join('\n')}
        *) commands='' ;;
    esac
    case "$said" in
${commands.map((c) => `        '${c.said}'${c.takesArguments ? '*' : ''}) options='${longs(c.options).join(' ')}' ;;`).join('\n')}
        *) options='' ;;
    esac
    case "$word" in
        -*) commands="$options ${longs(general).join(' ')} --help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
}
complete -F _yoke yoke
`;
}

const patternOf = (options: readonly Option[]) => longs(options).join(' | ') || "''";

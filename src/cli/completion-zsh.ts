/** Completion for zsh: a file that lies as `_yoke` in a folder of its fpath. */
import type { Command, Option } from 'commander';
import { inLine, longs, type Offer, offersOf } from './completion.ts';

/** Prints the function; words are offered with what they do. */
export function printZshCompletion(program: Command): string {
  const { next, commands, general, valued, files } = offersOf(program);
  const always = [...general.map(offerOf), { word: '--help', doc: 'print this help' }];
  return `#compdef yoke
# Completion of yoke for zsh; written from its own description of its commands.
_yoke() {
    local said='' i
    local -a offered
    case "\${words[CURRENT-1]}" in
        (${patternOf(files)})
            _files
            return
            ;;
        (${patternOf(valued.filter((option) => !files.includes(option)))})
            return
            ;;
    esac
    for ((i = 2; i < CURRENT; i++)); do
        case "\${words[i]}" in
            (${patternOf(valued)}) ((i++)) ;;
            (-*) ;;
            (*) said="$said\${said:+ }\${words[i]}" ;;
        esac
    done
    if [[ "\${words[CURRENT]}" == -* ]]; then
        case "$said" in
${commands.map((c) => `            ('${c.said}'${c.takesArguments ? '*' : ''}) offered=(${listOf(c.options.map(offerOf))}) ;;`).join('\n')}
        esac
        offered+=(${listOf(always)})
        _describe -o option offered
        return
    fi
    case "$said" in
${[...next].map(([said, offers]) => `        ('${said}') offered=(${listOf(offers)}) ;;`).join('\n')}
    esac
    _describe command offered
}
if [[ "\${funcstack[1]}" == _yoke ]]; then
    _yoke "$@"
else
    compdef _yoke yoke
fi
`;
}

const offerOf = (option: Option): Offer => ({ word: option.long ?? '', doc: inLine(option.description) });

const listOf = (offers: readonly Offer[]) =>
  offers.map(({ word, doc }) => `'${word}:${doc.replaceAll(':', '\\:')}'`).join(' ');

const patternOf = (options: readonly Option[]) => longs(options).join('|') || "''";

/** Completion for fish. */
import type { Command, Option } from 'commander';
import { inLine, longs, offersOf } from './completion.ts';

/** Prints the script: one line for each word and option that may be offered. */
export function printFishCompletion(program: Command): string {
  const { next, commands, general, valued, files } = offersOf(program);
  const optionLine = (condition: string, option: Option) => {
    const value = files.includes(option) ? ' -r -F' : valued.includes(option) ? ' -x' : '';
    return `complete -c yoke${condition} -l ${option.long?.slice(2)}${value} -d '${inLine(option.description)}'`;
  };
  const lines = [
    ...[...next].flatMap(([said, offers]) =>
      offers.map(({ word, doc }) => `complete -c yoke -n "__yoke_said_is '${said}'" -a ${word} -d '${doc}'`),
    ),
    ...commands.flatMap(({ said, options }) => options.map((o) => optionLine(` -n "__yoke_said_begins '${said}'"`, o))),
    ...general.map((o) => optionLine('', o)),
    "complete -c yoke -l help -d 'print this help'",
  ];
  return `# Completion of yoke for fish; written from its own description of its commands.
function __yoke_said
    set -l words (commandline -opc)
    set -l said
    set -l isValue 0
    for word in $words[2..-1]
        if test $isValue = 1
            set isValue 0
            continue
        end
        switch $word
            case ${longs(valued).join(' ')}
                set isValue 1
            case '-*'
            case '*'
                set said $said $word
        end
    end
    echo "$said"
end
function __yoke_said_is
    set -l said (__yoke_said)
    test "$said" = "$argv[1]"
end
function __yoke_said_begins
    set -l said (__yoke_said)
    string match -q -- "$argv[1] *" "$said "
end
complete -c yoke -f
${[...new Set(lines)].join('\n')}
`;
}

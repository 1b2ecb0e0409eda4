/** The words of `yoke link`: sub-commands and their options; what they do is in link.ts, loaded when it is called. */
import type { Command } from 'commander';
import type { LinkAction, LinkOptions } from './link.ts';
import { optionsOf } from './terms.ts';

/** Adds `link` with its sub-commands. */
export function describeLink(program: Command, done: (code: number) => void): void {
  const group = program
    .command('link')
    .description('links of the running router by hand: list, down, up, restart, mode, weight');
  group.helpOption('--help', 'print this help').helpCommand(false);
  const command = (action: LinkAction, name: string, description: string) =>
    group
      .command(name)
      .description(description)
      .helpOption('--help', 'print this help')
      .option('--json', 'one JSON value for programs')
      .action(async (...args: unknown[]) => {
        const self = args.at(-1) as Command;
        const { link } = await import('./link.ts');
        done(await link(action, self.args, optionsOf<LinkOptions>(self)));
      });
  command('list', 'list', 'every link of the file and how it is');
  for (const action of ['down', 'up'] as const) {
    const what = action === 'down' ? 'leave a link; the others go on' : 'use a link again, also one that is disabled';
    command(action, `${action} <link>`, what)
      .option('--for <time>', "take it back by itself after this time: '90s', '10m', '2h'")
      .option('--keep', 'write it into the configuration file, too');
  }
  command('mode', 'mode <link> <mode>', "'normal', or 'backup': used only while no normal link is up").option(
    '--keep',
    'write it into the configuration file, too',
  );
  command('weight', 'weight <link> <n>', "share of a link in mode 'weighted', 1 to 100").option(
    '--keep',
    'write it into the configuration file, too',
  );
  command('restart', 'restart [links...]', 'take links down and up again, one after the other; all, or those named');
}

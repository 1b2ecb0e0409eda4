/** `yoke link list|down|up|restart|mode|weight`: asks the running instance, and shows what became of the links. */
import { askControl } from '../daemon/control.ts';
import type { LinkRow } from '../daemon/links.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** The commands about links. */
export type LinkAction = 'list' | 'down' | 'up' | 'restart' | 'mode' | 'weight';

/** What the commands about links are given. */
export interface LinkOptions extends GlobalOptions {
  for?: string;
  keep?: boolean;
  json?: boolean;
}

/** Eight links at half a minute each way, and some for the rest. */
const RESTART_LIMIT_MS = 600_000;

/** Carries one of them out. */
export async function link(action: LinkAction, args: readonly string[], options: LinkOptions): Promise<number> {
  const [names, value] = action === 'mode' || action === 'weight' ? [args.slice(0, 1), args[1]] : [args, undefined];
  const params = {
    action,
    names: names.join(' '),
    ...(value !== undefined && { value }),
    ...(options.for !== undefined && { for: options.for }),
    ...(options.keep && { keep: true }),
  };
  const limitMs = action === 'restart' ? RESTART_LIMIT_MS : undefined;
  const rows = (await askControl(options.runDir, 'link', params, limitMs)) as LinkRow[];
  process.stdout.write(options.json ? `${JSON.stringify(rows)}\n` : printLinks(rows));
  return EXIT_DONE;
}

/** One line for each link: name, device, state, and what is the matter. */
export function printLinks(rows: readonly LinkRow[]): string {
  const width = (of: (row: LinkRow) => string) => Math.max(...rows.map((r) => of(r).length));
  const [name, device] = [width((r) => r.name), width((r) => r.device)];
  return rows
    .map((r) => `${r.name.padEnd(name)}  ${r.device.padEnd(device)}  ${r.state.padEnd(8)}  ${r.reason}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}

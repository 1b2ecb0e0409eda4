/** Waits until the links of a router that was just started stand, and says of each how it is. */
import type { Config } from '../config/config.ts';
import { askControl } from '../daemon/control.ts';
import type { LinkStatus, PathStatus, Status } from '../status/status.ts';

/** A link that does not answer by then is told, and left to itself. */
const LIMIT_MS = 15_000;
const LOOK_EVERY_MS = 100;

/** How many links are up in the end. */
export async function waitForLinks(config: Config, runDir: string, say: (line: string) => void): Promise<number> {
  const names = config.links.filter((l) => !l.disabled).map((l) => l.name);
  const told = new Set<string>();
  const endMs = performance.now() + LIMIT_MS;
  let last: Status | undefined;
  while (told.size < names.length && performance.now() < endMs) {
    last = (await askControl(runDir, 'status').catch(() => last)) as Status | undefined;
    for (const name of names) {
      const path = pathOf(last, name);
      if (told.has(name) || path?.state !== 'up') continue;
      told.add(name);
      say(`link ${name} stands, ${path.srttMs.toFixed(0)} ms to the server`);
    }
    if (told.size < names.length) await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  for (const name of names.filter((n) => !told.has(n))) say(`link ${name} does not stand: ${why(linkOf(last, name))}`);
  return told.size;
}

const pathOf = (status: Status | undefined, name: string): PathStatus | undefined =>
  status?.bonds[0]?.paths.find((p) => p.name === name);
const linkOf = (status: Status | undefined, name: string): LinkStatus | undefined =>
  status?.links.find((l) => l.name === name);

function why(link: LinkStatus | undefined): string {
  if (link === undefined) return 'yoke does not know it yet; yoke status tells more';
  if (!link.usable) return link.reason;
  return `no answer from ${link.server} by ${link.device}; yoke goes on trying, yoke doctor looks for what is in the way`;
}

/**
 * Paths that brought packets just now and bring none (docs/protocol.md §5, Order): what they carried is being sent again over others, or they come back.
 *
 *   data ──── 40 ms ────▶ silent ──── data: back ──▶        ──── 1 s: idle
 */
import type { Paths } from './scheduler.ts';

const SILENT_US = 40_000;
/** A path that brought nothing for so long is not expected to. */
export const BRINGS_US = 1_000_000;

/** Whether one that brought something so long ago counts as silent. */
export function isSilent(agoUs: number): boolean {
  return agoUs > SILENT_US && agoUs < BRINGS_US;
}

/** Whether any path is silent that is not closed. */
export function isPathSilent(paths: Paths, nowUs: number): boolean {
  for (const p of paths) if (p !== undefined && p.state !== 'closed' && isSilent(nowUs - p.lastDataUs)) return true;
  return false;
}

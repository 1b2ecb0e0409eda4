/** `DOWN/UP/DELAY[/JITTER[/LOSS]]`: how a link is said on the command line, e.g. `48mbit/12mbit/8ms` or `50mbit/50mbit/10ms/2ms/1%`. */
import { YokeError } from '../base/error.ts';
import { parseRateBps, parseTimeUs, printRate } from '../base/units.ts';

/** An emulated access line: two rates, the rest alike both ways. */
export interface LinkSpec {
  downBps: number;
  upBps: number;
  /** One way. */
  delayUs: number;
  jitterUs: number;
  /** 0 to 1. */
  lossRate: number;
}

const FORM = 'DOWN/UP/DELAY[/JITTER[/LOSS]], e.g. 48mbit/12mbit/8ms/2ms/1%';

/** Reads a link. @throws YokeError (config) that says the form. */
export function parseLinkSpec(text: string): LinkSpec {
  const [down, up, delay, jitter = '0ms', loss = '0', ...rest] = text.split('/');
  const spec = {
    downBps: parseRateBps(down ?? ''),
    upBps: parseRateBps(up ?? ''),
    delayUs: parseTimeUs(delay ?? '', 'ms'),
    jitterUs: parseTimeUs(jitter, 'ms'),
    lossRate: parseLossRate(loss),
  };
  const isWhole = Object.values(spec).every((value) => value !== undefined);
  if (!isWhole || !spec.downBps || !spec.upBps || rest.length > 0)
    throw new YokeError('config', { where: '--link', expected: FORM, found: `'${text}'`, todo: 'say it in that form' });
  if (Math.min(spec.downBps, spec.upBps) < LEAST_BPS) {
    const found = `'${text}', less than ${printRate(LEAST_BPS)}`;
    throw new YokeError('config', { where: '--link', expected: FORM, found, todo: 'write the unit: 20mbit' });
  }
  return spec as LinkSpec;
}

/** Nothing gets through a slower one; whoever writes `20` means megabits. */
const LEAST_BPS = 8_000;

/** Prints a link so that `parseLinkSpec` reads the same back; what is nothing is left out. */
export function printLinkSpec(spec: LinkSpec): string {
  const parts = [printRate(spec.downBps), printRate(spec.upBps), printTime(spec.delayUs)];
  if (spec.jitterUs > 0 || spec.lossRate > 0) parts.push(printTime(spec.jitterUs));
  if (spec.lossRate > 0) parts.push(`${Number((spec.lossRate * 100).toFixed(6))}%`);
  return parts.join('/');
}

function printTime(us: number): string {
  return us % 1000 === 0 ? `${us / 1000}ms` : `${us}us`;
}

/** `1%` or `0.01`. */
function parseLossRate(text: string): number | undefined {
  const m = /^(\d+(?:\.\d+)?)(%?)$/.exec(text.trim());
  const rate = m ? Number((Number(m[1]) / (m[2] ? 100 : 1)).toFixed(10)) : Number.NaN;
  return rate >= 0 && rate <= 1 ? rate : undefined;
}

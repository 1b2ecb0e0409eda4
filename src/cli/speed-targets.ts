/** Speed tests against others: an iperf3 server, and whatever a web address gives. Both from the bond's address. */
import { spawn } from 'node:child_process';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import { type AddressBytes, printAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import { counter, type Measured } from '../daemon/speedtest.ts';

/** How much longer than its test the program may take. */
const IPERF3_GRACE_MS = 15_000;
/** Redirects that are followed. Beyond them: an error. */
const MOST_REDIRECTS = 5;
/** A web server that says nothing for so long is given up. */
const SILENCE_LIMIT_MS = 10_000;

/** `HOST` or `HOST:PORT`; an IPv6 address with a port stands in brackets. Undefined when it is none. */
export function parseTarget(text: string): { host: string; port?: string } | undefined {
  const m = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9][A-Za-z0-9.-]*))(?::(\d{1,5}))?$/.exec(text);
  if (m) return { host: m[1] ?? m[2], ...(m[3] !== undefined && { port: m[3] }) };
  return /^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(text) ? { host: text } : undefined;
}

/** Runs the program iperf3. @throws YokeError when it is missing or says that it could not. */
export async function measureIperf3(
  target: string,
  local: AddressBytes,
  way: 'down' | 'up',
  seconds: number,
): Promise<Measured> {
  const parsed = parseTarget(target);
  if (!parsed) {
    const found = JSON.stringify(target);
    throw new YokeError('config', { where: '--iperf3', expected: 'HOST or HOST:PORT', found, todo: 'correct it' });
  }
  const argv = ['-c', parsed.host, '-B', printAddress(local), '-t', String(seconds), '-J'];
  if (parsed.port !== undefined) argv.push('-p', parsed.port);
  if (way === 'down') argv.push('-R');
  const text = await runIperf3(argv, seconds * 1000 + IPERF3_GRACE_MS);
  const complain = (found: string) =>
    new YokeError('peer', {
      where: `iperf3 ${argv.join(' ')}`,
      expected: 'a result',
      found,
      todo: 'see whether iperf3 -s runs there, and whether the bond is up: yoke status',
    });
  let result: { error?: string; end?: { sum_received?: { bytes: number; seconds: number } } };
  try {
    result = JSON.parse(text);
  } catch {
    throw complain('none');
  }
  const sum = result.end?.sum_received;
  if (result.error !== undefined || !sum) throw complain(result.error ?? 'none');
  return { bytes: sum.bytes, elapsedMs: sum.seconds * 1000 };
}

function runIperf3(argv: readonly string[], limitMs: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('iperf3', argv, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    const limit = setTimeout(() => child.kill('SIGKILL'), limitMs);
    child.stdout.on('data', (d) => {
      text += d;
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(limit);
      const todo = 'install it (Debian: apt-get install iperf3), or test against the server: yoke test';
      reject(new YokeError('host', { where: 'iperf3', expected: 'the program', found: error.code ?? '', todo }));
    });
    child.on('close', () => {
      clearTimeout(limit);
      resolve(text);
    });
  });
}

/** Fetches a web address for so many seconds, or until its end. @throws YokeError when there is nothing to fetch. */
export async function measureUrl(url: string, local: AddressBytes, seconds: number): Promise<Measured> {
  let at = url;
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const answer = await ask(at, local);
    const { statusCode = 0, headers } = answer;
    if (statusCode >= 200 && statusCode < 300) return drain(at, answer, seconds);
    answer.destroy();
    if (statusCode < 300 || statusCode >= 400 || headers.location === undefined) throw refused(at, `${statusCode}`);
    at = new URL(headers.location, at).href;
  }
  throw refused(url, `more than ${MOST_REDIRECTS} redirects`);
}

function ask(url: string, local: AddressBytes): Promise<IncomingMessage> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol !== 'http:' && parsed?.protocol !== 'https:') {
    const found = JSON.stringify(url);
    throw new YokeError('config', { where: '--url', expected: 'http:// or https://', found, todo: 'correct it' });
  }
  const options = { localAddress: printAddress(local), family: local.length === 4 ? 4 : 6, timeout: SILENCE_LIMIT_MS };
  return new Promise((resolve, reject) => {
    const request = (parsed.protocol === 'https:' ? httpsGet : httpGet)(parsed, options, resolve);
    request.on('timeout', () => request.destroy(new Error('silence')));
    request.on('error', (error: NodeJS.ErrnoException) => reject(refused(url, error.code ?? error.message)));
  });
}

function drain(url: string, answer: IncomingMessage, seconds: number): Promise<Measured> {
  return new Promise((resolve, reject) => {
    const count = counter();
    const timer = setTimeout(() => answer.destroy(), seconds * 1000);
    answer.on('data', (chunk: Buffer) => count.take(chunk.length));
    answer.on('error', () => {}); // 'close' follows, and what had come by then counts
    answer.on('close', () => {
      clearTimeout(timer);
      const result = count.result();
      if (result.bytes > 0) resolve(result);
      else reject(refused(url, 'no bytes'));
    });
  });
}

function refused(where: string, found: string): YokeError {
  const todo = 'try the address with another program, and see whether the bond is up: yoke status';
  return new YokeError('peer', { where, expected: 'something to fetch', found, todo });
}

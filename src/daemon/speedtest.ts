/**
 * The answering half of `yoke test`, at both ends of a bond: a TCP source and sink at the inner addresses. And the asking half beside it.
 *
 *   client → server   `yoke-test 1 down 10\n`      send to me for 10 s
 *                     `yoke-test 1 up 10\n`        take what I send until I close my half
 *   server → client   `ok\n`, then bytes until the time is over           (down)
 *                     `ok\n`, and at the end `{"bytes":…,"elapsedMs":…}\n`  (up; from the first byte to the last)
 *                     `busy\n`, and the end
 *
 * Whoever receives counts, so what is in queues on the way is not taken for delivered. Limits: one test at a time, 30 s, only from
 * inner addresses; the answer to anybody else would not go through the bond.
 */
import { randomFillSync } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { type AddressBytes, type Prefix, parseAddress, prefixContains, printAddress } from '../base/address.ts';
import { YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import type { Log } from './log.ts';

/** TCP port of the service; the number of yoke's routing table and mark. */
export const SPEEDTEST_PORT = 30327;
/** Longest test. At the limit the server ends it. */
export const SPEEDTEST_LIMIT_S = 30;
const REQUEST = /^yoke-test 1 (down|up) (\d{1,2})\n/;
/** Longest request line. Beyond it: closed. */
const REQUEST_LIMIT_BYTES = 64;
/** A connection that says or takes nothing for so long is closed: a dead bond must not hold the one place. */
const SILENCE_LIMIT_MS = 5000;
/** What two clocks and a way between them may differ by. */
const EARLY_MS = 500;
/** Bytes that do not shrink, sent again and again. */
const BLOCK_BYTES = 256 * 1024;

/** What a speed test found: the receiver's count, from the first byte to the last. */
export interface Measured {
  bytes: number;
  elapsedMs: number;
}

/** Where the service listens, and who may use it. */
export interface SpeedTestOptions {
  addresses: readonly AddressBytes[];
  /** Inner prefixes; may be changed while it runs. */
  allowed: readonly Prefix[];
  port?: number;
}

/** The service, running. */
export interface SpeedTestService {
  /** Ends a test that is under way. Idempotent. */
  stop(): Promise<void>;
}

/** The service of an instance, as its configuration says: at a server for its clients, at a router for its server. Without it, all else works. */
export class SpeedTests {
  readonly #log: Log;
  readonly #allowed: Prefix[] = [];
  #service: SpeedTestService | undefined;
  #at = '';

  constructor(log: Log) {
    this.#log = log;
  }

  /** Makes it match; a test under way is disturbed only when address or port are others. */
  async set(config: Config): Promise<void> {
    const { addresses, remoteAddresses, testPort: port } = config.bond;
    const far = remoteAddresses.map((bytes) => ({ bytes, length: bytes.length * 8 }));
    const clients = [...addresses, ...config.clients.flatMap((c) => c.allowed)];
    this.#allowed.splice(0, this.#allowed.length, ...(config.role === 'server' ? clients : far));
    const at = JSON.stringify([addresses.map((a) => printAddress(a.bytes)), port]);
    if (at === this.#at) return;
    await this.stop();
    this.#at = at;
    try {
      const options = { addresses: addresses.map((a) => a.bytes), allowed: this.#allowed, port };
      this.#service = await startSpeedTest(options);
    } catch (error) {
      this.#log('warn', (error as Error).message);
    }
  }

  /** Ends a test that is under way. Idempotent. */
  async stop(): Promise<void> {
    const service = this.#service;
    this.#service = undefined;
    this.#at = '';
    await service?.stop();
  }
}

/** Opens the service. @throws YokeError `host` when an address or the port cannot be had; then nothing is left open. */
export async function startSpeedTest(options: SpeedTestOptions): Promise<SpeedTestService> {
  const { addresses, allowed, port = SPEEDTEST_PORT } = options;
  const sockets = new Set<Socket>();
  let busy: Socket | undefined;
  const serve = (socket: Socket) => {
    const from = parseAddress((socket.remoteAddress ?? '').replace(/^::ffff:/, ''));
    if (!from || !allowed.some((prefix) => prefixContains(prefix, from))) return socket.destroy();
    sockets.add(socket);
    const release = () => {
      if (busy === socket) busy = undefined;
    };
    // Once all is said: the client's next test may be here before its close of this one.
    socket.on('finish', release);
    socket.on('close', () => {
      sockets.delete(socket);
      release();
    });
    socket.on('error', () => socket.destroy());
    socket.setTimeout(SILENCE_LIMIT_MS, () => socket.destroy());
    readRequest(socket, (way, seconds) => {
      if (busy) return socket.end('busy\n');
      busy = socket;
      socket.write('ok\n');
      if (way === 'down') source(socket, seconds);
      else sink(socket);
    });
  };
  const servers = addresses.map(() => createServer({ allowHalfOpen: true }, serve));
  const stop = async () => {
    for (const socket of sockets) socket.destroy();
    await Promise.all(servers.map((s) => new Promise<void>((resolve) => s.close(() => resolve()))));
  };
  try {
    await Promise.all(servers.map((server, i) => listen(server, printAddress(addresses[i]), port)));
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new YokeError('host', {
          where: `speed test at ${host} port ${port}`,
          expected: 'a TCP port that is free',
          found: error.code ?? error.message,
          todo: `see what is there (ss -tlnp sport = :${port}); all but yoke test works without it`,
        }),
      ),
    );
    server.listen({ host, port, exclusive: true, ipv6Only: true }, resolve);
  });
}

/** Waits for the line; what is no request is the end of the connection. */
function readRequest(socket: Socket, onRequest: (way: 'down' | 'up', seconds: number) => void): void {
  let text = '';
  const onData = (chunk: Buffer) => {
    text += chunk.toString('latin1');
    if (!text.includes('\n') && text.length <= REQUEST_LIMIT_BYTES) return;
    socket.off('data', onData);
    const request = REQUEST.exec(text);
    if (!request) socket.destroy();
    else onRequest(request[1] as 'down' | 'up', Math.min(SPEEDTEST_LIMIT_S, Number(request[2])));
  };
  socket.on('data', onData);
}

/** Sends until the time is over. */
function source(socket: Socket, seconds: number): void {
  const block = randomFillSync(Buffer.allocUnsafe(BLOCK_BYTES));
  const deadlineMs = performance.now() + seconds * 1000;
  const more = () => {
    if (performance.now() >= deadlineMs) return void socket.end();
    while (socket.write(block)) if (performance.now() >= deadlineMs) return void socket.end();
  };
  const timer = setTimeout(() => socket.end(), seconds * 1000);
  socket.on('close', () => clearTimeout(timer));
  socket.on('drain', more);
  socket.resume();
  more();
}

/** Takes what comes, until the client closes its half or the longest time is over, and says how much it was. */
function sink(socket: Socket): void {
  const count = counter();
  const answer = () => {
    clearTimeout(timer);
    if (!socket.destroyed) socket.end(`${JSON.stringify(count.result())}\n`);
  };
  const timer = setTimeout(() => socket.destroy(), (SPEEDTEST_LIMIT_S + 5) * 1000);
  socket.on('close', () => clearTimeout(timer));
  socket.on('end', answer);
  socket.on('data', (chunk: Buffer) => count.take(chunk.length));
}

/** Counts bytes and the time that they took to come. */
export function counter(): { take(bytes: number): void; result(): Measured } {
  let bytes = 0;
  let firstMs = 0;
  let lastMs = 0;
  return {
    take: (size) => {
      lastMs = performance.now();
      if (bytes === 0) firstMs = lastMs;
      bytes += size;
    },
    result: () => ({ bytes, elapsedMs: lastMs - firstMs }),
  };
}

/** The client's half: where to, from where, which way, how long. */
export interface SpeedTestRequest {
  remote: AddressBytes;
  local: AddressBytes;
  way: 'down' | 'up';
  seconds: number;
  port?: number;
}

/** Runs one test against a server. @throws YokeError `peer` when it cannot be had or breaks off. */
export function runSpeedTest(request: SpeedTestRequest): Promise<Measured> {
  const { remote, local, way, port = SPEEDTEST_PORT } = request;
  const seconds = Math.min(SPEEDTEST_LIMIT_S, request.seconds);
  return new Promise((resolve, reject) => {
    const where = `speed test at ${printAddress(remote)} port ${port}`;
    const fail = (found: string, todo: string) => {
      socket.destroy();
      reject(new YokeError('peer', { where, expected: 'a test of its own', found, todo }, true));
    };
    const socket = connect({
      host: printAddress(remote),
      port,
      localAddress: printAddress(local),
      allowHalfOpen: true,
    });
    const count = counter();
    let head = '';
    let started = false;
    let startedMs = 0;
    let ended = false;
    socket.setTimeout(SILENCE_LIMIT_MS, () =>
      fail('silence', 'see whether the bond is up: yoke status; and whether option test_port is the same at both ends'),
    );
    socket.on('error', (error: NodeJS.ErrnoException) =>
      fail(error.code ?? error.message, 'see whether the bond is up and the server runs this version: yoke status'),
    );
    socket.write(`yoke-test 1 ${way} ${seconds}\n`);
    socket.on('data', (chunk: Buffer) => {
      if (started && way === 'down') return count.take(chunk.length);
      head += chunk.toString('latin1');
      if (started) return;
      const end = head.indexOf('\n');
      if (end < 0) return;
      const answer = head.slice(0, end);
      if (answer !== 'ok') {
        const taken = answer === 'busy';
        return fail(taken ? 'another test under way' : 'an answer of another kind', 'try again in half a minute');
      }
      started = true;
      startedMs = performance.now();
      head = head.slice(end + 1);
      if (way === 'up') source(socket, seconds);
      else if (head.length > 0) count.take(head.length);
    });
    socket.on('end', () => {
      ended = true;
      socket.end();
      if (!started) return fail('the end of the connection', 'see the log of the server');
      // a server that ends closes the connection as at the end of a test, but too soon
      if (performance.now() - startedMs < seconds * 1000 - EARLY_MS)
        return fail('the connection cut', 'see the log of the server');
      if (way === 'down') return resolve(count.result());
      const said = parseMeasured(head);
      if (said) resolve(said);
      else fail('no count at its end', 'try again');
    });
    socket.on('close', () => {
      if (!ended) fail('the connection cut', 'see whether the bond is up: yoke status');
    });
  });
}

function parseMeasured(text: string): Measured | undefined {
  try {
    const { bytes, elapsedMs } = JSON.parse(text);
    return Number.isSafeInteger(bytes) && Number.isFinite(elapsedMs) ? { bytes, elapsedMs } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * One end of a measured flow, as a process of its own in a namespace: `node flow-process.js '{"role":…}'`.
 *
 *     stdout   {"listening":true} (host side), {"started":true} at the first byte, {"bytes":n} every 100 ms, at last the result
 *
 * The client always connects, as hosts behind NAT do; which end sends is another matter. The receiver alone keeps the time: it
 * counts payload for the warm-up and then for the measure, prints the result and ends; the sender ends when it is closed.
 */
import { createSocket } from 'node:dgram';
import { connect, createServer, type Server, type Socket } from 'node:net';
import koffi from 'koffi';
import type { FlowJob, FlowResult, ProbeJob, ProbeResult } from './measure.ts';

const BIN_MS = 20;
const LIVE_MS = 100;
const CHUNK = Buffer.alloc(256 * 1024);
const IPPROTO_TCP = 6;
const TCP_CONGESTION = 13;

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** The congestion control of this socket, whatever the host's default (which a namespace may not change); accepted sockets inherit it. */
function choose(congestion: string, socket: Socket | Server): void {
  const fd = (socket as unknown as { _handle?: { fd: number } })._handle?.fd ?? -1;
  const setsockopt = koffi.load(null).func('int setsockopt(int, int, int, const char *, uint)');
  if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, congestion.length) !== 0)
    say({ warning: `no ${congestion} here` });
}

/** Counts what N flows receive. */
class Receiver {
  readonly #job: FlowJob;
  readonly #bins: number[] = [];
  readonly #warmupBins: number[] = [];
  readonly #perFlow: number[] = [];
  readonly #lastMs: number[] = [];
  #startMs = 0;
  #totalBytes = 0;
  #measuredBytes = 0;
  #stallMs = 0;

  constructor(job: FlowJob) {
    this.#job = job;
  }

  /** Payload of flow `flow` has come. */
  take(flow: number, bytes: number): void {
    const now = performance.now();
    if (this.#startMs === 0) this.#start(now);
    this.#totalBytes += bytes;
    const sinceMeasure = now - this.#startMs - this.#job.warmupMs;
    if (sinceMeasure < 0) {
      const bin = Math.floor((now - this.#startMs) / BIN_MS);
      this.#warmupBins[bin] = (this.#warmupBins[bin] ?? 0) + bytes;
    } else if (sinceMeasure < this.#job.durationMs) {
      this.#measuredBytes += bytes;
      this.#perFlow[flow] = (this.#perFlow[flow] ?? 0) + bytes;
      const bin = Math.floor(sinceMeasure / BIN_MS);
      this.#bins[bin] = (this.#bins[bin] ?? 0) + bytes;
    }
    this.#pause(flow, now);
    this.#lastMs[flow] = now;
  }

  /** The longest pause of any flow; one that began in the warm-up counts from the measure's begin. */
  #pause(flow: number, now: number): void {
    const beginMs = this.#startMs + this.#job.warmupMs;
    const endMs = Math.min(now, beginMs + this.#job.durationMs);
    this.#stallMs = Math.max(this.#stallMs, endMs - Math.max(beginMs, this.#lastMs[flow] ?? this.#startMs));
  }

  #start(now: number): void {
    this.#startMs = now;
    say({ started: true });
    setInterval(() => say({ bytes: this.#totalBytes }), LIVE_MS);
    setTimeout(() => this.#finish(), this.#job.warmupMs + this.#job.durationMs);
  }

  #finish(): void {
    for (let flow = 0; flow < this.#job.flows; flow++) this.#pause(flow, performance.now());
    const result: FlowResult = {
      bps: (this.#measuredBytes * 8000) / this.#job.durationMs,
      stallMs: Math.round(this.#stallMs),
      binMs: BIN_MS,
      bins: filled(this.#bins, Math.ceil(this.#job.durationMs / BIN_MS)),
      warmupBins: filled(this.#warmupBins, Math.ceil(this.#job.warmupMs / BIN_MS)),
      perFlow: filled(this.#perFlow, this.#job.flows),
    };
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
  }
}

function filled(values: readonly number[], length: number): number[] {
  return Array.from({ length }, (_, i) => values[i] ?? 0);
}

function keepSending(socket: Socket): void {
  const more = (): void => {
    while (socket.write(CHUNK));
  };
  socket.on('drain', more);
  socket.on('close', () => process.exit(0));
  more();
}

function flowAtHost(job: FlowJob): void {
  const receiver = new Receiver(job);
  let flows = 0;
  const server = createServer((socket) => {
    const flow = flows++;
    socket.on('error', () => {});
    if (job.direction === 'down') keepSending(socket);
    else socket.on('data', (data) => receiver.take(flow, data.length));
  });
  server.listen(job.port, () => {
    choose(job.congestion, server);
    say({ listening: true });
  });
}

function flowAtClient(job: FlowJob): void {
  const receiver = new Receiver(job);
  for (let flow = 0; flow < job.flows; flow++) {
    const onread = {
      buffer: Buffer.alloc(256 * 1024),
      callback: (bytes: number) => {
        receiver.take(flow, bytes);
        return true;
      },
    };
    const socket = connect({ host: job.host, port: job.port, onread });
    socket.on('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      process.exit(1);
    });
    socket.on('connect', () => {
      choose(job.congestion, socket);
      if (job.direction === 'up') keepSending(socket);
    });
  }
}

/** Sequence numbers every `intervalMs` to the host, which sends each back at once: both directions are watched. */
function probeAtClient(job: ProbeJob): void {
  const socket = createSocket(job.host.includes(':') ? 'udp6' : 'udp4');
  const watch = new Watch();
  const datagram = Buffer.alloc(job.sizeBytes);
  const sentMs: number[] = [];
  const rttsMs: number[] = [];
  let sent = 0;
  socket.on('message', (data) => {
    const number = data.readUInt32BE(0);
    watch.take(number);
    rttsMs.push(Number((performance.now() - sentMs[number]).toFixed(2)));
  });
  socket.on('error', () => {});
  const timer = setInterval(() => {
    sentMs.push(performance.now());
    datagram.writeUInt32BE(sent++, 0);
    socket.send(datagram, job.port, job.host);
  }, job.intervalMs);
  setTimeout(() => {
    clearInterval(timer);
    // What is still under way gets half a second.
    setTimeout(() => {
      const result: ProbeResult = { sent, ...watch.result(sent), rttsMs };
      process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
    }, 500);
  }, job.durationMs);
}

function probeAtHost(job: ProbeJob): void {
  const socket = createSocket('udp6');
  const watch = new Watch();
  socket.on('message', (data, from) => {
    watch.take(data.readUInt32BE(0));
    socket.send(data, from.port, from.address);
  });
  socket.bind(job.port, () => say({ listening: true }));
  process.on('SIGTERM', () => {
    process.stdout.write(`${JSON.stringify(watch.result(0))}\n`, () => process.exit(0));
  });
}

/** What arrived of a numbered stream. */
class Watch {
  readonly #seen = new Set<number>();
  #lastMs = 0;
  #gapMs = 0;
  #duplicates = 0;

  take(number: number): void {
    const now = performance.now();
    if (this.#lastMs > 0) this.#gapMs = Math.max(this.#gapMs, now - this.#lastMs);
    this.#lastMs = now;
    if (this.#seen.has(number)) this.#duplicates++;
    this.#seen.add(number);
  }

  result(sent: number): { received: number; lost: number; duplicates: number; gapMs: number } {
    const received = this.#seen.size;
    return {
      received,
      lost: Math.max(0, sent - received),
      duplicates: this.#duplicates,
      gapMs: Math.round(this.#gapMs),
    };
  }
}

const job = JSON.parse(process.argv[2]) as FlowJob | ProbeJob;
const isHost = job.at === 'host';
if (job.kind === 'flow') (isHost ? flowAtHost : flowAtClient)(job);
else (isHost ? probeAtHost : probeAtClient)(job);

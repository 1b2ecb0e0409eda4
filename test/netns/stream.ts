/** A UDP stream through the bond, for tests that nothing of it may be lost: the client in the LAN asks, the host behind the server echoes. */
import { once } from 'node:events';
import type { Lab } from '../../src/lab/topology.ts';
import { ADDRESS } from '../../src/lab/topology.ts';

const PORT = 9701;
const EVERY_MS = 10;
const ECHO = `
  const s = require('dgram').createSocket('udp4');
  s.on('message', (m, r) => s.send(m, r.port, r.address));
  s.bind(${PORT}, () => console.log('ready'));`;
/** Counts by number; a packet that is not back two seconds after the last was sent is lost. */
const ASK = `
  const s = require('dgram').createSocket('udp4');
  const seen = new Set();
  let n = 0;
  s.on('message', (m) => { if (seen.size === 0) console.log('flows'); seen.add(m.readUInt32BE(0)); });
  const timer = setInterval(() => {
    const m = Buffer.alloc(200);
    m.writeUInt32BE(n++, 0);
    s.send(m, ${PORT}, '${ADDRESS.host}');
  }, ${EVERY_MS});
  process.stdin.resume().on('end', () => {
    clearInterval(timer);
    setTimeout(() => {
      let lost = 0;
      for (let i = 0; i < n; i++) if (!seen.has(i)) lost++;
      console.log(JSON.stringify({ sent: n, lost }));
      process.exit();
    }, 2000);
  });`;

/** A stream that runs. */
export interface Stream {
  /** Stops sending, waits for what is on its way, and counts. */
  end(): Promise<{ sent: number; lost: number }>;
}

/** Starts it; when it resolves, the first packet is back. */
export async function startStream(lab: Lab): Promise<Stream> {
  const echo = lab.spawn('host', [process.execPath, '-e', ECHO], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(echo.stdout!, 'data');
  const ask = lab.spawn('client', [process.execPath, '-e', ASK], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  ask.stdout!.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  await once(ask.stdout!, 'data');
  return {
    end: async () => {
      ask.stdin!.end();
      await once(ask, 'close');
      await lab.end(echo);
      return JSON.parse(said.trim().split('\n').at(-1)!);
    },
  };
}

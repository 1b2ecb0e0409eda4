/**
 * The control socket: RUN_DIR/control.sock, one JSON line in, one JSON line out, then it is closed.
 *
 *   {"method":"status"}                          →  {"ok":{…}}      or      {"error":"one line"}
 *   {"method":"revoke","params":{"name":"home"}}
 *
 * The directory (0700) and the socket (0600) are the access control: who may open it may do everything.
 */
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { YokeError } from '../base/error.ts';

const METHODS = [
  'status',
  'stop',
  'version',
  'invite',
  'revoke',
  'rename',
  'link',
  'reload',
  'changes',
  'apply',
  'confirm',
] as const;
export type ControlMethod = (typeof METHODS)[number];

/** What a method is told beside its name: a flat object. Who answers checks what it needs. */
export type ControlParams = Readonly<Record<string, string | number | boolean>>;

/** Answers a method; what it throws becomes the error line. */
export type ControlHandler = (method: ControlMethod, params: ControlParams) => Promise<unknown>;

/** What whoever finds nobody at the socket may do. */
const START =
  'start it (systemctl start yoke, or yoke run); where nothing is set up yet: yoke server init or yoke join; or name its --run-dir';
/** Longest request line. Beyond it: an error, and the connection is closed. */
const REQUEST_LIMIT_BYTES = 4096;
/** Longest answer that a client reads: thousands of paths. */
const ANSWER_LIMIT_BYTES = 16 * 1024 * 1024;
/** Connections at once. Beyond it: closed without a word. */
const CONNECTION_LIMIT = 16;
/** A client that says nothing for so long is cut off. */
const SILENCE_LIMIT_MS = 5000;
/** Linux's sun_path has room for 107 characters and a zero. */
const SOCKET_PATH_LIMIT = 107;

/** Where the socket of a run directory is. @throws YokeError when the path is too long for a socket. */
export function controlPath(runDir: string): string {
  const path = join(runDir, 'control.sock');
  if (Buffer.byteLength(path) > SOCKET_PATH_LIMIT) {
    throw new YokeError('config', {
      where: '--run-dir',
      expected: `a path of at most ${SOCKET_PATH_LIMIT - 13} bytes`,
      found: `${Buffer.byteLength(runDir)}`,
      todo: 'choose a shorter one',
    });
  }
  return path;
}

export interface ControlServer {
  /** Removes the socket; connections that are being answered are let finish. */
  stop(): Promise<void>;
}

/** Opens the control socket; the caller holds the lock, so an old socket file is stale. @throws YokeError `host`. */
export async function startControl(runDir: string, handler: ControlHandler): Promise<ControlServer> {
  const path = controlPath(runDir);
  rmSync(path, { force: true });
  const server = createServer({ allowHalfOpen: true }, (socket) => serve(socket, handler));
  server.maxConnections = CONNECTION_LIMIT;
  await listen(server, path);
  chmodSync(path, 0o600);
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        rmSync(path, { force: true });
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new YokeError('host', {
          where: path,
          expected: 'a socket that can be opened',
          found: error.code ?? error.message,
          todo: 'choose another --run-dir',
        }),
      ),
    );
    server.listen(path, () => resolve());
  });
}

function serve(socket: Socket, handler: ControlHandler): void {
  let text = '';
  let answered = false;
  const answer = (value: object) => {
    if (!socket.destroyed) socket.end(`${JSON.stringify(value)}\n`);
  };
  const refuse = (why: string) => {
    answered = true;
    answer({ error: why });
  };
  socket.setEncoding('utf8');
  socket.setTimeout(SILENCE_LIMIT_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('end', () => {
    if (!answered) refuse('expected one line of JSON, found the end');
  });
  socket.on('data', (chunk: string) => {
    if (answered) return;
    text += chunk;
    const end = text.indexOf('\n');
    if (end < 0) {
      if (text.length > REQUEST_LIMIT_BYTES) refuse(`expected at most ${REQUEST_LIMIT_BYTES} bytes, found more`);
      return;
    }
    const request = parseRequest(text.slice(0, end));
    if (!request) return refuse(`expected {"method": one of ${METHODS.join(', ')}}, found something else`);
    answered = true;
    socket.setTimeout(0);
    handler(request.method, request.params).then(
      (ok) => answer({ ok: ok ?? null }),
      (error: Error) => answer({ error: error.message, ...(error instanceof YokeError && plain(error)) }),
    );
  });
}

function parseRequest(line: string): { method: ControlMethod; params: ControlParams } | undefined {
  try {
    const { method, params = {} } = JSON.parse(line);
    const isKnown = METHODS.includes(method);
    const isFlat = typeof params === 'object' && params !== null && Object.values(params).every(isPlain);
    return isKnown && isFlat ? { method, params } : undefined;
  } catch {
    return undefined;
  }
}

/** What the asker makes the same error of. */
const plain = ({ kind, complaints }: YokeError) => ({ kind, complaints });

const isPlain = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);

/**
 * Asks the running instance.
 *
 * @throws YokeError `host` when none runs, or when it does not answer in time; and the one that it answers with.
 */
export function askControl(
  runDir: string,
  method: ControlMethod,
  params: ControlParams = {},
  timeoutMs = 10_000,
): Promise<unknown> {
  const path = controlPath(runDir);
  const complain = (found: string, todo: string) =>
    new YokeError('host', { where: path, expected: 'a running yoke', found, todo });
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = '';
    socket.setEncoding('utf8');
    socket.setTimeout(timeoutMs, () => {
      socket.destroy();
      reject(complain(`no answer within ${timeoutMs / 1000} s`, 'try again, or end the process'));
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const absent = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      reject(
        complain(
          absent ? 'none' : (error.code ?? error.message),
          absent ? START : 'run this command as the user that runs yoke',
        ),
      );
    });
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.length > ANSWER_LIMIT_BYTES) socket.destroy(new Error('an answer without end'));
    });
    socket.on('end', () => {
      try {
        const answer = JSON.parse(text);
        if ('ok' in answer) resolve(answer.ok);
        else if (answer.complaints) reject(new YokeError(answer.kind, answer.complaints));
        else reject(complain(`an error: ${answer.error}`, 'look at its log'));
      } catch {
        reject(complain('half an answer', 'look at its log'));
      }
    });
    socket.write(`${JSON.stringify({ method, params })}\n`);
  });
}

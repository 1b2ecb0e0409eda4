/** What one process of this machine has for itself. An abstract socket is the claim: it is gone with its process and leaves no file. */
import { createServer } from 'node:net';

/** A claim that was granted. */
export interface Claim {
  release(): void;
}

/** Claims a name; undefined: another process has it. */
export function claim(name: string): Promise<Claim | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(`\0${name}`, () => resolve({ release: () => void server.close() }));
    server.unref();
  });
}

/**
 * A program that is one end: the backend with the settings of a file, its events a line each on stdout, its report when asked on stdin.
 *
 *   node openvpn-end.js SETTINGS.json RUNDIR [without-bond]        stdin: `status`, `set FILE`, `stop`
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { BackendSettings } from '../../src/backend/backend.ts';
import { OpenvpnBackend } from '../../src/backend/openvpn/openvpn.ts';

const [, , file, runDir, how] = process.argv;
const say = (value: unknown) => void process.stdout.write(`${JSON.stringify(value)}\n`);
const backend = new OpenvpnBackend({ runDir, withoutBond: how === 'without-bond' });

function read(path: string): BackendSettings {
  return JSON.parse(readFileSync(path, 'utf8'), (_key, value) =>
    value !== null && typeof value === 'object' && Array.isArray(value.bytes) ? Uint8Array.from(value.bytes) : value,
  ) as BackendSettings;
}

try {
  await backend.start(read(file), say);
  say({ kind: 'started' });
} catch (error) {
  say({ kind: 'refused', text: (error as Error).message });
  process.exit(1);
}
for await (const line of createInterface({ input: process.stdin })) {
  const [word, path] = line.split(' ');
  if (word === 'status') say({ kind: 'status', report: await backend.status() });
  if (word === 'set') {
    await backend.set(read(path));
    say({ kind: 'set' });
  }
  if (word === 'stop') break;
}
await backend.stop();
say({ kind: 'stopped' });
process.exit(0);

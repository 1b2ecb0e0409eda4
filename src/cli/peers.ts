/** `yoke peers`: every router of this server, whether it is connected and from where; and the invitations that are open. */
import { printAddress } from '../base/address.ts';
import { printKey } from '../config/kinds.ts';
import { askControl } from '../daemon/control.ts';
import { lockHolder } from '../daemon/lock.ts';
import { type InvitationEntry, Invitations } from '../setup/invitations.ts';
import { printQuota } from '../status/print.ts';
import type { QuotaStatus, Status } from '../status/status.ts';
import { loadServer, needRoot } from './as-root.ts';
import { printTable } from './table.ts';
import { EXIT_DONE, type GlobalOptions } from './terms.ts';

/** One router, as programs read it. */
export interface PeerView {
  name: string;
  addresses: string[];
  publicKey: string;
  /** Undefined: the service does not run. */
  connected?: boolean;
  /** Its addresses and ports, one for each path that is up. */
  from: string[];
  rxBytes: number;
  txBytes: number;
  /** Why the server does not serve it now. */
  reason?: string;
  /** How much of its quota is used, where it has one and the service runs. */
  quota?: QuotaStatus;
  /** Where its invitation was used from, and when. */
  joinedFrom?: string;
  joinedAt?: string;
}

/** Prints routers and open invitations. */
export async function peers(options: GlobalOptions & { json?: boolean }): Promise<number> {
  needRoot('yoke peers');
  const config = loadServer(options.config, 'yoke peers');
  const status = lockHolder(options.runDir) ? ((await askControl(options.runDir, 'status')) as Status) : undefined;
  const register = new Invitations(options.stateDir);
  const used = register.list().filter((e) => e.publicKey !== undefined);
  const open = register.open(Date.now()).map(({ name, expiresAt }) => ({ name, expiresAt }));
  const views = config.clients
    .filter((c) => !c.disabled)
    .map((client): PeerView => {
      const publicKey = printKey(client.publicKey);
      const addresses = client.allowed.map((a) => printAddress(a.bytes));
      return {
        name: client.name,
        addresses,
        publicKey,
        ...livePart(status, client.name),
        ...joinedPart(used, publicKey),
      };
    });
  if (options.json) process.stdout.write(`${JSON.stringify({ peers: views, invitations: open })}\n`);
  else process.stdout.write(printPeers(views, open));
  return EXIT_DONE;
}

function livePart(status: Status | undefined, name: string) {
  const bond = status?.bonds.find((b) => b.peer === name);
  const { reason = '', quota } = status?.clients?.find((c) => c.name === name) ?? {};
  const up = bond?.paths.filter((p) => p.state === 'up') ?? [];
  return {
    ...(status && { connected: bond?.established ?? false }),
    from: up.map((p) => p.remote),
    rxBytes: bond?.rxBytes ?? 0,
    txBytes: bond?.txBytes ?? 0,
    ...(reason !== '' && { reason }),
    ...(quota && { quota }),
  };
}

function joinedPart(used: readonly InvitationEntry[], publicKey: string) {
  const entry = used.findLast((e) => e.publicKey === publicKey);
  return entry && { joinedFrom: entry.from, joinedAt: entry.usedAt };
}

function printPeers(views: readonly PeerView[], open: readonly { name: string; expiresAt: string }[]): string {
  const mega = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const rows = views.map((v) => {
    const state =
      v.connected === undefined ? 'service stopped' : v.reason ? 'not served' : v.connected ? 'connected' : 'away';
    return [v.name, v.addresses.join(' '), state, mega(v.txBytes), mega(v.rxBytes), v.from.join(' ')];
  });
  const table = printTable(['router', 'inner address', 'state', 'sent to it', 'received', 'from'], rows);
  const quotas = views.flatMap((v) => (v.quota ? [`quota of ${v.name}: ${printQuota(v.quota)}\n`] : []));
  const invitations = open.map(
    (e) => `invitation for ${e.name}, open until ${e.expiresAt.slice(0, 16).replace('T', ' ')} UTC\n`,
  );
  const next = views.length + open.length === 0 ? 'no router yet; the next step: yoke invite NAME\n' : '';
  return `${views.length > 0 ? table : ''}${quotas.join('')}${invitations.join('')}${next}`;
}

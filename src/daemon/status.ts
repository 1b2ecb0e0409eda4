/** The Status value of this instance: the backend's report, what was found of the links, and the process's own figures. */

import type { BackendReport } from '../backend/backend.ts';
import { type AddressBytes, printAddress } from '../base/address.ts';
import type { Config } from '../config/config.ts';
import { unequalLinks } from '../health/unequal.ts';
import type { Verdict } from '../health/verdict.ts';
import type { Facts } from '../plan/facts.ts';
import type { ClientStatus, QuotaStatus, Status } from '../status/status.ts';
import { certificatesOf } from './certificates.ts';
import { accessFor, activeLinks, linkTrouble } from './settings.ts';

/** What a status is made of. */
export interface StatusInput {
  config: Config;
  facts: Facts | undefined;
  servers: ReadonlyMap<string, AddressBytes>;
  startedAt: Date;
  report: BackendReport;
  /** By `PEER/PATH`. */
  verdicts: ReadonlyMap<string, Verdict>;
  warnings: string[];
  /** How a metered link stands, or a metered client. */
  quotas: (name: string) => QuotaStatus | undefined;
}

/** Puts a status together. */
export function buildStatus(input: StatusInput): Status {
  const { config, facts, report } = input;
  const { user, system } = process.cpuUsage();
  const { certificates, warnings } = certificatesOf(config, Date.now());
  return {
    version: 1,
    role: config.role,
    engine: config.engine,
    ifname: config.bond.ifname,
    pid: process.pid,
    startedAt: input.startedAt.toISOString(),
    cpuSeconds: (user + system) / 1e6,
    rssBytes: process.memoryUsage.rss(),
    bonds: report.bonds,
    drops: report.drops,
    links: activeLinks(config).map((link) => {
      const found = facts?.links.find((f) => f.name === link.name);
      const server = input.servers.get(link.name);
      const access = found && (server ? accessFor(found, server) : (found.v4 ?? found.v6));
      const reason = linkTrouble(link, found, server);
      const quota = input.quotas(link.name);
      return {
        name: link.name,
        device: found?.device ?? link.interface,
        usable: reason === '',
        reason,
        address: access?.address ?? '',
        gateway: access?.gateway ?? '',
        server: server ? printAddress(server) : '',
        verdict: input.verdicts.get(`server/${link.name}`) ?? 'down',
        ...(config.engine === 'multipath' && { tier: link.tier, cost: link.cost, weight: link.weight }),
        ...(quota && { quota }),
      };
    }),
    ...(config.role === 'server' && config.engine === 'multipath' && { clients: clientsOf(input) }),
    ...(certificates.length > 0 && { certificates }),
    warnings: [...input.warnings, ...warnings, ...(config.engine === 'openvpn' ? unequal(config, report) : [])],
  };
}

function clientsOf({ config, quotas }: StatusInput): ClientStatus[] {
  return config.clients
    .filter((c) => !c.disabled)
    .map(({ name, held = '' }) => {
      const quota = quotas(name);
      return { name, reason: held, ...(quota && { quota }) };
    });
}

/** What is said of the links' rates, and what was measured of their round trips. */
function unequal(config: Config, report: BackendReport): string[] {
  return unequalLinks(
    activeLinks(config).map(({ name, downBps, upBps }) => {
      const path = report.bonds[0]?.paths.find((p) => p.name === name);
      const rttMs = path && path.state === 'up' && path.srttMs > 0 ? path.srttMs : undefined;
      return { name, downBps, upBps, rttMs };
    }),
  );
}

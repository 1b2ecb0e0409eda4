/**
 * `yoke doctor`: what this machine and its links can do, what is in the way, and what throughput to expect. Nothing is changed; a few
 * echo packets are sent over each link.
 */
import { YokeError } from '../base/error.ts';
import type { Config } from '../config/config.ts';
import { askControl } from '../daemon/control.ts';
import { loadConfig } from '../daemon/load.ts';
import { lockHolder } from '../daemon/lock.ts';
import type { LinkFigures } from '../health/unequal.ts';
import { observe } from '../host/observe.ts';
import { lookout } from '../plan/facts.ts';
import type { Status } from '../status/status.ts';
import { bondFindings } from './doctor/bond.ts';
import { measureCpu } from './doctor/ciphers.ts';
import { expect } from './doctor/expect.ts';
import { type Finding, lookAtHost } from './doctor/host.ts';
import { type LinkReport, lookAtLinks } from './doctor/links.ts';
import { type DoctorReport, printDoctor } from './doctor/print.ts';
import { EXIT_DONE, EXIT_ERROR, type GlobalOptions } from './terms.ts';

/** Looks and prints; the exit code is 1 when something is bad. */
export async function doctor(options: GlobalOptions & { json?: boolean }): Promise<number> {
  const findings: Finding[] = [];
  const config = readConfig(options.config, findings);
  const cpu = measureCpu();
  findings.push(...(await lookAtHost(config, options.runDir)));
  const links = config ? await lookAtConfigured(config, findings) : [];
  findings.push(...links.flatMap(linkFindings));
  const status = config && (await statusOf(options.runDir));
  if (config && status) findings.push(...bondFindings(config, status));
  const figures = config?.role === 'router' ? figuresOf(config, links, status) : [];
  const expectation = config && expect(config.engine, figures, cpu.ciphers);
  for (const text of expectation?.warnings ?? []) findings.push({ level: 'note', about: 'links', text });
  const report: DoctorReport = {
    version: 1,
    engine: config?.engine ?? '',
    cpu,
    links,
    findings,
    ...(expectation && { expectation }),
  };
  process.stdout.write(options.json ? `${JSON.stringify(report)}\n` : printDoctor(report));
  return findings.some((f) => f.level === 'bad') ? EXIT_ERROR : EXIT_DONE;
}

function readConfig(file: string, findings: Finding[]): Config | undefined {
  try {
    const config = loadConfig(file);
    findings.push({ level: 'good', about: 'configuration', text: `${file}: ${config.role}, engine ${config.engine}` });
    return config;
  } catch (error) {
    if (!(error instanceof YokeError)) throw error;
    for (const text of error.message.split('\n')) findings.push({ level: 'bad', about: 'configuration', text });
    return undefined;
  }
}

async function lookAtConfigured(config: Config, findings: Finding[]): Promise<LinkReport[]> {
  if (config.role !== 'router') return [];
  try {
    // an observation without the nftables table would do, too; without rights it is what fails
    return await lookAtLinks(config, await observe(lookout(config)));
  } catch (error) {
    if (!(error instanceof YokeError)) throw error;
    findings.push({ level: 'bad', about: 'links', text: error.message });
    return [];
  }
}

function linkFindings(link: LinkReport): Finding[] {
  const about = `link ${link.name}`;
  if (link.trouble !== '') return [{ level: 'bad', about, text: link.trouble }];
  if (link.loss === undefined) return [{ level: 'note', about, text: 'ping could not be run' }];
  if (link.loss === 1) {
    return [
      { level: 'note', about, text: `no echo from ${link.server}: it may not answer pings, or the line is dead` },
    ];
  }
  const out: Finding[] = [];
  if (link.loss > 0)
    out.push({ level: 'note', about, text: `${Math.round(link.loss * 100)} % of a few packets were lost` });
  if (link.pathMtu !== undefined && link.pathMtu < link.mtu) {
    const text = `packets up to ${link.pathMtu} bytes pass, the device says ${link.mtu}: with engine 'openvpn' say mtu '${link.pathMtu}'`;
    out.push({ level: 'note', about, text });
  }
  return out;
}

/** Of the running instance, if there is one that answers. */
async function statusOf(runDir: string): Promise<Status | undefined> {
  if (!lockHolder(runDir)) return undefined;
  return (await askControl(runDir, 'status').catch(() => undefined)) as Status | undefined;
}

/** What the file says of rates; else what a running instance has measured of the way out. */
function figuresOf(config: Config, links: readonly LinkReport[], status: Status | undefined): LinkFigures[] {
  return links.map((link) => {
    const said = config.links.find((l) => l.name === link.name);
    const path = status?.bonds[0]?.paths.find((p) => p.name === link.name);
    const upBps = said?.upBps ?? (path && path.capacityBps > 0 ? path.capacityBps : undefined);
    return {
      name: link.name,
      ...(said?.downBps !== undefined && { downBps: said.downBps }),
      ...(upBps !== undefined && { upBps }),
      ...(link.rttMs && { rttMs: link.rttMs.avg }),
      // a handful of packets says nothing of less than a tenth
      ...(link.loss !== undefined && link.loss < 1 && link.loss >= 0.1 && { loss: link.loss }),
    };
  });
}

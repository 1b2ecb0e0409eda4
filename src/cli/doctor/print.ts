/** The report of `yoke doctor` in words: CPU, links, findings, and at the end what to expect. */
import type { CpuReport } from './ciphers.ts';
import type { Expectation } from './expect.ts';
import type { Finding } from './host.ts';
import type { LinkReport } from './links.ts';

/** Everything that was found; what `--json` prints. */
export interface DoctorReport {
  version: 1;
  /** Empty when the configuration could not be read. */
  engine: string;
  cpu: CpuReport;
  /** Router: every link that is not disabled. */
  links: LinkReport[];
  findings: Finding[];
  expectation?: Expectation;
}

const MARKS = { good: 'ok  ', note: 'note', bad: 'BAD ' };

/** The whole report, a newline at its end. */
export function printDoctor(report: DoctorReport): string {
  const { cpu, links, findings, expectation } = report;
  const lines = [
    `cpu: ${cpu.model || 'unknown'}, ${cpu.cores} cores, ${cpu.aes ? 'AES in hardware' : 'no AES in hardware'}`,
  ];
  for (const c of cpu.ciphers) {
    lines.push(
      `  ${c.cipher.padEnd(18)} ${rate(c.bps).padStart(11)} on one core  (${c.packetUs.toFixed(2)} µs a packet)`,
    );
  }
  if (!cpu.direct) lines.push('  OpenSSL could not be called directly: these go through Node, several times as slow');
  for (const l of links) {
    lines.push(`link: ${l.name} (${l.device}) to ${l.server}`);
    if (l.rttMs) lines.push(`  rtt: ${l.rttMs.min} / ${l.rttMs.avg} / ${l.rttMs.max} ms (least, mean, most)`);
    if (l.loss !== undefined) lines.push(`  loss: ${Math.round(l.loss * 100)} %`);
    if (l.mtu > 0) lines.push(`  mtu: ${l.mtu}${l.pathMtu === undefined ? '' : `, ${l.pathMtu} to the server`}`);
  }
  for (const f of findings) lines.push(`${MARKS[f.level]} ${f.about}: ${f.text}`);
  if (expectation) lines.push(...printExpectation(expectation));
  return `${lines.join('\n')}\n`;
}

function printExpectation(e: Expectation): string[] {
  const ways = [
    ...(e.downBps === undefined ? [] : [`${rate(e.downBps)} down`]),
    ...(e.upBps === undefined ? [] : [`${rate(e.upBps)} up`]),
  ];
  const why = { links: 'the links limit it', cpu: 'one core of this CPU limits it', unknown: '' }[e.limit];
  const core = `one core carries about ${rate(e.cpuBps)}`;
  if (ways.length === 0)
    return [`expect: the sum of the links, whose rates are not said (yoke test measures them); ${core}`];
  return [`expect: about ${ways.join(', ')}; ${why} (${core})`];
}

function rate(bps: number): string {
  return bps >= 1e9 ? `${(bps / 1e9).toFixed(2)} Gbit/s` : `${(bps / 1e6).toFixed(1)} Mbit/s`;
}

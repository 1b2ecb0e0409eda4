/** What a running instance says of itself, for the doctor: is there a session, has anybody joined, what does it warn of. */
import type { Config } from '../../config/config.ts';
import type { Status } from '../../status/status.ts';
import type { Finding } from './host.ts';

/** Looks at the status of the instance that runs with this configuration. */
export function bondFindings(config: Config, { bonds, warnings }: Status): Finding[] {
  const about = 'bond';
  const findings = warnings.map((text): Finding => ({ level: 'note', about, text }));
  if (config.engine !== 'multipath') return findings;
  if (config.role === 'server') {
    const isEmpty = config.clients.every((c) => c.disabled);
    if (isEmpty) findings.push({ level: 'note', about, text: 'no router has joined yet: yoke invite NAME' });
  } else if (bonds[0]?.established) {
    const paths = bonds[0].paths.filter((p) => p.state === 'up').length;
    findings.push({
      level: 'good',
      about,
      text: `a session with the server, ${paths} of ${bonds[0].paths.length} paths up`,
    });
  } else {
    const port = config.links.find((l) => !l.disabled)?.remotePort;
    const text = `no session with the server, which answers no handshake. There: does yoke run (yoke status), is this router served (yoke peers), is UDP port ${port} open on it and at its provider? Here: may UDP go out to that port?`;
    findings.push({ level: 'bad', about, text });
  }
  return findings;
}

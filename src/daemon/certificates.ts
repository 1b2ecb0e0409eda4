/** The certificates of a configuration with engine openvpn, and how long they are good for; what status tells and warns of. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import { translateOpenvpn } from '../config/openvpn.ts';
import { expiryOf, expiryWarning } from '../pki/expiry.ts';
import type { CertificateStatus } from '../status/status.ts';

const OPTIONS = ['ca', 'cert', 'extra_certs'];

/** Both for status: what there is, and sentences on what should be seen to. A file that cannot be read is left out: a start refuses it. */
export function certificatesOf(
  config: Config,
  nowMs: number,
): { certificates: CertificateStatus[]; warnings: string[] } {
  const certificates: CertificateStatus[] = [];
  const warnings: string[] = [];
  if (config.engine !== 'openvpn') return { certificates, warnings };
  for (const { option, path } of translateOpenvpn(config.openvpn ?? [], config.role).files) {
    if (!OPTIONS.includes(option)) continue;
    const pem = readText(path);
    if (pem === undefined) continue;
    try {
      const expiry = expiryOf(pem, nowMs);
      const { state, daysLeft, notAfterMs } = expiry;
      certificates.push({ file: path, option, state, daysLeft, expiresAt: new Date(notAfterMs).toISOString() });
      const warning = expiryWarning(path, expiry);
      if (warning !== undefined) warnings.push(warning);
    } catch {
      warnings.push(`${path}: no certificate that can be read`);
    }
  }
  return { certificates, warnings };
}

/** A file's text; undefined: it cannot be read, of which the check before a start tells. */
function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

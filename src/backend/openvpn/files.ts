/** The files that OpenVPN is told of: whether they are there, and how long their certificates are good. Reads only; no content is told. */
import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { Complaint } from '../../base/error.ts';
import type { OpenvpnSettings } from '../backend.ts';

/** A certificate that ends within this time is warned of. Units: milliseconds. */
const SOON_MS = 30 * 86_400_000;
const CERTIFICATES = ['ca', 'cert', 'extra_certs'];

/** What is missing, and what should be known. `nowMs`: milliseconds since 1970. */
export function checkFiles(
  files: OpenvpnSettings['files'],
  nowMs: number,
): { complaints: Complaint[]; warnings: string[] } {
  const complaints: Complaint[] = [];
  const warnings: string[] = [];
  for (const { where, option, path } of files) {
    try {
      if (!statSync(path).isFile()) throw Object.assign(new Error('not a file'), { code: 'which is not a file' });
      const bytes = readFileSync(path);
      if (CERTIFICATES.includes(option))
        warnings.push(...warningsOf(`${where}: ${path}`, bytes.toString('latin1'), nowMs));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
      const absent = code === 'ENOENT';
      complaints.push({
        where,
        expected: 'a readable file',
        found: absent ? `no file ${path}` : `${path}: ${code}`,
        todo: absent ? 'make it, or correct the path' : 'make it readable for yoke',
      });
    }
  }
  return { complaints, warnings };
}

function warningsOf(where: string, pem: string, nowMs: number): string[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  return blocks.flatMap((block) => {
    try {
      const certificate = new X509Certificate(block);
      const endMs = Date.parse(certificate.validTo);
      const day = new Date(endMs).toISOString().slice(0, 10);
      if (endMs <= nowMs) return [`${where}: this certificate ended on ${day}: OpenVPN refuses it; renew it`];
      if (Date.parse(certificate.validFrom) > nowMs)
        return [`${where}: this certificate is not good yet: is the clock right?`];
      return endMs - nowMs < SOON_MS ? [`${where}: this certificate ends on ${day}: renew it`] : [];
    } catch {
      return [`${where}: no certificate that can be read`];
    }
  });
}

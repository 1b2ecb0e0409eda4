/** The files that OpenVPN is told of: whether they can be read. No content is looked at. */
import { accessSync, constants, statSync } from 'node:fs';
import type { Complaint } from '../../base/error.ts';
import type { OpenvpnSettings } from '../backend.ts';

/** What is missing. */
export function checkFiles(files: OpenvpnSettings['files']): Complaint[] {
  return files.flatMap(({ where, path }) => {
    try {
      if (!statSync(path).isFile()) throw Object.assign(new Error('not a file'), { code: 'which is not a file' });
      accessSync(path, constants.R_OK);
      return [];
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
      const absent = code === 'ENOENT';
      return [
        {
          where,
          expected: 'a readable file',
          found: absent ? `no file ${path}` : `${path}: ${code}`,
          todo: absent ? 'make it, or correct the path' : 'make it readable for yoke',
        },
      ];
    }
  });
}

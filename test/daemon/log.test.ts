/** The log line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openLog } from '../../src/daemon/log.ts';

test('one line per event, with the time unless the reader adds it', () => {
  const lines: string[] = [];
  const write = (line: string) => void lines.push(line);
  openLog({ write, now: () => new Date(0) })('warn', 'a');
  openLog({ write })('error', 'b\nc');
  openLog({ write, numbered: true })('warn', 'd\ne');
  assert.deepEqual(lines.splice(3), ['<4>warn d\n', '<4>warn e\n']);
  assert.deepEqual(lines, ['1970-01-01T00:00:00.000Z warn a\n', 'error b\n', 'error c\n']);
});

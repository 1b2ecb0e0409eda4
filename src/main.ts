#!/usr/bin/env node
/** The program: argv to exit code. Everything else is behind it, loaded when a command needs it. */
import { runCli } from './cli/cli.ts';

process.exitCode = await runCli(process.argv);

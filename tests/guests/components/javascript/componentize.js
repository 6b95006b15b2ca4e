// Usage: node componentize.js SOURCE WIT COMPONENT [FEATURE OF THE ENGINE TO LEAVE OUT]...
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, made, ...without] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: 'wasi:cli/command@0.2.12',
  disableFeatures: ['fetch-event', ...without],
});
await writeFile(made, component);

// Usage: node componentize.js SOURCE WIT COMPONENT
import { readFile, writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, made] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: 'wasi:cli/command@0.2.12',
  disableFeatures: ['http', 'fetch-event'],
});
await writeFile(made, component);

// Makes `dist/` of the component that COMPONENT names, or that the command line MEMBERSPOT (`memberspot`) writes.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'memberspot-'));
try {
  const component = join(work, 'memberspot.wasm');
  fetchComponent(component);
  rmSync(join(here, 'dist'), { recursive: true, force: true });
  execFileSync('jco', ['transpile', component, '--out-dir', join(here, 'dist'), '--quiet'], { stdio: 'inherit' });
} finally {
  rmSync(work, { recursive: true, force: true });
}

function fetchComponent(file) {
  if (process.env.COMPONENT) {
    copyFileSync(process.env.COMPONENT, file);
  } else {
    execFileSync(process.env.MEMBERSPOT || 'memberspot', ['component', '--out', file]);
  }
}

// Runs while the image is built, and compiles the starter for every platform by the URLs of its manifests.
import { spawn } from 'node:child_process';

const base = 'http://127.0.0.1:8081';
const metro = spawn(process.execPath, ['/srv/node_modules/expo/bin/cli', 'start', '--lan', '--port', '8081'], {
  stdio: 'inherit',
});
// A build without output for minutes would look stuck.
const beat = setInterval(() => console.log('still compiling'), 10_000);

async function answer(url, headers = {}) {
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(600_000) });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${(await response.text()).slice(0, 500)}`);
  return response;
}

async function untilReady() {
  for (let tries = 0; tries < 600; tries += 1) {
    try {
      return await answer(`${base}/status`);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  throw new Error('Metro did not start');
}

await untilReady();
for (const platform of ['ios', 'android']) {
  const headers = { 'expo-platform': platform, accept: 'application/expo+json,application/json' };
  const { launchAsset } = await (await answer(`${base}/`, headers)).json();
  const size = (await (await answer(launchAsset.url)).arrayBuffer()).byteLength;
  console.log(`warm: ${platform}, ${size} bytes`);
}
// As mobvibe_worker.workspace.metro_view asks for single files: Metro's own modules are compiled separately for these options.
await answer(`${base}/index.bundle?platform=ios&dev=true&modulesOnly=true&runModule=false&shallow=true`);
const page = await (await answer(`${base}/`, { accept: 'text/html' })).text();
const script = /<script[^>]*\bsrc="([^"]+)"/.exec(page)[1].replaceAll('&amp;', '&');
await (await answer(`${base}${script}`)).arrayBuffer();
console.log('warm: web');
clearInterval(beat);
// Node saves its compiled code if it is asked to end, but not if it is killed.
const ended = new Promise((resolve) => metro.once('exit', resolve));
metro.kill('SIGINT');
setTimeout(() => metro.kill('SIGKILL'), 10_000).unref();
await ended;

// Loaded into a preview's Node. Prints what phones ask for and what they get, one JSON object per line.
// Expo's own event log has no manifests and no connections, and SDK 54 has no event log.
import http from 'node:http';
import Module from 'node:module';

const MARK = '__MARK__';
const LONGEST = 2000;
const MOST_LINES = 20;
const SMALLEST_BUILD = 30;
const PROGRESS_MS = 300;

let sockets = 0;
let progressAt = 0;
let isBuilding = false;
let refused = null;
let second = 0;
let lines = 0;

function print(event) {
  // One write that begins with a line break, so that other output does not cut the line in two.
  process.stdout.write(`\n${MARK}${JSON.stringify({ at: Date.now() / 1000, ...event })}\n`);
}

function cut(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? String(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

function isOurs(request) {
  return (request.headers['user-agent'] ?? '').startsWith('mobvibe');
}

function asked(request) {
  const { pathname, searchParams } = new URL(request.url, 'http://preview');
  const platform = searchParams.get('platform') ?? request.headers['expo-platform'] ?? '';
  if (pathname.endsWith('.bundle')) return { what: 'bundle', platform };
  if (pathname !== '/' && pathname !== '/manifest' && pathname !== '/index.exp') return null;
  if (request.headers['expo-platform'] || searchParams.has('platform')) return { what: 'manifest', platform };
  return { what: 'page', platform: 'web' };
}

function onRequest(request, response) {
  const found = isOurs(request) ? null : asked(request);
  if (!found) return;
  const began = Date.now();
  const from = request.socket.remoteAddress ?? '';
  print({ is: 'asked', ...found, from });
  if (found.what !== 'bundle') return;
  response.once('finish', () => {
    if (response.statusCode === 200) {
      print({ is: 'bundled', platform: found.platform, seconds: (Date.now() - began) / 1000, from });
    }
  });
}

function onUpgrade(request, socket) {
  if (isOurs(request) || !request.url.startsWith('/hot')) return;
  sockets += 1;
  const number = sockets;
  // A phone that left the network does not close its socket.
  socket.setKeepAlive?.(true, 30_000);
  print({ is: 'came', number, from: socket.remoteAddress ?? '' });
  socket.once('close', () => print({ is: 'went', number }));
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (name, ...rest) {
  try {
    if (name === 'request') onRequest(...rest);
    else if (name === 'upgrade') onUpgrade(...rest);
  } catch (error) {
    process.stderr.write(`preview watch: ${error}\n`);
  }
  return emit.call(this, name, ...rest);
};

function report(event) {
  switch (event.type) {
    case 'bundle_transform_progressed': {
      const { transformedFileCount: done, totalFileCount: total } = event;
      if (total < SMALLEST_BUILD || Date.now() - progressAt < PROGRESS_MS) return;
      progressAt = Date.now();
      isBuilding = true;
      print({ is: 'building', done, total });
      return;
    }
    case 'bundle_build_done':
      // The build may be ours or a phone's.
      if (isBuilding) print({ is: 'built' });
      isBuilding = false;
      return;
    case 'bundle_build_failed':
      refused = event.bundleOptions ?? {};
      return;
    case 'bundling_error': {
      const options = refused ?? {};
      refused = null;
      // These are our own requests for single files.
      if (options.shallow || options.modulesOnly) return;
      const { message, filename, lineNumber } = event.error ?? {};
      const file = filename ?? event.error?.originModulePath ?? '';
      print({ is: 'broken', platform: options.platform ?? '', message: cut(message ?? ''), file, line: lineNumber ?? null });
      return;
    }
    case 'client_log': {
      const now = Math.floor(Date.now() / 1000);
      lines = now === second ? lines + 1 : 1;
      second = now;
      if (lines > MOST_LINES) return;
      const text = Array.isArray(event.data) ? event.data.map(cut).join(' ') : cut(event.data);
      print({ is: 'said', level: String(event.level ?? 'log'), text: cut(text) });
    }
  }
}

const load = Module._load;
Module._load = function (request, ...rest) {
  const exported = load.call(this, request, ...rest);
  if (request.endsWith('lib/TerminalReporter')) {
    const reporter = exported?.default?.prototype;
    if (reporter?.update && !reporter.isWatched) {
      const update = reporter.update;
      reporter.isWatched = true;
      reporter.update = function (event) {
        try {
          report(event);
        } catch (error) {
          process.stderr.write(`preview watch: ${error}\n`);
        }
        return update.call(this, event);
      };
    }
  }
  return exported;
};

// The first program of a check container. It runs commands and forwards connections as frames on its stdin and
// stdout, because the container has no network. When stdin closes it ends, and everything with it.
'use strict';
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');

const HEAD = 9; // number of the stream (4 bytes), kind (1), length (4)
const streams = new Map();
let pending = Buffer.alloc(0);

function send(number, kind, data) {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32BE(number, 0);
  head.write(kind, 4, 'latin1');
  head.writeUInt32BE(data.length, 5);
  process.stdout.write(Buffer.concat([head, data]));
}

function finish(number, code) {
  if (streams.delete(number)) send(number, 'E', Buffer.from(String(code)));
}

function connect(number, port) {
  const socket = net.connect(port, '127.0.0.1');
  streams.set(number, { write: (data) => socket.write(data), end: () => socket.end() });
  socket.on('data', (data) => send(number, 'D', data));
  socket.on('error', () => {});
  socket.on('close', () => finish(number, 0));
}

function run(number, { argv, files }) {
  for (const [path, text] of Object.entries(files)) fs.writeFileSync(path, text);
  const child = spawn(process.execPath, argv, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const end = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };
  streams.set(number, { write: () => {}, end });
  child.stdout.on('data', (data) => send(number, 'D', data));
  child.stderr.on('data', (data) => send(number, 'D', data));
  child.on('error', () => finish(number, 127));
  child.on('exit', end);
  child.on('close', (code) => finish(number, code ?? 137));
}

function take(number, kind, data) {
  if (kind === 'C') connect(number, data.readUInt16BE(0));
  else if (kind === 'R') run(number, JSON.parse(data.toString()));
  else if (kind === 'D') streams.get(number)?.write(data);
  else streams.get(number)?.end();
}

process.stdin.on('data', (data) => {
  pending = Buffer.concat([pending, data]);
  while (pending.length >= HEAD && pending.length >= HEAD + pending.readUInt32BE(5)) {
    const end = HEAD + pending.readUInt32BE(5);
    take(pending.readUInt32BE(0), pending.toString('latin1', 4, 5), pending.subarray(HEAD, end));
    pending = pending.subarray(end);
  }
});
process.stdin.on('end', () => process.exit(0));

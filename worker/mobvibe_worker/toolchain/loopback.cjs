// Preloaded into the check bundler's Node to make servers listen on loopback only: Expo's dev server would listen on
// every address, and Metro has no password.
const net = require('node:net');

require('./watch_project.cjs');

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {
  if (typeof port !== 'number' || typeof host === 'string') {
    return listen.call(this, port, host, ...rest);
  }
  return listen.call(this, port, '127.0.0.1', ...(host === undefined ? [] : [host]), ...rest);
};

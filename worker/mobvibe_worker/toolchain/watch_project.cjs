// Preloaded into Metro's Node to watch only the project. Watching all of node_modules takes seconds, and packages do not
// change while Metro runs.
const Module = require('node:module');
const path = require('node:path');

const load = Module._load;
Module._load = function (request, ...rest) {
  const exported = load.call(this, request, ...rest);
  const watcher = request.endsWith('/FallbackWatcher') ? exported?.default?.prototype : undefined;
  if (watcher?.startWatching && !watcher.watchesProjectOnly) {
    const startWatching = watcher.startWatching;
    watcher.watchesProjectOnly = true;
    watcher.startWatching = function () {
      const project = process.cwd();
      const holdsProject = this.root === project || project.startsWith(this.root + path.sep);
      return holdsProject ? startWatching.call(this) : Promise.resolve();
    };
  }
  return exported;
};

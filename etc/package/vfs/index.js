"use strict";

// Where the SQLite extension litestream-vfs is, for whatever loads it:
//   db.loadExtension(require("litestream-vfs").getLoadablePath())
const path = require("path");

const ARCH = { x64: "amd64", arm64: "arm64" };

function getLoadablePath() {
  const arch = ARCH[process.arch];
  if (process.platform !== "linux" || !arch) {
    throw new Error(
      `litestream-vfs is not built for ${process.platform}-${process.arch}`);
  }
  const name = `litestream-vfs-linux-${arch}`;
  const paths = [path.join(process.cwd(), "node_modules"), ...module.paths];
  if (require.main) {
    paths.push(...require.main.paths);
  }
  let found;
  try {
    found = require.resolve(`${name}/package.json`, { paths });
  } catch {
    throw new Error(`${name} is not installed: npm install ${name}`);
  }
  return path.join(path.dirname(found), "litestream-vfs.so");
}

module.exports = { getLoadablePath };

// One WASI program in Node; arguments: module, preopened folder or "", the guest's argv.
const { WASI } = require('node:wasi');
const [file, root, ...args] = process.argv.slice(1);
const wasi = new WASI({ version: 'preview1', args, preopens: root ? { '/': root } : {}, returnOnExit: true });
const module = new WebAssembly.Module(require('node:fs').readFileSync(file));
process.exit(wasi.start(new WebAssembly.Instance(module, wasi.getImportObject())));

// One cold or steady sample in Node; arguments: cold|steady, module, n, seconds.
const [kind, file, n, seconds] = process.argv.slice(1);
const bytes = require('node:fs').readFileSync(file);
const now = () => process.hrtime.bigint();
const load = () => new WebAssembly.Instance(new WebAssembly.Module(bytes), {}).exports.run;

function cold() {
  const start = now();
  const answer = load()(Number(n));
  return { ns: Number(now() - start), answer };
}

async function steady() {
  const run = load();
  const span = BigInt(Math.round(Number(seconds) * 1e9));
  const first = run(Number(n));
  // Yielding to the event loop lets V8 install what its background threads finished.
  for (const start = now(); now() - start < span; ) {
    run(Number(n));
    await new Promise(setImmediate);
  }
  let best = span * 1000n;
  for (const measuring = now(); ; ) {
    const start = now();
    const answer = run(Number(n));
    const time = now() - start;
    if (answer !== first) return { ns: Number(time), answer };
    if (time < best) best = time;
    if (now() - measuring >= span) return { ns: Number(best), answer: first };
  }
}

(async () => console.log(JSON.stringify(kind === 'cold' ? cold() : await steady())))();

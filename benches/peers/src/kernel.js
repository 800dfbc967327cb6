// One sample in Node; arguments: cold|steady|warmup, module, n, seconds.
const [kind, file, n, seconds] = process.argv.slice(1);
const fs = require('node:fs');
const bytes = fs.readFileSync(file);
const now = () => process.hrtime.bigint();
const load = () => new WebAssembly.Instance(new WebAssembly.Module(bytes), {}).exports.run;
// Yielding to the event loop lets V8 install what its background threads finished.
const yielding = () => new Promise(setImmediate);

function cold() {
  const start = now();
  const answer = load()(Number(n));
  return { ns: Number(now() - start), answer };
}

async function steady() {
  const run = load();
  const span = BigInt(Math.round(Number(seconds) * 1e9));
  const first = run(Number(n));
  for (const start = now(); now() - start < span; ) {
    run(Number(n));
    await yielding();
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

// The end of every call; what it takes to yield, once a millisecond, is in it.
async function warmup() {
  const span = Number(seconds) * 1e9;
  const start = now();
  const since = () => Number(now() - start);
  const run = load();
  const ends = [since()];
  let yielded = ends[0];
  let answer;
  for (let end = 0; end < span; ) {
    const got = run(Number(n));
    end = since();
    ends.push(end);
    answer ??= got;
    if (got !== answer) return { ns: end, answer: got };
    if (end - yielded > 1e6) {
      await yielding();
      yielded = since();
    }
  }
  return { ns: Math.round(ends.at(-1) / (ends.length - 1)), answer, ends };
}

// Not process.resourceUsage(): what it tells begins with the memory of the process that started this one.
function peak() {
  try {
    const kib = /VmHWM:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'latin1'));
    return kib ? { peak_rss: Number(kib[1]) * 1024 } : {};
  } catch {
    return {};
  }
}

const kinds = { cold, steady, warmup };
(async () => console.log(JSON.stringify({ ...(await kinds[kind]()), ...peak() })))();

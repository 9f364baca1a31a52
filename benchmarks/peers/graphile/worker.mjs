// Graphile Worker as a benchmark's peer: work, load and one, in the words of benchmarks/tally.py.
import { makeWorkerUtils, run, Logger } from "graphile-worker";

const connectionString = process.env.PERDURE_DSN;
const [what, settings] = process.argv.slice(2);
const payload = (n) => ({ n, data: "x".repeat(160) });
const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const quiet = new Logger(() => () => {});

async function work() {
  const pickups = process.env.BENCH_PICKUPS === "1";
  let count = 0;
  let told = -1;
  const noop = async (job) => {
    if (pickups) tell({ n: job.n, at: (performance.timeOrigin + performance.now()) / 1000 });
    if (count === 0) tell({ first: Date.now() / 1000, cpu: cpu() });
    count += 1;
  };
  setInterval(() => {
    if (count !== told) {
      told = count;
      tell({ count, cpu: cpu(), rss_mb: Math.round(process.memoryUsage().rss / 2 ** 20) });
    }
  }, 50).unref();
  const runner = await run({
    preset: { worker: { connectionString, logger: quiet, ...JSON.parse(settings) } },
    taskList: { noop },
  });
  await runner.promise;
}

async function load() {
  const count = Number(process.env.BENCH_TASKS);
  const utils = await makeWorkerUtils({ connectionString, logger: quiet });
  const began = performance.now();
  for (let start = 0; start < count; start += 5000) {
    const jobs = [];
    for (let n = start; n < Math.min(start + 5000, count); n += 1) {
      jobs.push({ identifier: "noop", payload: payload(n) });
    }
    await utils.addJobs(jobs);
  }
  tell({ seconds: (performance.now() - began) / 1000, tasks: count });
  await utils.release();
}

async function one() {
  const seconds = Number(process.env.BENCH_SECONDS);
  const callers = Number(process.env.BENCH_CALLERS);
  const utils = await makeWorkerUtils({ connectionString, logger: quiet, maxPoolSize: 10 });
  const began = performance.now();
  let tasks = 0;
  const call = async () => {
    while (performance.now() - began < seconds * 1000) {
      await utils.addJob("noop", payload(1));
      tasks += 1;
    }
  };
  await Promise.all(Array.from({ length: callers }, call));
  tell({ seconds: (performance.now() - began) / 1000, tasks });
  await utils.release();
}

async function prepare() {
  const utils = await makeWorkerUtils({ connectionString, logger: quiet });
  await utils.migrate();
  await utils.release();
}

await { work, load, one, prepare }[what]();

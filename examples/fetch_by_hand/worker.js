// Jobs of a Python application, run by Node: `npm install pg`, then
//
//     PGHOST=... PGDATABASE=... node worker.js
//
// Some `pgqueue worker` must run as well, of whatever queue: it makes delayed jobs available, and
// takes back what a script that vanished had fetched.

const { Client } = require("pg");

const handlers = {
  resize({ path }) {
    if (!path) throw new Error("no path");
    return { resized: path };
  },
};

const FETCH = "SELECT * FROM pgqueue.fetch('default', lease => '2 minutes', tasks => $1)";
const FINISH = "SELECT pgqueue.finish($1, $2, $3, $4, result => $5, error => $6, error_type => $7) AS accepted";

async function main() {
  const untilEmpty = process.argv.includes("--until-empty");
  const client = new Client(); // from libpq's variables
  await client.connect();
  for (;;) {
    const { rows } = await client.query(FETCH, [Object.keys(handlers)]);
    if (rows.length === 0) {
      if (untilEmpty) break;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
    for (const job of rows) {
      let end;
      try {
        const result = await handlers[job.task](job.args);
        end = ["succeeded", JSON.stringify(result ?? null), null, null];
      } catch (error) {
        end = ["failed", null, error.message, error.name];
      }
      const answer = await client.query(FINISH, [job.id, job.attempt, job.worker_id, ...end]);
      if (!answer.rows[0].accepted) console.error(`job ${job.id} was taken back meanwhile`);
    }
  }
  await client.end();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});

// graphile-worker with what its docs give for throughput: a local queue, batched completion.
// A worker that dies keeps the jobs in its local queue locked for four hours.
'use strict'
const { Logger, makeWorkerUtils, run } = require('graphile-worker')
const { DSN, chunks, count, main, payload } = require('../frame.js')

const CHUNK = 1000
const logger = new Logger(() => (level, message) => {
  if (level === 'error') console.error(message)
})
const utils = () => makeWorkerUtils({ connectionString: DSN, maxPoolSize: 1, logger })

main({
  async install () {
    const own = await utils()
    await own.migrate()
    await own.release()
  },
  async bulk () {
    const own = await utils()
    return async (numbers) => {
      for (const part of chunks(numbers, CHUNK)) {
        await own.addJobs(part.map((n) => ({ identifier: 'noop', payload: payload(n) })))
      }
    }
  },
  async single () {
    const own = await utils()
    return (number) => own.addJob('noop', payload(number))
  },
  async work () {
    const worker = {
      concurrentJobs: 100,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0
    }
    const taskList = { noop: async (job) => { count(job.user_id) } }
    await run({ connectionString: DSN, logger, preset: { worker }, taskList })
  }
})

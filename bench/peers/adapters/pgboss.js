// pg-boss: insert() by the thousand; four workers of 500 jobs a batch, which succeed or fail as one.
'use strict'
const { PgBoss } = require('pg-boss')
const { DSN, chunks, count, main, payload } = require('../frame.js')

const CHUNK = 1000
async function boss (max, options) {
  const own = new PgBoss({ connectionString: DSN, max, supervise: false, schedule: false, ...options })
  own.on('error', (error) => console.error(error))
  await own.start()
  return own
}

main({
  async install () {
    const own = await boss(2)
    await own.createQueue('noop', { notify: true })
    await own.stop({ graceful: false })
  },
  async bulk () {
    const own = await boss(2)
    return async (numbers) => {
      for (const part of chunks(numbers, CHUNK)) {
        await own.insert('noop', part.map((n) => ({ data: payload(n) })))
      }
    }
  },
  async single () {
    const own = await boss(1)
    return (number) => own.send('noop', payload(number))
  },
  async work () {
    const own = await boss(10, { supervise: true, useListenNotify: true })
    const options = {
      batchSize: 500, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5
    }
    await own.work('noop', options, async (jobs) => {
      for (const job of jobs) count(job.data.user_id)
    })
  }
})

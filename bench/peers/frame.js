// The Node twin of frame.py and counters.py: times an adapter, counts the calls of its handler.
'use strict'
const fs = require('node:fs')
const path = require('node:path')

const now = () => process.hrtime.bigint() // CLOCK_MONOTONIC, as Python's time.monotonic_ns()
exports.DSN = process.env.BENCH_DSN
exports.payload = (number) => ({ user_id: number, template: 'welcome', pad: 'x'.repeat(52) })

// Kept in memory and written once a turn of the event loop, if anything was counted in it.
let counted = 0, first = 0n, last = 0n, files = null, dirty = false
function open () {
  const base = path.join(process.env.PGQUEUE_BENCH_COUNTERS, String(process.pid))
  const starts = process.env.PGQUEUE_BENCH_STARTS
  files = { count: fs.openSync(`${base}.count`, 'w'), starts: starts && fs.openSync(`${base}.starts`, 'a') }
}
function flush () {
  const slot = Buffer.alloc(24)
  slot.writeBigInt64LE(BigInt(counted), 0)
  slot.writeBigInt64LE(first, 8)
  slot.writeBigInt64LE(last, 16)
  fs.writeSync(files.count, slot, 0, 24, 0)
  dirty = false
}
exports.count = (number) => {
  if (files === null) open()
  last = now()
  if (counted++ === 0) first = last
  if (files.starts) {
    const start = Buffer.alloc(16)
    start.writeBigInt64LE(BigInt(number), 0)
    start.writeBigInt64LE(last, 8)
    fs.writeSync(files.starts, start)
  }
  if (!dirty) {
    dirty = true
    setImmediate(flush)
  }
}

// adapter: install(), bulk() -> send(numbers), single() -> send(number), work()
exports.main = async (adapter) => {
  const [command, ...words] = process.argv.slice(2)
  const numbers = words.map(Number)
  const answer = await commands[command](adapter, ...numbers)
  if (command === 'work') return
  if (answer !== undefined) console.log(JSON.stringify(answer))
  process.exit(0)
}
const seconds = (begun) => Number(now() - begun) / 1e9
const commands = {
  install: (adapter) => adapter.install(),
  work: (adapter) => adapter.work(),
  async bulk (adapter, jobs) {
    const send = await adapter.bulk()
    const numbers = Array.from({ length: jobs }, (_, number) => number)
    const begun = now(), used = process.cpuUsage()
    await send(numbers)
    const { user, system } = process.cpuUsage(used)
    return { seconds: seconds(begun), cpu: (user + system) / 1e6 }
  },
  async single (adapter, each, connections) {
    const senders = []
    for (let n = 0; n < connections; n++) senders.push(await adapter.single())
    for (const send of senders) await send(0)
    const begun = now()
    await Promise.all(senders.map(async (send) => {
      for (let number = 0; number < each; number++) await send(number)
    }))
    return { seconds: seconds(begun) }
  },
  async probe (adapter, probes) {
    const send = await adapter.single()
    const moments = []
    for (let number = 0; number < probes; number++) {
      await new Promise((resolve) => setTimeout(resolve, 20 + 30 * Math.random()))
      await send(number + 1)
      moments.push(Number(now()))
    }
    return moments
  }
}
exports.chunks = function * (numbers, size) {
  for (let start = 0; start < numbers.length; start += size) yield numbers.slice(start, start + size)
}

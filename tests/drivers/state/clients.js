// What these programs for Node share: phases that all clients run at the same time, each on a connection of its own.
// See clients.py.
'use strict'

const assert = require('node:assert/strict')

const URL = process.argv[2]
const CLIENTS = Number(process.argv[3])
const TURNS = 10
const SHARED_LOCK = 77

const zone = (number) => ['Asia/Tokyo', 'America/New_York', 'UTC', 'Europe/Paris'][number % 4]
const kept = (count) => Array.from({ length: count }, (_, n) => `kept ${n}`)
// Drizzle wraps what the driver threw.
const sqlState = (error) => error.code ?? error.cause?.code
const fails = (promise, code) => assert.rejects(promise, (error) => sqlState(error) === code)

// A place among the sessions that are tied to a connection is waited for, as an application would.
async function patiently(action) {
  for (;;) {
    try {
      return await action()
    } catch (error) {
      if (sqlState(error) !== '53300') throw error
      await new Promise((resolve) => setTimeout(resolve, 30))
    }
  }
}

// Between the taking of the lock and its release nobody else may be.
let inside = 0
async function alone(action) {
  assert.equal(inside++, 0)
  await action()
  inside--
}

// A promise that is kept when all clients have asked for it.
function barrier() {
  let missing = CLIENTS
  let open
  const complete = new Promise((resolve) => (open = resolve))
  return () => (--missing === 0 && open(), complete)
}

async function run(connect, close, phases) {
  const numbers = Array.from({ length: CLIENTS }, (_, number) => number)
  const connections = await Promise.all(numbers.map(connect))
  let failed = false
  for (const phase of phases) {
    const outcomes = await Promise.allSettled(numbers.map((number) => phase(connections[number], number)))
    const errors = outcomes.filter((outcome) => outcome.status === 'rejected').map((outcome) => outcome.reason)
    if (errors.length === 0) {
      console.log('ok', phase.name)
    } else {
      failed = true
      console.log(`failed ${phase.name}: ${errors.length} of ${CLIENTS} clients`)
      console.error(errors[0])
    }
  }
  await Promise.all(connections.map(close))
  process.exit(failed ? 1 : 0)
}

module.exports = { URL, CLIENTS, TURNS, SHARED_LOCK, zone, kept, fails, patiently, alone, barrier, run }

// node-postgres in its default settings: what a session keeps, by 20 clients.
'use strict'

const assert = require('node:assert/strict')
const { Client } = require('pg')
const { URL, CLIENTS, TURNS, SHARED_LOCK, zone, kept, fails, patiently, alone, barrier, run } = require('./clients.js')

async function connect() {
  const client = new Client(URL)
  await client.connect()
  return client
}

async function value(client, text, values) {
  const { rows } = await client.query({ text, values, rowMode: 'array' })
  return rows[0][0]
}

const INSERT = "insert into items values ('node', $1, $2, $3)"
const CLEAR = "delete from items where driver = 'node' and client = $1"
const NOTES = "select array_agg(note order by n) from items where driver = 'node' and client = $1"

async function transactions(client, number) {
  await client.query(CLEAR, [number])
  for (let turn = 0; turn < TURNS; turn++) {
    await client.query('begin')
    await client.query(INSERT, [number, turn, `kept ${turn}`])
    await client.query('commit')
    await client.query('begin')
    await client.query(INSERT, [number, 100 + turn, 'undone'])
    await fails(client.query(INSERT, [number, turn, 'again']), '23505')
    await client.query('rollback')
    await client.query('begin')
    assert.deepEqual(await value(client, NOTES, [number]), kept(turn + 1))
    await client.query('commit')
  }
}

async function savepoints(client, number) {
  await client.query('begin')
  await client.query(CLEAR, [number])
  for (let turn = 0; turn < TURNS; turn++) {
    await client.query(INSERT, [number, 2 * turn, `kept ${turn}`])
    await client.query('savepoint s')
    await client.query(INSERT, [number, 2 * turn + 1, 'undone'])
    await fails(client.query(INSERT, [number, 2 * turn, 'again']), '23505')
    await client.query('rollback to savepoint s')
    await client.query('release savepoint s')
  }
  assert.deepEqual(await value(client, NOTES, [number]), kept(TURNS))
  await client.query('commit')
}

async function prepared(client, number) {
  for (let turn = 0; turn < 3 * TURNS; turn++) {
    const read = { name: 'read', text: 'select $1::int * 1000 + n as n from fixed where n = $2', values: [turn, 2] }
    assert.deepEqual((await client.query(read)).rows, [{ n: turn * 1000 + 2 }])
    // One name, another text in each session.
    const own = { name: 'own', text: `select $1::text || ' of ${number}' as own`, values: [turn] }
    assert.deepEqual((await client.query(own)).rows, [{ own: `${turn} of ${number}` }])
    if (turn % 5 === 4) {
      await client.query('begin')
      const sum = { name: `sum ${turn}`, text: 'select $1::int + 1 as sum', values: [turn] }
      assert.deepEqual((await client.query(sum)).rows, [{ sum: turn + 1 }])
      await fails(client.query({ name: 'divide', text: 'select 1 / $1::int', values: [0] }), '22012')
      await client.query('rollback')
      assert.deepEqual((await client.query(sum)).rows, [{ sum: turn + 1 }])
    }
  }
}

async function settings(client, number) {
  await client.query(`set app.client = 'client ${number}'`)
  await client.query("select set_config('TimeZone', $1, false)", [zone(number)])
  await client.query(`set statement_timeout = ${100_001 + number}`)
  for (let turn = 0; turn < TURNS; turn++) {
    assert.equal(await value(client, "select current_setting('app.client')"), `client ${number}`)
    assert.equal(await value(client, 'show TimeZone'), zone(number))
    await client.query('begin')
    await client.query("set app.client = 'undone'")
    await client.query('set local statement_timeout = 0')
    assert.equal(await value(client, 'show app.client'), 'undone')
    await client.query('rollback')
    assert.equal(await value(client, 'show statement_timeout'), `${100_001 + number}ms`)
  }
  await client.query('reset all')
  assert.equal(await value(client, "select coalesce(current_setting('app.client', true), '')"), '')
}

const listening = barrier()

async function listen(client, number) {
  const own = []
  const everyones = new Set()
  const complete = new Promise((resolve) => {
    client.on('notification', ({ channel, payload }) => {
      if (channel === 'node_all') everyones.add(Number(payload))
      else own.push(payload)
      if (own.length && everyones.size === CLIENTS) resolve()
    })
  })
  await client.query(`listen node_${number}`)
  await client.query('listen node_all')
  await listening()
  await client.query(`notify node_${(number + 1) % CLIENTS}, 'from ${number}'`)
  await client.query("select pg_notify('node_all', $1)", [number])
  await complete
  assert.deepEqual(own, [`from ${(number + CLIENTS - 1) % CLIENTS}`])
  await client.query('unlisten *')
}

async function advisory_locks(client, number) {
  for (let turn = 0; turn < 2; turn++) {
    await patiently(() => client.query('select pg_advisory_lock($1)', [SHARED_LOCK]))
    await alone(async () => {
      assert.equal(await value(client, 'select pg_try_advisory_lock($1)', [SHARED_LOCK]), true)
      assert.equal(await value(client, 'select pg_advisory_unlock($1)', [SHARED_LOCK]), true)
      if (number === 0) {
        const other = await connect()
        assert.equal(await value(other, 'select pg_try_advisory_xact_lock($1)', [SHARED_LOCK]), false)
        await other.end()
      }
    })
    assert.equal(await value(client, 'select pg_advisory_unlock($1)', [SHARED_LOCK]), true)
  }
}

async function temp_tables(client, number) {
  await patiently(() => client.query('create temp table mine (n int, who text)'))
  for (let turn = 0; turn < TURNS; turn++) {
    await client.query('insert into mine values ($1, $2)', [turn, `client ${number}`])
  }
  const { rows } = await client.query('select who, count(*)::int from mine group by who')
  assert.deepEqual(rows, [{ who: `client ${number}`, count: TURNS }])
  await client.query('drop table mine')
  assert.equal(await value(client, "select to_regclass('mine')"), null)
}

async function server_side_cursors(client, number) {
  await client.query('begin')
  await client.query(`declare c cursor for select n + ${number} as n from generate_series(1, 500) n`)
  let sum = 0
  for (let got = -1; got !== 0;) {
    const { rows } = await client.query('fetch 70 from c')
    got = rows.length
    sum += rows.reduce((total, row) => total + row.n, 0)
  }
  assert.equal(sum, (500 * 501) / 2 + 500 * number)
  await client.query('close c')
  await client.query('commit')
}

const phases = [transactions, savepoints, prepared, settings, listen, advisory_locks, temp_tables, server_side_cursors]
run(connect, (client) => client.end(), phases)

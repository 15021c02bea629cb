// Drizzle over node-postgres, both in their default settings: what a session keeps, by 20 clients.
'use strict'

const assert = require('node:assert/strict')
const { Client } = require('pg')
const { drizzle } = require('drizzle-orm/node-postgres')
const { TransactionRollbackError, and, asc, count, eq, placeholder, sql } = require('drizzle-orm')
const { integer, pgTable, primaryKey, text } = require('drizzle-orm/pg-core')
const { URL, TURNS, SHARED_LOCK, zone, kept, fails, patiently, alone, run } = require('./clients.js')

const items = pgTable(
  'items',
  { driver: text().notNull(), client: integer().notNull(), n: integer().notNull(), note: text() },
  (table) => [primaryKey({ columns: [table.driver, table.client, table.n] })],
)
const fixed = pgTable('fixed', { n: integer() })
const mine = pgTable('mine', { n: integer(), who: text() })

async function connect() {
  const client = new Client(URL)
  await client.connect()
  return drizzle({ client })
}

const item = (client, n, note) => ({ driver: 'drizzle', client, n, note })
const own = (number) => and(eq(items.driver, 'drizzle'), eq(items.client, number))

async function notes(db, number) {
  const rows = await db.select({ note: items.note }).from(items).where(own(number)).orderBy(asc(items.n))
  return rows.map((row) => row.note)
}

async function value(db, query) {
  const { rows } = await db.execute(query)
  return Object.values(rows[0])[0]
}

async function transactions(db, number) {
  await db.delete(items).where(own(number))
  for (let turn = 0; turn < TURNS; turn++) {
    await db.transaction((tx) => tx.insert(items).values(item(number, turn, `kept ${turn}`)))
    await fails(
      db.transaction(async (tx) => {
        await tx.insert(items).values(item(number, 100 + turn, 'undone'))
        await tx.insert(items).values(item(number, turn, 'again'))
      }),
      '23505',
    )
    const options = { isolationLevel: 'repeatable read', accessMode: 'read write' }
    assert.deepEqual(await db.transaction((tx) => notes(tx, number), options), kept(turn + 1))
  }
}

async function savepoints(db, number) {
  await db.transaction(async (tx) => {
    await tx.delete(items).where(own(number))
    for (let turn = 0; turn < TURNS; turn++) {
      await tx.insert(items).values(item(number, 2 * turn, `kept ${turn}`))
      const inner = tx.transaction(async (nested) => {
        await nested.insert(items).values(item(number, 2 * turn + 1, 'undone'))
        await nested.insert(items).values(item(number, 2 * turn, 'again'))
      })
      await fails(inner, '23505')
    }
    assert.deepEqual(await notes(tx, number), kept(TURNS))
  })
}

async function prepared(db, number) {
  const read = (on) =>
    on
      .select({ n: sql`${placeholder('factor')}::int * 1000 + ${fixed.n}` })
      .from(fixed)
      .where(eq(fixed.n, placeholder('n')))
      .prepare('read')
  const outside = read(db)
  for (let turn = 0; turn < 3 * TURNS; turn++) {
    assert.deepEqual(await outside.execute({ factor: turn, n: 2 }), [{ n: turn * 1000 + 2 }])
    // One name, another text in each session.
    const who = db.select({ who: sql.raw(`'client ${number}'`) }).from(fixed).limit(1).prepare('who')
    assert.deepEqual(await who.execute(), [{ who: `client ${number}` }])
    if (turn % 5 === 4) {
      const failing = db.transaction(async (tx) => {
        assert.deepEqual(await read(tx).execute({ factor: number, n: 3 }), [{ n: number * 1000 + 3 }])
        await tx.execute(sql`select 1 / ${0}::int`)
      })
      await fails(failing, '22012')
    }
  }
}

async function settings(db, number) {
  await db.execute(sql.raw(`set app.client = 'client ${number}'`))
  await db.execute(sql`select set_config('TimeZone', ${zone(number)}, false)`)
  await db.execute(sql.raw(`set statement_timeout = ${100_001 + number}`))
  for (let turn = 0; turn < TURNS; turn++) {
    assert.equal(await value(db, sql`select current_setting('app.client')`), `client ${number}`)
    assert.equal(await value(db, sql`show TimeZone`), zone(number))
    const undone = db.transaction(async (tx) => {
      await tx.execute(sql`set app.client = 'undone'`)
      await tx.execute(sql`set local statement_timeout = 0`)
      assert.equal(await value(tx, sql`show app.client`), 'undone')
      tx.rollback()
    })
    await assert.rejects(undone, TransactionRollbackError)
    assert.equal(await value(db, sql`show statement_timeout`), `${100_001 + number}ms`)
  }
  await db.execute(sql`reset all`)
  assert.equal(await value(db, sql`select coalesce(current_setting('app.client', true), '')`), '')
}

async function advisory_locks(db, number) {
  for (let turn = 0; turn < 2; turn++) {
    await patiently(() => db.execute(sql`select pg_advisory_lock(${SHARED_LOCK})`))
    await alone(async () => {
      assert.equal(await value(db, sql`select pg_try_advisory_lock(${SHARED_LOCK})`), true)
      assert.equal(await value(db, sql`select pg_advisory_unlock(${SHARED_LOCK})`), true)
      if (number === 0) {
        const other = await connect()
        assert.equal(await value(other, sql`select pg_try_advisory_xact_lock(${SHARED_LOCK})`), false)
        await other.$client.end()
      }
    })
    assert.equal(await value(db, sql`select pg_advisory_unlock(${SHARED_LOCK})`), true)
  }
}

async function temp_tables(db, number) {
  await patiently(() => db.execute(sql`create temp table ${mine} (n int, who text)`))
  const rows = Array.from({ length: TURNS }, (_, n) => ({ n, who: `client ${number}` }))
  assert.equal((await db.insert(mine).values(rows).returning()).length, TURNS)
  for (let turn = 0; turn < TURNS; turn++) {
    const found = await db.select({ who: mine.who, count: count() }).from(mine).groupBy(mine.who)
    assert.deepEqual(found, [{ who: `client ${number}`, count: TURNS }])
  }
  await db.execute(sql`drop table ${mine}`)
  assert.equal(await value(db, sql`select to_regclass('mine')`), null)
}

async function server_side_cursors(db, number) {
  const sum = await db.transaction(async (tx) => {
    await tx.execute(sql.raw(`declare c cursor for select n + ${number} as n from generate_series(1, 500) n`))
    for (let total = 0; ;) {
      const { rows } = await tx.execute(sql`fetch 70 from c`)
      if (rows.length === 0) return total
      total += rows.reduce((some, row) => some + row.n, 0)
    }
  })
  assert.equal(sum, (500 * 501) / 2 + 500 * number)
}

const phases = [transactions, savepoints, prepared, settings, advisory_locks, temp_tables, server_side_cursors]
run(connect, (db) => db.$client.end(), phases)

// node-postgres through pgweir: what its users do. The table `node_items (id, name, data)` is there, and is empty.
// A read goes to a replica unless it is part of a transaction or says otherwise, and a replica may not yet have what
// was just written: hence PRIMARY.
'use strict'

const assert = require('node:assert/strict')
const fs = require('node:fs')
const { Client, Pool, Query } = require('pg')

const PRIMARY = '/* pgweir: role=primary */ '
const CLIENTS = 20
const SLEEPS =
  PRIMARY +
  "select count(*)::int as n from pg_stat_activity where wait_event = 'PgSleep' and query like '%node sleeps%'"

// Host, port, user, password and database are the environment's: PGHOST and so on.
const options = { ssl: { ca: fs.readFileSync(process.env.PGSSLROOTCERT) }, enableChannelBinding: true }

async function connected(use, more = {}) {
  const client = new Client({ ...options, ...more })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

async function value(client, text, values) {
  const result = await client.query({ text, values, rowMode: 'array' })
  return result.rows[0][0]
}

const checks = {
  async tls() {
    await connected(async (client) => {
      assert.equal(client.connection.stream.encrypted, true)
      assert.equal(client.connection.stream.authorized, true)
    })
    await assert.rejects(connected(async () => {}, { password: 'wrong' }), { code: '28P01' })
  },

  async inserts() {
    await connected(async (client) => {
      const inserted = await client.query("insert into node_items values (1, 'one') returning id, name")
      assert.deepEqual(inserted.rows, [{ id: 1, name: 'one' }])
      const many = await client.query(
        'insert into node_items (id, name) select n, $1 || n from generate_series(2, 500) n', ['name '])
      assert.equal(many.rowCount, 499)
      assert.equal(await value(client, PRIMARY + 'select count(*)::int from node_items'), 500)
      // Several statements in a Query.
      const several = await client.query("insert into node_items values (501); select name from node_items where id = 1")
      assert.deepEqual(several.map((result) => result.command), ['INSERT', 'SELECT'])
    })
  },

  async reads_go_to_the_replica() {
    await connected(async (client) => {
      for (const values of [undefined, [0]]) {
        const text = values ? 'select n from fixed where n > $1 order by n' : 'select n from fixed order by n'
        const { rows } = await client.query(text, values)
        assert.deepEqual(rows.map((row) => row.n), [1, 2, 3])
        const route = await client.query('show pgweir.route')
        assert.equal(route.rows[0].role, 'replica')
      }
    })
  },

  async transactions() {
    await connected((client) => connected(async (other) => {
      const count = 'select count(*)::int from node_items where id between 1000 and 1099'
      await client.query('begin')
      await client.query('insert into node_items values ($1)', [1000])
      assert.equal(await value(client, count), 1)
      assert.equal(await value(other, PRIMARY + count), 0)
      await client.query('rollback')
      assert.equal(await value(client, PRIMARY + count), 0)
      await client.query('begin isolation level serializable')
      assert.equal(await value(client, 'show transaction_isolation'), 'serializable')
      await client.query('insert into node_items values ($1)', [1000])
      await client.query('commit')
      assert.equal(await value(other, PRIMARY + count), 1)
    }))
  },

  async savepoints() {
    await connected(async (client) => {
      await client.query('begin')
      await client.query("insert into node_items values (1100, 'kept')")
      await client.query('savepoint s')
      await client.query("insert into node_items values (1101, 'undone')")
      await assert.rejects(client.query('insert into node_items values ($1)', [1100]), { code: '23505' })
      await assert.rejects(client.query('select 1'), { code: '25P02' })
      await client.query('rollback to savepoint s')
      await client.query('release savepoint s')
      await client.query("insert into node_items values (1102, 'kept')")
      const { rows } = await client.query('select id from node_items where id between 1100 and 1199 order by id')
      assert.deepEqual(rows.map((row) => row.id), [1100, 1102])
      await client.query('commit')
    })
  },

  async named_statements() {
    await connected((client) => connected(async (other) => {
      for (let turn = 0; turn < 30; turn++) {
        for (const who of [client, other]) {
          const sum = await who.query({ name: 'sum', text: 'select $1::int + 1 as sum', values: [turn] })
          assert.equal(sum.rows[0].sum, turn + 1)
          const read = await who.query({ name: 'read', text: 'select n from fixed where n = $1', values: [2] })
          assert.deepEqual(read.rows, [{ n: 2 }])
        }
        // One name, other texts in other sessions.
        const mine = await client.query({ name: 'own', text: 'select 1 as mine', values: [] })
        const theirs = await other.query({ name: 'own', text: "select 'x' as theirs", values: [] })
        assert.deepEqual([mine.rows, theirs.rows], [[{ mine: 1 }], [{ theirs: 'x' }]])
        await client.query('begin')
        const insert = { name: 'insert', text: 'insert into node_items values ($1, $2)', values: [1200 + turn, 'n'] }
        assert.equal((await client.query(insert)).rowCount, 1)
        await client.query(turn % 2 ? 'commit' : 'rollback')
      }
      assert.equal(await value(client, PRIMARY + "select count(*)::int from node_items where name = 'n'"), 15)
    }))
  },

  async errors_leave_the_connection_usable() {
    await connected(async (client) => {
      await client.query("insert into node_items values (1300, 'first')")
      for (let turn = 0; turn < 5; turn++) {
        const named = { name: 'again', text: 'insert into node_items values ($1)', values: [1300] }
        await assert.rejects(client.query(named), { code: '23505', constraint: 'node_items_pkey' })
        await assert.rejects(client.query('insert into node_items values (1300)'), { code: '23505' })
        assert.equal(await value(client, 'select $1::int', [turn]), turn)
      }
      await assert.rejects(client.query('selec 1'), { code: '42601', position: '1' })
      await assert.rejects(client.query('select * from no_such_table where n = $1', [1]), { code: '42P01' })
      await assert.rejects(client.query('select 1 / $1::int', [0]), { code: '22012' })
      assert.equal(await value(client, 'select 2'), 2)
    })
  },

  async cancel() {
    await connected((client) => connected(async (watcher) => {
      for (const values of [undefined, [600]]) {
        const text = PRIMARY + `select pg_sleep(${values ? '$1' : '600'}) -- node sleeps`
        const sleep = client.query(new Query({ text, values }))
        const error = new Promise((resolve, reject) => sleep.once('error', resolve).once('end', reject))
        while ((await value(watcher, SLEEPS)) === 0);
        // node-postgres sends a CancelRequest without TLS, as it would to Postgres.
        const canceller = new Client(options)
        const over = new Promise((resolve) => canceller.connection.once('end', resolve))
        canceller.connection.on('error', () => {})
        canceller.cancel(client, sleep)
        assert.equal((await error).code, '57014')
        await over
        assert.equal(await value(client, 'select 1'), 1)
      }
    }))
  },

  async cursor() {
    await connected(async (client) => {
      await client.query('begin')
      await client.query('declare c cursor for select n from generate_series(1, 1000) n')
      let sum = 0
      for (let got = -1; got !== 0;) {
        const { rows } = await client.query('fetch 70 from c')
        got = rows.length
        sum += rows.reduce((total, row) => total + row.n, 0)
      }
      await client.query('close c')
      await client.query('commit')
      assert.equal(sum, (1000 * 1001) / 2)
    })
  },

  async values() {
    const data = Buffer.alloc(1 << 20, Buffer.from(Array.from({ length: 256 }, (_, n) => n)))
    const text = 'täglich 🐘 \' " \\ $1\n'.repeat(10_000)
    await connected(async (client) => {
      await client.query('begin')
      await client.query('insert into node_items values ($1, $2, $3), (1501, null, $4)', [1500, text, data, Buffer.alloc(0)])
      for (const binary of [false, true]) {
        const query = { text: 'select name, data from node_items where id in (1500, 1501) order by id', binary }
        const { rows } = await client.query(query)
        assert.ok(rows[0].name === text && data.equals(rows[0].data))
        assert.deepEqual(rows[1], { name: null, data: Buffer.alloc(0) })
      }
      const { rows } = await client.query('select $1::int[] as a, $2::jsonb as j, null::int as n', [[1, null, 3], { a: [1] }])
      assert.deepEqual(rows, [{ a: [1, null, 3], j: { a: [1] }, n: null }])
      await client.query('commit')
      const big = await value(client, "select repeat('x', $1)", [30_000_000])
      assert.equal(big.length, 30_000_000)
    })
  },

  async notifications() {
    await connected(async (listener) => connected(async (sender) => {
      const heard = []
      const three = new Promise((resolve) => listener.on('notification', (message) => {
        heard.push([message.channel, message.payload])
        if (heard.length === 3) resolve()
      }))
      await listener.query('listen node')
      await sender.query("notify node, 'first'")
      await sender.query("begin; notify node, 'second'; commit")
      await listener.query("notify node, 'own'")
      await three
      assert.deepEqual(heard, [['node', 'first'], ['node', 'second'], ['node', 'own']])
    }))
  },

  async concurrency() {
    const pool = new Pool({ ...options, max: CLIENTS })
    const one = async (number) => {
      for (let turn = 0; turn < 15; turn++) {
        const client = await pool.connect()
        try {
          const nonce = `client ${number} turn ${turn}`
          assert.equal(await value(client, 'select $1::text', [nonce]), nonce)
          await client.query('begin')
          await client.query('update node_items set name = name where id = $1', [number + 1])
          await client.query({
            name: 'insert', text: 'insert into node_items values ($1, $2)', values: [10_000 + number * 100 + turn, nonce],
          })
          await client.query('commit')
        } finally {
          client.release()
        }
      }
    }
    await Promise.all(Array.from({ length: CLIENTS }, (_, number) => one(number)))
    const count = PRIMARY + 'select count(distinct name)::int from node_items where id >= 10000'
    assert.equal(await value(pool, count), CLIENTS * 15)
    await pool.end()
  },
}

async function run() {
  let failed = false
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check()
      console.log('ok', name)
    } catch (error) {
      failed = true
      console.log('failed', name)
      console.error(error)
    }
  }
  process.exit(failed ? 1 : 0)
}

run()

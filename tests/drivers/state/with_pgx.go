// pgx in its default settings (each text is prepared and kept): what a session keeps, by 20 clients. It is given a URL
// and their number, and tells `ok PHASE` when all clients are through with it, at the same time.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

const (
	turns      = 10
	sharedLock = 77
	insert     = "insert into items values ('pgx', $1, $2, $3)"
	clear      = "delete from items where driver = 'pgx' and client = $1"
	notes      = "select coalesce(string_agg(note, ',' order by n), '') from items where driver = 'pgx' and client = $1"
)

var (
	url, clients = os.Args[1], number(os.Args[2])
	zones        = []string{"Asia/Tokyo", "America/New_York", "UTC", "Europe/Paris"}
	inside       int32
	listening    sync.WaitGroup
	background   = context.Background()
)

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(found, expected interface{}) {
	if found != expected {
		panic(fmt.Sprintf("found %v, expected %v", found, expected))
	}
}

func fails(code string, err error) {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != code {
		panic(fmt.Sprintf("expected %s: %v", code, err))
	}
}

// A place among the sessions that are tied to a connection is waited for, as an application would.
func patiently(action func() error) {
	for {
		err := action()
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "53300" {
			check(err)
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func connect() *pgx.Conn {
	conn, err := pgx.Connect(background, url)
	check(err)
	return conn
}

// What both a connection and a transaction do.
type runner interface {
	Exec(context.Context, string, ...interface{}) (pgconn.CommandTag, error)
	QueryRow(context.Context, string, ...interface{}) pgx.Row
}

func execute(on runner, sql string, parameters ...interface{}) error {
	_, err := on.Exec(background, sql, parameters...)
	return err
}

func text(on runner, sql string, parameters ...interface{}) (value string) {
	check(on.QueryRow(background, sql, parameters...).Scan(&value))
	return
}

func integer(on runner, sql string, parameters ...interface{}) (value int) {
	check(on.QueryRow(background, sql, parameters...).Scan(&value))
	return
}

func truth(on runner, sql string, parameters ...interface{}) (value bool) {
	check(on.QueryRow(background, sql, parameters...).Scan(&value))
	return
}

func begin(conn *pgx.Conn) pgx.Tx {
	tx, err := conn.Begin(background)
	check(err)
	return tx
}

func kept(count int) string {
	all := []string{}
	for n := 0; n < count; n++ {
		all = append(all, fmt.Sprintf("kept %d", n))
	}
	return strings.Join(all, ",")
}

func transactions(conn *pgx.Conn, number int) {
	check(execute(conn, clear, number))
	for turn := 0; turn < turns; turn++ {
		tx := begin(conn)
		check(execute(tx, insert, number, turn, fmt.Sprintf("kept %d", turn)))
		check(tx.Commit(background))
		tx = begin(conn)
		check(execute(tx, insert, number, 100+turn, "undone"))
		fails("23505", execute(tx, insert, number, turn, "again"))
		check(tx.Rollback(background))
		tx = begin(conn)
		equal(text(tx, notes, number), kept(turn+1))
		check(tx.Commit(background))
	}
}

func savepoints(conn *pgx.Conn, number int) {
	tx := begin(conn)
	check(execute(tx, clear, number))
	for turn := 0; turn < turns; turn++ {
		check(execute(tx, insert, number, 2*turn, fmt.Sprintf("kept %d", turn)))
		inner, err := tx.Begin(background)
		check(err)
		check(execute(inner, insert, number, 2*turn+1, "undone"))
		fails("23505", execute(inner, insert, number, 2*turn, "again"))
		check(inner.Rollback(background))
	}
	equal(text(tx, notes, number), kept(turns))
	check(tx.Commit(background))
}

func prepared(conn *pgx.Conn, number int) {
	_, err := conn.Prepare(background, "own", fmt.Sprintf("select $1::int + %d", number))
	check(err)
	for turn := 0; turn < 3*turns; turn++ {
		equal(integer(conn, "select $1::int * 1000 + n from fixed where n = $2", turn, 2), turn*1000+2)
		equal(integer(conn, "own", turn), turn+number)
		if turn%5 == 4 {
			tx := begin(conn)
			equal(integer(tx, "select $1::int + 1", turn), turn+1)
			fails("22012", tx.QueryRow(background, "select 1 / $1::int", 0).Scan(new(int)))
			check(tx.Rollback(background))
			equal(integer(conn, "select $1::int + 1", number), number+1)
		}
	}
}

func settings(conn *pgx.Conn, number int) {
	client, zone := fmt.Sprintf("client %d", number), zones[number%len(zones)]
	check(execute(conn, fmt.Sprintf("set app.client = '%s'", client)))
	equal(text(conn, "select set_config('TimeZone', $1, false)", zone), zone)
	check(execute(conn, fmt.Sprintf("set statement_timeout = %d", 100_001+number)))
	for turn := 0; turn < turns; turn++ {
		equal(text(conn, "select current_setting('app.client')"), client)
		equal(text(conn, "show TimeZone"), zone)
		tx := begin(conn)
		check(execute(tx, "set app.client = 'undone'"))
		check(execute(tx, "set local statement_timeout = 0"))
		equal(text(tx, "show app.client"), "undone")
		check(tx.Rollback(background))
		equal(text(conn, "show statement_timeout"), fmt.Sprintf("%dms", 100_001+number))
	}
	check(execute(conn, "reset all"))
	equal(text(conn, "select coalesce(current_setting('app.client', true), '')"), "")
}

func listen(conn *pgx.Conn, number int) {
	check(execute(conn, fmt.Sprintf("listen pgx_%d", number)))
	check(execute(conn, "listen pgx_all"))
	listening.Done()
	listening.Wait()
	check(execute(conn, fmt.Sprintf("notify pgx_%d, 'from %d'", (number+1)%clients, number)))
	check(execute(conn, "select pg_notify('pgx_all', $1)", strconv.Itoa(number)))
	limited, cancel := context.WithTimeout(background, 20*time.Second)
	defer cancel()
	own, everyones := "", map[string]bool{}
	for own == "" || len(everyones) < clients {
		heard, err := conn.WaitForNotification(limited)
		check(err)
		if heard.Channel == "pgx_all" {
			everyones[heard.Payload] = true
		} else {
			own += heard.Payload
		}
	}
	equal(own, fmt.Sprintf("from %d", (number+clients-1)%clients))
	check(execute(conn, "unlisten *"))
}

func advisoryLocks(conn *pgx.Conn, number int) {
	for turn := 0; turn < 2; turn++ {
		patiently(func() error { return execute(conn, "select pg_advisory_lock($1)", sharedLock) })
		equal(atomic.AddInt32(&inside, 1), int32(1))
		equal(truth(conn, "select pg_try_advisory_lock($1)", sharedLock), true)
		equal(truth(conn, "select pg_advisory_unlock($1)", sharedLock), true)
		if number == 0 {
			other := connect()
			equal(truth(other, "select pg_try_advisory_xact_lock($1)", sharedLock), false)
			check(other.Close(background))
		}
		atomic.AddInt32(&inside, -1)
		equal(truth(conn, "select pg_advisory_unlock($1)", sharedLock), true)
	}
}

func tempTables(conn *pgx.Conn, number int) {
	patiently(func() error { return execute(conn, "create temp table mine (n int, who text)") })
	for turn := 0; turn < turns; turn++ {
		check(execute(conn, "insert into mine values ($1, $2)", turn, fmt.Sprintf("client %d", number)))
	}
	found := text(conn, "select string_agg(distinct who, ',') || ' ' || count(*) from mine")
	equal(found, fmt.Sprintf("client %d %d", number, turns))
	check(execute(conn, "drop table mine"))
	equal(truth(conn, "select to_regclass('mine') is null"), true)
}

func serverSideCursors(conn *pgx.Conn, number int) {
	tx := begin(conn)
	check(execute(tx, fmt.Sprintf("declare c cursor for select n + %d from generate_series(1, 500) n", number)))
	sum := 0
	for got := -1; got != 0; {
		rows, err := tx.Query(background, "fetch 70 from c")
		check(err)
		for got = 0; rows.Next(); got++ {
			n := 0
			check(rows.Scan(&n))
			sum += n
		}
		check(rows.Err())
	}
	equal(sum, 500*501/2+500*number)
	check(tx.Commit(background))
}

func all(conns []*pgx.Conn, name string, phase func(*pgx.Conn, int)) bool {
	var running sync.WaitGroup
	failures := make(chan interface{}, len(conns))
	for number := range conns {
		running.Add(1)
		go func(number int) {
			defer running.Done()
			defer func() {
				if failure := recover(); failure != nil {
					failures <- failure
				}
			}()
			phase(conns[number], number)
		}(number)
	}
	running.Wait()
	if len(failures) == 0 {
		fmt.Println("ok", name)
		return true
	}
	fmt.Printf("failed %s: %d of %d clients: %v\n", name, len(failures), clients, <-failures)
	return false
}

func main() {
	conns := []*pgx.Conn{}
	for len(conns) < clients {
		conns = append(conns, connect())
	}
	listening.Add(clients)
	well := all(conns, "transactions", transactions)
	well = all(conns, "savepoints", savepoints) && well
	well = all(conns, "prepared", prepared) && well
	well = all(conns, "settings", settings) && well
	well = all(conns, "listen", listen) && well
	well = all(conns, "advisory_locks", advisoryLocks) && well
	well = all(conns, "temp_tables", tempTables) && well
	well = all(conns, "server_side_cursors", serverSideCursors) && well
	for _, conn := range conns {
		check(conn.Close(background))
	}
	if !well {
		os.Exit(1)
	}
}

// pgjdbc with prepareThreshold=1, otherwise in its default settings: what a session keeps, by 20 clients. It is given a
// URL and their number, and tells `ok PHASE` when all clients are through with it, at the same time.

import java.net.URI;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

public class PgjdbcState {
  static final int TURNS = 10;
  static final int SHARED_LOCK = 77;
  static final String INSERT = "insert into items values ('pgjdbc', ?, ?, ?)";
  static final String NOTES = "select string_agg(note, ',' order by n) from items where driver = 'pgjdbc' and client = ?";
  static final String[] ZONES = {"Asia/Tokyo", "America/New_York", "UTC", "Europe/Paris"};
  static final AtomicInteger INSIDE = new AtomicInteger();
  static int clients;
  static URI url;
  static CyclicBarrier listening;

  interface Phase {
    void run(Connection connection, int number) throws Exception;
  }

  interface Action {
    void run() throws SQLException;
  }

  static Connection connect() throws SQLException {
    String[] user = url.getUserInfo().split(":");
    String server = "jdbc:postgresql://" + url.getHost() + ":" + url.getPort() + url.getPath();
    return DriverManager.getConnection(server + "?prepareThreshold=1", user[0], user[1]);
  }

  static void equal(Object found, Object expected) {
    if (!Objects.equals(found, expected)) {
      throw new AssertionError("found " + found + ", expected " + expected);
    }
  }

  static void fails(String sqlState, Action action) {
    try {
      action.run();
    } catch (SQLException error) {
      equal(error.getSQLState(), sqlState);
      return;
    }
    throw new AssertionError("no error " + sqlState);
  }

  /** A place among the sessions that are tied to a connection is waited for, as an application would. */
  static void patiently(Action action) throws Exception {
    while (true) {
      try {
        action.run();
        return;
      } catch (SQLException error) {
        if (!"53300".equals(error.getSQLState())) {
          throw error;
        }
        Thread.sleep(30);
      }
    }
  }

  static Object value(Connection connection, String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = prepare(connection, sql, parameters);
        ResultSet rows = statement.executeQuery()) {
      rows.next();
      return rows.getObject(1);
    }
  }

  static void execute(Connection connection, String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = prepare(connection, sql, parameters)) {
      statement.execute();
    }
  }

  static PreparedStatement prepare(Connection connection, String sql, Object... parameters) throws SQLException {
    PreparedStatement statement = connection.prepareStatement(sql);
    for (int i = 0; i < parameters.length; i++) {
      statement.setObject(i + 1, parameters[i]);
    }
    return statement;
  }

  static String kept(int count) {
    List<String> notes = new ArrayList<>();
    for (int n = 0; n < count; n++) {
      notes.add("kept " + n);
    }
    return String.join(",", notes);
  }

  static void transactions(Connection connection, int number) throws SQLException {
    execute(connection, "delete from items where driver = 'pgjdbc' and client = ?", number);
    connection.setAutoCommit(false);
    for (int n = 0; n < TURNS; n++) {
      int turn = n;
      execute(connection, INSERT, number, turn, "kept " + turn);
      connection.commit();
      execute(connection, INSERT, number, 100 + turn, "undone");
      fails("23505", () -> execute(connection, INSERT, number, turn, "again"));
      connection.rollback();
      equal(value(connection, NOTES, number), kept(turn + 1));
      connection.commit();
    }
    connection.setAutoCommit(true);
  }

  static void savepoints(Connection connection, int number) throws SQLException {
    connection.setAutoCommit(false);
    execute(connection, "delete from items where driver = 'pgjdbc' and client = ?", number);
    for (int n = 0; n < TURNS; n++) {
      int turn = n;
      execute(connection, INSERT, number, 2 * turn, "kept " + turn);
      Savepoint savepoint = connection.setSavepoint();
      execute(connection, INSERT, number, 2 * turn + 1, "undone");
      fails("23505", () -> execute(connection, INSERT, number, 2 * turn, "again"));
      connection.rollback(savepoint);
      connection.releaseSavepoint(savepoint);
    }
    equal(value(connection, NOTES, number), kept(TURNS));
    connection.commit();
    connection.setAutoCommit(true);
  }

  static void prepared(Connection connection, int number) throws SQLException {
    for (int turn = 0; turn < 3 * TURNS; turn++) {
      equal(value(connection, "select ?::int * 1000 + n from fixed where n = ?", turn, 2), turn * 1000 + 2);
      equal(value(connection, "select ?::text", number + "/" + turn), number + "/" + turn);
      if (turn % 5 == 4) {
        connection.setAutoCommit(false);
        equal(value(connection, "select ?::int + 1", turn), turn + 1);
        fails("22012", () -> value(connection, "select 1 / ?::int", 0));
        connection.rollback();
        connection.setAutoCommit(true);
        equal(value(connection, "select ?::int + 1", number), number + 1);
      }
    }
    Object names = value(connection, "select count(*) from pg_prepared_statements where name ~ '^S_[0-9]+$'");
    equal((Long) names >= 3, true);
  }

  static void settings(Connection connection, int number) throws SQLException {
    // pgjdbc sets TimeZone when it connects.
    String zone = ZONES[number % ZONES.length];
    execute(connection, "set app.client = 'client " + number + "'");
    execute(connection, "select set_config('TimeZone', ?, false)", zone);
    execute(connection, "set statement_timeout = " + (100_001 + number));
    for (int turn = 0; turn < TURNS; turn++) {
      equal(value(connection, "select current_setting('app.client')"), "client " + number);
      equal(value(connection, "show TimeZone"), zone);
      connection.setAutoCommit(false);
      execute(connection, "set app.client = 'undone'");
      execute(connection, "set local statement_timeout = 0");
      equal(value(connection, "show app.client"), "undone");
      connection.rollback();
      connection.setAutoCommit(true);
      equal(value(connection, "show statement_timeout"), (100_001 + number) + "ms");
    }
    execute(connection, "reset all");
    equal(value(connection, "select coalesce(current_setting('app.client', true), '')"), "");
  }

  static void listen(Connection connection, int number) throws Exception {
    execute(connection, "listen pgjdbc_" + number);
    execute(connection, "listen pgjdbc_all");
    listening.await(20, TimeUnit.SECONDS);
    execute(connection, "notify pgjdbc_" + (number + 1) % clients + ", 'from " + number + "'");
    execute(connection, "select pg_notify('pgjdbc_all', ?)", "" + number);
    List<String> own = new ArrayList<>();
    Set<String> everyones = new HashSet<>();
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
    while (own.isEmpty() || everyones.size() < clients) {
      equal(System.nanoTime() < deadline, true);
      PGNotification[] heard = connection.unwrap(PGConnection.class).getNotifications(1000);
      for (PGNotification one : heard == null ? new PGNotification[0] : heard) {
        (one.getName().equals("pgjdbc_all") ? everyones : own).add(one.getParameter());
      }
    }
    equal(own, List.of("from " + (number + clients - 1) % clients));
    execute(connection, "unlisten *");
  }

  static void advisory_locks(Connection connection, int number) throws Exception {
    for (int turn = 0; turn < 2; turn++) {
      patiently(() -> execute(connection, "select pg_advisory_lock(?)", SHARED_LOCK));
      equal(INSIDE.getAndIncrement(), 0);
      equal(value(connection, "select pg_try_advisory_lock(?)", SHARED_LOCK), true);
      equal(value(connection, "select pg_advisory_unlock(?)", SHARED_LOCK), true);
      if (number == 0) {
        try (Connection other = connect()) {
          equal(value(other, "select pg_try_advisory_xact_lock(?)", SHARED_LOCK), false);
        }
      }
      INSIDE.decrementAndGet();
      equal(value(connection, "select pg_advisory_unlock(?)", SHARED_LOCK), true);
    }
  }

  static void temp_tables(Connection connection, int number) throws Exception {
    patiently(() -> execute(connection, "create temp table mine (n int, who text)"));
    for (int turn = 0; turn < TURNS; turn++) {
      execute(connection, "insert into mine values (?, ?)", turn, "client " + number);
    }
    String sql = "select string_agg(distinct who, ',') || ' ' || count(*) from mine";
    equal(value(connection, sql), "client " + number + " " + TURNS);
    execute(connection, "drop table mine");
    equal(value(connection, "select to_regclass('mine')::text"), null);
  }

  static void server_side_cursors(Connection connection, int number) throws SQLException {
    connection.setAutoCommit(false);
    String sql = "select n + ? from generate_series(1, 500) n";
    try (PreparedStatement statement = prepare(connection, sql, number)) {
      statement.setFetchSize(70);
      long sum = 0;
      try (ResultSet rows = statement.executeQuery()) {
        while (rows.next()) {
          sum += rows.getInt(1);
        }
      }
      equal(sum, 500L * 501 / 2 + 500L * number);
    }
    connection.commit();
    connection.setAutoCommit(true);
  }

  static boolean all(ExecutorService executor, List<Connection> connections, String name, Phase phase) throws Exception {
    List<Future<?>> futures = new ArrayList<>();
    for (int client = 0; client < clients; client++) {
      int number = client;
      futures.add(executor.submit(() -> {
        phase.run(connections.get(number), number);
        return null;
      }));
    }
    Throwable first = null;
    for (Future<?> future : futures) {
      try {
        future.get();
      } catch (Exception error) {
        first = first == null ? error : first;
      }
    }
    System.out.println((first == null ? "ok " : "failed ") + name);
    if (first != null) {
      first.printStackTrace();
    }
    return first == null;
  }

  public static void main(String[] arguments) throws Exception {
    url = URI.create(arguments[0]);
    clients = Integer.parseInt(arguments[1]);
    listening = new CyclicBarrier(clients);
    ExecutorService executor = Executors.newFixedThreadPool(clients);
    List<Connection> connections = new ArrayList<>();
    for (int client = 0; client < clients; client++) {
      connections.add(connect());
    }
    boolean well = all(executor, connections, "transactions", PgjdbcState::transactions);
    well &= all(executor, connections, "savepoints", PgjdbcState::savepoints);
    well &= all(executor, connections, "prepared", PgjdbcState::prepared);
    well &= all(executor, connections, "settings", PgjdbcState::settings);
    well &= all(executor, connections, "listen", PgjdbcState::listen);
    well &= all(executor, connections, "advisory_locks", PgjdbcState::advisory_locks);
    well &= all(executor, connections, "temp_tables", PgjdbcState::temp_tables);
    well &= all(executor, connections, "server_side_cursors", PgjdbcState::server_side_cursors);
    for (Connection connection : connections) {
      connection.close();
    }
    System.exit(well ? 0 : 1);
  }
}

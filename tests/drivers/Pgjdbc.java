// pgjdbc through pgweir: what its users do. The table `pgjdbc_items (id, name, data)` is there, and is empty.
// A read goes to a replica unless it is part of a transaction or says otherwise, and a replica may not yet have what
// was just written: hence PRIMARY.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Pgjdbc {
  static final String PRIMARY = "/* pgweir: role=primary */ ";
  static final int CLIENTS = 20;

  interface Check {
    void run() throws Exception;
  }

  interface Action {
    void run() throws SQLException;
  }

  static Connection connect(String... more) throws SQLException {
    Map<String, String> env = System.getenv();
    Properties properties = new Properties();
    properties.setProperty("user", env.get("PGUSER"));
    properties.setProperty("password", env.get("PGPASSWORD"));
    properties.setProperty("sslmode", "verify-full");
    properties.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
    properties.setProperty("channelBinding", "require");
    properties.setProperty("prepareThreshold", "1");
    for (int i = 0; i < more.length; i += 2) {
      properties.setProperty(more[i], more[i + 1]);
    }
    String server = env.get("PGHOST") + ":" + env.get("PGPORT");
    return DriverManager.getConnection("jdbc:postgresql://" + server + "/" + env.get("PGDATABASE"), properties);
  }

  static void equal(Object found, Object expected) {
    if (!Objects.deepEquals(found, expected)) {
      throw new AssertionError("found " + found + ", expected " + expected);
    }
  }

  static void fails(String sqlState, Action action) {
    try {
      action.run();
    } catch (SQLException error) {
      if (!sqlState.equals(error.getSQLState())) {
        throw new AssertionError("expected " + sqlState, error);
      }
      return;
    }
    throw new AssertionError("no error " + sqlState);
  }

  static Object value(Connection connection, String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      for (int i = 0; i < parameters.length; i++) {
        statement.setObject(i + 1, parameters[i]);
      }
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        return rows.getObject(1);
      }
    }
  }

  static int execute(Connection connection, String sql, Object... parameters) throws SQLException {
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      for (int i = 0; i < parameters.length; i++) {
        statement.setObject(i + 1, parameters[i]);
      }
      return statement.executeUpdate();
    }
  }

  static void tls() throws SQLException {
    try (Connection connection = connect()) {
      equal(connection.isValid(5), true);
    }
    fails("28P01", () -> connect("password", "wrong").close());
  }

  static void inserts() throws SQLException {
    try (Connection connection = connect()) {
      equal(execute(connection, "insert into pgjdbc_items values (1, 'one')"), 1);
      String insert = "insert into pgjdbc_items (id, name) values (?, ?)";
      try (PreparedStatement statement = connection.prepareStatement(insert, new String[] {"name"})) {
        statement.setInt(1, 2);
        statement.setString(2, "two");
        statement.executeUpdate();
        ResultSet keys = statement.getGeneratedKeys();
        keys.next();
        equal(keys.getString(1), "two");
      }
    }
    int first = 10;
    for (String rewrite : List.of("false", "true")) {
      try (Connection connection = connect("reWriteBatchedInserts", rewrite)) {
        String insert = "insert into pgjdbc_items (id, name) values (?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(insert)) {
          for (int n = first; n < first + 400; n++) {
            statement.setInt(1, n);
            statement.setString(2, "batch");
            statement.addBatch();
          }
          equal(statement.executeBatch().length, 400);
        }
      }
      first += 400;
    }
    try (Connection connection = connect()) {
      equal(value(connection, PRIMARY + "select count(*) from pgjdbc_items where name = 'batch'"), 800L);
    }
  }

  static void reads_go_to_the_replica() throws SQLException {
    try (Connection connection = connect()) {
      for (int turn = 0; turn < 3; turn++) {
        equal(value(connection, "select sum(n)::int from fixed where n > ?", 1), 5);
        try (Statement statement = connection.createStatement();
            ResultSet route = statement.executeQuery("show pgweir.route")) {
          route.next();
          equal(route.getString("role"), "replica");
        }
      }
    }
  }

  static void transactions() throws SQLException {
    String count = "select count(*) from pgjdbc_items where id between 1000 and 1099";
    try (Connection connection = connect(); Connection other = connect()) {
      connection.setAutoCommit(false);
      execute(connection, "insert into pgjdbc_items values (?, 'a')", 1000);
      equal(value(connection, count), 1L);
      equal(value(other, PRIMARY + count), 0L);
      connection.rollback();
      equal(value(connection, count), 0L);
      connection.commit();
      connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      equal(value(connection, "show transaction_isolation"), "serializable");
      execute(connection, "insert into pgjdbc_items values (?, 'b')", 1000);
      connection.commit();
      equal(value(other, PRIMARY + count), 1L);
      connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      connection.setReadOnly(true);
      fails("25006", () -> execute(connection, "delete from pgjdbc_items"));
      connection.rollback();
      connection.setReadOnly(false);
      connection.setAutoCommit(true);
      equal(value(connection, "select 1"), 1);
    }
  }

  static void savepoints() throws SQLException {
    for (String autosave : List.of("never", "always")) {
      int base = autosave.equals("never") ? 1100 : 1110;
      try (Connection connection = connect("autosave", autosave)) {
        connection.setAutoCommit(false);
        execute(connection, "insert into pgjdbc_items values (?, 'kept')", base);
        Savepoint savepoint = connection.setSavepoint("s");
        execute(connection, "insert into pgjdbc_items values (?, 'undone')", base + 1);
        fails("23505", () -> execute(connection, "insert into pgjdbc_items values (?, 'again')", base));
        connection.rollback(savepoint);
        connection.releaseSavepoint(savepoint);
        execute(connection, "insert into pgjdbc_items values (?, 'kept')", base + 2);
        connection.commit();
        String ids = "select array_agg(id order by id)::text from pgjdbc_items where id between ? and ?";
        equal(value(connection, ids, base, base + 9), "{" + base + "," + (base + 2) + "}");
        connection.commit();
      }
    }
  }

  static void prepared() throws SQLException {
    try (Connection connection = connect(); Connection few = connect("preparedStatementCacheQueries", "2")) {
      for (int turn = 0; turn < 20; turn++) {
        for (int n = 0; n < 5; n++) {
          equal(value(connection, "select ?::int + " + n, turn), turn + n);
          equal(value(few, "select ?::int + " + n, turn), turn + n);
        }
      }
      try (PreparedStatement statement = connection.prepareStatement("select n * ? from fixed where n = 2")) {
        for (int turn = 0; turn < 20; turn++) {
          connection.setAutoCommit(turn % 3 != 0);
          statement.setInt(1, turn);
          ResultSet rows = statement.executeQuery();
          rows.next();
          equal(rows.getInt(1), 2 * turn);
          if (turn % 3 == 0) {
            connection.commit();
          }
        }
      }
      // The same text with other types of its parameter.
      connection.setAutoCommit(true);
      equal(value(connection, "select ?", 1), 1);
      equal(value(connection, "select ?", 2L), 2L);
      equal(value(connection, "select ?", 1), 1);
    }
  }

  static void errors_leave_the_connection_usable() throws SQLException {
    try (Connection connection = connect()) {
      execute(connection, "insert into pgjdbc_items values (1300, 'first')");
      for (int turn = 0; turn < 5; turn++) {
        fails("23505", () -> execute(connection, "insert into pgjdbc_items values (?, 'again')", 1300));
        equal(value(connection, "select ?::int", turn), turn);
      }
      fails("42601", () -> execute(connection, "selec 1"));
      fails("42P01", () -> value(connection, "select * from no_such_table where n = ?", 1));
      fails("22012", () -> value(connection, "select 1 / ?::int", 0));
      try (Statement batch = connection.createStatement()) {
        batch.addBatch("insert into pgjdbc_items values (1310)");
        batch.addBatch("insert into pgjdbc_items values (1300)");
        batch.addBatch("insert into pgjdbc_items values (1311)");
        try {
          batch.executeBatch();
          throw new AssertionError("the batch has a duplicate");
        } catch (BatchUpdateException error) {
          equal(error.getSQLState(), "23505");
        }
      }
      equal(value(connection, "select 2"), 2);
      connection.setAutoCommit(false);
      fails("22012", () -> value(connection, "select 1 / ?::int", 0));
      fails("25P02", () -> value(connection, "select 1"));
      connection.rollback();
      equal(value(connection, "select 3"), 3);
      connection.commit();
    }
  }

  static void cancel() throws Exception {
    String sleeping = PRIMARY + "select count(*) from pg_stat_activity"
        + " where wait_event = 'PgSleep' and query like '%pgjdbc sleeps%'";
    ExecutorService executor = Executors.newSingleThreadExecutor();
    try (Connection connection = connect(); Connection watcher = connect()) {
      for (int turn = 0; turn < 3; turn++) {
        String sql = PRIMARY + "select pg_sleep(?) -- pgjdbc sleeps";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
          statement.setInt(1, 600);
          Future<?> cancelled = executor.submit(() -> {
            while (value(watcher, sleeping).equals(0L)) {}
            statement.cancel();
            return null;
          });
          fails("57014", statement::executeQuery);
          cancelled.get();
        }
        equal(value(connection, "select 1"), 1);
      }
      try (Statement statement = connection.createStatement()) {
        statement.setQueryTimeout(1);
        fails("57014", () -> statement.executeQuery(PRIMARY + "select pg_sleep(600)"));
      }
      equal(value(connection, "select 1"), 1);
    } finally {
      executor.shutdown();
    }
  }

  static void copy_in_and_out() throws Exception {
    try (Connection connection = connect()) {
      CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
      StringBuilder rows = new StringBuilder();
      for (int n = 2000; n < 7000; n++) {
        rows.append(n).append('\t').append(n % 7 == 0 ? "\\N" : "a\\tb " + n).append("\t\\N\n");
      }
      equal(copy.copyIn("copy pgjdbc_items from stdin", new StringReader(rows.toString())), 5000L);
      StringWriter out = new StringWriter();
      String query = "select * from pgjdbc_items where id between 2000 and 6999 order by id";
      connection.setAutoCommit(false);
      equal(copy.copyOut("copy (" + query + ") to stdout", out), 5000L);
      connection.commit();
      connection.setAutoCommit(true);
      equal(out.toString().equals(rows.toString()), true);
      fails("22P02", () -> {
        try {
          copy.copyIn("copy pgjdbc_items from stdin", new StringReader("x\ty\tz\n"));
        } catch (java.io.IOException error) {
          throw new AssertionError(error);
        }
      });
      equal(value(connection, "select 1"), 1);
    }
  }

  static void server_side_cursor() throws SQLException {
    try (Connection connection = connect()) {
      connection.setAutoCommit(false);
      try (PreparedStatement statement = connection.prepareStatement("select n from generate_series(1, ?) n")) {
        for (int turn = 0; turn < 2; turn++) {
          statement.setInt(1, 3000);
          statement.setFetchSize(70);
          long sum = 0;
          try (ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
              sum += rows.getInt(1);
              if (rows.getRow() == 100) {
                equal(value(connection, "select 'in between'"), "in between");
              }
            }
          }
          equal(sum, 3000L * 3001 / 2);
          connection.commit();
        }
      }
    }
  }

  static void values() throws SQLException {
    byte[] data = new byte[1 << 20];
    for (int i = 0; i < data.length; i++) {
      data[i] = (byte) i;
    }
    String text = "täglich 🐘 ' \" \\ $1 ?\n".repeat(10_000);
    for (String binary : List.of("true", "false")) {
      try (Connection connection = connect("binaryTransfer", binary)) {
        connection.setAutoCommit(false);
        execute(connection, "insert into pgjdbc_items values (?, ?, ?)", 1500, text, data);
        execute(connection, "insert into pgjdbc_items values (?, ?, ?)", 1501, null, new byte[0]);
        for (int turn = 0; turn < 3; turn++) {
          equal(value(connection, "select name from pgjdbc_items where id = ?", 1500).equals(text), true);
          equal(Arrays.equals((byte[]) value(connection, "select data from pgjdbc_items where id = ?", 1500), data), true);
          equal(value(connection, "select name from pgjdbc_items where id = ?", 1501), null);
          Object numeric = value(connection, "select 1.50::numeric from fixed where n = ?", 1);
          equal(numeric.toString(), "1.50");
        }
        connection.rollback();
      }
    }
    try (Connection connection = connect()) {
      equal(((String) value(connection, "select repeat('x', ?)", 30_000_000)).length(), 30_000_000);
    }
  }

  static void metadata() throws SQLException {
    try (Connection connection = connect()) {
      List<String> columns = new ArrayList<>();
      try (ResultSet rows = connection.getMetaData().getColumns(null, "public", "pgjdbc_items", null)) {
        while (rows.next()) {
          columns.add(rows.getString("COLUMN_NAME") + " " + rows.getString("TYPE_NAME"));
        }
      }
      equal(columns, List.of("id int4", "name text", "data bytea"));
    }
  }

  static void concurrency() throws Exception {
    ExecutorService executor = Executors.newFixedThreadPool(CLIENTS);
    List<Callable<Void>> clients = new ArrayList<>();
    for (int client = 0; client < CLIENTS; client++) {
      int number = client;
      clients.add(() -> {
        try (Connection connection = connect()) {
          connection.setAutoCommit(false);
          for (int turn = 0; turn < 15; turn++) {
            String nonce = "client " + number + " turn " + turn;
            equal(value(connection, "select ?::text", nonce), nonce);
            execute(connection, "update pgjdbc_items set name = name where id = ?", number + 1);
            execute(connection, "insert into pgjdbc_items values (?, ?)", 10_000 + number * 100 + turn, nonce);
            connection.commit();
          }
        }
        return null;
      });
    }
    for (Future<Void> done : executor.invokeAll(clients)) {
      done.get();
    }
    executor.shutdown();
    try (Connection connection = connect()) {
      String count = PRIMARY + "select count(distinct name) from pgjdbc_items where id >= 10000";
      equal(value(connection, count), (long) CLIENTS * 15);
    }
  }

  public static void main(String[] arguments) {
    Map<String, Check> checks = new LinkedHashMap<>();
    checks.put("tls", Pgjdbc::tls);
    checks.put("inserts", Pgjdbc::inserts);
    checks.put("reads_go_to_the_replica", Pgjdbc::reads_go_to_the_replica);
    checks.put("transactions", Pgjdbc::transactions);
    checks.put("savepoints", Pgjdbc::savepoints);
    checks.put("prepared", Pgjdbc::prepared);
    checks.put("errors_leave_the_connection_usable", Pgjdbc::errors_leave_the_connection_usable);
    checks.put("cancel", Pgjdbc::cancel);
    checks.put("copy_in_and_out", Pgjdbc::copy_in_and_out);
    checks.put("server_side_cursor", Pgjdbc::server_side_cursor);
    checks.put("values", Pgjdbc::values);
    checks.put("metadata", Pgjdbc::metadata);
    checks.put("concurrency", Pgjdbc::concurrency);
    boolean failed = false;
    for (Map.Entry<String, Check> check : checks.entrySet()) {
      try {
        check.getValue().run();
        System.out.println("ok " + check.getKey());
      } catch (Throwable error) {
        failed = true;
        System.out.println("failed " + check.getKey());
        error.printStackTrace();
      }
    }
    System.exit(failed ? 1 : 0);
  }
}

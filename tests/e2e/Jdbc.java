import java.math.BigDecimal;
import java.sql.*;

/** Connects with pgjdbc, reads metadata, queries, binds and walks a result by fetch size. */
public class Jdbc {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection =
                DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            DatabaseMetaData metadata = connection.getMetaData();
            boolean found = false;
            try (ResultSet tables = metadata.getTables(null, "public", "%", null)) {
                while (tables.next()) {
                    found |= tables.getString("TABLE_NAME").equals("every_type");
                }
            }
            check(found, "getTables lists every_type");
            int columns = 0;
            try (ResultSet listed = metadata.getColumns(null, "public", "every_type", "%")) {
                while (listed.next()) {
                    columns++;
                    check(listed.getString("TYPE_NAME") != null, "a type for each column");
                    check(listed.getInt("ORDINAL_POSITION") == columns, "columns in their order");
                }
            }
            check(columns > 10, "getColumns lists the columns of every_type");
            // A type that the driver does not know from the start is looked up along the path.
            try (ResultSet listed = metadata.getColumns(null, "pg_catalog", "pg_class", "%")) {
                check(listed.next(), "getColumns lists the columns of pg_class");
            }
            try (PreparedStatement statement =
                    connection.prepareStatement("SELECT d, v FROM every_type WHERE id = ?")) {
                for (int run = 0; run < 10; run++) {
                    statement.setInt(1, 1);
                    try (ResultSet rows = statement.executeQuery()) {
                        check(rows.next(), "one row");
                        BigDecimal expected = new BigDecimal("-1234567890.5000");
                        check(rows.getBigDecimal(1).equals(expected), "decimal " + rows.getString(1));
                        check(rows.getString(2).equals("grün"), "text");
                    }
                }
            }
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(1000);
                int count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT l_orderkey FROM lineitem")) {
                    while (rows.next()) {
                        count++;
                    }
                }
                check(count > 500_000, "lineitem has " + count + " rows");
            }
            connection.rollback();
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery("SELECT nope FROM every_type");
                check(false, "an unknown column must fail");
            } catch (SQLException error) {
                check(error.getSQLState().equals("42703"), "state " + error.getSQLState());
            }
            connection.rollback();
        }
        System.out.println("jdbc ok");
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}

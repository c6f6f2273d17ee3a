"""Redshift's statements, a form of each: none is a syntax error, and what is not served is refused
by its name."""

import psycopg
import pytest

FORMS = {
    "tables": [
        "CREATE TABLE form_a (a int NOT NULL, b smallint, p decimal(8, 2), PRIMARY KEY (a)) "
        "DISTKEY (a) COMPOUND SORTKEY (a, b)",
        "CREATE TABLE form_b (a int DISTKEY, b int SORTKEY)",
        "CREATE TABLE form_c (a int ENCODE az64, v varchar(max) ENCODE zstd) DISTSTYLE EVEN",
        "CREATE TABLE form_d (id bigint IDENTITY(1, 1), n varchar(9) DEFAULT 'x' NOT NULL) "
        "BACKUP NO DISTSTYLE ALL",
        "CREATE TABLE form_e (a int, b int) DISTSTYLE KEY DISTKEY (a) INTERLEAVED SORTKEY (a, b)",
        "CREATE TEMPORARY TABLE form_f (LIKE form_a INCLUDING DEFAULTS) DISTSTYLE ALL",
        "CREATE TABLE #form_g (a int)",
        "CREATE TABLE form_h DISTKEY (a) SORTKEY (b) AS SELECT 1 AS a, 2 AS b",
        "SELECT a, b INTO TEMP form_i FROM form_h",
        "ALTER TABLE form_a ADD COLUMN note varchar(10) DEFAULT 'none' ENCODE lzo",
        "ALTER TABLE form_a RENAME COLUMN note TO remark",
        "ALTER TABLE form_a ALTER COLUMN remark TYPE varchar(30)",
        "ALTER TABLE form_a DROP COLUMN remark CASCADE",
        "ALTER TABLE form_a ALTER DISTSTYLE KEY DISTKEY b",
        "ALTER TABLE form_a ALTER COMPOUND SORTKEY (b, a)",
        "ALTER TABLE form_a ALTER SORTKEY NONE",
        "ALTER TABLE form_a ALTER ENCODE AUTO",
        "ALTER TABLE form_a OWNER TO awsuser",
        "DROP TABLE IF EXISTS form_x, form_y CASCADE",
        "TRUNCATE form_b",
    ],
    "views": [
        "CREATE VIEW form_v AS SELECT * FROM public.form_b WITH NO SCHEMA BINDING",
        "CREATE OR REPLACE VIEW form_w (a, b) AS SELECT 1, 2",
    ],
    "changes": [
        "INSERT INTO form_b (a, b) VALUES (1, DEFAULT), (2, 3)",
        "UPDATE form_b SET b = c.b FROM form_h c WHERE form_b.a = c.a",
        "DELETE FROM form_b USING form_h WHERE form_b.a = form_h.a",
        "MERGE INTO form_b USING form_h ON form_b.a = form_h.a REMOVE DUPLICATES",
        "MERGE INTO form_b USING form_h s ON form_b.a = s.a WHEN MATCHED THEN DELETE "
        "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a, s.b)",
    ],
    "queries": [
        "SELECT *, row_number() OVER (PARTITION BY a ORDER BY b) rn FROM form_b QUALIFY rn = 1",
        "SELECT * FROM (SELECT a, b FROM form_b) PIVOT (avg(b) AS m FOR a IN (1 AS one, 2))",
        "SELECT * FROM (SELECT a, b FROM form_b) UNPIVOT INCLUDE NULLS (n FOR c IN (a, b))",
        "SELECT APPROXIMATE COUNT(DISTINCT a) FROM form_b",
        "SELECT TOP 10 * FROM form_b ORDER BY b DESC NULLS LAST",
        "SELECT LISTAGG(DISTINCT a, ', ') WITHIN GROUP (ORDER BY a) FROM form_b",
        "SELECT * EXCLUDE (a) FROM form_b",
        "SELECT x.a, y.b FROM form_b x, form_h y WHERE x.a = y.a(+)",
        "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 10) "
        "SELECT * FROM r MINUS SELECT 5",
        "SELECT a, sum(b) FROM form_b GROUP BY GROUPING SETS ((a), ()) HAVING sum(b) > 1 "
        "ORDER BY 1 LIMIT 10 OFFSET 5",
        "SELECT 1 AS x, x + 1 AS y",
        "SELECT * FROM (SELECT 1 AS a) WHERE true",
        "EXPLAIN VERBOSE SELECT 1",
    ],
    "upkeep": [
        "VACUUM", "VACUUM FULL form_b TO 75 PERCENT BOOST", "VACUUM REINDEX form_e",
        "VACUUM SORT ONLY form_b", "VACUUM DELETE ONLY form_b", "VACUUM RECLUSTER form_b",
        "ANALYZE form_b (a, b)", "ANALYZE VERBOSE form_b PREDICATE COLUMNS",
        "ANALYZE COMPRESSION form_b COMPROWS 100000",
    ],
    "sessions": [
        "SET query_group TO 'x'", "SET enable_case_sensitive_identifier TO true", "RESET ALL",
        "SHOW search_path", "SHOW DATABASES", "SHOW SCHEMAS FROM DATABASE dev LIKE 'p%'",
        "SHOW TABLES FROM SCHEMA dev.public LIKE 'f%' LIMIT 10",
        "SHOW COLUMNS FROM TABLE dev.public.form_b", "SHOW GRANTS ON TABLE dev.public.form_b",
        "SHOW TABLE public.form_b", "SHOW VIEW public.form_w", "USE dev",
        "COMMENT ON COLUMN form_b.a IS 'x'", "PREPARE form_p (int) AS SELECT $1",
        "EXECUTE form_p (1)", "DEALLOCATE form_p",
        "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ WRITE", "END",
        "START TRANSACTION ISOLATION LEVEL SNAPSHOT", "ABORT",
    ],
}

# A statement and the words by which it is refused.
REFUSED = [
    ("CREATE MATERIALIZED VIEW form_m AUTO REFRESH YES AS SELECT 1 AS a",
     "CREATE MATERIALIZED VIEW"),
    ("REFRESH MATERIALIZED VIEW form_m", "REFRESH MATERIALIZED VIEW"),
    ("UNLOAD ('select 1') TO 's3://b/p' IAM_ROLE default FORMAT JSON ZSTD", "UNLOAD"),
    ("CREATE EXTERNAL SCHEMA form_s FROM KINESIS IAM_ROLE default", "CREATE EXTERNAL SCHEMA"),
    ("CREATE EXTERNAL TABLE form_s.p (a int) STORED AS PARQUET LOCATION 's3://b/p/'",
     "CREATE EXTERNAL TABLE"),
    ("CREATE DATASHARE form_ds SET PUBLICACCESSIBLE TRUE", "CREATE DATASHARE"),
    ("CREATE RLS POLICY form_r WITH (g varchar(10)) AS c USING (c.g = current_user)",
     "CREATE RLS POLICY"),
    ("ATTACH MASKING POLICY form_k ON form_b(a) TO PUBLIC PRIORITY 10", "ATTACH MASKING POLICY"),
    ("SELECT a, LEVEL FROM form_b START WITH a = 1 CONNECT BY PRIOR a = b", "CONNECT BY"),
    ("SELECT e, idx FROM form_b c, c.items e AT idx", "SUPER"),
    ("CREATE MODEL form_l FROM t TARGET c FUNCTION f IAM_ROLE default SETTINGS (S3_BUCKET 'b')",
     "CREATE MODEL"),
    ("CREATE LIBRARY form_y LANGUAGE plpythonu FROM 's3://b/l.zip' IAM_ROLE default",
     "CREATE LIBRARY"),
]


def test_forms_are_served(server):
    with server.connect() as connection:
        for kind, statements in FORMS.items():
            for statement in statements:
                try:
                    connection.execute(statement)
                except psycopg.Error as error:
                    raise AssertionError(f"{kind}: {statement}: {error}") from error
        for name in "abcdeh":
            connection.execute(f"DROP TABLE form_{name} CASCADE")


@pytest.mark.parametrize("statement, named", REFUSED)
def test_what_is_not_served_is_refused_by_name(server, statement, named):
    with server.connect() as connection:
        connection.execute("CREATE TEMP TABLE form_b (a int, b int)")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=named):
            connection.execute(statement)

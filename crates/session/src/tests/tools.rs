//! The catalog queries of psql 15, pgjdbc, SQLAlchemy, dbt and the Redshift drivers, as they send
//! them to a server of version 8.0.2.

use base::client::Value;

use super::{Client, leader};

async fn prepared() -> Client {
    let leader = leader().await;
    let mut client = Client::new(&leader, "admin").await;
    client
        .run(
            "create table p (id int primary key); \
             create table t (a int not null distkey, b varchar(9) default 'x', c numeric(8,2), \
             primary key (a), foreign key (a) references p (id)) sortkey (a, b); \
             create view v as select a, b from t; comment on column t.b is 'second'",
        )
        .await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists() {
    let mut client = prepared().await;
    let relations = |kinds: &str| {
        format!(
            "SELECT n.nspname as \"Schema\",\n  c.relname as \"Name\",\n  CASE c.relkind \
             WHEN 'r' THEN \
             'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'i' THEN 'index' \
             END as \"Type\",\n  pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\"\nFROM \
             pg_catalog.pg_class c\n     LEFT JOIN pg_catalog.pg_namespace n ON n.oid = \
             c.relnamespace\nWHERE c.relkind IN ({kinds})\n      AND n.nspname <> \
             'pg_catalog'\n      \
             AND n.nspname !~ '^pg_toast'\n      AND n.nspname <> 'information_schema'\n  AND \
             pg_catalog.pg_table_is_visible(c.oid)\nORDER BY 1,2;"
        )
    };
    assert_eq!(
        client.run(&relations("'r','p',''")).await,
        ["public|p|table|admin", "public|t|table|admin"]
    );
    assert_eq!(client.run(&relations("'v',''")).await, ["public|v|view|admin"]);
    assert_eq!(
        client
            .run(
                "SELECT n.nspname AS \"Name\",\n  pg_catalog.pg_get_userbyid(n.nspowner) AS \
                 \"Owner\"\nFROM pg_catalog.pg_namespace n\nWHERE n.nspname !~ '^pg_' AND \
                 n.nspname <> 'information_schema'\nORDER BY 1;"
            )
            .await,
        ["public|rdsdb"]
    );
    let databases = client
        .run(
            "SELECT d.datname as \"Name\",\n       pg_catalog.pg_get_userbyid(d.datdba) as \
             \"Owner\",\n       pg_catalog.pg_encoding_to_char(d.encoding) as \
             \"Encoding\",\n       \
             d.datcollate as \"Collate\",\n       d.datctype as \"Ctype\",\n       NULL as \"ICU \
             Locale\",\n       'libc' AS \"Locale Provider\",\n       \
             pg_catalog.array_to_string(d.datacl, E'\\n') AS \"Access privileges\"\nFROM \
             pg_catalog.pg_database d\nORDER BY 1;",
        )
        .await;
    assert!(databases[0].starts_with("dev|rdsdb|UTF8|C|C|"), "{databases:?}");
    let roles = client
        .run(
            "SELECT r.rolname, r.rolsuper, r.rolinherit,\n  r.rolcreaterole, r.rolcreatedb, \
             r.rolcanlogin,\n  r.rolconnlimit, r.rolvaliduntil,\n  ARRAY(SELECT b.rolname\n        \
             FROM pg_catalog.pg_auth_members m\n        JOIN pg_catalog.pg_roles b ON (m.roleid = \
             b.oid)\n        WHERE m.member = r.oid) as memberof\n, r.rolreplication\nFROM \
             pg_catalog.pg_roles r\nWHERE r.rolname !~ '^pg_'\nORDER BY 1;",
        )
        .await;
    assert_eq!(roles.len(), 2);
    let functions = client
        .run(
            "SELECT n.nspname as \"Schema\",\n  p.proname as \"Name\",\n  \
             pg_catalog.pg_get_function_result(p.oid) as \"Result data type\",\n  \
             pg_catalog.pg_get_function_arguments(p.oid) as \"Argument data types\",\n \
             CASE\n  WHEN \
             p.proisagg THEN 'agg'\n  WHEN p.proiswindow THEN 'window'\n  WHEN p.prorettype = \
             'pg_catalog.trigger'::pg_catalog.regtype THEN 'trigger'\n  ELSE 'func'\n END as \
             \"Type\"\nFROM pg_catalog.pg_proc p\n     LEFT JOIN pg_catalog.pg_namespace n \
             ON n.oid \
             = p.pronamespace\nWHERE pg_catalog.pg_function_is_visible(p.oid)\n      AND n.nspname \
             <> 'pg_catalog'\n      AND n.nspname <> 'information_schema'\nORDER BY 1, 2, 4;",
        )
        .await;
    assert!(functions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_a_table() {
    let mut client = prepared().await;
    let found = client
        .run(
            "SELECT c.oid,\n  n.nspname,\n  c.relname\nFROM pg_catalog.pg_class c\n     LEFT JOIN \
             pg_catalog.pg_namespace n ON n.oid = c.relnamespace\nWHERE c.relname \
             OPERATOR(pg_catalog.~) '^(t)$'\n  AND pg_catalog.pg_table_is_visible(c.oid)\nORDER BY \
             2, 3;",
        )
        .await;
    let oid = found[0].split('|').next().unwrap().to_owned();
    assert_eq!(
        client
            .run(&format!(
                "SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, \
                 false, false, c.relhasoids, false as relispartition, '', c.reltablespace, CASE \
                 WHEN c.reloftype = 0 THEN '' ELSE \
                 c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence\nFROM \
                 pg_catalog.pg_class c\n LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = \
                 tc.oid)\nWHERE c.oid = '{oid}';"
            ))
            .await,
        ["0|r|true|false|true|false|false|false|false||0||p"]
    );
    assert_eq!(
        client
            .run(&format!(
                "SELECT a.attname,\n  pg_catalog.format_type(a.atttypid, a.atttypmod),\n  (SELECT \
                 pg_catalog.pg_get_expr(d.adbin, d.adrelid, true)\n   FROM pg_catalog.pg_attrdef \
                 d\n   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),\n  \
                 a.attnotnull,\n  (SELECT c.collname FROM pg_catalog.pg_collation c, \
                 pg_catalog.pg_type t\n   WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND \
                 a.attcollation <> t.typcollation) AS attcollation,\n  ''::pg_catalog.char AS \
                 attidentity,\n  ''::pg_catalog.char AS attgenerated\nFROM \
                 pg_catalog.pg_attribute a\nWHERE a.attrelid = '{oid}' AND a.attnum > 0 AND NOT \
                 a.attisdropped\nORDER BY a.attnum;"
            ))
            .await,
        [
            "a|integer|NULL|true|NULL||",
            "b|character varying(9)|'x'|false|NULL||",
            "c|numeric(8,2)|NULL|false|NULL||"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_keys() {
    let mut client = prepared().await;
    let oid = client.run("select oid from pg_class where relname = 't'").await.remove(0);
    assert_eq!(
        client
            .run(&format!(
                "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, \
                 i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true),\n  \
                 pg_catalog.pg_get_constraintdef(con.oid, true), contype, condeferrable, \
                 condeferred, i.indisreplident, c2.reltablespace\nFROM pg_catalog.pg_class c, \
                 pg_catalog.pg_class c2, pg_catalog.pg_index i\n  LEFT JOIN \
                 pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = \
                 i.indexrelid AND contype IN ('p','u','x'))\nWHERE c.oid = '{oid}' AND c.oid = \
                 i.indrelid AND i.indexrelid = c2.oid\nORDER BY i.indisprimary DESC, c2.relname;"
            ))
            .await,
        ["t_pkey|true|true|false|true|CREATE UNIQUE INDEX t_pkey ON public.t USING btree (a)|\
          PRIMARY KEY (a)|p|false|false|false|0"]
    );
    assert_eq!(
        client
            .run(&format!(
                "SELECT true as sametable, conname,\n  pg_catalog.pg_get_constraintdef(r.oid, \
                 true) as condef,\n  conrelid::pg_catalog.regclass AS ontable\nFROM \
                 pg_catalog.pg_constraint r\nWHERE r.conrelid = '{oid}' AND r.contype = 'f'\nORDER \
                 BY conname"
            ))
            .await,
        ["true|t_a_fkey|FOREIGN KEY (a) REFERENCES p(id)|t"]
    );
    for query in [
        "SELECT c.oid::pg_catalog.regclass\nFROM pg_catalog.pg_class c, pg_catalog.pg_inherits \
         i\nWHERE c.oid = i.inhparent AND i.inhrelid = 'OID'\nORDER BY inhseqno;",
        "SELECT c.oid::pg_catalog.regclass, c.relkind, false AS inhdetachpending, NULL\nFROM \
         pg_catalog.pg_class c, pg_catalog.pg_inherits i\nWHERE c.oid = i.inhrelid AND i.inhparent \
         = 'OID'\nORDER BY c.oid::pg_catalog.regclass::pg_catalog.text;",
        "SELECT conname, conrelid::pg_catalog.regclass AS ontable,\n       \
         pg_catalog.pg_get_constraintdef(oid, true) AS condef\n  FROM pg_catalog.pg_constraint\n \
         WHERE confrelid = OID AND contype = 'f'\nORDER BY conname;",
        "SELECT t.tgname, pg_catalog.pg_get_triggerdef(t.oid, true), t.tgenabled, \
         t.tgisinternal,\n  NULL AS parent\nFROM pg_catalog.pg_trigger t\nWHERE t.tgrelid = 'OID' \
         AND NOT t.tgisinternal\nORDER BY 1;",
        "SELECT r.rulename, trim(trailing ';' from pg_catalog.pg_get_ruledef(r.oid, true))\nFROM \
         pg_catalog.pg_rewrite r\nWHERE r.ev_class = 'OID' AND r.rulename != '_RETURN' ORDER BY 1;",
        "SELECT pg_catalog.pg_get_viewdef('OID'::pg_catalog.oid, true);",
    ] {
        client.run(&query.replace("OID", &oid)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_metadata() {
    let mut client = prepared().await;
    let tables = client
        .run(
            "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME,  CASE \
             n.nspname ~ '^pg_' OR n.nspname = 'information_schema'  WHEN true THEN CASE  WHEN \
             n.nspname = 'pg_catalog' OR n.nspname = 'information_schema' THEN CASE c.relkind   \
             WHEN 'r' THEN 'SYSTEM TABLE'   WHEN 'v' THEN 'SYSTEM VIEW'   ELSE NULL   END  ELSE \
             NULL END  WHEN false THEN CASE c.relkind  WHEN 'r' THEN 'TABLE'  WHEN 'v' THEN \
             'VIEW'  ELSE NULL  END  ELSE NULL  END  AS TABLE_TYPE, d.description AS REMARKS,  '' \
             as TYPE_CAT, '' as TYPE_SCHEM, '' as TYPE_NAME, '' AS SELF_REFERENCING_COL_NAME, '' \
             AS REF_GENERATION  FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c  LEFT JOIN \
             pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0  and d.classoid = \
             'pg_class'::regclass)  WHERE c.relnamespace = n.oid  AND (false  OR ( c.relkind = 'r' \
             AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ) ) ORDER BY \
             TABLE_TYPE,TABLE_SCHEM,TABLE_NAME ",
        )
        .await;
    assert_eq!(tables.len(), 2);
    let columns = client
        .run(
            "SELECT * FROM (SELECT n.nspname,c.relname,a.attname,a.atttypid,a.attnotnull OR \
             (t.typtype = 'd' AND t.typnotnull) AS attnotnull,a.atttypmod,a.attlen,t.typtypmod,\
             row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS attnum, NULL as \
             attidentity,NULL as attgenerated,pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS \
             adsrc,dsc.description,t.typbasetype,t.typtype  FROM pg_catalog.pg_namespace n  JOIN \
             pg_catalog.pg_class c ON (c.relnamespace = n.oid)  JOIN pg_catalog.pg_attribute a ON \
             (a.attrelid=c.oid)  JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid)  LEFT JOIN \
             pg_catalog.pg_attrdef def ON (a.attrelid=def.adrelid AND a.attnum = def.adnum)  LEFT \
             JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)  \
             LEFT JOIN pg_catalog.pg_class dc ON (dc.oid=dsc.classoid AND dc.relname='pg_class')  \
             LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace=dn.oid AND \
             dn.nspname='pg_catalog')  WHERE c.relkind in ('r','p','v','f','m') and a.attnum > 0 \
             AND NOT a.attisdropped  AND c.relname LIKE 't') c WHERE true  ORDER BY \
             nspname,c.relname,attnum ",
        )
        .await;
    assert_eq!(columns.len(), 3);
    assert!(columns[1].contains("|'x'|second|"), "{columns:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc_primary_keys() {
    let mut client = prepared().await;
    assert_eq!(
        client
            .run(
                "SELECT        result.TABLE_CAT,        result.TABLE_SCHEM,        \
                 result.TABLE_NAME,        result.COLUMN_NAME,        result.KEY_SEQ,        \
                 result.PK_NAME FROM      (SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM,   \
                 ct.relname AS TABLE_NAME, a.attname AS COLUMN_NAME,   \
                 (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, ci.relname AS \
                 PK_NAME,   information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS \
                 A_ATTNUM FROM pg_catalog.pg_class ct   JOIN pg_catalog.pg_attribute a ON (ct.oid \
                 = a.attrelid)   JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid)   \
                 JOIN pg_catalog.pg_index i ON ( a.attrelid = i.indrelid)   JOIN \
                 pg_catalog.pg_class ci ON (ci.oid = i.indexrelid) WHERE true  AND ct.relname = \
                 't' AND i.indisprimary  ) result where  result.A_ATTNUM = (result.KEYS).x  ORDER \
                 BY result.table_name, result.pk_name, result.key_seq",
            )
            .await,
        ["NULL|public|t|a|1|t_pkey"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tools() {
    let mut client = prepared().await;
    assert!(client.run("show grants on table public.t").await.is_empty());
    client.run("grant select on t to public").await;
    for query in [
        "select pg_catalog.version()",
        "select current_schema()",
        "show transaction isolation level",
        "show standard_conforming_strings",
        "SELECT t.oid, NULL FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE \
         typname = 'hstore'",
        "select pg_backend_pid()",
        "select distinct nspname from pg_namespace",
        "select oid, typbasetype from pg_type where typname = 'lo'",
        "SELECT true WHERE EXISTS (SELECT * FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = \
         'public' AND TABLE_NAME = 't')",
        "SELECT column_name FROM svv_columns WHERE table_name = 't' order by ordinal_position",
        "SELECT EXISTS(SELECT 1 FROM information_schema.schemata WHERE schema_name = 'public')",
        "select \"column\", type, encoding, distkey, sortkey, \"notnull\" from pg_table_def where \
         tablename = 't'",
        "show databases",
        "show schemas from database dev",
        "show tables from schema dev.public",
        "show columns from table dev.public.t",
        "show constraints primary keys from table dev.public.t",
        "show constraints foreign keys from table dev.public.t",
        "show grants on table public.t",
        "show table t",
        "show all",
        "select * from generate_series(1, 3)",
        "select current_user, session_user, current_database()",
        "select has_table_privilege('t', 'SELECT')",
        "select 't'::regclass::text",
        "select quote_ident('A b'), quote_literal('it''s')",
    ] {
        assert!(!client.run(query).await.is_empty() || query.contains("typname"), "{query}");
    }
    let shown = client
        .one(
            "SHOW COLUMNS FROM TABLE $1.$2.$3 LIKE $4",
            ["dev", "public", "t", "b%"].map(|text| Value::Text(text.into())).to_vec(),
        )
        .await
        .unwrap();
    assert_eq!(shown.len(), 1);
    client.session.sync(false).await.unwrap();
}

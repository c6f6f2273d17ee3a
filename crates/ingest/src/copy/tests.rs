//! Whole loads on an embedded cluster of two nodes with two slices each.

use std::path::Path;

use arrow_array::{ArrayRef, Int32Array};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use base::SqlType;
use base::ids::{ColumnId, Oid, QueryId};
use base::segment::Segment;
use catalog::{Column, DistStyle, Distribution, Table};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use exec::{Cluster, EngineConfig, Extensions, QueryContext};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use remote::LoadDirectory;
use sql::Statement;

use super::*;
use crate::{Progress, Sources};

struct Rig {
    engine: Arc<Engine>,
    store: Arc<dyn ObjectStore>,
    sources: Sources,
    dir: tempfile::TempDir,
    table: Arc<Table>,
    progress: Arc<Progress>,
    _spill: tempfile::TempDir,
}

fn column(id: u32, name: &str, sql_type: SqlType) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        sql_type,
        nullable: id != 1,
        default: (id == 3).then(|| "7".to_owned()),
        identity: None,
        encode: None,
        case_insensitive: false,
        comment: None,
        fill: None,
    }
}

fn table() -> Table {
    let even = DistStyle::Even;
    Table {
        oid: Oid(100_001),
        name: "t".to_owned(),
        columns: vec![
            column(1, "id", SqlType::BigInt),
            column(2, "name", SqlType::Varchar(40)),
            column(3, "n", SqlType::Integer),
        ],
        next_column: ColumnId(4),
        distribution: Distribution { declared: even, effective: even },
        ..Table::default()
    }
}

impl Rig {
    fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let spill = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let load = LoadDirectory::open(dir.path()).unwrap();
        let sources = Sources { load: Some(load), ..Sources::default() };
        let config = EngineConfig {
            slices: 4,
            spill_dir: spill.path().to_owned(),
            ..EngineConfig::default()
        };
        let extensions =
            Extensions { codecs: vec![crate::codec(sources.clone())], ..Extensions::default() };
        let cluster = Cluster::Embedded { nodes: 2 };
        let engine = Engine::start(config, Arc::clone(&store), cluster, extensions).unwrap();
        let progress = Progress::new();
        let table = Arc::new(table());
        Rig { engine, store, sources, dir, table, progress, _spill: spill }
    }

    fn file(&self, name: &str, data: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, data).unwrap();
        path.display().to_string()
    }

    async fn load(&self, tail: &str) -> Result<Copied, CopyFailed> {
        let text = format!("COPY t {tail}");
        let Statement::Copy(statement) = sql::parse(&text).unwrap() else { panic!("{text}") };
        let query = QueryContext { id: QueryId(base::rng::u64() >> 1), ..QueryContext::default() };
        let prefix = format!("data/100001/1-{}", query.id);
        let target = WriteTarget { table: Arc::clone(&self.table), prefix, identity: Vec::new() };
        let default = |_: &Column| Ok(Arc::new(Int32Array::from(vec![7])) as ArrayRef);
        let context = CopyContext {
            table: Arc::clone(&self.table),
            query: &query,
            sources: &self.sources,
            store: Arc::clone(&self.store),
            progress: Arc::clone(&self.progress),
            default: &default,
            user: Oid(100),
            session: 5,
        };
        let result = copy(&self.engine, &statement, &target, &context).await;
        if result.is_ok() {
            self.no_reports_stay(&query.id).await;
        }
        result
    }

    /// Reports of a statement are gone when it has ended; a little later where parts of it failed
    /// and it was tried again.
    async fn no_reports_stay(&self, query: impl std::fmt::Display) {
        let this = format!("/{query}-");
        for _ in 0..300 {
            let left: Vec<_> = self.store.list(Some(&"load-reports".into())).collect().await;
            if !left.iter().flatten().any(|meta| meta.location.as_ref().contains(&this)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("a report was left behind");
    }

    /// The rows of what was written, sorted.
    async fn rows(&self, copied: &Copied) -> Vec<String> {
        let segments: Vec<Arc<Segment>> =
            copied.written.segments.iter().cloned().map(Arc::new).collect();
        let provider = self.engine.table(Arc::clone(&self.table), segments.into());
        let plan = LogicalPlanBuilder::scan("t", provider_as_source(provider), None)
            .unwrap()
            .build()
            .unwrap();
        let query = QueryContext::default();
        let mut stream = self.engine.plan(plan, &query).await.unwrap().execute().unwrap();
        let mut rows = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.unwrap();
            let options = FormatOptions::default().with_null("NULL");
            let columns: Vec<ArrayFormatter<'_>> = batch
                .columns()
                .iter()
                .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let values: Vec<String> =
                    columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.push(values.join("|"));
            }
        }
        rows.sort();
        rows
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delimited_csv_and_compressed_files_give_the_same_rows() {
    let rig = Rig::new();
    let expected = ["1|one|10", "2||NULL", "3|drei, ü|30"];
    let text = "1|one|10\n2||\n3|drei, ü|30\n".as_bytes();
    let path = rig.file("a.tbl", text);
    let copied = rig.load(&format!("FROM '{path}'")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, expected);
    assert_eq!((copied.rows, copied.rejected), (3, 0));
    assert_eq!(copied.notices, ["Load into table 't' completed, 3 record(s) loaded successfully."]);
    let path = rig.file("a.csv", "id,name,n\n1,one,10\n2,,\n3,\"drei, ü\",30\n".as_bytes());
    let copied = rig.load(&format!("FROM '{path}' CSV IGNOREHEADER 1")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, expected);
    let path = rig.file("a.zst", &zstd::encode_all(text, 3).unwrap());
    let copied = rig.load(&format!("FROM '{path}' ZSTD")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, expected);
    assert_eq!(rig.progress.bytes_done(), rig.progress.bytes_total());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn column_lists_and_defaults() {
    let rig = Rig::new();
    let path = rig.file("two", b"one|1\ntwo|2\n");
    let copied = rig.load(&format!("(name, id) FROM '{path}'")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, ["1|one|7", "2|two|7"]);
    let failed = rig.load(&format!("(name) FROM '{path}'")).await.unwrap_err();
    assert_eq!(failed.error.sqlstate().code(), "23502");
    let failed = rig.load(&format!("(nam, id) FROM '{path}'")).await.unwrap_err();
    assert_eq!(failed.error.sqlstate().code(), "42703");
    assert_eq!(failed.error.get_hint(), Some("Did you mean \"name\"?"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_fails_the_load_and_is_described() {
    let rig = Rig::new();
    let path = rig.file("bad.csv", b"1,one,1\n2,two,2\nx3,three,3\n");
    let failed = rig.load(&format!("FROM '{path}' CSV")).await.unwrap_err();
    assert_eq!(failed.error.sqlstate().code(), "22P04");
    assert_eq!(
        failed.error.message(),
        format!(
            "load into table \"t\" failed at line 3, column \"id\" of {path}: \
             Invalid digit, Value 'x', Pos 0, Type: Long"
        )
    );
    let [error] = &failed.errors[..] else { panic!("{:?}", failed.errors) };
    assert_eq!((error.line, error.code, error.raw_field.as_str()), (3, 1207, "x3"));
    assert_eq!((error.user, error.session), (Oid(100), 5));

    let copied = rig.load(&format!("FROM '{path}' CSV MAXERROR 2")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, ["1|one|1", "2|two|2"]);
    assert_eq!((copied.rows, copied.rejected, copied.errors.len()), (2, 1, 1));
    assert_eq!(copied.notices.len(), 2);
    let checked = rig.load(&format!("FROM '{path}' CSV NOLOAD MAXERROR 2")).await.unwrap();
    assert_eq!((checked.rows, checked.written.segments.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_rows_count_over_all_partitions() {
    let rig = Rig::new();
    for i in 0..8 {
        rig.file(&format!("many-{i}"), format!("{i}|ok|1\nbad|row|{i}\n").as_bytes());
    }
    let prefix = rig.dir.path().join("many-").display().to_string();
    let copied = rig.load(&format!("FROM '{prefix}' MAXERROR 9")).await.unwrap();
    assert_eq!((copied.rows, copied.rejected), (8, 8));
    let files: Vec<&str> =
        copied.errors.iter().map(|e| e.file.rsplit('/').next().unwrap()).collect();
    assert_eq!(files[..3], ["many-0", "many-1", "many-2"]);
    let failed = rig.load(&format!("FROM '{prefix}' MAXERROR 8")).await.unwrap_err();
    assert!(failed.error.message().contains("many-0"), "{}", failed.error);
    assert_eq!(failed.errors.len(), 8);
}

/// About `megabytes` of rows; row `bad` has no number. Some names hold line ends.
fn big_csv(megabytes: usize, bad: Option<u64>, newlines: bool) -> (Vec<u8>, u64, u64) {
    let mut out = String::new();
    let (mut rows, mut lines, mut bad_line) = (0_u64, 0, 0);
    while out.len() < megabytes << 20 {
        rows += 1;
        if Some(rows) == bad {
            bad_line = lines + 1;
            out.push_str("zz,bad,1\n");
            lines += 1;
        } else if newlines && rows % 3 == 0 {
            out.push_str(&format!("{rows},\"two\n\"\"lines\"\", {rows}\",{}\n", rows % 1_000));
            lines += 2;
        } else {
            out.push_str(&format!("{rows},plain name {rows},{}\n", rows % 1_000));
            lines += 1;
        }
    }
    (out.into_bytes(), rows, bad_line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_big_file_is_read_in_parts() {
    let rig = Rig::new();
    for newlines in [false, true] {
        let (data, rows, _) = big_csv(18, None, newlines);
        let path = rig.file("big.csv", &data);
        let copied = rig.load(&format!("FROM '{path}' CSV")).await.unwrap();
        assert_eq!(copied.rows, rows);
        assert_eq!(rig.progress.files_total(), 4, "not split");
        let loaded = rig.rows(&copied).await;
        assert_eq!(loaded.len() as u64, rows);
        let ids: std::collections::HashSet<&str> =
            loaded.iter().filter_map(|row| row.split('|').next()).collect();
        assert_eq!(ids.len() as u64, rows);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_are_right_in_every_part() {
    let rig = Rig::new();
    for bad in [5, 150_000, 300_000, 400_000] {
        let (data, rows, line) = big_csv(18, Some(bad), true);
        assert!(rows > bad);
        let path = rig.file("big.csv", &data);
        let failed = rig.load(&format!("FROM '{path}' CSV")).await.unwrap_err();
        assert!(
            failed.error.message().contains(&format!("at line {line},")),
            "{} instead of line {line}",
            failed.error
        );
        let copied = rig.load(&format!("FROM '{path}' CSV MAXERROR 10")).await.unwrap();
        assert_eq!(copied.errors[0].line, line);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_misleads_the_split_is_loaded_right_all_the_same() {
    let rig = Rig::new();
    // One value that looks like rows of the table, as long as several parts.
    let mut data = b"1,\"".to_vec();
    let inner = "7,fake,7\n".repeat((6 << 20) / 9);
    data.extend_from_slice(inner.as_bytes());
    data.extend_from_slice(b"\",1\n");
    for id in 2..600_000 {
        data.extend_from_slice(format!("{id},real,1\n").as_bytes());
    }
    let path = rig.file("fake.csv", &data);
    let load = format!("FROM '{path}' CSV TRUNCATECOLUMNS");
    let copied = rig.load(&load).await.unwrap();
    assert_eq!(copied.rows, 599_999);
    let rows = rig.rows(&copied).await;
    assert!(!rows.iter().any(|row| row.starts_with("7|fake,7")), "{:?}", rows.first());
    assert!(copied.written.segments.iter().all(|s| s.path.contains("-r1-")), "was split");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_said() {
    let rig = Rig::new();
    let missing = rig.dir.path().join("missing").display().to_string();
    let code = |failed: CopyFailed| failed.error.sqlstate().code();
    let failed = rig.load(&format!("FROM '{missing}'")).await.unwrap_err();
    assert_eq!(code(failed), "58P01");
    let failed = rig.load("FROM '/etc/passwd'").await.unwrap_err();
    assert_eq!(code(failed), "42501");
    let failed = rig.load("FROM 's3://bucket/key'").await.unwrap_err();
    assert_eq!(code(failed), "28000");
    let keys = "ACCESS_KEY_ID 'a' SECRET_ACCESS_KEY 'b' ENDPOINT 'http://127.0.0.1:20599'";
    let failed = rig.load(&format!("FROM 's3://bucket/key' {keys}")).await.unwrap_err();
    assert_eq!(code(failed), "42501", "the egress policy allows no host");
    let path = rig.file("plain", b"1|one|1\n");
    let failed = rig.load(&format!("FROM '{path}' {keys}")).await.unwrap_err();
    assert_eq!(code(failed), "42601", "credentials for a local file");
    let path = rig.file("z.gz", b"1|one|1\n");
    let failed = rig.load(&format!("FROM '{path}' GZIP")).await.unwrap_err();
    assert_eq!(code(failed), "22P04");
    let failed = rig.load(&format!("FROM '{path}' PARQUET")).await.unwrap_err();
    assert!(failed.error.message().contains("Parquet"), "{}", failed.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_name_the_files() {
    let rig = Rig::new();
    let one = rig.file("one", b"1|one|1\n");
    let two = rig.file("two", b"2|two|2\n");
    let gone = rig.dir.path().join("gone").display().to_string();
    let manifest = |mandatory: bool| {
        format!(
            "{{\"entries\":[{{\"url\":\"{one}\",\"mandatory\":true}},{{\"url\":\"{two}\"}},\
             {{\"url\":\"{gone}\",\"mandatory\":{mandatory}}}]}}"
        )
    };
    let path = rig.file("manifest.json", manifest(false).as_bytes());
    let copied = rig.load(&format!("FROM '{path}' MANIFEST")).await.unwrap();
    assert_eq!(rig.rows(&copied).await, ["1|one|1", "2|two|2"]);
    let path = rig.file("manifest.json", manifest(true).as_bytes());
    let failed = rig.load(&format!("FROM '{path}' MANIFEST")).await.unwrap_err();
    assert_eq!(failed.error.sqlstate().code(), "58P01");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_load_ends() {
    let rig = Rig::new();
    let (data, ..) = big_csv(18, None, false);
    let path = rig.file("big.csv", &data);
    let text = format!("COPY t FROM '{path}' CSV");
    let Statement::Copy(statement) = sql::parse(&text).unwrap() else { panic!("{text}") };
    let query = QueryContext { id: QueryId(9), ..QueryContext::default() };
    query.cancel.cancel();
    let table = Arc::clone(&rig.table);
    let target = WriteTarget { table, prefix: "data/1/1-9".to_owned(), identity: Vec::new() };
    let context = CopyContext {
        table: Arc::clone(&rig.table),
        query: &query,
        sources: &rig.sources,
        store: Arc::clone(&rig.store),
        progress: Arc::clone(&rig.progress),
        default: &|_| Err(Error::internal("no default is needed")),
        user: Oid(100),
        session: 5,
    };
    let failed = copy(&rig.engine, &statement, &target, &context).await.unwrap_err();
    assert_eq!(failed.error.sqlstate().code(), "57014");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parquet_is_loaded_by_position_and_in_row_groups() {
    let rig = Rig::new();
    let write = |name: &str, rows: i64, fault: bool| {
        let path = rig.dir.path().join(name);
        write_parquet(&path, rows, fault);
        path.display().to_string()
    };
    let path = write("a.parquet", 1_000_000, false);
    let copied = rig.load(&format!("FROM '{path}' PARQUET")).await.unwrap();
    assert_eq!(copied.rows, 1_000_000);
    assert!(rig.progress.files_total() > 1, "not split");
    assert_eq!(rig.rows(&copied).await.len(), 1_000_000);
    let path = write("b.parquet", 1_000, true);
    let failed = rig.load(&format!("FROM '{path}' PARQUET")).await.unwrap_err();
    assert!(
        failed.error.message().contains("failed at row 778, column \"name\""),
        "{}",
        failed.error
    );
    let failed = rig.load(&format!("(id, name) FROM '{path}' PARQUET")).await.unwrap_err();
    assert!(failed.error.message().contains("has 3 columns, the load needs 2"));
}

fn write_parquet(path: &Path, rows: i64, fault: bool) {
    use arrow_array::{Int64Array, RecordBatch, StringArray};
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    let name = |i| if fault && i == 777 { "x".repeat(41) } else { format!("name {i}") };
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(name)));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|i| i % 100)));
    let batch = RecordBatch::try_from_iter([("a", ids), ("b", names), ("c", n)]).unwrap();
    let properties = ::parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(50_000))
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

//! Tests of `scan`.

use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::DefaultPhysicalProtoConverter;

use super::*;
use crate::input::Compression;
use crate::options::{LoadColumn, LoadFill, LoadFormat};
use crate::unit::Part;
use base::ids::QueryId;
use base::{Secret, SqlType};

fn source(partitions: usize) -> CopySource {
    let column = LoadColumn {
        name: "a".to_owned(),
        sql_type: SqlType::Integer,
        nullable: true,
        fill: LoadFill::Field(0),
    };
    let spec = LoadSpec {
        table: "t".to_owned(),
        columns: vec![column],
        fields: 1,
        format: LoadFormat::Parquet,
        compression: Compression::None,
        fill: false,
        replace_invalid: None,
        rejections_max: 1,
        no_load: false,
    };
    let unit = |id: usize| Unit {
        id: id as u32,
        file: id as u32,
        part: Part::Bytes { start: 0, end: u64::MAX },
        bytes: 1,
    };
    let mut sources = Sources::default();
    sources.s3.access_key_id = Some("AKIDEXAMPLE".to_owned());
    sources.s3.secret_access_key = Some(Secret::new("very secret"));
    CopySource {
        spec: Arc::new(spec),
        files: (0..partitions).map(|i| FileRef { url: format!("s3://b/{i}"), size: 1 }).collect(),
        partitions: (0..partitions).map(|i| vec![unit(i)]).collect(),
        run: Run { query: QueryId(1), attempt: 0 },
        sources,
    }
}

#[test]
fn shares_are_disjoint_and_complete() {
    let source = source(6);
    let mut files = Vec::new();
    for task in 0..3 {
        let plan = source.for_task(task, 3, 2).unwrap();
        let scan = plan.downcast_ref::<CopyScanExec>().unwrap();
        assert_eq!(scan.share.first_partition as usize, task * 2);
        files.extend(scan.share.files.keys().copied());
    }
    assert_eq!(files, [0, 1, 2, 3, 4, 5]);
    assert!(source.for_task(0, 2, 2).is_err());
}

#[test]
fn a_scan_survives_the_way_and_shows_no_secret() {
    let plan = source(2).for_task(1, 2, 1).unwrap();
    let own = Sources { egress: remote::EgressPolicy::deny_all(), ..Sources::default() };
    let codec = CopyCodec::new(own);
    let converter = DefaultPhysicalProtoConverter {};
    let mut bytes = Vec::new();
    codec.try_encode(Arc::clone(&plan), &mut bytes, &converter).unwrap();
    let context = SessionContext::new().task_ctx();
    let back = codec.try_decode(&bytes, &[], &context, &converter).unwrap();
    let scan = back.downcast_ref::<CopyScanExec>().unwrap();
    assert_eq!(scan.share.units[0][0].id, 1);
    let secret = scan.sources.s3.secret_access_key.as_ref().unwrap();
    assert_eq!(secret.reveal(), "very secret");
    for shown in [format!("{plan:?}"), format!("{back:?}"), format!("{:?}", source(1))] {
        assert!(!shown.contains("very secret"), "{shown}");
    }
    let error = codec.try_decode(b"copy1{\"share\": \"very secret\"}", &[], &context, &converter);
    assert!(!error.unwrap_err().to_string().contains("very secret"));
}

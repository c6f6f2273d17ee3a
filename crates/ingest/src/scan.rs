//! The leaf of a load's plan: each partition reads its work units and gives typed rows.
//!
//! Owns the way from work units to batches on a compute node, the stop at too many rejected
//! rows, and the node's form in transit. Whether the load as a whole succeeded is the leader's.

mod partition;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use base::{Error, Result, error};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use exec::{DistributedSource, NodeStorage};
use serde::{Deserialize, Serialize};

use crate::Sources;
use crate::files::{FileRef, Opener, WireAccess};
use crate::options::LoadSpec;
use crate::report::Run;
use crate::unit::Unit;
use partition::Partition;

/// Batches that wait between a parser and the operator above it.
const OUTPUT_BATCHES: usize = 2;

/// The whole load, before it is divided over tasks.
#[derive(Debug)]
pub(crate) struct CopySource {
    pub(crate) spec: Arc<LoadSpec>,
    pub(crate) files: Vec<FileRef>,
    /// The units of each partition of the cluster.
    pub(crate) partitions: Vec<Vec<Unit>>,
    pub(crate) run: Run,
    pub(crate) sources: Sources,
}

impl DistributedSource for CopySource {
    fn schema(&self) -> SchemaRef {
        schema(&self.spec)
    }

    fn name(&self) -> String {
        format!("copy {}", self.spec.table)
    }

    fn for_task(
        &self,
        task: usize,
        tasks: usize,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if tasks * partitions != self.partitions.len() {
            return Err(Error::internal(format!(
                "a load divided over {} slices cannot run on {tasks} tasks of {partitions}",
                self.partitions.len()
            )));
        }
        let first = task * partitions;
        let units = self.partitions[first..first + partitions].to_vec();
        let used = units.iter().flatten().map(|unit| unit.file);
        let files = used.filter_map(|file| Some((file, self.files.get(file as usize)?.clone())));
        Ok(Arc::new(CopyScanExec::new(
            Share {
                spec: Arc::clone(&self.spec),
                files: files.collect(),
                units,
                first_partition: u32::try_from(first).unwrap_or(u32::MAX),
                run: self.run,
            },
            self.sources.clone(),
        )))
    }
}

/// All columns of the table; NOT NULL is checked as values are parsed.
pub(crate) fn schema(spec: &LoadSpec) -> SchemaRef {
    let fields = spec.columns.iter().map(|c| c.sql_type.field(c.name.as_str(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// One task's share of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Share {
    spec: Arc<LoadSpec>,
    files: BTreeMap<u32, FileRef>,
    /// The units of each partition of the task.
    units: Vec<Vec<Unit>>,
    /// The first of them, counted over all tasks.
    first_partition: u32,
    run: Run,
}

/// Reads one task's share of the files of a COPY.
pub(crate) struct CopyScanExec {
    share: Share,
    sources: Sources,
    opener: Arc<Opener>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl CopyScanExec {
    fn new(share: Share, sources: Sources) -> CopyScanExec {
        let schema = schema(&share.spec);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(share.units.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let opener = Arc::new(Opener::new(sources.clone()));
        CopyScanExec { share, sources, opener, schema, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for CopyScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyScanExec").field("share", &self.share).finish_non_exhaustive()
    }
}

impl DisplayAs for CopyScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: usize = self.share.units.iter().map(Vec::len).sum();
        write!(f, "CopyScanExec: table={}, units={units}", self.share.spec.table)
    }
}

impl ExecutionPlan for CopyScanExec {
    fn name(&self) -> &str {
        "CopyScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> datafusion::common::Result<TreeNodeRecursion>,
    ) -> datafusion::common::Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::common::Result<SendableRecordBatchStream> {
        let storage = NodeStorage::of(&context, "a COPY")?;
        let units = self.share.units.get(partition).cloned().ok_or_else(|| {
            external(Error::internal(format!("a load has no partition {partition}")))
        })?;
        let mut output =
            RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), OUTPUT_BATCHES);
        let work = Partition {
            spec: Arc::clone(&self.share.spec),
            files: self.share.files.clone(),
            units,
            number: self.share.first_partition + u32::try_from(partition).unwrap_or(u32::MAX),
            run: self.share.run,
            opener: Arc::clone(&self.opener),
            store: Arc::clone(&storage.store),
            schema: Arc::clone(&self.schema),
            output: output.tx(),
        };
        output.spawn(async move { work.run().await.map_err(external) });
        Ok(output.build())
    }
}

pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The form of a share in transit. It holds credentials: it must not be logged.
#[derive(Serialize, Deserialize)]
struct WireShare {
    share: Share,
    access: WireAccess,
}

/// Encodes [`CopyScanExec`]; what it decodes may read what this process allows, no more.
pub(crate) struct CopyCodec {
    sources: Sources,
}

impl CopyCodec {
    pub(crate) fn new(sources: Sources) -> CopyCodec {
        CopyCodec { sources }
    }
}

impl fmt::Debug for CopyCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CopyCodec")
    }
}

/// Marks this codec's nodes among those of others.
const MARK: &[u8] = b"copy1";

impl PhysicalExtensionCodec for CopyCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let json = buf.strip_prefix(MARK).ok_or_else(|| unknown("this plan node"))?;
        // The text of a parse error could show a secret: it is not passed on.
        let wire: WireShare = serde_json::from_slice(json)
            .map_err(|_| external(error!(ProtocolViolation, "a COPY's plan is damaged")))?;
        let sources = wire.access.within(&self.sources);
        Ok(Arc::new(CopyScanExec::new(wire.share, sources)))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> datafusion::common::Result<()> {
        let scan = node.downcast_ref::<CopyScanExec>().ok_or_else(|| unknown(node.name()))?;
        let access = WireAccess::of(&scan.sources.s3);
        let wire = WireShare { share: scan.share.clone(), access };
        buf.extend_from_slice(MARK);
        serde_json::to_writer(buf, &wire)
            .map_err(|_| external(Error::internal("a COPY's plan cannot be encoded")))
    }
}

fn unknown(what: &str) -> DataFusionError {
    external(Error::internal(format!("{what} is not a COPY's")))
}

#[cfg(test)]
mod tests;

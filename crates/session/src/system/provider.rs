//! A system table as DataFusion scans it: rows are made when the scan is planned, not before.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;

use super::{SystemContext, SystemRelation, builder};

/// One system table over one statement's context.
#[derive(Debug)]
pub(crate) struct SystemProvider {
    relation: SystemRelation,
    context: Arc<SystemContext>,
    schema: SchemaRef,
}

impl SystemProvider {
    pub(crate) fn new(relation: SystemRelation, context: Arc<SystemContext>) -> Self {
        let schema = builder::schema(relation.table.columns);
        Self { relation, context, schema }
    }
}

#[async_trait]
impl TableProvider for SystemProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rows = (self.relation.table.rows)(&self.context);
        let batch = builder::batch(self.relation.table.columns, &rows)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let partitions = [vec![batch]];
        let plan = MemorySourceConfig::try_new_exec(
            &partitions,
            Arc::clone(&self.schema),
            projection.cloned(),
        )?;
        Ok(plan)
    }
}

//! The functions of Redshift: DataFusion's, and ours where it has none or another meaning.
//!
//! All are plain UDFs, registered on the leader and on the compute nodes alike ([`extensions`]);
//! what needs the catalog or the session is added by the session to its own [`Registry`].

pub(crate) mod aggregate;
pub(crate) mod arithmetic;
pub(crate) mod assign;
pub(crate) mod binary;
pub(crate) mod cast;
pub mod catalogue;
pub(crate) mod date;
pub(crate) mod datetime;
pub(crate) mod decimal;
pub(crate) mod digest;
pub(crate) mod format;
pub(crate) mod identity;
pub(crate) mod interval;
pub(crate) mod json;
pub(crate) mod kernel;
pub(crate) mod mathematics;
pub mod moment;
pub(crate) mod number;
pub(crate) mod regexp;
pub(crate) mod strings;
pub(crate) mod text;
pub(crate) mod textual;
pub(crate) mod timetz;
pub(crate) mod window;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base::Result;
use datafusion::catalog::TableFunctionArgs;
use datafusion::execution::{SessionStateBuilder, SessionStateDefaults};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, Expr, ScalarUDF, TableSource, WindowUDF};

use crate::bind::{DateOperators, IntervalOperators, WholeOperators};

/// The result type of DataFusion's traits.
pub(crate) type Planned<T> = datafusion::common::Result<T>;

/// The functions that a statement may call, by every name they go by.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

/// The functions of one registry, each once: what leader and compute nodes register.
#[derive(Clone, Debug, Default)]
pub struct Extensions {
    pub scalar: Vec<Arc<ScalarUDF>>,
    pub aggregate: Vec<Arc<AggregateUDF>>,
    pub window: Vec<Arc<WindowUDF>>,
}

/// Every function of ours, for registration on leader and compute nodes.
pub fn extensions() -> Extensions {
    Extensions {
        scalar: scalar_functions().into_iter().map(Arc::new).collect(),
        aggregate: aggregate_functions(),
        window: window::functions(),
    }
}

fn scalar_functions() -> Vec<ScalarUDF> {
    let mut functions = cast::functions();
    functions.extend(arithmetic::functions());
    functions.extend(decimal::functions());
    functions.extend(assign::functions());
    functions.extend(interval::functions());
    functions.extend(moment::functions());
    functions.extend(timetz::functions());
    functions.extend(date::functions());
    functions.extend(text::functions());
    functions.extend(textual::functions());
    functions.extend(strings::functions());
    functions.extend(regexp::functions());
    functions.extend(mathematics::functions());
    functions.extend(digest::functions());
    functions.extend(binary::functions());
    functions.extend(json::functions());
    functions
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    aggregate::functions()
}

impl Registry {
    /// The functions of DataFusion and ours over them.
    pub fn shared() -> Arc<Registry> {
        static SHARED: LazyLock<Arc<Registry>> = LazyLock::new(|| {
            let mut registry = Registry::default();
            for function in SessionStateDefaults::default_scalar_functions() {
                registry.add_scalar(function);
            }
            for function in SessionStateDefaults::default_aggregate_functions() {
                registry.add_aggregate(function);
            }
            for function in SessionStateDefaults::default_window_functions() {
                registry.add_window(function);
            }
            registry.planners = SessionStateDefaults::default_expr_planners();
            let own = extensions();
            own.scalar.into_iter().for_each(|function| registry.add_scalar(function));
            own.aggregate.into_iter().for_each(|function| registry.add_aggregate(function));
            own.window.into_iter().for_each(|function| registry.add_window(function));
            let intervals = registry.interval_operators();
            if let (Some(plus_days), Some(plus_time), Some(datediff), Some(intervals)) = (
                registry.scalar("date_plus_days"),
                registry.scalar("date_plus_time"),
                registry.scalar("datediff"),
                intervals,
            ) {
                let power = registry.scalar("power");
                let operators = DateOperators { plus_days, plus_time, datediff, power, intervals };
                registry.planners.insert(0, Arc::new(operators));
            }
            if let (Some(plus), Some(minus), Some(times), Some(xor)) = (
                registry.scalar(arithmetic::PLUS),
                registry.scalar(arithmetic::MINUS),
                registry.scalar(arithmetic::TIMES),
                registry.scalar(arithmetic::XOR),
            ) {
                let operators = WholeOperators { plus, minus, times, xor };
                registry.planners.insert(1, Arc::new(operators));
            }
            Arc::new(registry)
        });
        Arc::clone(&SHARED)
    }

    fn interval_operators(&self) -> Option<IntervalOperators> {
        Some(IntervalOperators {
            times: self.scalar(interval::TIMES)?,
            divide: self.scalar(interval::DIVIDE)?,
            of_duration: self.scalar(interval::OF_DURATION)?,
            plus_timetz: self.scalar(timetz::DATE_PLUS)?,
        })
    }

    /// Adds a function under its name and aliases, over one that is there.
    pub fn add_scalar(&mut self, function: Arc<ScalarUDF>) {
        for alias in function.aliases() {
            self.scalar.insert(alias.clone(), Arc::clone(&function));
        }
        self.scalar.insert(function.name().to_owned(), function);
    }

    /// As [`Registry::add_scalar`].
    pub fn add_aggregate(&mut self, function: Arc<AggregateUDF>) {
        for alias in function.aliases() {
            self.aggregate.insert(alias.clone(), Arc::clone(&function));
        }
        self.aggregate.insert(function.name().to_owned(), function);
    }

    /// As [`Registry::add_scalar`].
    pub fn add_window(&mut self, function: Arc<WindowUDF>) {
        for alias in function.aliases() {
            self.window.insert(alias.clone(), Arc::clone(&function));
        }
        self.window.insert(function.name().to_owned(), function);
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).cloned()
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(name).cloned()
    }

    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.window.get(name).cloned()
    }

    pub(crate) fn expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    pub(crate) fn scalar_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }

    pub(crate) fn aggregate_names(&self) -> Vec<String> {
        self.aggregate.keys().cloned().collect()
    }

    pub(crate) fn window_names(&self) -> Vec<String> {
        self.window.keys().cloned().collect()
    }

    /// The function whose name is nearest to one that there is not.
    pub(crate) fn nearest(&self, name: &str) -> Option<String> {
        let names = self.scalar.keys().chain(self.aggregate.keys()).chain(self.window.keys());
        base::suggest::nearest(name, names.map(String::as_str)).map(str::to_owned)
    }
}

/// The set-returning functions that need no catalog.
pub(crate) fn table_function(name: &str, args: &[Expr]) -> Result<Option<Arc<dyn TableSource>>> {
    let function = SessionStateDefaults::default_table_functions()
        .into_iter()
        .find(|function| function.name() == name);
    let Some(function) = function else { return Ok(None) };
    let state = SessionStateBuilder::new().build();
    let provider = function.create_table_provider_with_args(TableFunctionArgs::new(args, &state));
    let provider = provider.map_err(|e| crate::error_from_datafusion(e, ""))?;
    Ok(Some(datafusion::datasource::provider_as_source(provider)))
}

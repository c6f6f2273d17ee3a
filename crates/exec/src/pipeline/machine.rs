//! A running pipeline: registers, groups and states of one partition.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use columnar::VECTOR_ROWS;
use datafusion::common::{Result, internal_err};
use vector::{Accumulator, CodedGroups, GroupNumbers, Grouper, Registers, TextKeys, Vector};

use super::fuse::{Fused, Source};
use super::load::{self, Lane, Scratch};
use super::translate::text_keys;
use crate::error::into_datafusion;
use crate::scan::BlockRows;

/// The state of one partition.
pub(super) struct Machine {
    pub(super) fused: Arc<Fused>,
    registers: Registers,
    pub(super) texts: TextKeys,
    /// `None` without keys: there is one group.
    pub(super) grouper: Option<Grouper>,
    pub(super) accumulators: Vec<Accumulator>,
    /// Rows taken since the groups were last forgotten.
    pub(super) rows_taken: usize,
    range_bytes_max: u128,
    /// Every row is a group of its own.
    passes_rows: bool,
    /// While the keys at hand are codes.
    coded: Option<CodedGroups>,
    kept: Vec<u16>,
    picked: Vec<u16>,
    scratch: Scratch,
}

impl Machine {
    /// A table over a range of keys may take `range_bytes_max`.
    pub(super) fn new(fused: &Arc<Fused>, range_bytes_max: u128) -> Result<Machine> {
        let programs: Vec<_> = fused.filter.iter().chain([&fused.program]).collect();
        let grouper = (!fused.keys.is_empty()).then(|| Grouper::new(&fused.keys));
        let grouped = grouper.is_some();
        let accumulators =
            fused.accumulations.iter().map(|a| Accumulator::new(a.kind, grouped)).collect();
        Ok(Machine {
            registers: Registers::new(&programs),
            texts: text_keys(&fused.texts)?,
            grouper,
            accumulators,
            rows_taken: 0,
            range_bytes_max,
            passes_rows: false,
            coded: None,
            kept: Vec::new(),
            picked: Vec::new(),
            scratch: Scratch::default(),
            fused: Arc::clone(fused),
        })
    }

    /// The number of groups; one without keys.
    pub(super) fn groups(&self) -> usize {
        self.grouper.as_ref().map_or(1, Grouper::groups)
    }

    /// Bytes held for groups.
    pub(super) fn memory_bytes(&self) -> usize {
        self.grouper.as_ref().map_or(0, Grouper::memory_bytes)
            + self.texts.memory_bytes()
            + self.accumulators.iter().map(Accumulator::memory_bytes).sum::<usize>()
    }

    /// From now on makes every row a group of its own.
    pub(super) fn pass_rows(&mut self) {
        self.passes_rows = true;
    }

    /// True when every row is a group of its own.
    pub(super) fn passes_rows(&self) -> bool {
        self.passes_rows
    }

    /// Forgets all groups and gives their memory back.
    pub(super) fn clear(&mut self) -> Result<()> {
        if let Some(grouper) = &mut self.grouper {
            grouper.clear();
        }
        self.accumulators.iter_mut().for_each(Accumulator::clear);
        self.texts = text_keys(&self.fused.texts)?;
        self.rows_taken = 0;
        Ok(())
    }

    /// Takes over a batch of the node below.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let fused = Arc::clone(&self.fused);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(fused.inputs.len());
        for input in &fused.inputs {
            arrays.push(match &input.source {
                Source::Column(column) => Arc::clone(batch.column(*column)),
                Source::Computed(expr) => expr.evaluate(batch)?.into_array(batch.num_rows())?,
            });
        }
        for first in (0..batch.num_rows()).step_by(VECTOR_ROWS) {
            let rows = first..(first + VECTOR_ROWS).min(batch.num_rows());
            for (place, (input, array)) in fused.inputs.iter().zip(&arrays).enumerate() {
                if array.len() != batch.num_rows() {
                    return internal_err!("an expression gave {} rows", array.len());
                }
                let into = self.registers.get_mut(place);
                load::array(into, array, rows.clone(), input.bounded, &mut self.texts)?;
            }
            self.step(rows.len())?;
        }
        Ok(())
    }

    /// Takes over a block of a scan.
    pub(super) fn block(&mut self, block: &BlockRows) -> Result<()> {
        let fused = Arc::clone(&self.fused);
        let mut lanes = Vec::with_capacity(fused.inputs.len());
        for input in &fused.inputs {
            let Source::Column(column) = input.source else {
                return internal_err!("an expression over a block");
            };
            lanes.push(Lane::new(block, column, input.kind, &mut self.texts)?);
        }
        if !self.passes_rows {
            self.coded = coded(&fused, &mut lanes);
            self.expect_keys(&lanes);
        }
        let done = self.vectors(block, &fused, &mut lanes);
        self.coded = None;
        done
    }

    /// Tells the grouper what the only key of a block lies between.
    fn expect_keys(&mut self, lanes: &[Lane<'_>]) {
        if let (Some(grouper), Some([key])) = (&mut self.grouper, self.fused.bare_keys.as_deref())
            && let Some((low, high)) = lanes.get(*key).and_then(Lane::bounds)
        {
            grouper.expect_range(low, high, self.range_bytes_max);
        }
    }

    /// Takes over the vectors of a block one after another.
    fn vectors(&mut self, block: &BlockRows, fused: &Fused, lanes: &mut [Lane<'_>]) -> Result<()> {
        let appends = lanes.iter().all(Lane::appends);
        let mut pending = 0;
        for number in 0..block.rows.div_ceil(VECTOR_ROWS) {
            let rows = (block.rows - number * VECTOR_ROWS).min(VECTOR_ROWS);
            self.picked.clear();
            if let Some(selection) = &block.selection {
                let picked = &mut self.picked;
                selection.each_in_vector(number, |row| picked.push(row as u16));
                if picked.is_empty() {
                    continue;
                }
            }
            let all = block.selection.is_none() || self.picked.len() == rows;
            let picked = (!all).then_some(self.picked.as_slice());
            for (place, lane) in lanes.iter_mut().enumerate() {
                let into = self.registers.get_mut(place);
                if pending == 0 {
                    lane.start(into);
                }
                let bounded = fused.inputs[place].bounded;
                let buffers = (&mut self.texts, &mut self.scratch);
                lane.load((number, rows), picked, into, bounded, buffers)?;
            }
            pending += picked.map_or(rows, <[u16]>::len);
            if !appends || pending >= VECTOR_ROWS {
                self.step(pending)?;
                pending = 0;
            }
        }
        self.step(pending)
    }

    /// Runs the programs over `rows` rows in the input registers.
    fn step(&mut self, mut rows: usize) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        let fused = &self.fused;
        if let Some(filter) = &fused.filter {
            filter.run(&mut self.registers, rows).map_err(into_datafusion)?;
            let hits = self.registers.get(filter.outputs()[0]);
            keep(hits, &mut self.kept);
            if self.kept.is_empty() {
                return Ok(());
            }
            if self.kept.len() < rows {
                for place in 0..fused.inputs.len() {
                    self.registers.get_mut(place).keep(&self.kept);
                }
                rows = self.kept.len();
            }
        }
        fused.program.run(&mut self.registers, rows).map_err(into_datafusion)?;
        let (registers, outputs) = (&self.registers, fused.program.outputs());
        let output = |place: usize| registers.get(outputs[place]);
        if let Some(grouper) = &mut self.grouper {
            let keys: Vec<&Vector> = (0..fused.keys.len()).map(output).collect();
            match &mut self.coded {
                None if self.passes_rows => grouper.append(&keys, rows),
                Some(coded) => grouper.assign_coded(&keys, coded, rows),
                None => grouper.assign(&keys, rows),
            }
            .map_err(into_datafusion)?;
        }
        let numbers = self.grouper.as_ref().map_or(GroupNumbers::One, Grouper::numbers);
        for (accumulator, plan) in self.accumulators.iter_mut().zip(&fused.accumulations) {
            let (argument, filter) = (plan.argument.map(output), plan.filter.map(output));
            accumulator.update(numbers, argument, filter, rows).map_err(into_datafusion)?;
        }
        self.rows_taken += rows;
        Ok(())
    }
}

/// Has the lanes of the keys give codes, when their combinations are few.
fn coded(fused: &Fused, lanes: &mut [Lane<'_>]) -> Option<CodedGroups> {
    let keys = fused.bare_keys.as_ref().filter(|keys| !keys.is_empty())?;
    let dictionary = |key: &usize| lanes.get(*key)?.dictionary().cloned();
    let coded = CodedGroups::new(keys.iter().map(dictionary).collect::<Option<_>>()?)?;
    keys.iter().for_each(|key| lanes[*key].give_codes());
    Some(coded)
}

/// The rows that are true.
fn keep(hits: &Vector, kept: &mut Vec<u16>) {
    kept.clear();
    let rows = hits.bits().iter().enumerate();
    match hits.valid() {
        None => kept.extend(rows.filter(|(_, hit)| **hit == 1).map(|(row, _)| row as u16)),
        Some(valid) => {
            let rows = rows.zip(valid).filter(|((_, hit), valid)| **hit & **valid == 1);
            kept.extend(rows.map(|((row, _), _)| row as u16));
        }
    }
}

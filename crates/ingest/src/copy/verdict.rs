//! Whether a load succeeded, from what its partitions reported.
//!
//! A load succeeds when every unit was read, the parts of each split file fit together without
//! gap or overlap, and fewer rows were rejected than MAXERROR allows. The fit is checked always:
//! a part of a CSV file is begun on a judgement of what is inside quotes, and that judgement is
//! proved right only by the part before it ending where this one began.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::Schema;
use base::{Error, Result, SqlState};
use exec::Written;
use tokio::sync::mpsc;

use super::{Attempt, Load};
use crate::CopyFailed;
use crate::failure::Rejected;
use crate::input::ChannelReader;
use crate::options::LoadFormat;
use crate::report::{PartitionReport, UnitReport};
use crate::text::{TextReader, TextSpec, UnitRange};
use crate::unit::{Part, Unit};

pub(super) struct Verdict<'a> {
    pub(super) load: &'a Load<'a>,
    /// In the order of their numbers.
    pub(super) units: &'a [Unit],
    pub(super) reports: Vec<PartitionReport>,
}

/// Where a unit stands in its file.
enum Place {
    /// Lines of the file before it.
    After(u64),
    /// It did not begin at a record.
    Wrong,
}

impl Verdict<'_> {
    pub(super) async fn reach(self, written: Result<Written>) -> Result<Attempt> {
        let rejected: u64 = self.unit_reports().map(|(_, report)| report.rejected).sum();
        let limit = match self.load.spec.format {
            LoadFormat::Text(_) => self.load.spec.rejections_max,
            LoadFormat::Parquet => 1,
        };
        match written {
            Err(error) if rejected < limit => Ok(self.own_error(error)),
            Err(error) if error.sqlstate() != SqlState::BadCopyFileFormat => {
                Ok(self.own_error(error))
            }
            Err(_) => self.too_many(rejected).await,
            Ok(_) if !self.fits()? => Ok(Attempt::WrongSplit),
            Ok(_) if rejected >= limit => self.too_many(rejected).await,
            Ok(written) => {
                let Some(errors) = self.rejected().await? else { return Ok(Attempt::WrongSplit) };
                let rows = self.unit_reports().map(|(_, report)| report.rows).sum();
                if !self.load.spec.no_load && written.rows != rows {
                    return Err(Error::internal(format!(
                        "a load parsed {rows} rows and wrote {}",
                        written.rows
                    )));
                }
                Ok(Attempt::Done(Ok(self.load.copied(written, rows, rejected, &errors))))
            }
        }
    }

    /// An error that is not about rows. A part that began inside quotes can seem to be one
    /// endless record: then the load is run over whole files.
    fn own_error(&self, error: Error) -> Attempt {
        let endless = error.sqlstate() == SqlState::ProgramLimitExceeded;
        if endless && self.units.iter().any(is_part) {
            return Attempt::WrongSplit;
        }
        Attempt::Done(Err(error.into()))
    }

    async fn too_many(&self, count: u64) -> Result<Attempt> {
        let Some(rejected) = self.rejected().await? else { return Ok(Attempt::WrongSplit) };
        let table = &self.load.context.table;
        let parquet = matches!(self.load.spec.format, LoadFormat::Parquet);
        let error = match rejected.first() {
            Some(first) => first.error(table, count, parquet),
            None => Error::internal("a load was ended for rejected rows that nobody reported"),
        };
        let errors = rejected.iter().map(|one| one.load_error(table)).collect();
        Ok(Attempt::Done(Err(CopyFailed { error, errors })))
    }

    fn unit_reports(&self) -> impl Iterator<Item = (u32, &UnitReport)> {
        self.reports
            .iter()
            .flat_map(|report| report.units.iter().map(|unit| (report.partition, unit)))
    }

    /// Whether the parts of each file fit together.
    ///
    /// # Errors
    /// Internal when a unit was not read although the load went on to its end.
    fn fits(&self) -> Result<bool> {
        let reports: BTreeMap<u32, &UnitReport> =
            self.unit_reports().map(|(_, report)| (report.unit, report)).collect();
        for unit in self.units {
            let read = reports.get(&unit.id).is_some_and(|report| report.finished);
            if !read {
                return Err(Error::internal(format!(
                    "a part of {} was not read, or its report was lost",
                    self.load.files[unit.file as usize].url
                )));
            }
        }
        let fit = |pair: &[Unit]| {
            let [one, two] = pair else { return true };
            let bytes = matches!(two.part, Part::Bytes { .. });
            one.file != two.file
                || !bytes
                || reports[&one.id].next_record == reports[&two.id].first_record
        };
        Ok(self.units.windows(2).all(fit))
    }

    /// The rejected rows in the order of the files, or `None` when some of them are not rows at
    /// all because their unit did not begin at a record.
    async fn rejected(&self) -> Result<Option<Vec<Rejected>>> {
        let mut out = Vec::new();
        for (slice, report) in self.unit_reports() {
            if report.rejections.is_empty() {
                continue;
            }
            let Some(unit) = self.units.iter().find(|unit| unit.id == report.unit) else {
                return Err(Error::internal("a report of a unit that the load does not have"));
            };
            let Place::After(lines) = self.place(unit, report).await? else { return Ok(None) };
            let file_name = &self.load.files[unit.file as usize].url;
            out.extend(report.rejections.iter().map(|rejection| Rejected {
                file: unit.file,
                file_name: file_name.clone(),
                line: lines + rejection.line + 1,
                slice,
                rejection: rejection.clone(),
            }));
        }
        out.sort_by_key(|rejected| (rejected.file, rejected.line));
        Ok(Some(out))
    }

    /// The lines before a unit, from the reports of the units before it in its file when all of
    /// them ended, else by reading the file up to it.
    async fn place(&self, unit: &Unit, report: &UnitReport) -> Result<Place> {
        if !is_part(unit) {
            return Ok(Place::After(0));
        }
        let mut lines = 0;
        let mut next = 0;
        let mut known = true;
        let before = self.units.iter().filter(|u| u.file == unit.file && u.id < unit.id);
        for earlier in before {
            let found = self.unit_reports().find(|(_, r)| r.unit == earlier.id && r.finished);
            let Some((_, found)) = found else {
                known = false;
                break;
            };
            if found.first_record != next && !matches!(earlier.part, Part::Bytes { start: 0, .. }) {
                return Ok(Place::Wrong);
            }
            lines += found.lines;
            next = found.next_record;
        }
        if !known {
            (lines, next) = self.read_to(unit, report.first_record).await?;
        }
        Ok(if next == report.first_record { Place::After(lines) } else { Place::Wrong })
    }

    /// Cuts a file from its beginning into records up to `end`: the lines until there, and
    /// where the first record at or after `end` begins.
    async fn read_to(&self, unit: &Unit, end: u64) -> Result<(u64, u64)> {
        let LoadFormat::Text(options) = &self.load.spec.format else {
            return Err(Error::internal("lines of a file that is not text"));
        };
        let spec = TextSpec {
            dialect: options.dialect(self.load.spec.fields, self.load.spec.fill),
            conversion: options.conversion(None)?,
            targets: Vec::new(),
            skip_lines: options.skip_lines,
            batch_rows: crate::options::BATCH_ROWS,
            rejections_max: u64::MAX,
        };
        let file = self.load.opener.open(&self.load.files[unit.file as usize])?;
        let (sender, receiver) = mpsc::channel(1);
        let fetch =
            base::task::spawn("fetching a file to count lines", file.feed(0..end, sender, None));
        let cancel = self.load.context.query.cancel.clone();
        let read = base::task::blocking("counting lines", move || {
            let mut reader = TextReader::new(Arc::new(spec), Arc::new(Schema::empty()));
            let mut input = ChannelReader::new(receiver);
            let range = UnitRange { start: 0, end };
            let mut emit = |_| {
                if cancel.is_cancelled() { Err(super::canceled()) } else { Ok(true) }
            };
            reader.read_unit(0, range, &mut input, &mut emit)
        })
        .await;
        fetch.abort();
        let outcome = read?;
        Ok((outcome.lines, outcome.next_record))
    }
}

/// Whether a unit is not the beginning of a text file.
fn is_part(unit: &Unit) -> bool {
    matches!(unit.part, Part::Bytes { start, .. } if start > 0)
}

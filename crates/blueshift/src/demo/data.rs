//! TPC-H data as CSV files, several to a table so that slices load side by side.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use base::{Error, Result};
use tpchgen::csv::{
    CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv,
};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};

/// Files of each large table.
const PARTS: i32 = 4;

/// Writes all eight tables below `directory` as `TABLE/part-N.csv`; returns the bytes written.
pub(crate) fn generate(directory: &Path, scale: f64) -> Result<u64> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=PARTS)
            .map(|part| scope.spawn(move || write_part(directory, scale, part)))
            .collect();
        let mut bytes = 0;
        for worker in workers {
            bytes +=
                worker.join().map_err(|_| Error::internal("a generator thread ended early"))??;
        }
        Ok(bytes)
    })
}

fn write_part(directory: &Path, scale: f64, part: i32) -> Result<u64> {
    let mut bytes = 0;
    let mut table = |name: &str, header: &str, rows: &mut dyn Iterator<Item = Row<'_>>| {
        bytes += write_file(&directory.join(name), part, header, rows)?;
        Ok::<_, Error>(())
    };
    if part == 1 {
        let nations = NationGenerator::new(scale, 1, 1);
        table("nation", NationCsv::header(), &mut rows(nations.iter().map(NationCsv::new)))?;
        let regions = RegionGenerator::new(scale, 1, 1);
        table("region", RegionCsv::header(), &mut rows(regions.iter().map(RegionCsv::new)))?;
    }
    let parts = PartGenerator::new(scale, part, PARTS);
    table("part", PartCsv::header(), &mut rows(parts.iter().map(PartCsv::new)))?;
    let suppliers = SupplierGenerator::new(scale, part, PARTS);
    table("supplier", SupplierCsv::header(), &mut rows(suppliers.iter().map(SupplierCsv::new)))?;
    let customers = CustomerGenerator::new(scale, part, PARTS);
    table("customer", CustomerCsv::header(), &mut rows(customers.iter().map(CustomerCsv::new)))?;
    let partsupps = PartSuppGenerator::new(scale, part, PARTS);
    table("partsupp", PartSuppCsv::header(), &mut rows(partsupps.iter().map(PartSuppCsv::new)))?;
    let orders = OrderGenerator::new(scale, part, PARTS);
    table("orders", OrderCsv::header(), &mut rows(orders.iter().map(OrderCsv::new)))?;
    let items = LineItemGenerator::new(scale, part, PARTS);
    table("lineitem", LineItemCsv::header(), &mut rows(items.iter().map(LineItemCsv::new)))?;
    Ok(bytes)
}

type Row<'a> = Box<dyn Display + 'a>;

fn rows<'a, T: Display + 'a>(items: impl Iterator<Item = T>) -> impl Iterator<Item = Row<'a>> {
    items.map(|item| Box::new(item) as Row<'a>)
}

fn write_file(
    directory: &Path,
    part: i32,
    header: &str,
    rows: &mut dyn Iterator<Item = Row<'_>>,
) -> Result<u64> {
    let path = directory.join(format!("part-{part}.csv"));
    let write = || -> std::io::Result<u64> {
        fs::create_dir_all(directory)?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        writeln!(file, "{header}")?;
        for row in rows {
            writeln!(file, "{row}")?;
        }
        file.into_inner().map_err(std::io::IntoInnerError::into_error)?.metadata().map(|m| m.len())
    };
    write().map_err(|e| Error::io(format!("write {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_are_written() {
        let root = std::env::temp_dir().join(format!("blueshift-tpch-{}", base::rng::u64()));
        assert!(generate(&root, 0.001).unwrap() > 100_000);
        let lines = |name: &str| {
            (1..=PARTS)
                .filter_map(|p| {
                    fs::read_to_string(root.join(name).join(format!("part-{p}.csv"))).ok()
                })
                .map(|text| text.lines().count() - 1)
                .sum::<usize>()
        };
        assert_eq!((lines("nation"), lines("region"), lines("orders")), (25, 5, 1_500));
        assert_eq!(lines("customer"), 150);
        fs::remove_dir_all(root).unwrap();
    }
}

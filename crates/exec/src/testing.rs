//! Test leaves: tables in memory, divided over slices by the placement hash, and clusters over
//! them.

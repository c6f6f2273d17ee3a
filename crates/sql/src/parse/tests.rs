//! Tests of the parser, over the reference statements and mutations of them.

use super::*;
use crate::ast::*;
use base::{SqlState, SqlType};

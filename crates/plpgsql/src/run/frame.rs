//! Variables: slots in frames, the innermost frame last.

use std::collections::HashMap;

use crate::host::{Columns, Row, Shape, Typed, Variable};
use crate::tree::{Fragment, TypeName};

/// What a variable holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Typed),
    Record(Option<Row>),
}

/// The query of a bound cursor.
#[derive(Clone, Debug)]
pub(super) struct BoundCursor {
    pub(super) arguments: Vec<(String, TypeName)>,
    pub(super) query: Fragment,
}

#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(super) content: Content,
    /// The columns of a %ROWTYPE variable; a RECORD takes any.
    pub(super) columns: Option<Columns>,
    pub(super) not_null: bool,
    pub(super) cursor: Option<BoundCursor>,
}

impl Slot {
    pub(super) fn scalar(value: Typed) -> Slot {
        Slot { content: Content::Scalar(value), columns: None, not_null: false, cursor: None }
    }

    pub(super) fn of(shape: Option<&Shape>) -> Slot {
        match shape {
            Some(Shape::Scalar(sql_type)) => Slot::scalar(Typed::null(*sql_type)),
            Some(Shape::Row(columns)) => Slot {
                content: Content::Record(Some(Row::nulls(Columns::clone(columns)))),
                columns: Some(Columns::clone(columns)),
                not_null: false,
                cursor: None,
            },
            None => Slot {
                content: Content::Record(None),
                columns: None,
                not_null: false,
                cursor: None,
            },
        }
    }

    pub(crate) fn variable(&self) -> Variable<'_> {
        match &self.content {
            Content::Scalar(value) => Variable::Scalar(value),
            Content::Record(row) => Variable::Record(row.as_ref()),
        }
    }

    /// What %TYPE of this variable is; `None` for a RECORD.
    pub(super) fn shape(&self) -> Option<Shape> {
        match &self.content {
            Content::Scalar(value) => Some(Shape::Scalar(value.sql_type)),
            Content::Record(_) => self.columns.clone().map(Shape::Row),
        }
    }
}

#[derive(Debug, Default)]
struct Frame {
    label: Option<String>,
    names: HashMap<String, usize>,
    /// The slots from here on are the frame's own.
    first: usize,
}

/// All variables in scope.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    frames: Vec<Frame>,
    slots: Vec<Slot>,
}

impl Frames {
    pub(super) fn push(&mut self, label: Option<&str>) {
        let label = label.map(str::to_owned);
        self.frames.push(Frame { label, names: HashMap::new(), first: self.slots.len() });
    }

    pub(super) fn pop(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.slots.truncate(frame.first);
        }
    }

    /// How many frames there are: for [`Frames::cut`].
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Drops the frames that an error has left behind.
    pub(super) fn cut(&mut self, depth: usize) {
        while self.frames.len() > depth {
            self.pop();
        }
    }

    pub(super) fn declare(&mut self, name: &str, slot: Slot) -> usize {
        let at = self.slots.len();
        self.slots.push(slot);
        self.alias(name, at);
        at
    }

    pub(super) fn alias(&mut self, name: &str, at: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.names.insert(name.to_owned(), at);
        }
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.frames.iter().rev().find_map(|frame| frame.names.get(name)).copied()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Slot> {
        self.slots.get(self.place(name)?)
    }

    pub(crate) fn find_in(&self, label: &str, name: &str) -> Option<&Slot> {
        let labelled = |frame: &&Frame| frame.label.as_deref() == Some(label);
        let frame = self.frames.iter().rev().find(labelled)?;
        self.slots.get(*frame.names.get(name)?)
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Slot> {
        let at = self.place(name)?;
        self.slots.get_mut(at)
    }

    pub(super) fn scalar(&self, name: &str) -> Option<&Typed> {
        match &self.find(name)?.content {
            Content::Scalar(value) => Some(value),
            Content::Record(_) => None,
        }
    }

    /// Puts a value of the variable's own type.
    pub(super) fn set(&mut self, name: &str, value: Typed) {
        if let Some(slot) = self.find_mut(name) {
            slot.content = Content::Scalar(value);
        }
    }
}

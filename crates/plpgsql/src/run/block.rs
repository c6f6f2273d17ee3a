//! Blocks: declarations, and handlers of errors.

use base::client::Value;
use base::{Error, Result, SqlState, SqlType};

use super::frame::{BoundCursor, Slot};
use super::{Flow, Place, Run};
use crate::host::Typed;
use crate::tree::{Block, Declaration, DeclarationKind};

impl Run<'_> {
    pub(super) async fn block(&mut self, block: &Block) -> Result<Flow> {
        let depth = self.frames.depth();
        let handled = self.handled.len();
        self.frames.push(block.label.as_deref());
        for declaration in &block.declarations {
            self.declare(declaration).await?;
        }
        let flow = match self.statements(&block.statements).await {
            Err(error) if !block.handlers.is_empty() && may_be_handled(&error) => {
                // What was open when it failed is gone, the block's own variables stay.
                self.frames.cut(depth + 1);
                self.handled.truncate(handled);
                self.handle(block, error).await?
            }
            done => done?,
        };
        self.frames.cut(depth);
        Ok(match flow {
            Flow::Exit(Some(label)) if block.label.as_ref() == Some(&label) => Flow::Next,
            other => other,
        })
    }

    /// Runs the handler. Its own errors are its caller's.
    async fn handle(&mut self, block: &Block, error: Error) -> Result<Flow> {
        let failed = self.at;
        self.host.recover().await?;
        let text =
            |text: &str| Slot::scalar(Typed::new(SqlType::Text, Value::Text(text.to_owned())));
        self.frames.push(None);
        self.frames.declare("sqlstate", text(error.code()));
        self.frames.declare("sqlerrm", text(error.message()));
        self.handled.push(error.clone());
        let mut flow = Flow::Next;
        if let Some(handler) = block.handlers.first() {
            flow = self.statements(&handler.statements).await?;
        }
        self.handled.pop();
        self.frames.pop();
        if self.host.recovered().await? {
            self.at = failed;
            return Err(error);
        }
        Ok(flow)
    }

    async fn declare(&mut self, declaration: &Declaration) -> Result<()> {
        let before = self.at;
        self.at = Place {
            line: declaration.line,
            what: "during statement block local variable initialization",
        };
        match &declaration.kind {
            DeclarationKind::Alias { of } => {
                if let Some(at) = self.frames.place(of) {
                    self.frames.alias(&declaration.name, at);
                }
            }
            DeclarationKind::Cursor { arguments, query } => {
                let name = Value::Text(declaration.name.clone());
                let cursor = BoundCursor { arguments: arguments.clone(), query: query.clone() };
                let mut slot = Slot::scalar(Typed::new(SqlType::Text, name));
                slot.cursor = Some(cursor);
                self.frames.declare(&declaration.name, slot);
            }
            DeclarationKind::Variable { type_name, not_null, default, .. } => {
                let shape = self.shape(type_name).await?;
                // The default sees what is declared before it, not the variable itself.
                let value = match default {
                    Some(default) if !matches!(shape, None | Some(crate::Shape::Row(_))) => {
                        Some(self.value(default).await?)
                    }
                    Some(_) => {
                        return Err(base::error!(
                            FeatureNotSupported,
                            "a default value of the record \"{}\" is not supported",
                            declaration.name
                        ));
                    }
                    None => None,
                };
                let mut slot = Slot::of(shape.as_ref());
                slot.not_null = *not_null;
                self.frames.declare(&declaration.name, slot);
                if let Some(value) = value {
                    self.store_scalar(&declaration.name, &value)?;
                }
            }
        }
        self.at = before;
        Ok(())
    }
}

/// OTHERS catches all but what ends the statement from outside.
fn may_be_handled(error: &Error) -> bool {
    !matches!(error.sqlstate(), SqlState::QueryCanceled | SqlState::AdminShutdown)
}

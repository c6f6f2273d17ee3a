//! Blocks and declarations.

use std::collections::HashMap;

use base::{Result, error};

use super::{Enclosing, Known, Parser, unsupported};
use crate::lexer::Kind;
use crate::tree::{Block, Declaration, DeclarationKind, Handler, TypeName};

impl Parser<'_> {
    /// The whole body: one block and nothing behind it.
    pub(super) fn body(&mut self) -> Result<Block> {
        let label = self.label()?;
        let block = self.block(label)?;
        self.symbol(";");
        match self.kind() {
            Kind::End => Ok(block),
            _ => Err(self.unexpected()),
        }
    }

    /// `<<name>>` when it is next.
    pub(super) fn label(&mut self) -> Result<Option<String>> {
        if !self.symbol("<<") {
            return Ok(None);
        }
        let name = self.name()?;
        self.expect_symbol(">>")?;
        Ok(Some(name))
    }

    /// The label behind END, which must be that of the beginning.
    pub(super) fn end_label(&mut self, label: Option<&String>) -> Result<()> {
        if matches!(self.kind(), Kind::Symbol(_) | Kind::End) {
            return Ok(());
        }
        let position = self.position();
        let name = self.name()?;
        match label {
            Some(label) if *label == name => Ok(()),
            Some(label) => Err(error!(
                SyntaxError,
                "end label \"{name}\" differs from block's label \"{label}\""
            )
            .at(position)),
            None => Err(error!(SyntaxError, "end label \"{name}\" specified for unlabelled block")
                .at(position)),
        }
    }

    /// From DECLARE or BEGIN to END; the semicolon stays.
    pub(super) fn block(&mut self, label: Option<String>) -> Result<Block> {
        self.scopes.push(HashMap::new());
        let mut declarations = Vec::new();
        while self.accept("declare") {
            while !self.is("begin") && !self.is("declare") {
                declarations.push(self.declaration()?);
            }
        }
        let line = self.line();
        self.expect("begin")?;
        self.enclosing.push(Enclosing { label: label.clone(), is_loop: false });
        let statements = self.statements(&["exception", "end"])?;
        let mut handlers = Vec::new();
        if self.accept("exception") {
            let names =
                HashMap::from(["sqlstate", "sqlerrm"].map(|n| (n.to_owned(), Known::Constant)));
            self.scopes.push(names);
            while self.accept("when") {
                handlers.push(self.handler()?);
            }
            self.scopes.pop();
            if handlers.is_empty() {
                return Err(self.unexpected());
            }
        }
        self.expect("end")?;
        self.end_label(label.as_ref())?;
        self.enclosing.pop();
        self.scopes.pop();
        Ok(Block { label, line, declarations, statements, handlers })
    }

    fn handler(&mut self) -> Result<Handler> {
        let position = self.position();
        if !self.accept("others") {
            return Err(unsupported("a condition other than OTHERS", position)
                .hint("Write WHEN OTHERS, and look at SQLSTATE within the handler."));
        }
        self.expect("then")?;
        Ok(Handler { statements: self.statements(&["when", "end"])? })
    }

    fn declaration(&mut self) -> Result<Declaration> {
        let (position, line) = (self.position(), self.line());
        let name = self.name()?;
        let (kind, known) = if self.accept("alias") {
            self.alias()?
        } else if self.is("cursor")
            || (self.is("no") && self.is_nth(1, "scroll"))
            || self.is("scroll")
        {
            if self.is("scroll") {
                return Err(unsupported("a scrollable cursor", self.position()));
            }
            if self.accept("no") {
                self.expect("scroll")?;
            }
            self.expect("cursor")?;
            (self.bound_cursor()?, Known::BoundCursor)
        } else {
            self.variable()?
        };
        self.expect_symbol(";")?;
        self.declare(&name, known, position)?;
        Ok(Declaration { name, position, line, kind })
    }

    fn alias(&mut self) -> Result<(DeclarationKind, Known)> {
        self.expect("for")?;
        let position = self.position();
        let of = match self.kind() {
            Kind::Parameter(n) => {
                let name = format!("${n}");
                self.next();
                name
            }
            _ => self.name()?,
        };
        match self.known(&of) {
            Some(known) => Ok((DeclarationKind::Alias { of }, known)),
            None => Err(error!(SyntaxError, "variable \"{of}\" does not exist").at(position)),
        }
    }

    fn bound_cursor(&mut self) -> Result<DeclarationKind> {
        let mut arguments = Vec::new();
        if self.symbol("(") {
            loop {
                let name = self.name()?;
                arguments.push((name, self.type_name(&[",", ")"], &[])?));
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect_symbol(")")?;
        }
        if !self.accept("is") {
            self.expect("for")?;
        }
        Ok(DeclarationKind::Cursor { arguments, query: self.until_symbols(&[";"])? })
    }

    fn variable(&mut self) -> Result<(DeclarationKind, Known)> {
        let constant = self.accept("constant");
        let type_name = self.type_name(&[":=", "=", ";"], &["not", "default", "collate"])?;
        if self.is("collate") {
            return Err(unsupported("COLLATE of a variable", self.position()));
        }
        let not_null = self.accept("not");
        if not_null {
            self.expect("null")?;
        }
        let position = self.position();
        let given = self.symbol(":=") || self.symbol("=") || self.accept("default");
        let default = if given { Some(self.until_symbols(&[";"])?) } else { None };
        if not_null && default.is_none() {
            return Err(error!(
                SyntaxError,
                "a variable declared NOT NULL must have a default value"
            )
            .at(position));
        }
        let known = match &type_name {
            _ if constant => Known::Constant,
            TypeName::Record | TypeName::RowOf(..) => Known::Record,
            TypeName::RefCursor => Known::Cursor,
            _ => Known::Variable,
        };
        Ok((DeclarationKind::Variable { type_name, constant, not_null, default }, known))
    }

    /// A type up to one of the symbols or words.
    fn type_name(&mut self, symbols: &[&str], words: &[&str]) -> Result<TypeName> {
        let fragment = self.fragment(|kind| match kind {
            Kind::Symbol(symbol) => symbols.contains(symbol),
            Kind::Word(word) => words.contains(&word.as_str()),
            _ => false,
        })?;
        let end = self.at;
        let tokens = self.tokens[..end].iter().rev();
        let tail: Vec<&Kind> = tokens.map(|token| &token.kind).take(2).collect();
        let like = match tail.as_slice() {
            [Kind::Word(word), Kind::Symbol("%")] if word == "type" || word == "rowtype" => {
                Some(word == "rowtype")
            }
            _ => None,
        };
        Ok(match (like, fragment.text.to_lowercase().as_str()) {
            (Some(row), text) => {
                let name = text.rsplit_once('%').map_or(text, |(name, _)| name);
                let parts = name.split('.').map(|part| part.trim().trim_matches('"').to_owned());
                let parts = parts.collect();
                if row { TypeName::RowOf(parts, fragment) } else { TypeName::Like(parts, fragment) }
            }
            (None, "record") => TypeName::Record,
            (None, "refcursor") => TypeName::RefCursor,
            (None, _) => TypeName::Sql(fragment),
        })
    }
}

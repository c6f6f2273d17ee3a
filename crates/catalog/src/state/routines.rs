//! Procedures and functions: applying their operations, and finding them.

use std::ops::Bound;
use std::sync::Arc;

use base::ids::Oid;
use base::{Result, SqlType, error, fail};

use super::apply::{check_name, dependents_exist};
use super::{Namespace, State};
use crate::op::RoutineChange;
use crate::routine::{Routine, key};

/// Procedures and functions of a cluster; on Redshift it is the limit of a database.
const ROUTINES_MAX: usize = 10_000;

impl State {
    /// The routines of this (folded) name in a schema.
    pub fn routines_named(&self, schema: Oid, name: &str) -> Vec<Arc<Routine>> {
        let Some(names) = self.names.get(&Namespace::Routines(schema)) else { return Vec::new() };
        let first = format!("{name}(");
        names
            .range::<str, _>((Bound::Included(first.as_str()), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&first))
            .filter_map(|(_, oid)| self.routine_by_oid(*oid))
            .collect()
    }

    /// The routine with exactly these input types; `true` beside a type is REFCURSOR.
    pub fn routine(
        &self,
        schema: Oid,
        name: &str,
        types: &[(SqlType, bool)],
    ) -> Option<Arc<Routine>> {
        let key = key(name, types.iter().copied());
        self.routine_by_oid(self.lookup(Namespace::Routines(schema), &key)?)
    }

    /// The routine with this id.
    pub fn routine_by_oid(&self, oid: Oid) -> Option<Arc<Routine>> {
        self.routines.get(&oid).cloned()
    }

    /// The routines of a schema, by name and signature.
    pub fn routines(&self, schema: Oid) -> Vec<Arc<Routine>> {
        self.listed(Namespace::Routines(schema), |oid| self.routine_by_oid(oid))
    }

    /// Every routine of every database, by id.
    pub fn all_routines(&self) -> impl Iterator<Item = &Arc<Routine>> {
        self.routines.values()
    }

    pub(super) fn create_routine(&mut self, routine: &Routine) -> Result<()> {
        check_name(&routine.name)?;
        self.check_owner(routine.owner)?;
        self.known_schema(routine.schema)?;
        if self.routines.size() >= ROUTINES_MAX {
            fail!(
                ConfigurationLimitExceeded,
                "there cannot be more than {ROUTINES_MAX} procedures and functions"
            );
        }
        self.claim_oid(routine.oid)?;
        self.claim_routine(routine)?;
        self.routines.insert_mut(routine.oid, Arc::new(routine.clone()));
        self.stamp(routine.oid, |versions, at| versions.definition = at);
        Ok(())
    }

    fn claim_routine(&mut self, routine: &Routine) -> Result<()> {
        if self.claim_name(Namespace::Routines(routine.schema), &routine.key(), routine.oid) {
            return Ok(());
        }
        Err(error!(
            DuplicateFunction,
            "{} \"{}\" already exists with same argument types",
            routine.kind.name(),
            routine.name
        ))
    }

    pub(super) fn replace_routine(&mut self, routine: &Routine) -> Result<()> {
        let old = self.known_routine(routine.oid)?;
        if (old.schema, old.key(), old.kind) != (routine.schema, routine.key(), routine.kind) {
            fail!(InternalError, "a routine keeps its kind and signature when it is replaced");
        }
        self.check_owner(routine.owner)?;
        self.routines.insert_mut(routine.oid, Arc::new(routine.clone()));
        self.stamp(routine.oid, |versions, at| versions.definition = at);
        Ok(())
    }

    pub(super) fn alter_routine(&mut self, oid: Oid, change: &RoutineChange) -> Result<()> {
        let old = self.known_routine(oid)?;
        let mut routine = Routine::clone(&old);
        match change {
            RoutineChange::Rename(name) => {
                check_name(name)?;
                routine.name.clone_from(name);
                self.claim_routine(&routine)?;
                self.release_name(Namespace::Routines(old.schema), &old.key());
            }
            RoutineChange::SetOwner(owner) => {
                self.check_owner(*owner)?;
                routine.owner = *owner;
            }
        }
        self.routines.insert_mut(oid, Arc::new(routine));
        self.stamp(oid, |versions, at| versions.definition = at);
        Ok(())
    }

    pub(super) fn drop_routine(&mut self, oid: Oid, cascade: bool) -> Result<()> {
        let routine = self.known_routine(oid)?;
        let views = self.dependents(oid);
        if !cascade && !views.is_empty() {
            let (kind, name) = (routine.kind.name(), routine.signature());
            let line = |view: &crate::Relation| {
                format!("{} {} depends on {kind} {name}", view.kind(), self.qualified(view))
            };
            let lines: Vec<String> = views.iter().map(line).collect();
            return Err(dependents_exist(kind, &name, &lines));
        }
        for view in views {
            if self.relations.contains_key(&view.oid()) {
                self.drop_relation(view.oid(), true)?;
            }
        }
        self.release_name(Namespace::Routines(routine.schema), &routine.key());
        self.routines.remove_mut(&oid);
        self.dependents.remove_mut(&oid);
        self.forget(oid);
        Ok(())
    }

    pub(super) fn restore_routine(&mut self, routine: Arc<Routine>) -> bool {
        let namespace = Namespace::Routines(routine.schema);
        let free = self.claim_name(namespace, &routine.key(), routine.oid);
        self.routines.insert_mut(routine.oid, routine);
        free
    }

    fn known_routine(&self, oid: Oid) -> Result<Arc<Routine>> {
        self.routine_by_oid(oid)
            .ok_or_else(|| error!(UndefinedFunction, "routine with OID {oid} does not exist"))
    }
}

//! Which key was sent to which session, so that a cancel request finds it.
//!
//! Protocol 3.0 carries four bytes of key, newer ones all of it: the leader always gets the
//! session's whole key.

use std::collections::HashMap;

use base::{client::Leader, secret};
use parking_lot::Mutex;

struct Keys {
    sent: Vec<u8>,
    whole: Vec<u8>,
}

#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<i32, Keys>>);

impl Registry {
    /// Remembers a session's key and gives the part of it that the client is sent.
    pub(crate) fn add(&self, process_id: i32, key: &[u8], long_keys: bool) -> Vec<u8> {
        let len = if long_keys { key.len().min(256) } else { 4 };
        let mut sent = key[..len.min(key.len())].to_vec();
        sent.resize(len.max(4), 0);
        let keys = Keys { sent: sent.clone(), whole: key.to_vec() };
        self.0.lock().insert(process_id, keys);
        sent
    }

    pub(crate) fn remove(&self, process_id: i32) {
        self.0.lock().remove(&process_id);
    }

    /// Cancels what the session runs, if the key is its own; silent otherwise, so that keys
    /// cannot be guessed from answers.
    pub(crate) fn cancel(&self, leader: &dyn Leader, process_id: i32, key: &[u8]) {
        let whole = match self.0.lock().get(&process_id) {
            Some(keys) if secret::equal(&keys.sent, key) => keys.whole.clone(),
            _ => {
                tracing::info!(process_id, "cancel request with a wrong process id or key");
                return;
            }
        };
        leader.cancel(process_id, &whole);
    }
}

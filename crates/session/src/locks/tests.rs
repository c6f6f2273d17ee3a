//! Who waits for whom, in what order, and how a wait ends.

use base::SqlState;

use super::*;

fn table(number: u32) -> Target {
    let name = format!("t{number}");
    Target { table: Oid(number), name: Arc::from(name), database: Oid(1) }
}

/// Starts a request in the background, after those started before it.
async fn start(
    locks: &Arc<Locks>,
    owner: Owner,
    mode: Mode,
    number: u32,
) -> tokio::task::JoinHandle<Result<bool>> {
    let locks = Arc::clone(locks);
    let task = tokio::spawn(async move { locks.lock(owner, mode, &table(number), None).await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    task
}

async fn has(locks: &Locks, owner: Owner, mode: Mode, number: u32) -> bool {
    locks.shown().iter().any(|shown| {
        shown.granted && (shown.owner, shown.mode, shown.target.table) == (owner, mode, Oid(number))
    })
}

#[tokio::test]
async fn appends_run_beside_each_other_and_beside_one_change() {
    let locks = Arc::new(Locks::default());
    for owner in [1, 2] {
        assert!(!locks.lock(owner, Mode::Append, &table(1), None).await.unwrap());
    }
    assert!(!locks.lock(3, Mode::Modify, &table(1), None).await.unwrap());
    assert!(!locks.lock(3, Mode::Append, &table(1), None).await.unwrap(), "covered");
    assert!(!locks.try_lock(4, Mode::Modify, &table(1)));
    let second = start(&locks, 4, Mode::Modify, 1).await;
    assert!(locks.is_contended(Oid(1)));
    locks.release(3);
    assert!(second.await.unwrap().unwrap());
    locks.release(4);
    assert!(!locks.is_contended(Oid(1)));
    for owner in [1, 2] {
        locks.release(owner);
    }
    assert!(locks.shown().is_empty());
    assert!(locks.inner.lock().tables.is_empty());
}

#[tokio::test]
async fn who_asks_first_is_served_first() {
    let locks = Arc::new(Locks::default());
    locks.lock(1, Mode::Append, &table(1), None).await.unwrap();
    let exclusive = start(&locks, 2, Mode::Exclusive, 1).await;
    // An INSERT that comes later does not overtake: else LOCK could wait for ever.
    let late = start(&locks, 3, Mode::Append, 1).await;
    assert!(!has(&locks, 3, Mode::Append, 1).await);
    locks.release(1);
    assert!(exclusive.await.unwrap().unwrap());
    assert!(!has(&locks, 3, Mode::Append, 1).await);
    locks.release(2);
    assert!(late.await.unwrap().unwrap());
}

#[tokio::test]
async fn an_upgrade_goes_before_those_that_wait_for_it() {
    let locks = Arc::new(Locks::default());
    locks.lock(1, Mode::Append, &table(1), None).await.unwrap();
    locks.lock(2, Mode::Append, &table(1), None).await.unwrap();
    let waiting = start(&locks, 3, Mode::Exclusive, 1).await;
    // 1 holds what 3 waits for, so that it may have more at once.
    assert!(!locks.lock(1, Mode::Modify, &table(1), None).await.unwrap());
    let upgrade = start(&locks, 1, Mode::Exclusive, 1).await;
    locks.release(2);
    assert!(upgrade.await.unwrap().unwrap());
    assert!(!has(&locks, 3, Mode::Exclusive, 1).await);
    locks.release(1);
    assert!(waiting.await.unwrap().unwrap());
}

#[tokio::test]
async fn two_upgrades_are_a_deadlock() {
    let locks = Arc::new(Locks::default());
    for owner in [1, 2] {
        locks.lock(owner, Mode::Append, &table(1), None).await.unwrap();
    }
    let first = start(&locks, 1, Mode::Exclusive, 1).await;
    let error = locks.lock(2, Mode::Exclusive, &table(1), None).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DeadlockDetected);
    locks.release(2);
    assert!(first.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_cycle_over_three_tables_is_found_by_who_closes_it() {
    let locks = Arc::new(Locks::default());
    for owner in [1, 2, 3] {
        locks.lock(owner, Mode::Modify, &table(owner as u32), None).await.unwrap();
    }
    let first = start(&locks, 1, Mode::Modify, 2).await;
    let second = start(&locks, 2, Mode::Modify, 3).await;
    let error = locks.lock(3, Mode::Modify, &table(1), None).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::DeadlockDetected);
    let detail = error.get_detail().unwrap();
    assert!(
        detail.starts_with(
            "Process 3 waits for ShareRowExclusiveLock on relation 1 (\"t1\") of database 1; \
             blocked by process 1."
        ),
        "{detail}"
    );
    assert_eq!(detail.lines().count(), 3);
    // The others go on once the victim's transaction has ended.
    locks.release(3);
    assert!(second.await.unwrap().unwrap());
    locks.release(2);
    assert!(first.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_wait_without_a_cycle_is_no_deadlock() {
    let locks = Arc::new(Locks::default());
    locks.lock(1, Mode::Modify, &table(1), None).await.unwrap();
    let second = start(&locks, 2, Mode::Modify, 1).await;
    let third = start(&locks, 3, Mode::Modify, 1).await;
    locks.release(1);
    assert!(second.await.unwrap().unwrap());
    locks.release(2);
    assert!(third.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_wait_ends_at_its_timeout_and_leaves_no_trace() {
    let locks = Arc::new(Locks::default());
    locks.lock(1, Mode::Exclusive, &table(1), None).await.unwrap();
    let limit = Some(Duration::from_millis(50));
    let error = locks.lock(2, Mode::Append, &table(1), limit).await.unwrap_err();
    assert_eq!(error.sqlstate(), SqlState::LockNotAvailable);
    // A statement that is cancelled drops its request.
    let cancelled = start(&locks, 3, Mode::Exclusive, 1).await;
    cancelled.abort();
    assert!(cancelled.await.is_err());
    assert_eq!(locks.shown().len(), 1);
    let next = start(&locks, 4, Mode::Append, 1).await;
    locks.release(1);
    assert!(next.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_savepoint_gives_back_what_came_after_it() {
    let locks = Arc::new(Locks::default());
    locks.lock(1, Mode::Append, &table(1), None).await.unwrap();
    let mark = locks.mark();
    locks.lock(1, Mode::Exclusive, &table(1), None).await.unwrap();
    locks.lock(1, Mode::Modify, &table(2), None).await.unwrap();
    let waiting = start(&locks, 2, Mode::Modify, 2).await;
    locks.release_since(1, mark);
    assert!(waiting.await.unwrap().unwrap());
    assert!(!locks.lock(3, Mode::Modify, &table(1), None).await.unwrap());
    assert!(has(&locks, 1, Mode::Append, 1).await);
}

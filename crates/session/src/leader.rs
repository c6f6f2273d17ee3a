//! The leader node: one per process. Sessions, logins, cancel, the history of statements.

pub(crate) mod analysis;
pub(crate) mod compaction;
pub(crate) mod history;
pub(crate) mod registry;
pub(crate) mod upkeep;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use base::client::{Leader, Login, Session, Termination, Verifier, by_administrator};
use base::ids::QueryId;
use base::{CancellationToken, Result, error};
use catalog::{Catalog, Op};

use crate::client::ClientSession;
use crate::locks::Locks;
use crate::login::Throttle;
use history::History;
use registry::{Activity, IdleLimits, Limit, Registry, SessionEntry};
use upkeep::Upkeep;

/// Connections beyond the limit that only superusers may use, so that an operator gets in.
const SUPERUSER_RESERVE: usize = 5;

/// How the leader runs.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// What COPY may read.
    pub copy: ingest::Sources,
    /// The cluster's own store, through which compute nodes report on loads.
    pub store: Arc<dyn object_store::ObjectStore>,
    /// `statement_timeout` of sessions that set none; 0 for no limit.
    pub statement_timeout_ms: u64,
    /// Sessions at once, cluster-wide.
    pub connections_max: usize,
    /// Memory of one statement; `None` leaves it to the engine's own limit.
    pub query_memory_bytes: Option<usize>,
    /// Compute nodes, for stv_slices.
    pub nodes: u16,
    /// Whether tables are compacted and sorted in the background.
    pub auto_vacuum: bool,
}

/// The leader: what all sessions share.
pub struct LeaderNode {
    me: Weak<LeaderNode>,
    pub(crate) catalog: Catalog,
    pub(crate) engine: Arc<exec::Engine>,
    pub(crate) config: LeaderConfig,
    pub(crate) locks: Locks,
    pub(crate) upkeep: Upkeep,
    registry: Registry,
    history: History,
    throttle: Throttle,
    next_query: AtomicU64,
    /// From which verifiers of unknown users are made.
    secret: [u8; 32],
    started_us: i64,
    closing: CancellationToken,
    prepared: tokio::sync::OnceCell<()>,
}

/// The cluster setting that says that `public` was opened to all once. A REVOKE afterwards
/// stays.
const PUBLIC_OPENED: &str = "cluster.public_schema_opened";

impl std::fmt::Debug for LeaderNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderNode").field("config", &self.config).finish_non_exhaustive()
    }
}

impl LeaderNode {
    /// Takes over an open catalog and a started engine.
    ///
    /// # Errors
    /// 22023 for a configuration that cannot work.
    pub fn start(
        catalog: Catalog,
        engine: Arc<exec::Engine>,
        config: LeaderConfig,
    ) -> Result<Arc<LeaderNode>> {
        if config.connections_max == 0 {
            return Err(error!(InvalidParameterValue, "the connection limit must be at least 1"));
        }
        // Ids go on rising over restarts: each epoch has a range of its own.
        let first_query = u64::from(catalog.epoch().0) * 1_000_000;
        let leader = Arc::new_cyclic(|me| LeaderNode {
            me: Weak::clone(me),
            catalog,
            engine,
            config,
            locks: Locks::default(),
            upkeep: Upkeep::default(),
            registry: Registry::default(),
            history: History::default(),
            throttle: Throttle::default(),
            next_query: AtomicU64::new(first_query + 1),
            secret: base::rng::bytes(),
            started_us: base::clock::now_us(),
            closing: CancellationToken::new(),
            prepared: tokio::sync::OnceCell::new(),
        });
        leader.start_upkeep();
        Ok(leader)
    }

    /// Opens the schema `public` of a new cluster to all users, as PostgreSQL makes it.
    async fn open_public_schema(&self) -> Result<()> {
        let state = self.catalog.head();
        if state.setting(PUBLIC_OPENED).is_some() {
            return Ok(());
        }
        let mut transaction = self.catalog.begin();
        transaction.apply(Op::Grant {
            object: catalog::PUBLIC_SCHEMA_OID,
            grantee: catalog::PUBLIC_GRANTEE_OID,
            privileges: catalog::Privileges::USAGE.union(catalog::Privileges::CREATE),
            with_grant_option: false,
        })?;
        let (name, value) = (PUBLIC_OPENED.to_owned(), Some("on".to_owned()));
        transaction.apply(Op::SetSetting { name, value })?;
        self.catalog.commit(transaction).await.map(drop)
    }

    /// Takes no more sessions and ends the open ones: SIGTERM.
    pub fn shut_down(&self) {
        self.closing.cancel();
        for session in self.registry.all() {
            session.termination.end(by_administrator());
        }
    }

    /// The number of open sessions.
    pub fn session_count(&self) -> usize {
        self.registry.all().len()
    }

    pub(crate) fn sessions(&self) -> Vec<Arc<SessionEntry>> {
        self.registry.all()
    }

    pub(crate) fn session(&self, process_id: i32) -> Option<Arc<SessionEntry>> {
        self.registry.get(process_id)
    }

    pub(crate) fn close_session(&self, process_id: i32) {
        self.registry.remove(process_id);
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn started_us(&self) -> i64 {
        self.started_us
    }

    pub(crate) fn node_count(&self) -> usize {
        usize::from(self.config.nodes)
    }

    pub(crate) fn new_query_id(&self) -> QueryId {
        QueryId(self.next_query.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of a session's open transaction, 0 when it has none.
    pub(crate) fn transaction_of(&self, process_id: i32) -> u64 {
        let Some(session) = self.session(process_id) else { return 0 };
        let activity = session.activity.lock();
        let running = activity.running.as_ref().map_or(0, |running| running.transaction);
        activity.transaction.max(running)
    }

    fn admit(&self, login: &Login) -> Result<Arc<SessionEntry>> {
        let state = self.catalog.head();
        let user = state.user(&login.user).ok_or_else(|| {
            error!(InvalidAuthorizationSpecification, "user \"{}\" does not exist", login.user)
        })?;
        let database = state.database(&login.database).ok_or_else(|| {
            let names = state.databases().map(|database| database.name.as_str());
            error!(InvalidCatalogName, "database \"{}\" does not exist", login.database)
                .maybe_hint(base::suggest::did_you_mean(&login.database, names))
        })?;
        let parameter = |name: &str| {
            let found = login.parameters.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let entry = Arc::new(SessionEntry {
            process_id: self.registry.new_process_id(),
            cancel_key: base::rng::bytes(),
            user: user.name.clone(),
            user_oid: user.oid,
            superuser: user.superuser,
            database: database.name.clone(),
            database_oid: database.oid,
            peer: login.peer,
            tls: login.tls,
            protocol_version: login.protocol_version,
            driver_version: parameter("driver_version"),
            os_version: parameter("os_version"),
            started_us: base::clock::now_us(),
            termination: Termination::default(),
            application_name: parking_lot::Mutex::new(parameter("application_name")),
            activity: parking_lot::Mutex::new(Activity {
                last_change_us: base::clock::now_us(),
                ..Activity::default()
            }),
            idle_limits: IdleLimits::default(),
        });
        let reserve = if user.superuser { SUPERUSER_RESERVE } else { 0 };
        let of_user = user.connection_limit.filter(|_| !user.superuser).map(|n| n as usize);
        let max = self.config.connections_max + reserve;
        match self.registry.insert(Arc::clone(&entry), max, of_user) {
            Ok(()) => Ok(entry),
            Err(Limit::Cluster) => Err(error!(TooManyConnections, "too many connections")
                .detail(format!("The limit is {} connections.", self.config.connections_max))),
            Err(Limit::User) => {
                Err(error!(TooManyConnections, "too many connections for user \"{}\"", user.name))
            }
        }
    }
}

#[async_trait]
impl Leader for LeaderNode {
    async fn verifier(&self, user: &str) -> Result<Verifier> {
        // The same wait for names that exist and names that do not.
        let delay = self.throttle.delay(user);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Some(user) = self.catalog.head().user(user) else {
            return Ok(base::password::decoy(user, &self.secret));
        };
        let kept = &user.verifiers;
        let none = kept.digest.is_none() && kept.scram.is_none() && kept.md5.is_none();
        let now = base::clock::now_us();
        let expired = user.valid_until_us.is_some_and(|until| until <= now);
        if none {
            return Ok(base::password::decoy(&user.name, &self.secret));
        }
        Ok(Verifier {
            digest: kept.digest.clone(),
            scram: kept.scram.clone(),
            md5: kept.md5.clone(),
            may_log_in: !expired,
        })
    }

    async fn open(&self, login: Login) -> Result<Box<dyn Session>> {
        if self.closing.is_cancelled() {
            return Err(error!(CannotConnectNow, "the cluster is shutting down"));
        }
        let me = self
            .me
            .upgrade()
            .ok_or_else(|| error!(CannotConnectNow, "the cluster is shutting down"))?;
        self.prepared.get_or_try_init(|| self.open_public_schema()).await?;
        let entry = self.admit(&login)?;
        self.throttle.succeeded(&login.user, login.peer.map(|peer| peer.ip()));
        let opened = ClientSession::open(me, Arc::clone(&entry), &login);
        if opened.is_err() {
            self.registry.remove(entry.process_id);
        }
        opened.map(|session| Box::new(session) as Box<dyn Session>)
    }

    fn cancel(&self, process_id: i32, key: &[u8]) {
        if let Some(session) = self.registry.get(process_id)
            && base::secret::equal(&session.cancel_key, key)
        {
            session.cancel();
        }
    }

    fn login_failed(&self, user: &str, peer: Option<SocketAddr>) {
        tracing::info!(user, ?peer, "login failed");
        self.throttle.failed(user, peer.map(|peer| peer.ip()));
    }
}
